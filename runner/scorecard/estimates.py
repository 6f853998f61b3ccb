"""Per-item values to estimates with standard errors and intervals: of all items, of each stratum, of a baseline."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.core.types import Array, Item, ScoringSpec
from runner.scorecard.task_metrics import Measured
from runner.scoring import f1, intervals, rules
from runner.scoring.ceiling import Ceiling
from runner.scoring.distances import entropy
from runner.scoring.metrics import METRICS, gap_to_ceiling, skill, skill_draws
from runner.tasks.selection import TaskData

Json = dict[str, Any]


def summarise(
    measured: Measured,
    prior: Measured,
    limits: Mapping[str, Ceiling],
    scoring: ScoringSpec,
    names: tuple[str, ...],
    where: NDArray[np.bool_] | None = None,
) -> Json:
    """Each metric of `names` with its standard error and interval, over the items of `where` (all by default).

    All metrics share the same resampled items. What was not measured is null with its reason.
    """
    chosen = np.ones(len(measured.counts), dtype=bool) if where is None else where
    primary = scoring.primary
    columns = {name: measured.values[name][chosen] for name in names if name in measured.values}
    limit = limits.get(primary)
    if primary in measured.values and primary in prior.values and limit is not None:
        flat = np.full(len(chosen), limit.value)
        columns["/value"] = measured.values[primary][chosen]
        columns["/prior"] = prior.values[primary][chosen]
        columns["/ceiling"] = (flat if limit.per_item is None else limit.per_item)[chosen]
    labels = measured.counts.shape[1]
    confusion = f1.confusion_columns(measured.chosen[chosen], measured.plurality[chosen], labels)
    matrix = np.column_stack([*columns.values(), confusion])
    drawn = intervals.bootstrap_means(matrix, scoring.intervals.draws, scoring.intervals.seed)
    place = {name: number for number, name in enumerate(columns)}
    block = _Block(matrix, drawn, place, scoring)
    found: Json = {}
    for name in names:
        found[name] = _estimate(name, block, measured, len(columns))
    return found


class _Block:
    """Per-item columns with their bootstrap means: held together because they share their resampled items."""

    def __init__(self, matrix: Array, drawn: Array, place: Mapping[str, int], scoring: ScoringSpec) -> None:
        self.matrix, self.drawn, self.place = matrix, drawn, place
        self.level = scoring.intervals.level
        self.method = scoring.intervals.method
        self.errors = intervals.standard_error(matrix)

    def mean(self, name: str) -> float:
        return float(self.matrix[:, self.place[name]].mean())

    def draws(self, name: str) -> Array:
        column: Array = self.drawn[:, self.place[name]]
        return column

    def of_mean(self, name: str) -> Json:
        column = self.place[name]
        if self.method == "bca":
            lower, upper = intervals.bca_interval(self.matrix[:, column], self.drawn[:, column], self.level)
        else:
            lower, upper = intervals.percentile_interval(self.drawn[:, column], self.level)
        error = None if self.errors is None else float(self.errors[column])
        return self.json(self.mean(name), error, float(lower), float(upper))

    def of_draws(self, value: float, draws: Array) -> Json:
        """For a number that is no mean over items: its draws' standard deviation is its standard error."""
        lower, upper = intervals.percentile_interval(draws, self.level)
        error = float(draws.std(ddof=1)) if len(self.matrix) > 1 else None
        return self.json(value, error, float(lower), float(upper))

    def json(self, value: float, error: float | None, lower: float, upper: float) -> Json:
        if error is None:
            reason = "one item says nothing of how items differ"
            return {"value": value, "standard_error": None, "confidence_interval": None, "reason": reason}
        interval = {"lower": lower, "upper": upper, "level": self.level}
        return {"value": value, "standard_error": error, "confidence_interval": interval}


