"""Rebuild every number of a card from its predictions and the data, and say exactly which differ."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runner.core.errors import Fault, VerificationError
from runner.scorecard.build import build_tasks, scope
from runner.scorecard.signed_run import open_signed_run
from runner.scorecard.verify import Check, Report

_SHOWN = 20


def recompute(report: Report, predictions: Path | None, benchmark_file: Path | None, data_dir: Path | None) -> Report:
    """`report` with the recomputation among its checks, or `VerificationError` naming every number that differs.

    The benchmark is the one beside the card (or the released one) and must have the card's digest; the predictions
    must have the card's digest; the data must be the pinned bytes. Numbers may differ by the benchmark's
    `recompute_tolerance`, relative to the larger of 1 and the number, for another machine's rounding.
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
