"""What lies in a data folder, split by split, without raising."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runner.core.benchmark_types import Benchmark, DataFile, Dataset
from runner.core.errors import InvalidInput
from runner.tasks.data.forms import count_rows
from runner.tasks.data.locate import candidate_paths, digest_of_file, is_file, pin, refuse_too_large, require_known

State = Literal["ok", "missing", "unreadable", "digest differs", "rows differ"]


@dataclass(frozen=True, slots=True)
class SplitStatus:
    """The state of one split."""

    dataset: str
    """Name of the dataset."""
    split: str
    """Name of the split."""
    path: Path
    """Path of the file, or the first path at which it was expected."""
    state: State
    """The state."""
    rows: int | None
    """Rows of the file; None where it could not be read."""
    expected_rows: int
    """Rows that the benchmark declares."""
    digest_kind: str
    """Kind of both digests: `sha256` or `git_blob`."""
    digest: str | None
    """Hex digest of the file; None where it could not be read."""
    expected_digest: str
    """Hex digest that the benchmark declares."""
    message: str
    """A sentence on what is wrong; empty when nothing is."""


def check(benchmark: Benchmark, data_dir: Path | None, datasets: Collection[str] | None = None) -> list[SplitStatus]:
    """The state of every split of `datasets` (None: of all), in the order of the benchmark; nothing is parsed.

    A split is `ok` only if both its digest and its number of rows are the declared ones. Raises `InvalidInput` only
    if a benchmark names a file outside its folder, if there is no folder to look in (see `candidate_paths`), or if a
    dataset is not the benchmark's (DATA_DATASET).
    """
    require_known(benchmark, datasets)
    return [
        _status(dataset, data, data_dir)
        for dataset in benchmark.datasets.values()
        if datasets is None or dataset.name in datasets
        for data in dataset.splits.values()
    ]


def _status(dataset: Dataset, data: DataFile, data_dir: Path | None) -> SplitStatus:
    kind, expected = pin(data)
    looked_at = candidate_paths(dataset, data, data_dir)
    path = next(filter(is_file, looked_at), looked_at[0])

    def status(state: State, message: str, rows: int | None = None, digest: str | None = None) -> SplitStatus:
        return SplitStatus(data.dataset, data.split, path, state, rows, data.rows, kind, digest, expected, message)

    if not is_file(path):
        return status("missing", f"not found; looked at {' and '.join(map(str, looked_at))}")
    try:
        refuse_too_large(path)
        rows, digest = count_rows(path), digest_of_file(kind, path)
    except OSError as error:
        return status("unreadable", f"cannot be read: {error.strerror}")
    except InvalidInput as error:
        if error.faults[0].code == "PARQUET_EXTRA":
            raise
        return status("unreadable", error.faults[0].message)
    if digest != expected:
        return status("digest differs", f"{kind} {digest}, expected {expected}", rows, digest)
    if rows != data.rows:
        return status("rows differ", f"{rows:,} rows, {data.rows:,} declared", rows, digest)
    return status("ok", "", rows, digest)
