"""Which rows of a file belong to a split that is some of its folds."""

import json
from collections.abc import Sequence, Set
from typing import Any

from runner.core.benchmark_types import FoldSpec
from runner.core.canonical import sha256_bytes
from runner.tasks.data.paths import value_at


def fold_of(rows: int, number: int, seed: int) -> list[int]:
    """The fold, 1 to `number`, of each row: the rows are put in the order of a hash and dealt out in turn.

    The hash is sha256 of `SEED:ROW`, rows counted from 1, in decimal digits: no library's generator is needed to find
    the same folds again. Their sizes differ by at most one.
    """
    order = sorted(range(rows), key=lambda row: sha256_bytes(f"{seed}:{row + 1}".encode()))
    folds = [0] * rows
    for position, row in enumerate(order):
        folds[row] = position % number + 1
    return folds


def taken(rows: Sequence[Any], folds: FoldSpec) -> list[bool]:
    """Whether each of the parsed `rows` of a file belongs to the split: `taken_of` their values."""
    return taken_of([apart_values(row, folds.apart) for row in rows], folds)


def apart_values(row: Any, apart: Sequence[str]) -> frozenset[str]:
    """What a row has at the paths `apart`, as JSON; a path that leads to nothing shares nothing."""
    return frozenset(json.dumps(value) for path in apart for value in value_at(row, path))


def taken_of(values: Sequence[Set[str]], folds: FoldSpec) -> list[bool]:
    """Whether each row belongs to the split, by its values at the paths `folds.apart`.

    Rows of a fold that is taken do, unless they share a value (any with any) with a row of another fold. Where a row is
    one person's answer, an item stands for its rows: items are numbered by their first row.
    """
    fold = fold_of(len(values), folds.number, folds.seed)
    in_folds = [number in folds.take for number in fold]
    others = set[str]().union(*(row_values for row_values, mine in zip(values, in_folds, strict=True) if not mine))
    return [mine and others.isdisjoint(row_values) for mine, row_values in zip(in_folds, values, strict=True)]
