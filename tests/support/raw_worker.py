"""A process that answers with the bytes it finds in a file beside it: anything at all may come from a hostile one."""

import os
import sys
from pathlib import Path


def main(_parent: int) -> None:
    said = Path(__file__).with_name("said")
    sys.stdin.buffer.readline()
    os.write(1, b'{"item": {"files": "active"}}\n')
    sys.stdin.buffer.readline()
    os.write(1, b'{"ok": {"adapter": false}}\n')
    sys.stdin.buffer.readline()
    os.write(1, said.read_bytes())
    sys.stdin.buffer.read()
