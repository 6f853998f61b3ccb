"""Is one model better than another on the same items? Paired differences, with intervals, p-values and a verdict."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from runner.core.types import Array
from runner.scoring.dependence import Dependence
from runner.scoring.f1 import confusion_columns, macro_f1
from runner.scoring.intervals import bootstrap_means, percentile_interval, standard_error

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Model a against model b, `(metrics,)` each; differences are a − b.

    `p_value` is raw, `p_adjusted` Holm's over the metrics of this comparison. `minimum_detectable` is the true
    difference that this test would find with probability .8. `verdict` is about a: `better`, `worse` or `undecided`.
    """

    difference: Array
    lower: Array
    upper: Array
    standard_error: Array
    p_value: Array
    p_adjusted: Array
    minimum_detectable: Array
    verdict: tuple[str, ...]


def compare(
    a: ArrayLike,
    b: ArrayLike,
    lower_is_better: Sequence[bool | None],
    *,
    draws: int,
    permutations: int,
    seed: int,
    level: float = 0.95,
    other_p_values: Sequence[float] = (),
    shared: Dependence | None = None,
) -> PairedComparison:
    """Compare per-item values `(items, metrics)` of two models on the same items in the same order.

    Interval: percentile bootstrap over items. Test: sign-flip permutation. A verdict other than `undecided` needs both:
    the Holm-adjusted p-value at or below 1 − level, and the interval on one side of 0. It is also `undecided` for a
    metric without a direction (`lower_is_better` None). Needs two items or more. `other_p_values` are those of metrics
    of the same comparison that are no means over items; they count in Holm's adjustment. With `shared`, errors,
    bootstrap and flips are those of items that are not independent.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 2 or len(first) < 2:
        raise ValueError(
            f"expected two arrays (items, metrics) of one shape, two items or more: {first.shape}, {second.shape}"
        )
    gaps = first - second
    difference = gaps.mean(axis=0)
    error = standard_error(gaps, shared)
    if error is None:
        raise ValueError("all items depend on each other, so nothing is known of how they differ")
    lower, upper = percentile_interval(bootstrap_means(gaps, draws, seed, shared), level)
    p_value = sign_flip(gaps if shared is None else shared.unit_sums(gaps), permutations, seed)
    adjusted = holm([*p_value, *other_p_values])[: len(p_value)]
    verdicts = tuple(
        verdict(gap, low, high, p, direction, level)
        for gap, low, high, p, direction in zip(difference, lower, upper, adjusted, lower_is_better, strict=True)
    )
    detectable = minimum_detectable_difference(error, 1 - level)
    return PairedComparison(difference, lower, upper, error, p_value, adjusted, detectable, verdicts)


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


def minimum_detectable_difference(standard_error: ArrayLike, alpha: float = 0.05, power: float = 0.8) -> Array:
    """True difference found with probability `power` by a two-sided test at `alpha`: (z₁₋α/₂ + z_power) · error.

    Not corrected for the number of metrics.
    """
    return np.asarray((ndtri(1 - alpha / 2) + ndtri(power)) * np.asarray(standard_error, dtype=np.float64))


@dataclass(frozen=True, slots=True)
class PairedF1:
    """The difference of two macro F1 on the same items; see `PairedComparison`."""

    difference: float
    lower: float
    upper: float
    standard_error: float
    p_value: float


def paired_macro_f1(
    predicted: tuple[ArrayLike, ArrayLike],
    human: ArrayLike,
    labels: int,
    *,
    draws: int,
    permutations: int,
    seed: int,
    level: float = 0.95,
) -> PairedF1:
    """Macro F1 of the first model less that of the second.

    The interval is of items that are resampled for both, the standard error that of these differences. Macro F1 is no
    mean over items, so what is tested is the difference itself, under random exchange of the two models' answers.
    """
    columns = [confusion_columns(each, human, labels) for each in predicted]
    gaps = _difference(np.split(bootstrap_means(np.hstack(columns), draws, seed), 2, axis=1))
    lower, upper = percentile_interval(gaps, level)
    first, second = columns
    middle, half = (first + second).sum(axis=0) / 2, (first - second) / 2
    difference = float(_difference([first.sum(axis=0), second.sum(axis=0)]))
    reached = 0
    for signs in _signs(len(half), permutations, seed):
        exchanged = signs @ half
        reached += int((np.abs(_difference([middle + exchanged, middle - exchanged])) >= abs(difference) - 1e-12).sum())
    error = float(gaps.std(ddof=1))
    return PairedF1(difference, float(lower), float(upper), error, (1 + reached) / (1 + permutations))


def _difference(confusions: Iterable[Array]) -> Array:
    first, second = (macro_f1(confusion) for confusion in confusions)
    return np.asarray(first - second)


def verdict(
    difference: float, lower: float, upper: float, adjusted: float, lower_is_better: bool | None, level: float
) -> str:
    """`better`, `worse` or `undecided`; see `compare`."""
    found = adjusted <= 1 - level and (lower > 0 or upper < 0)
    if not found or lower_is_better is None:
        return "undecided"
    return "better" if (difference < 0) == lower_is_better else "worse"
