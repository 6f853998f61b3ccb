"""Where a pinned file may lie, and whether bytes are the pinned ones."""

import errno
import os
from collections.abc import Collection
from pathlib import Path

from runner.core import canonical, resources
from runner.core.benchmark_types import Benchmark, DataFile, Dataset
from runner.core.errors import Fault, InvalidInput, raise_faults

MOST_BYTES = 64 << 30
"""Size of the largest data file that is read; hashing one of terabytes would take hours."""
_FORBIDDEN_IN_NAMES = frozenset("/\\\0")


def default_data_dir() -> Path:
    """The folder used when none is given: `$BENCHMARK_DATA_DIR`, or `moral-ambiguity-benchmark/data` in the cache.

    The cache is `$XDG_CACHE_HOME` where that is an absolute path (the XDG base directory specification tells programs
    to ignore it otherwise), else `~/.cache`. Raises `InvalidInput` (DATA_MISSING) for a user without a home.
    """
    if setting := os.environ.get("BENCHMARK_DATA_DIR"):
        return Path(setting)
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():
        try:
            cache = Path.home() / ".cache"
        except RuntimeError:
            message = "No data folder was given, and there is no home directory to keep one in."
            raise InvalidInput(Fault("DATA_MISSING", message, hint="Give one with --data-dir.")) from None
    return cache / "moral-ambiguity-benchmark" / "data"


def require_known(benchmark: Benchmark, datasets: Collection[str] | None) -> None:
    """`InvalidInput` (DATA_DATASET) naming each of `datasets` (None: all there are) that `benchmark` does not have."""
    known = ", ".join(benchmark.datasets)
    raise_faults(
        [
            Fault("DATA_DATASET", f"There is no dataset {name!r}; there are: {known}.")
            for name in datasets or ()
            if name not in benchmark.datasets
        ]
    )


def candidate_paths(dataset: Dataset, data: DataFile, data_dir: Path | None) -> tuple[Path, ...]:
    """The paths at which a split's file is looked for, in this order.

    An embedded dataset has one path, inside the package. One with a `path` is looked for in `data_dir`, where one is
    given, and at that path. Any other is looked for in `data_dir` (None: the default one), at its top and in the
    dataset's folder, which without one of the archive has the dataset's name. Raises `InvalidInput` (DATA_NAME) if a
    name that the benchmark gives would lead out of these.
    """
    _refuse_ways_out(data, [*data.file.split("/"), data.dataset, *_folder(dataset).split("/"), dataset.embedded])
    if dataset.embedded is not None:
        return (resources.embedded_data(dataset.embedded) / data.file,)
    if dataset.path is not None:
        return (*([data_dir / data.file] if data_dir else []), Path(dataset.path) / data.file)
    top = default_data_dir() if data_dir is None else data_dir
    return (top / data.file, top / _folder(dataset) / data.file)


def _folder(dataset: Dataset) -> str:
    """The folder of a dataset's files in a data folder: that in its archive, or where there is none its own name."""
    return dataset.name if dataset.folder is None or dataset.folder == "." else dataset.folder


def _refuse_ways_out(data: DataFile, names: list[str | None]) -> None:
    for name in names:
        if name is not None and (name in ("", ".", "..") or _FORBIDDEN_IN_NAMES & set(name)):
            where = f"$.datasets.{data.dataset}"
            raise InvalidInput(Fault("DATA_NAME", f"{name!r} is not a plain name of a file or folder.", path=where))


def is_file(path: Path) -> bool:
    """Whether a regular file (or a link to one) can be seen at `path`; False too where looking is not allowed."""
    try:
        return path.is_file()
    except OSError:
        return False


def pin(data: DataFile) -> tuple[str, str]:
    """The kind of a split's pin, `sha256` or `git_blob`, and its hex value."""
    if data.sha256 is not None:
        return "sha256", data.sha256
    if data.git_blob is not None:
        return "git_blob", data.git_blob
    raise ValueError(f"{data.dataset}/{data.split} is not pinned")


def refuse_too_large(path: Path) -> os.stat_result:
    """The status of a data file; `OSError` (EFBIG) for one larger than `MOST_BYTES`, before any of it is read."""
    status = path.stat()
    if status.st_size > MOST_BYTES:
        raise OSError(errno.EFBIG, f"larger than {MOST_BYTES >> 30} GiB, the most that is read", str(path))
    return status


def digest_of_bytes(kind: str, content: bytes) -> str:
    """The digest of `content` in the kind of a pin."""
    return canonical.sha256_bytes(content) if kind == "sha256" else canonical.git_blob_bytes(content)


def digest_of_file(kind: str, path: Path) -> str:
    """The digest of a file in the kind of a pin, read in blocks."""
    return canonical.sha256_file(path) if kind == "sha256" else canonical.git_blob_file(path)
