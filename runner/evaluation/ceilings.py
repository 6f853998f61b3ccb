"""The human ceiling of a task or of any table of votes, as a value to print."""

from pathlib import Path
from typing import Any

import numpy as np

from runner.config.benchmark import load_benchmark
from runner.core.benchmark_types import ScoringSpec
from runner.core.errors import Fault, InvalidInput
from runner.core.files import read_whole
from runner.core.strict_json import JsonFault, parse
from runner.core.types import Array
from runner.scorecard.references import ceilings
from runner.scorecard.task_metrics import ORDINAL, counts_of, shared_by
from runner.scoring.ceiling import ceiling, fit_dirichlet, has_ceiling
from runner.scoring.ceiling_error import prior_influence
from runner.scoring.dependence import Dependence
from runner.scoring.metrics import METRICS
from runner.scoring.npmle import npmle_ceiling
from runner.tasks.selection import RunConfig, select

Json = dict[str, Any]

_MAX_BYTES = 1 << 30


PRIORS = ("dirichlet", "npmle")


def of_tasks(choice: RunConfig, draws: int | None, seed: int | None, prior: str = "dirichlet") -> list[Json]:
    """The ceiling of each chosen task, under one of `PRIORS`."""
    selection = select(choice)
    scoring = selection.benchmark.scoring
    tasks = []
    for part in selection.tasks:
        name = f"{part.task.name} ({part.split})"
        shared = shared_by(part, scoring)
        counts = counts_of(part.scored)
        tasks.append(_ceiling(name, counts, scoring, draws, seed, prior, shared, ordinal=part.task.ordinal))
    return tasks


def of_counts_file(
    path: Path, choice: RunConfig, draws: int | None, seed: int | None, prior: str = "dirichlet"
) -> list[Json]:
    """The ceiling of a JSON file with an array of items × labels; `InvalidInput` names the first bad rows."""
    scoring = load_benchmark(choice.benchmark).scoring
    return [_ceiling(path.name, _read_counts(path), scoring, draws, seed, prior, None, ordinal=False)]


def _ceiling(
    name: str,
    counts: Array,
    scoring: ScoringSpec,
    draws: int | None,
    seed: int | None,
    prior: str,
    shared: Dependence | None,
    *,
    ordinal: bool,
) -> Json:
    chosen_draws = draws or scoring.ceiling_draws
    chosen_seed = scoring.ceiling_seed if seed is None else seed
    best = fit_dirichlet(counts)
    names = [
        metric
        for metric in scoring.metrics
        if has_ceiling(metric) and METRICS[metric].base is None and (ordinal or metric not in ORDINAL)
    ]
    limits = ceiling(counts, names, chosen_draws, chosen_seed, best.alpha)
    rows = ceilings(len(counts), limits, prior_influence(counts, limits, best, names), shared, scoring)
    summary: Json = {
        "name": name,
        "items": len(counts),
        "labels": counts.shape[1],
        "prior": prior,
        "alpha": best.alpha.tolist(),
        "notes": list(best.notes),
        "draws": chosen_draws,
        "seed": chosen_seed,
        "ceiling": {metric: {**rows[metric], "spread": limits[metric].spread} for metric in names},
    }
    if prior == "npmle":
        other = npmle_ceiling(counts, names)
        summary["ceiling"] = {
            metric: {**row, "npmle": other.get(metric)} for metric, row in summary["ceiling"].items() if metric in other
        }
    return summary


def _read_counts(path: Path) -> Array:
    try:
        rows = parse(read_whole(path, _MAX_BYTES), max_bytes=_MAX_BYTES)
    except OSError as problem:
        raise InvalidInput(Fault("FILE_MISSING", f"It cannot be read: {problem.strerror}.", str(path))) from None
    except JsonFault as problem:
        raise InvalidInput(Fault("COUNTS_JSON", f"{problem}.", str(path), problem.line)) from None
    if not isinstance(rows, list) or len(rows) < 2 or not isinstance(rows[0], list) or len(rows[0]) < 2:
        message = "A counts file is an array of two or more items, each an array of counts for two or more labels."
        raise InvalidInput(Fault("COUNTS_SHAPE", message, str(path)))
    labels = len(rows[0])
    faults = [
        Fault("COUNTS_ROW", f"{labels} counts from 0 with at least one vote are expected.", str(path), path=f"$[{at}]")
        for at, row in enumerate(rows)
        if not (
            isinstance(row, list)
            and len(row) == labels
            and all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in row)
            and sum(row) > 0
        )
    ]
    if faults:
        raise InvalidInput(*faults[:20])
    return np.array(rows, dtype=np.float64)
