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
        print(f"{weights.stat().st_size / 1e9:.1f} GB, sparse, seconds:")

        def measure(name: str, started: float, read: int) -> None:
            print(f"{name:28}{time.monotonic() - started:8.1f}   {(_read() - read) / 1e9:5.1f} GB read here")

        started, read = time.monotonic(), _read()
        check_model(folder)
        measure("check (validate)", started, read)
        started, read = time.monotonic(), _read()
        # Its config.json and shapes do not fit together; binding asks for neither.
        PrivateView(folder, "model").close()
        measure("private view: open, hash", started, read)
        started, read = time.monotonic(), _read()
        subprocess.run(["sha256sum", str(weights)], check=True, stdout=subprocess.DEVNULL)
        measure("sha256sum", started, read)
        if shutil.disk_usage(top).free > 2 * weights.stat().st_size:
            started, read = time.monotonic(), _read()
            subprocess.run(["cp", "--sparse=never", str(weights), str(weights) + ".copy"], check=True)
            measure("cp, every byte", started, read)


def _read() -> int:
    return int(Path("/proc/self/io").read_text(encoding="ascii").split("rchar:")[1].split()[0])


if __name__ == "__main__":
    main()
