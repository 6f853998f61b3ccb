"""Per-item values to estimates with standard errors and intervals: of all items, of each stratum, of a baseline."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.core.benchmark_types import ScoringSpec
from runner.core.types import Array
from runner.scorecard.references import References
from runner.scorecard.task_metrics import TaskMetrics
from runner.scoring import entropy_correlation as entropies
from runner.scoring import f1, intervals
from runner.scoring.dependence import Dependence
from runner.scoring.metrics import METRICS, gap_to_ceiling, has_skill, skill, skill_draws
from runner.tasks.answers import Answers
from runner.tasks.sampled import PRIOR

Json = dict[str, Any]


def summarise(
    measured: TaskMetrics,
    references: References | None,
    scoring: ScoringSpec,
    names: tuple[str, ...],
    where: NDArray[np.bool_] | None = None,
) -> Json:
    """Each metric of `names` with its standard error and interval, over the items of `where` (all by default).

    All metrics share the same resampled items. What was not measured is null with its reason. Without `references`
    there is nothing that a gap or a skill could be computed from.
    """
    mask = np.ones(len(measured.counts), dtype=bool) if where is None else where
    block = _block(measured, references, scoring, names, (scoring.primary,), mask)
    return {name: _estimate(name, block, measured, scoring) for name in names}


def skills(measured: TaskMetrics, references: References, scoring: ScoringSpec) -> Json:
    """The skill of every metric that has one: 0 at the better of prior and uniform (`zero`), 1 at the ceiling."""
    labels = measured.counts.shape[1]
    names = tuple(name for name in scoring.metrics if has_skill(name, labels) and name in references.limits)
    block = _block(measured, references, scoring, (), names, np.ones(len(measured.counts), dtype=bool))
    return {name: _skill(name, block, measured) for name in names}


class _Block:
    """Per-item columns with their bootstrap means: held together because they share their resampled items."""

    def __init__(
        self,
        matrix: Array,
        index: Mapping[str, slice],
        shared: Dependence | None,
        scoring: ScoringSpec,
        redrawn: Array | None = None,
    ) -> None:
        self.matrix, self.columns, self.shared = matrix, index, shared
        spec = scoring.intervals
        self.drawn = intervals.bootstrap_means(matrix, spec.draws, spec.seed, shared)
        if redrawn is not None:
            self.drawn = self.drawn + intervals.second_stage(redrawn, spec.draws, spec.seed)
        self.level, self.method = spec.level, spec.method
        self.errors = intervals.standard_error(matrix, shared)
        if redrawn is not None and self.errors is not None:
            self.errors = np.hypot(self.errors, intervals.error_of_drawing(redrawn))

    def mean(self, name: str) -> float:
        return float(self.matrix[:, self.columns[name].start].mean())

    def draws(self, name: str) -> Array:
        column: Array = self.drawn[:, self.columns[name].start]
        return column

    def sums(self, name: str) -> Array:
        columns: Array = self.matrix[:, self.columns[name]].sum(axis=0)
        return columns

    def of_mean(self, name: str) -> Json:
        column = self.columns[name].start
        if self.method == "bca":
            lower, upper = intervals.bca_interval(self.matrix[:, column], self.drawn[:, column], self.level)
        else:
            lower, upper = intervals.percentile_interval(self.drawn[:, column], self.level, self.shared)
        error = None if self.errors is None else float(self.errors[column])
        return self.json(self.mean(name), error, float(lower), float(upper))

    def of_draws(self, value: float, draws: Array) -> Json:
        """For a number that is no mean over items: its draws' standard deviation is its standard error."""
        lower, upper = intervals.percentile_interval(draws, self.level, self.shared)
        error = float(draws.std(ddof=1)) if self.errors is not None else None
        return self.json(value, error, float(lower), float(upper))

    def json(self, value: float, error: float | None, lower: float, upper: float) -> Json:
        if error is None:
            reason = "one item says nothing of how items differ"
            return {"value": value, "standard_error": None, "confidence_interval": None, "reason": reason}
        interval = {"lower": lower, "upper": upper, "level": self.level}
        return {"value": value, "standard_error": error, "confidence_interval": interval}


