"""What is fitted on held-out items: a temperature, a concentration, a class prior; and the bins of a reliability plot.

Fitting is convex or one-dimensional and deterministic. Where the data put the optimum at infinity, the value is that
limit, with the reason beside it (`fit_…`), or there is none but the reason (`fit_…_within`, of benchmarks that declare
no `scoring.inference`). Nothing here may see the rows that are scored; `folds` serves tasks whose fit and scored split
coincide.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import digamma, gammaln, log_softmax, softmax

from runner.core.types import Array
from runner.scoring import rules

TEMPERATURES = (0.01, 100.0)
CONCENTRATIONS = (1e-3, 1e6)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted number, or why there is none."""

    value: float | None
    """Infinity included; None where the data do not determine one."""
    reason: str | None = None
    """Why there is no value, or why it is a limit; None for an ordinary optimum."""


@dataclass(frozen=True, slots=True)
class ReliabilityCurve:
    """Predicted and human shares of one label, in bins of the predicted share."""

    predicted: Array
    """`(bins,)` the mean predicted probability."""
    observed: Array
    """`(bins,)` the mean human share."""
    items: NDArray[np.intp]
    """`(bins,)` the number of items."""


def temper(log_probs: Array, temperature: float) -> Array:
    """log softmax(log_probs / T), `(items, labels)`: T > 1 flattens, T < 1 sharpens (Guo et al. 2017, section 4.2).

    T = ∞ gives uniform shares.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature must be above 0, not {temperature}")
    return np.asarray(log_softmax(np.asarray(log_probs, dtype=np.float64) / temperature, axis=1))


def fit_temperature(log_probs: Array, counts: Array) -> Fitted:
    """The temperature that minimises the mean cross-entropy to the human shares (Scruples' calibration).

    The loss is convex in 1/T, so its slope there has one zero at most. A slope that is not negative at 1/T = 0 (to a
    millionth of a share) puts the optimum at T = ∞: no sharpening of these predictions beats uniform shares. One that
    is still negative at the lower of `TEMPERATURES` puts it below, and that bound is taken. Predictions that are all
    uniform stay as they are, T = 1.
    """
    logs, slope = _temperature_slope(log_probs, counts)
    if np.ptp(logs, axis=1).max() < 1e-9:
        return Fitted(1.0, "every prediction is uniform, which no temperature changes")
    sharpest = 1.0 / TEMPERATURES[0]
    # A share that moves by less than 1e-6 is uniform; nearer to 0 the slope is rounding, and 1/T of it no number.
    if slope(1e-6 / np.ptp(logs, axis=1).max()) >= 0:
        return Fitted(np.inf, "the best temperature is infinite: no share of these predictions beats uniform shares")
    if slope(sharpest) <= 0:
        return Fitted(TEMPERATURES[0], f"the best temperature is below {TEMPERATURES[0]:g}, the bound of the search")
    if slope(1.0 / TEMPERATURES[1]) >= 0:
        # Between 0 and 1 % of their logits: found in 1/T, where 0 is a number.
        return Fitted(1.0 / float(brentq(slope, 0.0, 1.0 / TEMPERATURES[1], xtol=1e-300, rtol=1e-13)))
    return Fitted(_inner_temperature(slope))


def fit_temperature_within(log_probs: Array, counts: Array) -> Fitted:
    """`fit_temperature` within `TEMPERATURES`, and only the reason where the optimum lies outside."""
    logs, slope = _temperature_slope(log_probs, counts)
    if np.ptp(logs, axis=1).max() < 1e-9:
        return Fitted(None, "every prediction is uniform, which no temperature changes")
    if slope(float(np.exp(-np.log(TEMPERATURES[1])))) >= 0:
        return Fitted(None, f"the best temperature is above {TEMPERATURES[1]:g}: flatter is always better")
    if slope(float(np.exp(-np.log(TEMPERATURES[0])))) <= 0:
        return Fitted(None, f"the best temperature is below {TEMPERATURES[0]:g}: sharper is always better")
    return Fitted(_inner_temperature(slope))


def _temperature_slope(log_probs: Array, counts: Array) -> tuple[Array, Callable[[float], float]]:
    """The logits as numbers, and the slope of the mean cross-entropy by 1/T as a function of 1/T."""
    logs = np.asarray(log_probs, dtype=np.float64)
    h = rules.shares(counts)

    def slope(inverse: float) -> float:
        return float(((softmax(inverse * logs, axis=1) - h) * logs).sum(axis=1).mean())

    return logs, slope


def _inner_temperature(slope: Callable[[float], float]) -> float:
    """The zero of `slope` within `TEMPERATURES`, searched in log 1/T."""
    flattest, sharpest = -np.log(TEMPERATURES[1]), -np.log(TEMPERATURES[0])
    return float(np.exp(-brentq(lambda at: slope(float(np.exp(at))), flattest, sharpest, xtol=1e-12)))


def fit_concentration(log_probs: Array, counts: Array) -> Fitted:
    """The concentration c that minimises the mean Dirichlet-multinomial loss with a = c·q.

    Where the likelihood still rises at the upper of `CONCENTRATIONS` the votes scatter no more than a multinomial
    around the predictions, and c is infinite (the loss is N times the cross-entropy); at the lower all votes on an item
    agree, and that bound is taken. None where no item has two votes: then c changes nothing and is not known.
    """
    return _fit_concentration(log_probs, counts, limits=True)


def fit_concentration_within(log_probs: Array, counts: Array) -> Fitted:
    """`fit_concentration` within `CONCENTRATIONS`, and only the reason where the optimum lies at one of them."""
    return _fit_concentration(log_probs, counts, limits=False)


def _fit_concentration(log_probs: Array, counts: Array, *, limits: bool) -> Fitted:
    if (np.asarray(counts).sum(axis=1) <= 1).all():
        return Fitted(None, "no item has two votes, so the concentration changes nothing")

    curve = _concentration_curve(log_probs, counts)
    # The likelihood bends slowly in log c, so a coarse grid finds the valley and a search its floor.
    grid = np.linspace(np.log(CONCENTRATIONS[0]), np.log(CONCENTRATIONS[1]), 16)
    losses, slopes = np.array([curve(point) for point in grid]).T
    best = int(np.argmin(losses))
    last = len(grid) - 1
    if best == last and not (limits and slopes[last] > 0):
        why = f"the best concentration is above {CONCENTRATIONS[1]:g}: no more scatter than a multinomial"
        return Fitted(np.inf if limits else None, why)
    if best == 0 and not (limits and slopes[0] < 0):
        why = f"the best concentration is below {CONCENTRATIONS[0]:g}: the votes on each item all agree"
        if limits:
            return Fitted(CONCENTRATIONS[0], f"{why.partition(':')[0]}, the bound of the search")
        return Fitted(None, why)
    # The zero of the slope, not the smallest of the losses: a minimum is known to half the digits of its function only,
    # and the rest is rounding, other on every machine.
    left, right = (best - 1, best) if slopes[best] > 0 else (best, best + 1)
    if slopes[left] < 0 < slopes[right]:
        return Fitted(float(np.exp(brentq(lambda at: curve(at)[1], grid[left], grid[right], xtol=1e-14))))
    around = (grid[max(best - 1, 0)], grid[min(best + 1, last)])
    optimum = minimize_scalar(lambda at: curve(at)[0], bounds=around, method="bounded", options={"xatol": 1e-9})
    return Fitted(float(np.exp(optimum.x)))


# Up to so many votes for a label are summed one by one; beyond, a difference of two lnΓ does.
_FEW_VOTES = 64


def _concentration_curve(log_probs: Array, counts: Array) -> Callable[[float], tuple[float, float]]:
    """Mean Dirichlet-multinomial loss and its slope as functions of log c, for whole-numbered counts.

    ln Γ(a+n)/Γ(a) is the sum over the n votes of ln(a + j), j = 0 … n − 1: one logarithm per vote, and none for the
    first, whose share does not mix with c. Several times faster than lnΓ where votes are few; equal rows count once.
    """
    rows, weights = np.unique(np.column_stack([log_probs, counts]), axis=0, return_counts=True)
    labels = np.shape(counts)[1]
    logs, votes = rows[:, :labels], rows[:, labels:]
    if not np.array_equal(votes, np.floor(votes)):
        raise ValueError("a concentration is fitted to whole votes, not to shares")
    has_votes = votes > 0
    # ln c appears once per chosen label and once per item; the ln q of first votes does not depend on c.
    firsts = float((weights * (1.0 - has_votes.sum(axis=1))).sum())
    constant = float((weights[:, None] * np.where(has_votes, logs, 0.0)).sum())
    items = float(weights.sum())

    # One entry per label of an item, and one for the item, whose share is 1 and which counts the other way.
    share = np.concatenate([np.exp(logs.ravel()), np.ones(len(rows))])
    entry_votes = np.concatenate([votes.ravel(), votes.sum(axis=1)])
    weight = np.concatenate([np.repeat(weights, labels), -weights]).astype(np.float64)
    # The items' own entries are alike wherever votes are equally many, and a baseline's labels are as well.
    pairs, inverse = np.unique(share + 1j * entry_votes, return_inverse=True)
    share, entry_votes, weight = pairs.real, pairs.imag, np.bincount(inverse, weights=weight).astype(np.float64)
    many = entry_votes > _FEW_VOTES
    many_share, many_votes, many_weight = share[many], entry_votes[many], weight[many]
    later = np.where(many, 0, np.maximum(entry_votes - 1, 0)).astype(np.intp)
    entry = np.repeat(np.arange(len(later)), later)
    step = (np.arange(len(entry)) - np.repeat(np.cumsum(later) - later, later) + 1).astype(np.float64)
    few_share, few_weight = share[entry], weight[entry]

    def curve(log_concentration: float) -> tuple[float, float]:
        c = np.exp(log_concentration)
        grown = c * few_share
        total, slope = few_weight @ np.log(grown + step), few_weight @ (grown / (grown + step))
        if many_share.size:
            grown = c * many_share
            total += many_weight @ (gammaln(grown + many_votes) - gammaln(grown + 1.0))
            slope += many_weight @ (grown * (digamma(grown + many_votes) - digamma(grown + 1.0)))
        return float(firsts * log_concentration - constant - total) / items, float(firsts - slope) / items

    return curve


def prior(counts: ArrayLike) -> Array:
    """Log of the mean human share of each label, `(labels,)`: the best prediction that ignores the item.

    Each item weighs the same whatever its votes. Half an item is added to each label (Krichevsky–Trofimov), so that a
    label never chosen on the fitting items keeps a finite logarithm.
    """
    smoothed = rules.shares(counts).sum(axis=0) + 0.5
    return np.asarray(np.log(smoothed / smoothed.sum()))


def folds(items: int, number: int, seed: int) -> NDArray[np.intp]:
    """The fold of each item, `(items,)` in 0 … number − 1: seeded, sizes differ by one at most."""
    if not 2 <= number <= items:
        raise ValueError(f"{items} items cannot be split into {number} folds")
    return np.random.default_rng(seed).permutation(np.arange(items) % number)


def reliability(log_probs: Array, counts: Array, bins: int) -> tuple[ReliabilityCurve, ...]:
    """For each label, predicted probability against human share in `bins` bins of equal mass (adaptive bins).

    Equal predictions stay in one bin, so a model of few distinct probabilities gets fewer bins than requested.
    """
    probabilities, h = np.exp(np.asarray(log_probs, dtype=np.float64)), rules.shares(counts)
    return tuple(_curve(probabilities[:, label], h[:, label], bins) for label in range(h.shape[1]))


def _curve(predicted: Array, observed: Array, bins: int) -> ReliabilityCurve:
    ordered = np.sort(predicted)
    starts = ordered[np.arange(1, bins) * len(ordered) // bins]
    bin_of = np.unique(np.searchsorted(np.unique(starts), predicted, side="right"), return_inverse=True)[1]
    items = np.bincount(bin_of)
    return ReliabilityCurve(
        np.bincount(bin_of, weights=predicted) / items, np.bincount(bin_of, weights=observed) / items, items
    )
