"""Predictions of the baselines, as files like any other, so that they are scored by the same code."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runner.core.benchmark_types import ScoringSpec
from runner.core.errors import Fault, InvalidInput
from runner.core.files import write_whole
from runner.core.types import Array, Item, Prediction
from runner.evaluation.run_dir import unwritable
from runner.scorecard.panel import posterior_means
from runner.scorecard.task_metrics import prior_log_probs
from runner.tasks.predictions import to_line
from runner.tasks.selection import RunConfig, TaskData, select


def write_baseline(name: str, choice: RunConfig, path: Path) -> int:
    """Write the predictions of `uniform`, `prior` or `panel` for the chosen tasks; the number of rows."""
    selection = select(choice)
    scoring = selection.benchmark.scoring
    rows = [to_line(row) for part in selection.tasks for row in _rows(name, part, scoring)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, "".join(rows).encode())
    except OSError as problem:
        raise unwritable(path, problem) from None
    return len(rows)


def _rows(name: str, part: TaskData, scoring: ScoringSpec) -> Iterator[Prediction]:
    for split, items in ((part.split, part.scored), (part.fitting_split, part.answered_fitting)):
        if items:
            logs = _log_probs(name, part, items, scoring)
            for item, row in zip(items, logs.tolist(), strict=True):
                yield Prediction(part.task.name, item.id, tuple(row), split=split)


def _log_probs(name: str, part: TaskData, items: tuple[Item, ...], scoring: ScoringSpec) -> Array:
    """(items, labels) log-probabilities of a baseline."""
    labels = len(part.task.labels)
    match name:
        case "uniform":
            return np.full((len(items), labels), -math.log(labels))
        case "prior":
            shares, reason = prior_log_probs(part, scoring)
            if shares is None:
                raise InvalidInput(Fault("NO_FITTING_SPLIT", f"Task {part.task.name!r}: {reason}."))
            return shares if items is part.scored else np.broadcast_to(shares[0], (len(items), labels)).copy()
        case _:
            return _panel(part, items)


def _panel(part: TaskData, items: tuple[Item, ...]) -> Array:
    """A second group's own smoothed shares, for items that all have one: fitted to their votes, never the gold ones."""
    if any(item.panel is None for item in items):
        message = f"Task {part.task.name!r} has no second group of people on every item of its {part.split} split."
        raise InvalidInput(Fault("NO_PANEL", message))
    votes = np.array([item.panel for item in items], dtype=np.float64)
    return posterior_means(votes)
