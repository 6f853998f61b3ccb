"""Benchmarks by their bytes, as an archive keeps them."""

import contextlib
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from runner.archive import objects
from runner.archive.objects import FILES
from runner.archive.store import Store
from runner.config.benchmark import load_benchmark
from runner.core.benchmark_types import Benchmark
from runner.scorecard import filenames


@contextlib.contextmanager
def benchmark_file(data: bytes) -> Iterator[Path]:
    """A temporary file that holds `data`, for readers that want a path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / filenames.BENCHMARK
        path.write_bytes(data)
        yield path


@lru_cache(maxsize=64)
def parsed(data: bytes) -> Benchmark:
    """The benchmark in `data`, parsed once however many cards were made with it; raises as `load_benchmark` does."""
    with benchmark_file(data) as path:
        return load_benchmark(path)


def benchmark(store: Store, sha256: str) -> Benchmark:
    """The benchmark that the archive keeps under this digest. Raises as `objects.read` and `load_benchmark` do."""
    return parsed(objects.read(store, FILES["benchmark"], sha256))
