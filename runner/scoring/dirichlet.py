"""The Dirichlet distribution that people's answers are taken to come from, fitted to counts by maximum likelihood."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import digamma

from runner.core.types import Array
from runner.scoring.rules import log_rising, shares

TOTALS = (1e-4, 1e6)
"""Limits of S = Σα. At the upper one a Dirichlet is a point for any real number of votes, at the lower every item is
unanimous."""
ABSENT = 1e-10
"""α of a label that nobody ever chose; its likelihood falls in α, so the optimum is the limit 0."""


@dataclass(frozen=True, slots=True)
class DirichletFit:
    """A Dirichlet prior fitted to counts, and what gave out."""

    alpha: Array
    """`(labels,)` the fitted parameters."""
    loss: float
    """The mean negative log-likelihood per item, in nats of the sequence of labels."""
    notes: tuple[str, ...]
    """Sentences: where the optimum lies at a limit or the counts do not determine it; empty if nowhere."""
    determined: bool = True
    """False where the counts say nothing of the sum of alpha."""


def fit_dirichlet(counts: ArrayLike) -> DirichletFit:
    """Maximise the Dirichlet-multinomial likelihood of `counts` `(items, labels)` (Scruples, appendix on BEST).

    L-BFGS-B with analytic gradient in log S and the logits of α/S: data without scatter (S → ∞) or without
    disagreement (S → 0) then run along one coordinate into its limit, which is reported. Depends on the counts only
    through the histogram of each column, so its time does not grow with the number of items.
    """
    h = shares(counts)
    votes = np.asarray(counts, dtype=np.float64)
    has_votes = votes.sum(axis=0) > 0
    notes = (
        [] if has_votes.all() else [f"{int((~has_votes).sum())} label(s) were never chosen; their alpha is {ABSENT:g}"]
    )
    totals = votes.sum(axis=1)
    if has_votes.sum() == 1 or (totals <= 1).all():
        why = "only one label was ever chosen" if has_votes.sum() == 1 else "no item has two votes"
        alpha = np.where(has_votes, h.mean(axis=0), ABSENT)
        loss = _loss_and_slope(alpha, _histograms(votes), len(votes))[0]
        return DirichletFit(
            alpha, loss, (*notes, f"{why}, so the sum of alpha is not determined; it is set to 1"), False
        )

    histograms = _histograms(votes[:, has_votes])

    def objective(point: Array) -> tuple[float, Array]:
        share = np.exp(point[1:] - point[1:].max())
        share /= share.sum()
        alpha = np.exp(point[0]) * share
        loss, slope = _loss_and_slope(alpha, histograms, len(votes))
        return loss, np.concatenate([[slope @ alpha], alpha * (slope - slope @ share)])

    mean = h[:, has_votes].mean(axis=0)
    limits = np.log(TOTALS)
    solution = minimize(
        objective,
        np.concatenate([[0.0], np.log(mean)]),
        jac=True,
        method="L-BFGS-B",
        bounds=[tuple(limits)] + [(-40.0, 5.0)] * len(mean),
        options={"ftol": 1e-15, "gtol": 1e-8, "maxiter": 1000},
    )
    free = solution.x > np.concatenate([[limits[0]], np.full(len(mean), -40.0)])
    if not solution.success and np.abs(solution.jac[free & (solution.x < limits[1])]).max(initial=0.0) > 1e-4:
        raise RuntimeError(f"the Dirichlet fit did not converge: {solution.message}")
    inside = free & (solution.x < np.concatenate([[limits[1] - 1e-3], np.full(len(mean), 5.0)]))
    point = _polished(lambda at: objective(at)[1], solution.x, np.flatnonzero(inside))
    if solution.x[0] > limits[1] - 1e-3:
        notes.append(f"the sum of alpha is at its upper limit {TOTALS[1]:g}: the items do not differ beyond chance")
    if solution.x[0] < limits[0] + 1e-3:
        notes.append(f"the sum of alpha is at its lower limit {TOTALS[0]:g}: every item is unanimous")
    share = np.exp(point[1:] - point[1:].max())
    alpha = np.full(votes.shape[1], ABSENT)
    alpha[has_votes] = np.maximum(np.exp(point[0]) * share / share.sum(), ABSENT)
    return DirichletFit(alpha, float(objective(point)[0]), tuple(notes))


def _polished(slope: Callable[[Array], Array], point: Array, free: NDArray[np.intp]) -> Array:
    """`point` after a few Newton steps in its `free` coordinates: to the last digits, where the search stops half way.

    What a search leaves is rounding, other on every machine, and a ceiling hangs on α: a card could not be recomputed
    to nine digits elsewhere. The logits may be shifted together, so the smallest of the equal steps is taken.
    """

    def steepest(at: Array) -> float:
        return float(np.abs(slope(at)[free]).max(initial=0.0))

    best = point
    for _ in range(4):
        hessian = np.empty((len(free), len(free)))
        for row, coordinate in enumerate(free):
            nudge = np.zeros_like(best)
            nudge[coordinate] = 1e-5
            hessian[row] = (slope(best + nudge) - slope(best - nudge))[free] / 2e-5
        step = np.linalg.lstsq((hessian + hessian.T) / 2, slope(best)[free], rcond=1e-6)[0]
        other = best.copy()
        other[free] -= step
        if not (np.abs(step).max(initial=0.0) < 1e-2 and steepest(other) <= steepest(point)):
            return best
        best = other
    return best


_Histogram = tuple[Array, Array]


def _histograms(votes: Array) -> list[_Histogram]:
    """Distinct values and how often they occur: of each column, and last of the row sums."""
    columns = [*votes.T, votes.sum(axis=1)]
    return [(values, items.astype(np.float64)) for values, items in (np.unique(c, return_counts=True) for c in columns)]


def _loss_and_slope(alpha: Array, histograms: list[_Histogram], items: int) -> tuple[float, Array]:
    """Mean loss per item and its derivative by alpha."""

    def term(a: float, histogram: _Histogram) -> tuple[float, float]:
        n, weight = histogram
        value = weight @ log_rising(np.full(n.shape, np.log(a)), n)
        return float(value) / items, float(weight @ (digamma(a + n) - digamma(a))) / items

    total, total_slope = term(float(alpha.sum()), histograms[-1])
    terms = [term(float(a), histogram) for a, histogram in zip(alpha, histograms[:-1], strict=True)]
    return total - sum(value for value, _ in terms), np.array([total_slope - slope for _, slope in terms])
