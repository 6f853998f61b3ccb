"""Which rows of a ranking are shown to differ, and what that leaves open of each rank: pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runner.core.types import Array
from runner.scoring.intervals import percentile_interval


@dataclass(frozen=True, slots=True)
class Rank:
    """Rank by value (equal values share one), its bounds, and whether the row before is not shown to be better.

    `row` is the place in what was given.
    """

    row: int
    rank: int
    best: int
    worst: int
    tied: bool


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
    shared resampled items, and `paired` the column of each row, None for a row without. Two rows with columns are shown
    to differ when the central `level` of the differences of their draws leaves out 0; other pairs when their own
    intervals are apart, which is stricter. Each pair is looked at alone: no correction for the number of pairs.
    """
    sign = 1.0 if lower_is_better else -1.0
    losses = sign * np.asarray(values, dtype=np.float64)
    ends = np.sort(sign * np.asarray(bounds, dtype=np.float64).reshape(-1, 2), axis=1)
    column = np.array([-1 if place is None else place for place in paired], dtype=np.intp)
    with_column = np.flatnonzero(column >= 0)
    drawn = sign * draws[:, column[with_column]]
    order = np.argsort(losses, kind="stable")
    found = []
    for place, row in enumerate(order):
        better, worse = _shown(int(row), ends, drawn, with_column, level)
        found.append(
            Rank(
                row=int(row),
                rank=1 + int((losses < losses[row]).sum()),
                best=1 + int(better.sum()),
                worst=len(losses) - int(worse.sum()),
                tied=place > 0 and not bool(better[order[place - 1]]),
            )
        )
    return found


def _shown(
    row: int, ends: Array, drawn: Array, with_column: NDArray[np.intp], level: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows (rows,) are shown to be better than `row`, and which worse; losses, so lower is better."""
    better = ends[:, 1] < ends[row, 0]
    worse = ends[:, 0] > ends[row, 1]
    if row in with_column:
        own = drawn[:, [int(np.searchsorted(with_column, row))]]
        lower, upper = percentile_interval(drawn - own, level)
        better[with_column], worse[with_column] = upper < 0, lower > 0
    return better, worse
