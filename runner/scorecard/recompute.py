"""Rebuild every number of a card from its predictions and the data, and say exactly which differ."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.config.released import is_released, unreleased
from runner.core.benchmark_types import Benchmark
from runner.core.errors import Fault, VerificationError
from runner.core.types import Check
from runner.scorecard.build import build_tasks, scope
from runner.scorecard.signed_run import open_signed_run
from runner.scorecard.verify import Report

_SHOWN = 20
# By metric. A ratio of differences of sums: of a model whose entropies hardly vary, the order in which a machine adds
# them up moves it by some 1e-8.
_COARSER = {"entropy_correlation": 1e-6}


def recompute(report: Report, predictions: Path | None, benchmark_file: Path | None, data_dir: Path | None) -> Report:
    """`report` with the recomputation among its checks, or `VerificationError` naming every number that differs.

    The benchmark is the one beside the card (or the released one) and must have the card's digest; the predictions
    must have the card's digest; the data must be the pinned bytes. Numbers may differ by the benchmark's
    `recompute_tolerance`, relative to the larger of 1 and the number, for another machine's rounding; those of
    `entropy_correlation` by 1e-6, since they can rest on few digits.
    """
    card = report.card
    run = open_signed_run(
        card, report.folder, benchmark_file, data_dir, predictions, hint="Give the file with --predictions."
    )
    rows = run.predictions()
    selection = run.selection
    tasks = build_tasks(selection, run.answers(rows))
    rebuilt = {
        **scope(selection, tasks, card["run"]["self_check"]),
        "predictions": {"sha256": card["predictions"]["sha256"], "rows": len(rows)},
        "tasks": tasks,
    }
    _allow_older_reason(card, rebuilt, selection.benchmark)
    tolerance = selection.benchmark.scoring.recompute_tolerance
    recorded = {name: card[name] for name in rebuilt}
    differences = list(_differences("$", recorded, rebuilt, tolerance))
    if differences:
        faults = [
            Fault("SIG_RECOMPUTE", message, str(report.folder), path=path) for path, message in differences[:_SHOWN]
        ]
        if len(differences) > _SHOWN:
            faults.append(Fault("SIG_RECOMPUTE", f"… and {len(differences) - _SHOWN:,} more.", str(report.folder)))
        raise VerificationError(*faults)
    numbers = sum(1 for _ in _leaves(recorded))
    message = f"all {numbers:,} values rebuilt from {card['predictions']['rows']:,} predictions are the card's"
    return report.with_checks(Check("recompute", "ok", message))


def _allow_older_reason(card: Mapping[str, Any], rebuilt: dict[str, Any], benchmark: Benchmark) -> None:
    """Older cards of somebody's own benchmark say that it is not released, and none says why there is no panel.

    They verify for ever.
    """
    for name, task in rebuilt["tasks"].items():
        if "panel_reason" not in card["tasks"].get(name, {}):
            task.pop("panel_reason", None)
    reason = unreleased(benchmark)
    if not is_released(benchmark) and reason in card["not_comparable"] and reason not in rebuilt["not_comparable"]:
        rebuilt["not_comparable"] = [reason, *rebuilt["not_comparable"]]
        rebuilt["comparable"] = False


def _differences(path: str, recorded: Any, rebuilt: Any, tolerance: float) -> Iterator[tuple[str, str]]:
    if isinstance(recorded, dict) and isinstance(rebuilt, dict):
        for name in sorted(recorded.keys() | rebuilt.keys()):
            where = f"{path}.{name}"
            if name not in rebuilt:
                yield where, "is on the card, but does not follow from the predictions."
            elif name not in recorded:
                yield where, "follows from the predictions, but is not on the card."
            else:
                coarser = max(tolerance, _COARSER.get(name, 0.0))
                yield from _differences(where, recorded[name], rebuilt[name], coarser)
    elif isinstance(recorded, list) and isinstance(rebuilt, list) and len(recorded) == len(rebuilt):
        for number, (recorded_part, rebuilt_part) in enumerate(zip(recorded, rebuilt, strict=True)):
            yield from _differences(f"{path}[{number}]", recorded_part, rebuilt_part, tolerance)
    elif not _same(recorded, rebuilt, tolerance):
        yield path, f"the card says {recorded!r}, the predictions give {rebuilt!r}."


def _same(recorded: Any, rebuilt: Any, tolerance: float) -> bool:
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (recorded, rebuilt)]
    if all(numbers):
        return bool(abs(recorded - rebuilt) <= tolerance * max(1.0, abs(rebuilt)))
    return type(recorded) is type(rebuilt) and bool(recorded == rebuilt)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value