def _block(
    measured: TaskMetrics,
    references: References | None,
    scoring: ScoringSpec,
    names: tuple[str, ...],
    with_skill: tuple[str, ...],
    chosen: NDArray[np.bool_],
) -> _Block:
    """Columns of each metric, of what a skill is computed from (`prior/NAME` …), and of what is no mean over items."""
    parts = _parts(measured, references, names, with_skill, chosen)
    columns_of, at = {}, 0
    for name, part in parts.items():
        columns_of[name] = slice(at, at + part.shape[1])
        at += part.shape[1]
    shared = measured.shared if chosen.all() or measured.shared is None else measured.shared.subset(chosen)
    redrawn = None
    if measured.redrawn:
        again = [_parts(other, references, names, with_skill, chosen) for other in measured.redrawn]
        redrawn = np.stack([np.hstack([other[name] for name in parts]) for other in again])
    return _Block(np.hstack(list(parts.values())), columns_of, shared, scoring, redrawn)


def _parts(
    measured: TaskMetrics,
    references: References | None,
    names: tuple[str, ...],
    with_skill: tuple[str, ...],
    chosen: NDArray[np.bool_],
) -> dict[str, Array]:
    columns = {name: measured.values[name] for name in names if name in measured.values}
    for name in with_skill if references is not None else ():
        base = METRICS[name].base or name
        if (
            references is not None
            and name in measured.values
            and base in references.prior.values
            and base in references.uniform.values
            and name in references.limits
        ):
            columns[f"value/{name}"] = measured.values[name]
            columns[f"prior/{name}"] = references.prior.values[base]
            columns[f"uniform/{name}"] = references.uniform.values[base]
            columns[f"ceiling/{name}"] = references.ceiling_column(name, len(measured.counts))
    parts = {name: column[chosen, None] for name, column in columns.items()}
    labels = measured.counts.shape[1]
    parts["confusion"] = f1.confusion_columns(measured.predicted[chosen], measured.majority[chosen], labels)
    if measured.entropies is not None and measured.entropies.columns is not None:
        parts["entropies"] = measured.entropies.columns[chosen]
    return parts


def _estimate(name: str, block: _Block, measured: TaskMetrics, scoring: ScoringSpec) -> Json:
    better = {"lower_is_better": METRICS[name].lower_is_better}
    if name in block.columns:
        note = {"reason": measured.notes[name]} if name in measured.notes else {}
        return {**note, **block.of_mean(name), **better}
    if name == "macro_f1":
        value = float(f1.macro_f1(block.sums("confusion")))
        return {**block.of_draws(value, f1.macro_f1(block.drawn[:, block.columns["confusion"]])), **better}
    if name == "entropy_correlation":
        return {**_entropy_correlation(block, measured), **better}
    if name in measured.unavailable:
        return {**_missing(measured.unavailable[name]), **better}
    primary = scoring.primary
    if f"ceiling/{primary}" not in block.columns:
        return {**_missing("the primary metric was not measured"), **better}
    if name == "gap_to_ceiling":
        value, limit = block.mean(f"value/{primary}"), block.mean(f"ceiling/{primary}")
        draws = block.draws(f"value/{primary}") - block.draws(f"ceiling/{primary}")
        return {**block.of_draws(gap_to_ceiling(value, limit), draws), **better}
    if scoring.inference > 1:
        return {**_skill(primary, block, measured), **better}
    return {**_skill_from(block, primary, "prior", block.draws(f"prior/{primary}"), 1.0), **better}