def _estimate(name: str, block: _Block, measured: Measured, first_cell: int) -> Json:
    better = {"lower_is_better": METRICS[name].lower_is_better}
    if name in block.place:
        note = {"reason": measured.notes[name]} if name in measured.notes else {}
        return {**note, **block.of_mean(name), **better}
    if name == "macro_f1":
        value = float(f1.macro_f1(block.matrix[:, first_cell:].sum(axis=0)))
        return {**block.of_draws(value, f1.macro_f1(block.drawn[:, first_cell:])), **better}
    if name in measured.missing:
        return {**_missing(measured.missing[name]), **better}
    if "/ceiling" not in block.place:
        return {**_missing("the primary metric was not measured"), **better}
    value, prior, limit = (block.mean(column) for column in ("/value", "/prior", "/ceiling"))
    draws, prior_draws, limit_draws = (block.draws(column) for column in ("/value", "/prior", "/ceiling"))
    if name == "gap_to_ceiling":
        return {**block.of_draws(gap_to_ceiling(value, limit), draws - limit_draws), **better}
    share, share_draws = skill(value, prior, limit), skill_draws(draws, prior_draws, limit_draws)
    if share is None:
        return {**_missing("the prior is no worse than the ceiling, so there is no way to go"), **better}
    if share_draws is None:
        reason = "no interval: in some resamples the prior is no worse than the ceiling"
        return {"value": share, "standard_error": None, "confidence_interval": None, "reason": reason, **better}
    return {**block.of_draws(share, share_draws), **better}


def _missing(reason: str) -> Json:
    return {"value": None, "standard_error": None, "confidence_interval": None, "reason": reason}


def baseline_means(measured: Measured, scoring: ScoringSpec) -> Json:
    """Means of a baseline on the metrics that make sense for it: none that is calibrated or derived."""
    found: Json = {}
    for name in scoring.metrics:
        if METRICS[name].base is not None:
            continue
        if name == "macro_f1":
            labels = measured.counts.shape[1]
            found[name] = {"value": f1.macro_f1_score(measured.chosen, measured.plurality, labels)}
        elif name in measured.values:
            found[name] = {"value": float(measured.values[name].mean())}
        else:
            found[name] = {"value": None, "reason": measured.missing[name]}
    return found


def by_stratum(part: TaskData, measured: Measured, limits: Mapping[str, Ceiling], scoring: ScoringSpec) -> Json:
    """The item-level metrics of each stratum, with the ceiling and the number of items it stands on."""
    item_level = tuple(name for name in scoring.metrics if METRICS[name].kind == "item" and METRICS[name].base is None)
    primary = limits.get(scoring.primary)
    found: Json = {}
    for kind in part.task.strata:
        found[kind] = {}
        for name, where in _masks(kind, part.scored, measured.counts).items():
            per_item = None if primary is None else primary.per_item
            found[kind][name] = {
                "items": int(where.sum()),
                "ceiling": None if per_item is None else float(per_item[where].mean()),
                "metrics": summarise(measured, measured, {}, scoring, item_level, where),
            }
    return found


def _masks(kind: str, items: tuple[Item, ...], counts: Array) -> dict[str, NDArray[np.bool_]]:
    """Stratum name → which items (items,) are in it; empty strata are left out."""
    if kind == "unanimity":
        names = np.array(["-".join(str(int(count)) for count in sorted(row, reverse=True)) for row in counts])
        return {name: names == name for name in sorted(set(names.tolist()), reverse=True)}
    if kind == "group":
        groups = np.array([item.group or "none" for item in items])
        return {name: groups == name for name in sorted(set(groups.tolist()))}
    # Rounded, so that equal shares in another order of the labels are equal here, on every machine.
    spread = entropy(rules.shares(counts).T).round(9)
    low, high = np.quantile(spread, [1 / 3, 2 / 3])
    masks = {"low": spread <= low, "middle": (spread > low) & (spread <= high), "high": spread > high}
    return {name: mask for name, mask in masks.items() if mask.any()}
