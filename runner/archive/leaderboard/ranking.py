"""Which rows of a ranking are shown to differ, and what that leaves open of each rank: pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from runner.core.types import Array


@dataclass(frozen=True, slots=True)
class Rank:
    """A rank by value, and its bounds."""

    row: int
    """The position in what was given."""
    rank: int
    """From 1; equal values share one."""
    best: int
    """The lower bound: 1 and the rows shown to be better."""
    worst: int
    """The upper bound: all rows less those shown to be worse."""
    tied: bool
    """The row before is not shown to be better."""


def standings(
    values: Sequence[float],
    bounds: Sequence[tuple[float, float]],
    draws: Array,
    paired: Sequence[int | None],
    *,
    lower_is_better: bool,
    level: float,
) -> list[Rank]:
    """The rows in order, best first.

    `bounds` are each row's own interval (−∞, ∞ for none). `draws` (resamples, paired rows) are bootstrap means over
    shared resampled items, and `paired` the column of each row, None for a row without. All pairs of rows are judged
    at once: with probability `level` no pair is wrongly shown to differ, so that all ranks lie within their bounds
    (Mogstad, Romano, Shaikh and Wilhelm 2024). Two rows with columns differ when their difference exceeds the same
    multiple of its error for all, the `level` quantile of the largest such ratio in a resample (max-t). Other pairs
    differ when their own intervals, widened after Bonferroni for the number of such pairs, are apart. Where there are
    pairs of both kinds, each has half of 1 − `level`.
    """
    sign = 1.0 if lower_is_better else -1.0
    losses = sign * np.asarray(values, dtype=np.float64)
    column = np.array([-1 if index is None else index for index in paired], dtype=np.intp)
    with_column = np.flatnonzero(column >= 0)
    among = len(with_column) * (len(with_column) - 1) // 2
    other = len(losses) * (len(losses) - 1) // 2 - among
    alpha = (1 - level) / (2 if among and other else 1)
    ends = _widened(losses, sign * np.asarray(bounds, dtype=np.float64).reshape(-1, 2), other, alpha, level)
    pairs = _Pairs(sign * draws[:, column[with_column]], 1 - alpha) if among else None
    order = np.argsort(losses, kind="stable")
    rows = []
    for position, row in enumerate(order):
        better, worse = ends[:, 1] < ends[row, 0], ends[:, 0] > ends[row, 1]
        if pairs is not None and column[row] >= 0:
            gaps = losses[with_column] - losses[row]
            far = np.abs(gaps) > pairs.margin(int(np.searchsorted(with_column, row)))
            better[with_column], worse[with_column] = far & (gaps < 0), far & (gaps > 0)
        rows.append(
            Rank(
                row=int(row),
                rank=1 + int((losses < losses[row]).sum()),
                best=1 + int(better.sum()),
                worst=len(losses) - int(worse.sum()),
                tied=position > 0 and not bool(better[order[position - 1]]),
            )
        )
    return rows


def _widened(losses: Array, bounds: Array, pairs: int, alpha: float, level: float) -> Array:
    """(rows, 2): each row's interval, about its value, as wide as `pairs` comparisons at `alpha` in all need it."""
    ends = np.sort(bounds, axis=1)
    if not pairs:
        return ends
    factor = float(ndtri(1 - alpha / (2 * pairs)) / ndtri((1 + level) / 2))
    return np.asarray(losses[:, None] + factor * (ends - losses[:, None]))


class _Pairs:
    """How far two of the rows must be apart to be shown to differ, by their draws `(resamples, rows)`."""

    def __init__(self, draws: Array, level: float) -> None:
        self.centred = draws - draws.mean(axis=0)
        self.variances = self.centred.var(axis=0)
        largest = np.zeros(len(draws))
        for row in range(draws.shape[1] - 1):
            others = self.centred[:, row + 1 :] - self.centred[:, [row]]
            np.abs(others, out=others)
            errors = np.sqrt((others * others).mean(axis=0))
            others /= np.where(errors > 0, errors, np.inf)
            np.maximum(largest, others.max(axis=1), out=largest)
        self.critical = float(np.quantile(largest, level))

    def margin(self, row: int) -> Array:
        """(rows,) smallest distances to `row` that are shown."""
        both = self.centred.T @ self.centred[:, row] / len(self.centred)
        variance = self.variances + self.variances[row] - 2 * both
        # Of two equal columns rounding leaves a little, of either sign.
        smallest = 1e-12 * (self.variances + self.variances[row])
        return np.asarray(self.critical * np.sqrt(np.where(variance > smallest, variance, 0.0)))
