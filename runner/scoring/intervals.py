"""Uncertainty of a mean over items: standard error, bootstrap over items, percentile and BCa intervals.

All metrics share one stream of resampled items, so that draws of different metrics, or of two models on the same
items, belong together.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, stdtrit

from runner.core.types import Array
from runner.scoring import dependence
from runner.scoring.dependence import Dependence

# Elements of one block of weights: 8 MB, so that memory does not grow with the number of draws.
_BLOCK = 1 << 20


def standard_error(losses: ArrayLike, shared: Dependence | None = None) -> Array | None:
    """s/√n of each column of `(items,)` or `(items, metrics)`, s with n − 1; None for a single item.

    With `shared` the dyadic-robust error of items that are not independent, for `(items, metrics)`.
    """
    values = np.asarray(losses, dtype=np.float64)
    if shared is not None:
        return dependence.standard_error(values, shared)
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def resample_weights(items: int, draws: int, seed: int, shared: Dependence | None = None) -> Iterator[Array]:
    """How often each item is in each bootstrap sample, in blocks `(some draws, items)`.

    Rows sum to `items`, but for `shared`, where whole units are drawn, to nearly that.
    """
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // items)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        if shared is not None:
            yield dependence.resample(shared, rows, generator)
            continue
        picked = generator.integers(0, items, size=(rows, items))
        picked += np.arange(rows)[:, None] * items
        yield np.bincount(picked.ravel(), minlength=rows * items).reshape(rows, items).astype(np.float64)


def bootstrap_means(losses: ArrayLike, draws: int, seed: int, shared: Dependence | None = None) -> Array:
    """Means over resampled items, `(draws, metrics)` for losses `(items, metrics)`, `(draws,)` for `(items,)`.

    Items are drawn with replacement (Efron 1979), with `shared` the units of items that are not independent. For a
    number that is not a mean give its sufficient columns (see `f1.confusion_columns`) and compute it from the draws;
    their standard deviation is then its standard error.
    """
    values = np.asarray(losses, dtype=np.float64)
    if len(values) == 0 or draws < 1:
        raise ValueError("a bootstrap needs at least one item and one draw")
    if shared is None:
        blocks = [weights @ values for weights in resample_weights(len(values), draws, seed)]
        return np.asarray(np.concatenate(blocks) / len(values))
    sums = [(weights @ values, weights.sum(axis=1)) for weights in resample_weights(len(values), draws, seed, shared)]
    totals = np.concatenate([total for _, total in sums])
    means = np.concatenate([part for part, _ in sums])
    return np.asarray((means.T / totals).T)


def second_stage(redrawn: Array, draws: int, seed: int) -> Array:
    """(draws, metrics) changes of the means where each item's answers are drawn again.

    `redrawn` (times, items, metrics) are the items' values for answers that were drawn again some times. Each draw
    takes one of those times for each item, as its difference from the item's mean over them: drawing again widens the
    bootstrap of `bootstrap_means`, and does not move it.
    """
    noise = redrawn - redrawn.mean(axis=0)
    # The spread within a few times is too small by (times − 1) / times.
    noise *= np.sqrt(len(noise) / (len(noise) - 1))
    times, items, metrics = noise.shape
    generator = np.random.default_rng([seed, 1])
    changes = np.empty((draws, metrics))
    block = max(1, _BLOCK // items)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        picked = generator.integers(0, times, size=(rows, items), dtype=np.int16)
        changes[start : start + rows] = (
            np.sum([(picked == time).astype(np.float64) @ noise[time] for time in range(times)], axis=0) / items
        )
    return changes


def error_of_drawing(redrawn: Array) -> Array:
    """(metrics,) standard error of the means that comes from drawing the items' answers, of `redrawn` as above."""
    variances = redrawn.var(axis=0, ddof=1)
    return np.asarray(np.sqrt(variances.sum(axis=0)) / redrawn.shape[1])


def percentile_interval(draws: ArrayLike, level: float, shared: Dependence | None = None) -> tuple[Array, Array]:
    """Lower and upper end of the central `level` of the draws, over the first axis.

    With `shared` the units that were drawn may be few, and their draws scatter too little: the expanded percentile
    interval (Hesterberg 2015, Am. Stat. 69(4)) takes the quantiles at Φ(±√(u/(u−1)) · t), t Student's with u − 1
    degrees, u the number of units.
    """
    tail = (1 - level) / 2
    if shared is not None and shared.units > 1:
        tail = float(ndtr(np.sqrt(shared.units / (shared.units - 1)) * stdtrit(shared.units - 1, tail)))
    lower, upper = np.quantile(np.asarray(draws, dtype=np.float64), [tail, 1 - tail], axis=0)
    return np.asarray(lower), np.asarray(upper)


def bca_interval(losses: ArrayLike, draws: ArrayLike, level: float) -> tuple[Array, Array]:
    """Bias-corrected accelerated interval of means (Efron 1987), from losses `(items, metrics)` and their draws.

    The jackknife of a mean is closed form: the acceleration is Σd³ / (6 (Σd²)^1.5), d the deviations from the mean.
    Second-order accurate where the percentile interval is first-order: of use for skewed losses on few items.
    """
    values = np.atleast_2d(np.asarray(losses, dtype=np.float64).T)
    sampled = np.atleast_2d(np.asarray(draws, dtype=np.float64).T)
    ends = np.array([_bca(row, drawn, level) for row, drawn in zip(values, sampled, strict=True)])
    lower, upper = ends.T if np.ndim(losses) > 1 else ends[0]
    return np.asarray(lower), np.asarray(upper)


def _bca(values: Array, draws: Array, level: float) -> Array:
    mean = values.mean()
    deviations = values - mean
    squares = (deviations**2).sum()
    if squares == 0:
        return np.array([mean, mean])
    acceleration = (deviations**3).sum() / (6.0 * squares**1.5)
    # Draws equal to the value count half; clipped so that a value outside all draws still has a finite correction.
    below = ((draws < mean).sum() + 0.5 * (draws == mean).sum()) / len(draws)
    bias = ndtri(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    shifted = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    return np.asarray(np.quantile(draws, ndtr(bias + shifted / (1 - acceleration * shifted))))
