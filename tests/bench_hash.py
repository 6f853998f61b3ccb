"""Measure hashing a model's folder against `sha256sum` on the same file, in turn; nothing is asserted.

python tests/bench_hash.py 16 3 [FOLDER]

The model is of the shape of so many GB, with a valid header and holes for tensors; a real disk is measured with a real
FOLDER of a model. Bytes that were read are those that the system counts for this process.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from artifacts import make_hostile

from runner.artifacts import check_model, model_manifest


def main(rounds: int, folder: Path) -> None:
    """Time both in turn, `rounds` times, on the weights in `folder`."""
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    size = sum((folder / name).stat().st_size for name in names)
    print(f"{len(names)} file(s) of weights, {size / 1e9:.2f} GB")
    seconds, read = counted(lambda: check_model(folder))
    print(f"validate without a pinned digest: {seconds:.2f} s, {read / size:.3f} of the weights' size read")
    ours, theirs = [], []
    for _ in range(rounds):
        seconds, read = counted(lambda: model_manifest(folder))
        ours.append(size / seconds / 1e9)
        started = time.perf_counter()
        subprocess.run(["sha256sum", *names], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        theirs.append(size / (time.perf_counter() - started) / 1e9)
        print(f"manifest {ours[-1]:.2f} GB/s, read {read / size:.3f} times; sha256sum {theirs[-1]:.2f} GB/s")
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    print(f"ratio: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


def shaped(folder: Path, gigabytes: float) -> None:
    """A sound model whose embeddings are holes of so many 10^9 bytes."""
    make_hostile.make_model(folder)
    vocabulary = int(gigabytes * 1e9 / 2 / 4 / 4096)
    wide = {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": vocabulary}
    make_hostile.setting("config.json", **wide)(folder)
    shapes = {
        name: [{64: vocabulary if "embed" in name or "lm_head" in name else 64, 32: 4096}[length] for length in shape]
        for name, shape in make_hostile.SHAPES.items()
    }
    header = make_hostile.header_of(shapes)
    raw = json.dumps(header).encode()
    make_hostile.write_raw(folder / "model.safetensors", raw, b"")
    os.truncate(folder / "model.safetensors", 8 + len(raw) + make_hostile.data_bytes(header))
    faults, _ = check_model(folder)
    assert faults == ()


def counted(call: Callable[[], object]) -> tuple[float, int]:
    """Seconds that `call` takes, and bytes that this process asks the system for meanwhile."""

    def read() -> int:
        return int(Path("/proc/self/io").read_text().split("rchar:")[1].split()[0])

    before, started = read(), time.perf_counter()
    call()
    return time.perf_counter() - started, read() - before


if __name__ == "__main__":
    given = sys.argv[1:] + ["16", "3"][len(sys.argv) - 1 :]
    if len(given) > 2:
        main(int(given[1]), Path(given[2]))
    else:
        with tempfile.TemporaryDirectory() as made:
            shaped(Path(made) / "model", float(given[0]))
            main(int(given[1]), Path(made) / "model")
