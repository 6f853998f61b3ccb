"""Two models on the scale from the better baseline to the ceiling: differences of their skills, metric by metric.

A gain of .16 nats in one metric and of .08 in another cannot be compared; shares of the way can. Both models, both
baselines and the ceiling are resampled together, the ceiling with its prior fitted anew.
"""

from typing import Any

import numpy as np

from runner.core.benchmark_types import ScoringSpec
from runner.core.types import Array
from runner.scorecard.references import References
from runner.scorecard.task_metrics import TaskMetrics
from runner.scoring.dependence import Dependence
from runner.scoring.intervals import bootstrap_means, percentile_interval
from runner.scoring.metrics import METRICS, has_skill, skill_draws

Json = dict[str, Any]


def skill_differences(b: TaskMetrics, a: TaskMetrics, references: References, scoring: ScoringSpec) -> Json:
    """Metric → B's skill less A's with its interval, and `beside_primary`: that less the primary metric's difference.

    Metrics without a way to go (in some resample no baseline is worse than the ceiling) are left out.
    """
    labels = a.counts.shape[1]
    spec = scoring.intervals
    differences: Json = {}
    gains: dict[str, tuple[float, Array]] = {}
    for name in scoring.metrics:
        base = METRICS[name].base or name
        sides = [side.values[name] for side in (b, a) if name in side.values]
        zeros = [zero.values[base] for zero in (references.prior, references.uniform) if base in zero.values]
        if not has_skill(name, labels) or name not in references.limits or len(sides) + len(zeros) < 4:
            continue
        sign = 1.0 if METRICS[name].lower_is_better else -1.0
        limit = references.ceiling_column(name, len(a.counts))
        columns = sign * np.column_stack([*sides, *zeros, limit])
        drawn = bootstrap_means(columns, spec.draws, spec.seed, a.shared)
        skills = [skill_draws(drawn[:, at], drawn[:, 2:4].min(axis=1), drawn[:, 4]) for at in (0, 1)]
        means = columns.mean(axis=0)
        if skills[0] is None or skills[1] is None or min(means[2], means[3]) <= means[4]:
            continue
        value = float((means[1] - means[0]) / (min(means[2], means[3]) - means[4]))
        gains[name] = value, skills[0] - skills[1]
    for name, (value, draws) in gains.items():
        differences[name] = _estimate(value, draws, spec.level, a.shared)
        if name != scoring.primary and scoring.primary in gains:
            other, other_draws = gains[scoring.primary]
            differences[name]["beside_primary"] = _estimate(value - other, draws - other_draws, spec.level, a.shared)
    return differences


def _estimate(value: float, draws: Array, level: float, shared: Dependence | None) -> Json:
    lower, upper = percentile_interval(draws, level, shared)
    return {
        "difference": value,
        "standard_error": float(draws.std(ddof=1)),
        "lower": float(lower),
        "upper": float(upper),
    }
