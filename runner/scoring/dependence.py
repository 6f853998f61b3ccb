"""Items that are not independent of each other: robust errors, and what may be resampled or exchanged as one.

Each item may share values with others (the two actions of a dilemma, the author of a post). Two items depend on each
other if they share a value; further apart they are taken to be independent. The error of a mean is then the
dyadic-robust one (Fafchamps and Gubert 2007; Cameron, Gelbach and Miller 2011): products of deviations over all pairs
that share something.

    actions   a ── b ── c ── d ── e ─ …        items in a chain: neighbours share an action,
    items      ab   bc   cd   de               blocks of it are nearly independent

Bootstrap and permutation need units that are nearly independent. Where the items fall into twenty or more groups that
share nothing with each other, and none holds a tenth of all, those are the groups. Otherwise the items are walked from
neighbour to neighbour and the walk is cut into blocks: the bootstrap draws overlapping ones (Künsch 1989), the
permutation flips disjoint ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from runner.core.types import Array

_FEWEST_GROUPS = 20


@dataclass(frozen=True, slots=True)
class Dependence:
    """Which items share what, and the units that follow from it."""

    codes: NDArray[np.intp]
    """`(items, paths)` the value of each item at each path as a number, −1 for none; equal numbers are shared, at
    whichever path."""
    walk: NDArray[np.intp]
    """`(items,)` the items in the order of the walk."""
    unit: NDArray[np.intp]
    """`(items,)` the unit of each item, from 0."""
    length: int
    """Of a block of the walk; 0 where the units are whole groups."""

    @property
    def units(self) -> int:
        """How many units there are."""
        return int(self.unit.max()) + 1

    def subset(self, where: NDArray[np.bool_]) -> "Dependence | None":
        """The same of the items of a mask, None where these share nothing any more."""
        return _dependence(self.codes[where])

    def unit_sums(self, values: Array) -> Array:
        """`(units, columns)` sums of `(items, columns)`."""
        sums = np.zeros((self.units, values.shape[1]))
        np.add.at(sums, self.unit, values)
        return sums


def dependence(clusters: Sequence[Sequence[str]]) -> Dependence | None:
    """The dependence of items with these shared values each; None where no two items share one."""
    numbers: dict[str, int] = {}
    paths = max((len(own) for own in clusters), default=0)
    codes = np.full((len(clusters), paths), -1, dtype=np.intp)
    for row, own in enumerate(clusters):
        for column, value in enumerate(dict.fromkeys(own)):
            codes[row, column] = numbers.setdefault(value, len(numbers))
    return _dependence(codes)


def standard_error(losses: Array, shared: Dependence) -> Array | None:
    """The dyadic-robust standard error of the mean of each column of `(items, metrics)`; None for one unit.

    V = u/(u−1) · n⁻² Σ d_i d_j over all pairs that share a value, an item with itself included, u the number of units.
    By inclusion and exclusion over the values of an item, so its time grows with the items, not with the pairs. Where
    V is not above 0 (neighbours that contradict each other), the error of independent items.
    """
    values = np.asarray(losses, dtype=np.float64)
    items, units = len(values), shared.units
    if units < 2:
        return None
    deviations = values - values.mean(axis=0)
    total = np.zeros(values.shape[1])
    paths = shared.codes.shape[1]
    alone = (shared.codes < 0).all(axis=1)
    total += (deviations[alone] ** 2).sum(axis=0)
    for size in range(1, paths + 1):
        sets = [np.sort(shared.codes[:, chosen], axis=1) for chosen in map(list, combinations(range(paths), size))]
        rows = np.concatenate([np.flatnonzero((codes_of_set >= 0).all(axis=1)) for codes_of_set in sets])
        keys = np.concatenate([codes_of_set[(codes_of_set >= 0).all(axis=1)] for codes_of_set in sets])
        if not len(keys):
            break
        which = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
        sums = np.zeros((int(which.max()) + 1, values.shape[1]))
        np.add.at(sums, which, deviations[rows])
        total += (-1) ** (size + 1) * (sums**2).sum(axis=0)
    independent = (deviations**2).sum(axis=0)
    variance = np.where(total > 1e-9 * independent, total, independent) * units / (units - 1) / items**2
    return np.asarray(np.sqrt(variance))


def resample(shared: Dependence, rows: int, generator: np.random.Generator) -> Array:
    """How often each item is in each of `rows` bootstrap samples of units, `(rows, items)`."""
    items = len(shared.unit)
    if shared.length == 0:
        picked = generator.integers(0, shared.units, size=(rows, shared.units))
        picked += np.arange(rows)[:, None] * shared.units
        times = np.bincount(picked.ravel(), minlength=rows * shared.units).reshape(rows, shared.units)
        return np.asarray(times[:, shared.unit], dtype=np.float64)
    blocks = max(1, round(items / shared.length))
    starts = generator.integers(0, items, size=(rows, blocks)) + np.arange(rows)[:, None] * items
    begun = np.bincount(starts.ravel(), minlength=rows * items).reshape(rows, items)
    # A position of the walk is covered by the blocks that begin at most length − 1 before it, around the end.
    covered = np.cumsum(np.concatenate([begun[:, -shared.length :], begun], axis=1), axis=1)
    weights = np.empty((rows, items))
    weights[:, shared.walk] = covered[:, shared.length :] - covered[:, : -shared.length]
    return weights


def _dependence(codes: NDArray[np.intp]) -> Dependence | None:
    members: dict[int, list[int]] = {}
    for row, own in enumerate(codes.tolist()):
        for code in own:
            if code >= 0:
                members.setdefault(code, []).append(row)
    largest = max((len(rows) for rows in members.values()), default=1)
    if largest < 2:
        return None
    items = len(codes)
    walk, group = _walk(codes.tolist(), members)
    sizes = np.bincount(group)
    if len(sizes) >= _FEWEST_GROUPS and sizes.max() * 10 <= items:
        return Dependence(codes, walk, group, 0)
    length = min(items, max(int(np.ceil(1.5 * np.cbrt(items))), 2 * largest - 2))
    unit = np.empty(items, dtype=np.intp)
    unit[walk] = np.minimum(np.arange(items) // length, max(items // length - 1, 0))
    return Dependence(codes, walk, unit, length)


def _walk(codes: list[list[int]], members: dict[int, list[int]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The items in the order of a depth-first walk over what they share, and the group of each item.

    A group's walk begins at an item with the fewest neighbours: at the end of a chain, where there is one.
    """
    neighbours = [sum(len(members[code]) - 1 for code in own if code >= 0) for own in codes]
    seen = [False] * len(codes)
    spent: set[int] = set()
    order: list[int] = []
    group = np.empty(len(codes), dtype=np.intp)
    groups = 0
    for start in sorted(range(len(codes)), key=lambda row: (neighbours[row], row)):
        if seen[start]:
            continue
        stack = [start]
        while stack:
            row = stack.pop()
            if seen[row]:
                continue
            seen[row] = True
            group[row] = groups
            order.append(row)
            for code in codes[row]:
                if code >= 0 and code not in spent:
                    spent.add(code)
                    stack.extend(other for other in reversed(members[code]) if not seen[other])
        groups += 1
    return np.array(order, dtype=np.intp), group
