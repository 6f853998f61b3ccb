"""How long a sparse model of 16 GB takes to be bound by a private view, beside sha256sum and a copy.

python tests/bench_private_view.py [--gigabytes 16]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from support import hostile_submissions as hostile

from runner.artifacts import PrivateView, check_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=16)
    rows = int(parser.parse_args().gigabytes * 1e9 / 2 / (32_768 * 4))
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top, "model")
        hostile.make_model(folder)
        shapes = {**hostile.SHAPES, "model.embed_tokens.weight": [rows, 32_768], "lm_head.weight": [rows, 32_768]}
        header = hostile.header_of(shapes)
        raw = json.dumps(header).encode()
        weights = folder / "model.safetensors"
        hostile.write_raw(weights, raw, b"")
        os.truncate(weights, 8 + len(raw) + hostile.data_bytes(header))
        print(f"{weights.stat().st_size / 1e9:.1f} GB, sparse")
        print(f"{'':26}{'seconds':>10}{'of processor':>14}{'GB read':>10}")
        with _measured("check (validate)"):
            check_model(folder)
        with _measured("private view: open, hash"):
            # Its config.json and shapes do not fit together; binding asks for neither.
            PrivateView(folder, "model").close()
        with _measured("sha256sum"):
            subprocess.run(["sha256sum", str(weights)], check=True, stdout=subprocess.DEVNULL)
        if shutil.disk_usage(top).free > 2 * weights.stat().st_size:
            with _measured("cp, every byte"):
                subprocess.run(["cp", "--sparse=never", str(weights), str(weights) + ".copy"], check=True)


@contextmanager
def _measured(name: str) -> Iterator[None]:
    """Print seconds by the clock and of the processor, and what was read, of this process and its ended children."""
    started, used, read = time.monotonic(), sum(os.times()[:4]), _read()
    yield
    seconds, processor = time.monotonic() - started, sum(os.times()[:4]) - used
    print(f"{name:26}{seconds:10.1f}{processor:14.1f}{(_read() - read) / 1e9:10.1f}", flush=True)


def _read() -> int:
    return int(Path("/proc/self/io").read_text(encoding="ascii").split("rchar:")[1].split()[0])


if __name__ == "__main__":
    main()
