"""What a model is held against on a task: equal probabilities, label shares, and the human ceilings."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from runner.core.benchmark_types import ScoringSpec
from runner.core.types import Array
from runner.scorecard.task_metrics import ORDINAL, TaskMetrics, baseline_prior, baseline_uniform, counts_of, shared_by
from runner.scoring import intervals
from runner.scoring.ceiling import Ceiling, ceiling, has_ceiling
from runner.scoring.ceiling_error import prior_influence
from runner.scoring.dependence import Dependence
from runner.scoring.dirichlet import DirichletFit
from runner.tasks.selection import TaskData

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class References:
    """What a model's values are held against."""

    uniform: TaskMetrics
    """The baseline of equal shares."""
    prior: TaskMetrics
    """The baseline of the fitted class prior."""
    limits: Mapping[str, Ceiling]
    """The ceilings of metrics by name."""
    influence: Mapping[str, Array] = field(default_factory=dict)
    """`(items,)` by metric: that of each item on its ceiling through the fitted prior; empty where the prior is taken
    as known."""

    def ceiling_column(self, name: str, items: int) -> Array:
        """(items,) numbers that average to the ceiling of `name`, and scatter as an estimate of it does."""
        return _column(name, items, self.limits, self.influence)


def ceilings(
    items: int,
    limits: Mapping[str, Ceiling],
    influence: Mapping[str, Array],
    shared: Dependence | None,
    scoring: ScoringSpec,
) -> Json:
    """Each metric's ceiling with the error and interval it has as an estimate from these items."""
    names = [name for name in limits if name in influence]
    spec = scoring.intervals
    errors = lower = upper = None
    if names:
        matrix = np.column_stack([_column(name, items, limits, influence) for name in names])
        errors = intervals.standard_error(matrix, shared)
        drawn = intervals.bootstrap_means(matrix, spec.draws, spec.seed, shared)
        lower, upper = intervals.percentile_interval(drawn, spec.level, shared)
    rows: Json = {}
    for name, limit in limits.items():
        rows[name] = {"value": limit.value, "monte_carlo_error": limit.monte_carlo_error}
        if name not in influence or errors is None or lower is None or upper is None:
            why = "this ceiling is averaged over draws" if name not in influence else "one item says nothing of others"
            reason = f"no error: {why}"
            rows[name] |= {"standard_error": None, "confidence_interval": None, "reason": reason}
            continue
        at = names.index(name)
        interval = {"lower": float(lower[at]), "upper": float(upper[at]), "level": spec.level}
        rows[name] |= {"standard_error": float(errors[at]), "confidence_interval": interval}
    return rows


def _column(name: str, items: int, limits: Mapping[str, Ceiling], influence: Mapping[str, Array]) -> Array:
    limit = limits[name]
    per_item = np.full(items, limit.value) if limit.per_item is None else limit.per_item
    return np.asarray(per_item + influence.get(name, 0.0))


def references_of(part: TaskData, best: DirichletFit, scoring: ScoringSpec) -> tuple[References, str]:
    """Baselines and ceilings of a task under the prior `best`, and how the label shares were had."""
    counts = counts_of(part.scored)
    prior, method = baseline_prior(part, scoring)
    uniform = baseline_uniform(part, scoring)
    if scoring.inference > 1:
        shared = shared_by(part, scoring)
        prior, uniform = replace(prior, shared=shared), replace(uniform, shared=shared)
        if not best.determined:
            return References(uniform, prior, {}), method
    names = [name for name in scoring.metrics if has_ceiling(name) and (part.task.ordinal or name not in ORDINAL)]
    limits = ceiling(counts, names, scoring.ceiling_draws, scoring.ceiling_seed, best.alpha)
    influence = prior_influence(counts, limits, best, names) if scoring.inference > 1 else {}
    return References(uniform, prior, limits, influence), method
