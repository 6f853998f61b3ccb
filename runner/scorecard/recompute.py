"""Rebuild every number of a card from its predictions and the data, and say exactly which differ."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runner.config.benchmark import load_benchmark
from runner.core import resources
from runner.core.canonical import sha256_file
from runner.core.errors import Fault, InvalidInput, VerificationError
from runner.core.types import Benchmark
from runner.scorecard import filenames
from runner.scorecard.build import build_tasks, scope
from runner.scorecard.verify import Check, Report
from runner.tasks.predictions import read
from runner.tasks.selection import RunConfig, Selection, align_predictions, select

_SHOWN = 20


def recompute(report: Report, predictions: Path | None, benchmark_file: Path | None, data_dir: Path | None) -> Report:
    """`report` with the recomputation among its checks, or `VerificationError` naming every number that differs.

    The benchmark is the one beside the card (or the released one) and must have the card's digest; the predictions
    must have the card's digest; the data must be the pinned bytes. Numbers may differ by the benchmark's
    `recompute_tolerance`, relative to the larger of 1 and the number, for another machine's rounding.
    """
    card = report.card
    rows_file = predictions or report.folder / filenames.PREDICTIONS
    if not rows_file.is_file():
        raise InvalidInput(
            Fault("FILE_MISSING", "There are no predictions here.", str(rows_file), hint="--predictions")
        )
    if (found := sha256_file(rows_file)) != card["predictions"]["sha256"]:
        message = f"sha256 {found} is not that of the card's predictions."
        raise VerificationError(Fault("SIG_FILES", message, str(rows_file)))
    selection = selection_of(card, benchmark_of(card, report.folder, benchmark_file), data_dir)
    optional = card["submission"]["model"] is None
    rows = list(read(rows_file))
    tasks = build_tasks(selection, align_predictions(selection, rows, str(rows_file), optional_fitting=optional))
    rebuilt = {
        **scope(selection, tasks, card["run"]["self_check"]),
        "predictions": {"sha256": found, "rows": len(rows)},
        "tasks": tasks,
    }
    tolerance = selection.benchmark.scoring.recompute_tolerance
    stated = {name: card[name] for name in rebuilt}
    differences = list(_differences("$", stated, rebuilt, tolerance))
    if differences:
        shown = [
            Fault("SIG_RECOMPUTE", message, str(report.folder), path=path) for path, message in differences[:_SHOWN]
        ]
        if len(differences) > _SHOWN:
            shown.append(Fault("SIG_RECOMPUTE", f"… and {len(differences) - _SHOWN:,} more.", str(report.folder)))
        raise VerificationError(*shown)
    numbers = sum(1 for _ in _leaves(stated))
    message = f"all {numbers:,} values rebuilt from {card['predictions']['rows']:,} predictions are the card's"
    return report.with_checks(Check("recompute", "ok", message))


def benchmark_of(card: Any, folder: Path, given: Path | None) -> Path:
    """The benchmark file with the card's digest: the one given, the one beside the card, or a released one."""
    beside = folder / filenames.BENCHMARK
    candidates = [given] if given else [beside, *resources.released_benchmarks()]
    digests = {}
    for path in candidates:
        if path.is_file():
            benchmark: Benchmark = load_benchmark(path)
            if benchmark.digest == card["benchmark"]["digest"]:
                return path
            digests[str(path)] = benchmark.digest
    found = "; ".join(f"{path} is {digest[:23]}…" for path, digest in digests.items()) or "none was found"
    message = f"No benchmark with the card's digest {card['benchmark']['digest'][:23]}…: {found}."
    raise VerificationError(Fault("SIG_FILES", message, str(folder), hint="Give the benchmark file with --benchmark."))


def selection_of(card: Any, benchmark: Path, data_dir: Path | None) -> Selection:
    """The selection that a card was made with."""
    tasks = card["tasks"]
    splits = {task["split"] for task in tasks.values()}
    specs = load_benchmark(benchmark)
    if len(splits) != 1 or not set(tasks) <= set(specs.tasks):
        raise VerificationError(Fault("SIG_RECOMPUTE", "The card's tasks or splits are not those of its benchmark."))
    chosen = [
        prompt
        for name, task in tasks.items()
        if task["prompts"] is not None and set(task["prompts"]) != set(specs.tasks[name].prompts)
        for prompt in task["prompts"]
    ]
    return select(
        RunConfig(
            benchmark=benchmark,
            suite=card["suite"],
            tasks=tuple(tasks),
            split=splits.pop(),
            data_dir=data_dir,
            limit=card["run"]["limit"],
            prompts=tuple(chosen),
        )
    )


def _differences(path: str, stated: Any, rebuilt: Any, tolerance: float) -> Iterator[tuple[str, str]]:
    if isinstance(stated, dict) and isinstance(rebuilt, dict):
        for name in sorted(stated.keys() | rebuilt.keys()):
            where = f"{path}.{name}"
            if name not in rebuilt:
                yield where, "is on the card, but does not follow from the predictions."
            elif name not in stated:
                yield where, "follows from the predictions, but is not on the card."
            else:
                yield from _differences(where, stated[name], rebuilt[name], tolerance)
    elif isinstance(stated, list) and isinstance(rebuilt, list) and len(stated) == len(rebuilt):
        for number, (one, other) in enumerate(zip(stated, rebuilt, strict=True)):
            yield from _differences(f"{path}[{number}]", one, other, tolerance)
    elif not _same(stated, rebuilt, tolerance):
        yield path, f"the card says {stated!r}, the predictions give {rebuilt!r}."


def _same(stated: Any, rebuilt: Any, tolerance: float) -> bool:
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (stated, rebuilt)]
    if all(numbers):
        return bool(abs(stated - rebuilt) <= tolerance * max(1.0, abs(rebuilt)))
    return type(stated) is type(rebuilt) and bool(stated == rebuilt)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value
