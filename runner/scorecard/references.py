"""What a model is held against on a task: equal probabilities, label shares, and the human ceilings."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from runner.core.types import Array, ScoringSpec
from runner.scorecard.task_metrics import TaskMetrics, baseline_prior, baseline_uniform, counts_of, shared_by
from runner.scoring.ceiling import Ceiling, ceiling, has_ceiling
from runner.scoring.ceiling_error import prior_influence
from runner.scoring.dirichlet import DirichletFit
from runner.tasks.selection import TaskData


@dataclass(frozen=True, slots=True)
class References:
    """What a model's values are held against: two baselines and the ceilings of metrics by name.

    `influence` (items,) of a metric is that of each item on its ceiling through the fitted prior; empty where the prior
    is taken as known.
    """

    uniform: TaskMetrics
    prior: TaskMetrics
    limits: Mapping[str, Ceiling]
    influence: Mapping[str, Array] = field(default_factory=dict)

    def ceiling_column(self, name: str, items: int) -> Array:
        """(items,) numbers that average to the ceiling of `name`, and scatter as an estimate of it does."""
        limit = self.limits[name]
        per_item = np.full(items, limit.value) if limit.per_item is None else limit.per_item
        return np.asarray(per_item + self.influence.get(name, 0.0))


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
    names = [name for name in scoring.metrics if has_ceiling(name)]
    limits = ceiling(counts, names, scoring.ceiling_draws, scoring.ceiling_seed, best.alpha)
    influence = prior_influence(counts, limits, best, names) if scoring.inference > 1 else {}
    return References(uniform, prior, limits, influence), method
