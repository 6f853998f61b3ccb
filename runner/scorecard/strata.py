"""The same numbers over parts of the items: by the agreement of people, by a word of the data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.core.benchmark_types import ScoringSpec
from runner.core.types import Array, Item
from runner.scorecard.estimates import summarise
from runner.scorecard.task_metrics import TaskMetrics, panel_of
from runner.scoring import rules
from runner.scoring.ceiling import Ceiling
from runner.scoring.distances import entropy
from runner.scoring.metrics import METRICS
from runner.tasks.selection import TaskData

Json = dict[str, Any]

BY_SCORED_VOTES = ("unanimity", "entropy_tertiles")
"""Strata that are selected by the very votes they are scored on: a ceiling of theirs means nothing."""


def by_stratum(part: TaskData, measured: TaskMetrics, limits: Mapping[str, Ceiling], scoring: ScoringSpec) -> Json:
    """The item-level metrics of each stratum, with the ceiling and the number of items it stands on.

    From `scoring.inference` 2 on, strata that the scored votes themselves select have no ceiling: it assumes that the
    votes are drawn as those of all items are.
    """
    item_level = tuple(name for name in scoring.metrics if METRICS[name].kind == "item" and METRICS[name].base is None)
    primary = limits.get(scoring.primary)
    strata: Json = {}
    for kind in part.task.strata:
        selected = scoring.inference > 1 and kind in BY_SCORED_VOTES
        per_item = None if primary is None or selected else primary.per_item
        strata[kind] = {}
        for name, where in masks(kind, part.scored, measured.counts).items():
            strata[kind][name] = {
                "items": int(where.sum()),
                "ceiling": None if per_item is None else float(per_item[where].mean()),
                "metrics": summarise(measured, None, scoring, item_level, where),
            }
    return strata


def masks(kind: str, items: tuple[Item, ...], counts: Array) -> dict[str, NDArray[np.bool_]]:
    """Stratum name → which items (items,) are in it; empty strata are left out."""
    if kind == "unanimity":
        return _by_division(counts)
    if kind == "panel_unanimity":
        panel = panel_of(items, counts.shape[1])
        return {} if panel is None else _by_division(panel)
    if kind == "group":
        groups = np.array([item.group or "none" for item in items])
        return {name: groups == name for name in sorted(set(groups.tolist()))}
    # Rounded, so that equal shares in another order of the labels are equal here, on every machine.
    spread = entropy(rules.shares(counts).T).round(9)
    low, high = np.quantile(spread, [1 / 3, 2 / 3])
    tertiles = {"low": spread <= low, "middle": (spread > low) & (spread <= high), "high": spread > high}
    return {name: mask for name, mask in tertiles.items() if mask.any()}


def _by_division(votes: Array) -> dict[str, NDArray[np.bool_]]:
    """How the votes of an item divide, whoever got them: 5-0, 4-1, 3-2; items without votes are in none."""
    names = np.array(["-".join(str(int(count)) for count in sorted(row, reverse=True)) for row in votes])
    voted = votes.sum(axis=1) > 0
    return {name: (names == name) & voted for name in sorted(set(names[voted].tolist()), reverse=True)}
