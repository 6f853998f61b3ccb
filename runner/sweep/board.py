"""The end of a sweep: its cards ranked, in a permanent or temporary archive, and compared with a baseline."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runner.archive.add import add
from runner.archive.leaderboard import Leaderboard, leaderboard
from runner.archive.store import open_store
from runner.config.benchmark import load_benchmark
from runner.core.errors import UserError
from runner.scorecard.compare import compare
from runner.signing.keyring import Keyring
from runner.sweep.state import Record


@dataclass(frozen=True, slots=True)
class Compared:
    """One entry against the baseline."""

    name: str
    """Name of the entry, which is B of the comparison."""
    result: dict[str, Any] | None
    """What `benchmark compare BASELINE ENTRY` finds; None where the two cannot be compared."""
    reasons: tuple[str, ...] = ()
    """Why they cannot."""


def rank(
    folder: Path,
    records: Sequence[Record],
    keyring: Keyring,
    *,
    archive: str | None = None,
    benchmark_file: Path | None = None,
    data_dir: Path | None = None,
    include_trial: bool = False,
) -> Leaderboard | None:
    """The leaderboard of a sweep's cards; with `archive`, which they are added to, of all that are in it.

    None where there is no card. Its `archive` is empty for a temporary one. `benchmark_file` is that of a benchmark of
    one's own; `include_trial` is that of `leaderboard`. Raises what `add` does.
    """
    cards = [folder / record.run for record in records if record.state == "done" and record.run]
    if not cards:
        return None
    benchmark = None if benchmark_file is None else load_benchmark(benchmark_file)
    with tempfile.TemporaryDirectory(prefix="benchmark-sweep-") as moment:
        store = open_store(archive or moment)
        add(store, cards, keyring, benchmark_file=benchmark_file)
        board = leaderboard(store, keyring, benchmark=benchmark, data_dir=data_dir, include_trial=include_trial)
    return board if archive else replace(board, archive="")


def compare_with(
    folder: Path,
    records: Sequence[Record],
    baseline: str,
    keyring: Keyring,
    *,
    benchmark_file: Path | None = None,
    data_dir: Path | None = None,
) -> list[Compared]:
    """Every other card of the sweep against the baseline's, which is A; empty where the baseline has no card."""
    runs = {record.name: folder / record.run for record in records if record.state == "done" and record.run}
    if baseline not in runs:
        return []
    compared = []
    for name, run in runs.items():
        if name == baseline:
            continue
        try:
            compared.append(Compared(name, compare(runs[baseline], run, keyring, benchmark_file, data_dir)))
        except UserError as problem:
            compared.append(Compared(name, None, tuple(fault.message for fault in problem.faults)))
    return compared