def _skill(name: str, block: _Block, measured: TaskMetrics) -> Json:
    """The skill of one metric, 0 at the better of the two baselines."""
    if f"ceiling/{name}" not in block.columns:
        return {**_missing(measured.unavailable.get(name, "a baseline has no value of this metric")), "zero": None}
    sign = 1.0 if METRICS[name].lower_is_better else -1.0
    means = {zero: sign * block.mean(f"{zero}/{name}") for zero in ("prior", "uniform")}
    zero = min(means, key=lambda baseline: means[baseline])
    draws = np.minimum(*(sign * block.draws(f"{baseline}/{name}") for baseline in ("prior", "uniform")))
    note = {"reason": measured.notes[name]} if name in measured.notes else {}
    return {**note, **_skill_from(block, name, zero, sign * draws, sign), "zero": zero}


def _skill_from(block: _Block, name: str, zero: str, zero_draws: Array, sign: float) -> Json:
    value, worst, limit = (sign * block.mean(f"{what}/{name}") for what in ("value", zero, "ceiling"))
    share = skill(value, worst, limit)
    if share is None:
        return _missing(f"the {zero} is no worse than the ceiling, so there is no way to go")
    shares = skill_draws(sign * block.draws(f"value/{name}"), sign * zero_draws, sign * block.draws(f"ceiling/{name}"))
    if shares is None:
        reason = f"no interval: in some resamples the {zero} is no worse than the ceiling"
        return {"value": share, "standard_error": None, "confidence_interval": None, "reason": reason}
    return block.of_draws(share, shares)


def _entropy_correlation(block: _Block, measured: TaskMetrics) -> Json:
    known = measured.entropies
    if known is None or known.columns is None:
        return _missing("not computed" if known is None or known.reason is None else known.reason)
    draws = entropies.entropy_correlation(block.drawn[:, block.columns["entropies"]])
    value = float(entropies.entropy_correlation(block.sums("entropies")))
    if not np.isfinite(draws).all():
        reason = "no interval: in some resamples two groups of people have no disagreement in common"
        return {"value": value, "standard_error": None, "confidence_interval": None, "reason": reason}
    return block.of_draws(value, draws)


def _missing(reason: str) -> Json:
    return {"value": None, "standard_error": None, "confidence_interval": None, "reason": reason}


def sampling(answers: Answers, measured: TaskMetrics | None, scoring: ScoringSpec) -> Json | None:
    """What drawing adds to the error of the primary metric, and its bias; None unless answers were drawn.

    `bias` is how much the metric changes, on average, when the answers are drawn again from those that were drawn: an
    estimate of what it changes by when answers are drawn at all instead of the probabilities being known.
    """
    if answers.samples is None or answers.failures is None:
        return None
    samples = (answers.samples.sum(axis=(1, 2)) + answers.failures.sum(axis=1))[0]
    summary: Json = {"samples": int(samples), "prior": PRIOR, "standard_error": None, "bias": None}
    values = [] if measured is None else [other.values.get(scoring.primary) for other in measured.redrawn]
    if measured is None or scoring.primary not in measured.values or any(value is None for value in values):
        return {**summary, "reason": "the primary metric was not measured"}
    redrawn = np.stack([value for value in values if value is not None])
    own = measured.values[scoring.primary]
    error = float(intervals.error_of_drawing(redrawn[:, :, None])[0])
    return {**summary, "standard_error": error, "bias": float(redrawn.mean() - own.mean())}


def baseline_means(measured: TaskMetrics, scoring: ScoringSpec) -> Json:
    """Means of a baseline on the metrics that make sense for it: none that is calibrated or derived."""
    means: Json = {}
    for name in scoring.metrics:
        if METRICS[name].base is not None or name == "entropy_correlation":
            continue
        if name == "macro_f1":
            labels = measured.counts.shape[1]
            means[name] = {"value": f1.macro_f1_score(measured.predicted, measured.majority, labels)}
        elif name in measured.values:
            means[name] = {"value": float(measured.values[name].mean())}
            if name in measured.notes:
                means[name]["reason"] = measured.notes[name]
        else:
            means[name] = {"value": None, "reason": measured.unavailable[name]}
    return means
