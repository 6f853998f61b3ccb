"""How uncertain a ceiling is because its Dirichlet prior was fitted to these very items.

The fitted α moves when other items are drawn. To first order it moves by J⁻¹ times the mean of the items' scores (J the
observed information per item), and a ceiling by its slope in α times that. So every item has an *influence* on the
ceiling beside its own value: `ceiling.per_item + influence` is a column of numbers like any other, whose mean is the
ceiling, whose standard error is the ceiling's, and whose bootstrap means are the ceiling's draws, with α refitted.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma, polygamma

from runner.core.types import Array
from runner.scoring.ceiling import Ceiling, ceiling
from runner.scoring.dirichlet import ABSENT, TOTALS, DirichletFit

# Of log α, for a one-sided difference of functions that are exact to twelve digits.
_STEP = 1e-4
# A slope is a mean over items; of many unlike ones so many, evenly taken, are enough for an error's second part.
_ITEMS = 256


def prior_influence(
    counts: ArrayLike, limits: Mapping[str, Ceiling], best: DirichletFit, names: Iterable[str]
) -> dict[str, Array]:
    """Name → influence `(items,)` on the ceiling of `names` through the fitted α `best.alpha`; their mean is 0.

    Left out are metrics whose ceiling is drawn. Where α is not determined, or lies at a limit that more items would
    not move, the influence is 0.
    """
    votes = np.asarray(counts, dtype=np.float64)
    wanted = [name for name in names if limits[name].per_item is not None and limits[name].spread is None]
    alpha = best.alpha
    free = np.flatnonzero(alpha > 10 * ABSENT)
    total = float(alpha.sum())
    if len(free) < 2 or not 2 * TOTALS[0] < total < TOTALS[1] / 2 or (votes.sum(axis=1) <= 1).all():
        return {name: np.zeros(len(votes)) for name in wanted}
    moved = _alpha_influence(votes, alpha, free)
    rows = votes if len(np.unique(votes, axis=0)) <= _ITEMS else votes[:: -(-len(votes) // _ITEMS)]
    before = ceiling(rows, wanted, 2, 0, alpha)
    slopes = {name: np.zeros(len(free)) for name in wanted}
    for column, label in enumerate(free):
        nudged = alpha.copy()
        nudged[label] *= np.exp(_STEP)
        after = ceiling(rows, wanted, 2, 0, nudged)
        for name in wanted:
            slopes[name][column] = (after[name].value - before[name].value) / _STEP
    return {name: np.asarray(moved @ slope) for name, slope in slopes.items()}


def _alpha_influence(votes: Array, alpha: Array, free: NDArray[np.intp]) -> Array:
    """`(items, free labels)`: how far log α of each free label moves with the weight of an item."""
    own, shares = alpha[free], votes[:, free]
    total, sums = alpha.sum(), votes.sum(axis=1)
    scores = own * (digamma(own + shares) - digamma(own) - (digamma(total + sums) - digamma(total))[:, None])
    common = float((polygamma(1, total) - polygamma(1, total + sums)).mean())
    bends = (polygamma(1, own) - polygamma(1, own + shares)).mean(axis=0)
    information = np.diag(bends * own**2) - common * np.outer(own, own)
    values, vectors = np.linalg.eigh(information)
    determined = values > 1e-9 * values.max()
    inverse = vectors[:, determined] @ np.diag(1.0 / values[determined]) @ vectors[:, determined].T
    return np.asarray((scores - scores.mean(axis=0)) @ inverse)
