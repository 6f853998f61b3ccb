"""Is a model less certain where people disagree? The correlation of entropies over items, freed of the votes' noise.

The entropy of a few votes is a noisy measure of how far people disagree, and a plain correlation with it is mostly that
noise. Two groups of people who answered the same items say how much (Spearman 1904): with x the entropy of the model's
distribution, g and p those of the two groups' votes, and T what both groups measure,

    corr(x, T) = [cov(x, g) + cov(x, p)] / 2 / √(var(x) · cov(g, p))

since the errors of g and p are independent of each other and of x. T is the expected entropy of so many votes: a
growing function of the entropy of the true shares, nearly linear in it. The estimate can lie beyond ±1; it is not cut.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runner.core.types import Array
from runner.scoring import rules
from runner.scoring.distances import entropy

# Items of many votes are split into two groups of so many; over so many splits is averaged.
GROUP = 5
_SPLITS = 10
_MOST_VOTES = 10**8
_FEWEST_ITEMS = 50
_LEAST_RELIABLE = 0.05


@dataclass(frozen=True, slots=True)
class EntropyCorrelation:
    """What the correlation of entropies is computed from, or why it cannot be had."""

    columns: Array | None
    """`(items, 10)` sufficient columns."""
    reliability: float | None
    """corr(g, p): of what is known of people's disagreement, the share that is not noise."""
    reason: str | None = None
    """Why there are no columns."""


def entropy_columns(log_probs: Array, counts: Array, panel: Array | None, seed: int) -> EntropyCorrelation:
    """From `(items, labels)` log-probabilities, votes, and a second group's votes (a row of zeros where it has none).

    Without a second group, items of ten votes or more are split, at random by `seed`, into two groups of five.
    """
    x = -(np.exp(log_probs) * log_probs).sum(axis=1)
    groups = _panels(counts, panel) if panel is not None else _splits(counts, seed)
    used = groups[0]
    if used.sum() < _FEWEST_ITEMS:
        what = "a second group's votes" if panel is not None else f"{2 * GROUP} votes, to split them into two groups"
        reason = f"{int(used.sum())} items have {what}, and {_FEWEST_ITEMS} are needed"
        return EntropyCorrelation(None, None, reason)
    columns = np.zeros((len(x), 10))
    for g, p in groups[1]:
        values = x[used]
        columns[used] += np.column_stack(
            [np.ones_like(g), values, g, p, values * values, g * g, p * p, values * g, values * p, g * p]
        )
    columns /= len(groups[1])
    moments = _moments(columns.sum(axis=0))
    reliability = float(moments[5] / np.sqrt(moments[1] * moments[2])) if min(moments[1], moments[2]) > 0 else 0.0
    if not reliability >= _LEAST_RELIABLE:
        reason = f"two groups of people agree on disagreement to {reliability:.2f} only: too little to divide by"
        return EntropyCorrelation(None, reliability, reason)
    return EntropyCorrelation(columns, reliability)


def entropy_correlation(sums: Array) -> Array:
    """The correlation from sums (or means) of the columns, `(…, 10)` to `(…,)`; 0 where x does not vary.

    NaN where a resample leaves the groups without common variation.
    """
    var_x, _, _, with_g, with_p, common = _moments(np.asarray(sums))
    varies = var_x > 1e-12
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (with_g + with_p) / 2 / np.sqrt(var_x * np.where(common > 0, common, np.nan))
    return np.asarray(np.where(varies, correlation, 0.0))


def _moments(sums: Array) -> tuple[Array, ...]:
    """var x, var g, var p, cov(x, g), cov(x, p), cov(g, p) from sums of the columns over items."""
    means = sums / sums[..., :1]
    x, g, p = means[..., 1], means[..., 2], means[..., 3]
    pairs = ((4, x, x), (5, g, g), (6, p, p), (7, x, g), (8, x, p), (9, g, p))
    return tuple(np.asarray(means[..., column] - values * other) for column, values, other in pairs)


def _panels(counts: Array, panel: Array) -> tuple[NDArray[np.bool_], list[tuple[Array, Array]]]:
    used = panel.sum(axis=1) > 0
    if not used.any():
        return used, []
    return used, [(entropy(rules.shares(counts[used]).T), entropy(rules.shares(panel[used]).T))]


def _splits(counts: Array, seed: int) -> tuple[NDArray[np.bool_], list[tuple[Array, Array]]]:
    used = counts.sum(axis=1) >= 2 * GROUP
    generator = np.random.default_rng(seed)
    votes = counts[used].astype(np.int64)
    # The generator's limit; of so many votes five are drawn alike from the same shares.
    votes //= np.maximum(1, -(-votes.sum(axis=1, keepdims=True) // _MOST_VOTES))
    splits = []
    for _ in range(_SPLITS if used.any() else 0):
        first = _drawn(generator, votes)
        second = _drawn(generator, votes - first)
        splits.append((entropy(first.T / GROUP), entropy(second.T / GROUP)))
    return used, splits


def _drawn(generator: np.random.Generator, votes: NDArray[np.int64]) -> NDArray[np.int64]:
    """`GROUP` of the votes of each row, without replacement: label by label, each given those before."""
    drawn = np.zeros_like(votes)
    left: NDArray[np.int64] = np.full(len(votes), GROUP, dtype=np.int64)
    rest: NDArray[np.int64] = votes.sum(axis=1)
    for label in range(votes.shape[1]):
        rest = rest - votes[:, label]
        drawn[:, label] = generator.hypergeometric(votes[:, label], rest, left)
        left = left - drawn[:, label]
    return drawn
