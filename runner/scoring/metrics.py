"""What each metric's number means: its unit, its good direction, and whether honest predictions are the best ones."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from runner.core.types import Array


@dataclass(frozen=True, slots=True)
class Metric:
    """A name of `scoring.metrics` in benchmark.yaml."""

    name: str
    """As in benchmark.yaml and on the card."""
    lower_is_better: bool | None
    """None where neither direction is good (a signed gap)."""
    unit: str
    """Of its values: nats, bits, probability …"""
    proper: bool
    """*Strictly* proper: with votes drawn from the true distribution, the expected value is best at that distribution
    and only there."""
    kind: str = "item"
    """`item` (mean of per-item values), `corpus` (not a mean over items) or `derived` (from other metrics)."""
    base: str | None = None
    """The metric that a calibrated or derived one comes from; the ceiling of a calibrated metric is its base's."""
    same_as: str | None = None
    """A metric whose differences say the same, so that testing both counts one finding twice (`ranking_agreement` with
    two labels only)."""
    legacy: bool = False
    """A number of other people's code."""


_ALL = (
    Metric("cross_entropy", True, "nats", True),
    # Proper as the log score of a forecast of the votes, concentration included; not in q alone at a fixed one.
    Metric("dirichlet_multinomial", True, "nats", True),
    Metric("dirichlet_multinomial_per_vote", True, "nats per vote", True, same_as="dirichlet_multinomial"),
    Metric("total_variation", True, "probability", False),
    Metric("jensen_shannon", True, "bits", False),
    Metric("brier", True, "squared probability", True),
    Metric("kl", True, "nats", True, same_as="cross_entropy"),
    Metric("accuracy", False, "share of items", False),
    Metric("macro_f1", False, "F1", False, kind="corpus"),
    Metric("dirichlet_multinomial_calibrated", True, "nats", True, base="dirichlet_multinomial"),
    Metric("class_calibration", True, "probability", False, same_as="total_variation"),
    Metric("entropy_gap", None, "nats", False),
    Metric("entropy_correlation", False, "correlation", False, kind="corpus"),
    Metric("ranking_agreement", False, "share of items", False, same_as="accuracy"),
    # Of ordinal tasks alone.
    Metric("wasserstein", True, "label steps", False),
    Metric("seed_cross_entropy", True, "nats", False, legacy=True),
    Metric("seed_dirichlet", True, "nats", False, legacy=True),
    Metric("gap_to_ceiling", True, "nats", True, kind="derived", base="cross_entropy"),
    Metric("skill", False, "share of the way", True, kind="derived", base="cross_entropy"),
    *(
        Metric(
            f"{base}_{variant}",
            True,
            unit,
            proper,
            base=base,
            same_as=f"cross_entropy_{variant}" if base == "kl" else None,
        )
        for base, unit, proper in (
            ("cross_entropy", "nats", True),
            ("kl", "nats", True),
            ("brier", "squared probability", True),
            ("total_variation", "probability", False),
            ("jensen_shannon", "bits", False),
        )
        for variant in ("calibrated", "pmi")
    ),
)

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}


_SHORTEST_WAY = 1e-6
"""From the prior to the ceiling, in nats. A share of less would be a share of rounding errors."""


def gap_to_ceiling(value: float, ceiling: float) -> float:
    """How far a mean loss is from the human ceiling, in the loss's unit: value − ceiling."""
    return value - ceiling


def skill(value: float, prior: float, ceiling: float) -> float | None:
    """Share of the way from the class prior (0) to the human ceiling (1): (prior − value) / (prior − ceiling).

    None where the prior is no worse than the ceiling (by a millionth of a nat), so that there is no way to go.
    """
    return (prior - value) / (prior - ceiling) if prior - ceiling > _SHORTEST_WAY else None


def skill_draws(value: Array, prior: Array, ceiling: Array) -> Array | None:
    """`skill` on bootstrap means `(draws,)` that share their resampled items; None where some draw has no way to go."""
    if not np.all(prior - ceiling > _SHORTEST_WAY):
        return None
    return np.asarray((prior - value) / (prior - ceiling))


def is_tested(name: str, primary: str, labels: int) -> bool:
    """Whether `name` is in the family of a comparison beside the primary metric: distinct, directed, not legacy."""
    metric = METRICS[name]
    if metric.kind == "derived" or metric.lower_is_better is None or metric.legacy or name == primary:
        return False
    return metric.same_as is None or (name == "ranking_agreement" and labels > 2)


def has_skill(name: str, labels: int) -> bool:
    """Whether `name` has a skill of its own: a directed mean over items with a ceiling, not a double of another."""
    metric = METRICS[name]
    if metric.kind != "item" or metric.lower_is_better is None or metric.legacy or name.endswith("_pmi"):
        return False
    return metric.same_as is None or (name == "ranking_agreement" and labels > 2)
