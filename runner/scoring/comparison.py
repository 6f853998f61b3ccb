"""Is one model better than another on the same items? Paired differences, with intervals and p-values."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

from runner.core.types import Array
from runner.scoring.dependence import Dependence
from runner.scoring.f1 import confusion_columns, macro_f1
from runner.scoring.intervals import bootstrap_means, percentile_interval, standard_error

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Model a against model b, one entry a metric."""

    difference: Array
    """`(metrics,)` a − b."""
    lower: Array
    """`(metrics,)` the lower end of the interval."""
    upper: Array
    """`(metrics,)` the upper end of the interval."""
    standard_error: Array
    """`(metrics,)` of the difference."""
    p_value: Array
    """`(metrics,)` two-sided, not yet adjusted: see `verdicts.decide`."""


def compare(
    a: ArrayLike,
    b: ArrayLike,
    *,
    draws: int,
    permutations: int,
    seed: int,
    level: float = 0.95,
    shared: Dependence | None = None,
) -> PairedComparison:
    """Compare per-item values `(items, metrics)` of two models on the same items in the same order, two or more.

    Interval: percentile bootstrap over items. Test: sign-flip permutation. With `shared`, errors, bootstrap and flips
    are those of items that are not independent.
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (a, b))
    if first.shape != second.shape or first.ndim != 2 or len(first) < 2:
        raise ValueError(
            f"expected two arrays (items, metrics) of one shape, two items or more: {first.shape}, {second.shape}"
        )
    gaps = first - second
    error = standard_error(gaps, shared)
    if error is None:
        raise ValueError("all items depend on each other, so nothing is known of how they differ")
    lower, upper = percentile_interval(bootstrap_means(gaps, draws, seed, shared), level, shared)
    p_value = sign_flip(gaps if shared is None else shared.unit_sums(gaps), permutations, seed)
    return PairedComparison(gaps.mean(axis=0), lower, upper, error, p_value)


def sign_flip(differences: ArrayLike, permutations: int, seed: int) -> Array:
    """Two-sided p-value of the mean of `(items, metrics)` (or `(items,)`) under random exchange of the two models.

    If the models were alike, each item's difference could as well have the other sign: p = (1 + #{|flipped sum| ≥
    |sum|}) / (1 + permutations) (Phipson and Smyth 2010), never 0. All metrics of an item flip together. Of items that
    are not independent give the sums over their units (`Dependence.unit_sums`).
    """
    gaps = np.asarray(differences, dtype=np.float64)
    # A flipped sum that equals the observed one but for rounding must count as equal.
    observed = np.abs(gaps.sum(axis=0)) - 1e-12 * np.abs(gaps).sum(axis=0)
    reached = np.zeros(gaps.shape[1:])
    for signs in _signs(len(gaps), permutations, seed):
        reached += (np.abs(signs @ gaps) >= observed).sum(axis=0)
    return np.asarray((1.0 + reached) / (1.0 + permutations))


def _signs(items: int, permutations: int, seed: int) -> Iterator[Array]:
    """Random signs `(rows, items)`, in blocks that are `permutations` rows in all."""
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // items)
    for start in range(0, permutations, block):
        rows = min(block, permutations - start)
        drawn = np.frombuffer(generator.bytes(rows * -(-items // 8)), dtype=np.uint8).reshape(rows, -1)
        yield np.asarray(2.0 * np.unpackbits(drawn, axis=1)[:, :items] - 1.0)


def holm(p_values: ArrayLike) -> Array:
    """Holm's (1979) step-down adjustment, `(metrics,)`: the chance of any false finding stays at the level."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def quantile_of_error(probability: float, units: int | None = None) -> float:
    """The quantile of a difference over its standard error: normal, or Student's t where that comes from few `units`.

    Items that depend on each other count as their units (`Dependence.units`), and the t has one degree less.
    """
    return float(ndtri(probability) if units is None else stdtrit(units - 1, probability))


def minimum_detectable_difference(
    standard_error: ArrayLike, alpha: float = 0.05, power: float = 0.8, units: int | None = None
) -> Array:
    """True difference found with probability `power` by a two-sided test at `alpha`: (z₁₋α/₂ + z_power) · error.

    z is `quantile_of_error`.
    """
    reach = quantile_of_error(1 - alpha / 2, units) + quantile_of_error(power, units)
    return np.asarray(reach * np.asarray(standard_error, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class PairedStatistic:
    """The difference of a number that is not a mean over items, of two models on the same items; see `compare`."""

    difference: float
    """a − b."""
    lower: float
    """The lower end of the interval."""
    upper: float
    """The upper end of the interval."""
    standard_error: float
    """Of the difference."""
    p_value: float
    """Two-sided, not yet adjusted."""


def paired_statistic(
    first: Array,
    second: Array,
    statistic: Callable[[Array], Array],
    *,
    draws: int,
    permutations: int,
    seed: int,
    level: float = 0.95,
    shared: Dependence | None = None,
) -> PairedStatistic:
    """`statistic` of the first model less that of the second, from their sufficient columns `(items, columns)` each.

    `statistic` maps sums (or means) of the columns, `(…, columns)`, to `(…,)`. The interval is of items that are
    resampled for both, the standard error that of these differences. Tested is the difference itself, under random
    exchange of the two models' answers to an item, or to a unit of items that are not independent.
    """
    drawn = np.split(bootstrap_means(np.hstack([first, second]), draws, seed, shared), 2, axis=1)
    gaps = statistic(drawn[0]) - statistic(drawn[1])
    lower, upper = percentile_interval(gaps, level, shared)
    middle, half = (first + second).sum(axis=0) / 2, (first - second) / 2
    if shared is not None:
        half = shared.unit_sums(half)
    difference = float(statistic(first.sum(axis=0)) - statistic(second.sum(axis=0)))
    reached = 0
    for signs in _signs(len(half), permutations, seed):
        exchanged = signs @ half
        other = statistic(middle + exchanged) - statistic(middle - exchanged)
        reached += int((np.abs(other) >= abs(difference) - 1e-12).sum())
    error = float(gaps.std(ddof=1))
    return PairedStatistic(difference, float(lower), float(upper), error, (1 + reached) / (1 + permutations))


def paired_macro_f1(
    predicted: tuple[ArrayLike, ArrayLike], human: ArrayLike, labels: int, **settings: Any
) -> PairedStatistic:
    """Macro F1 of the first model less that of the second; see `paired_statistic` for the `settings`."""
    first, second = (confusion_columns(model_labels, human, labels) for model_labels in predicted)
    return paired_statistic(first, second, macro_f1, **settings)
