"""What people and many models say of the same items, and how far apart they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runner.core.types import Array, Item
from runner.scorecard.disagreements import ItemShares
from runner.scorecard.strata import masks
from runner.scoring.distances import entropy


@dataclass(frozen=True, slots=True)
class ItemTable:
    """The items of a task as people and several models see them."""

    labels: tuple[str, ...]
    """Labels of the task."""
    items: tuple[Item, ...]
    """Items, in the order of the data."""
    people: Array
    """(items, labels) shares of the votes."""
    models: Array
    """(models, items, labels) each model's shares; NaN where its answer could not be read."""
    strata: tuple[str, ...]
    """Kinds of strata of the task."""

    @property
    def distance(self) -> Array:
        """(items,) mean total variation between the models and people."""
        return np.asarray(np.nanmean(0.5 * np.abs(self.models - self.people).sum(axis=2), axis=0))

    @property
    def spread(self) -> Array:
        """(items,) entropy of people's votes, from 0 (all alike) to 1 (every label as often)."""
        return np.asarray(entropy(self.people.T) / np.log(len(self.labels)))

    @property
    def apart(self) -> Array:
        """(items,) mean total variation between the models and their average: 0 with one model."""
        average = np.nanmean(self.models, axis=0)
        return np.asarray(np.nanmean(0.5 * np.abs(self.models - average).sum(axis=2), axis=0))

    def stratum(self, kind: str) -> list[str | None]:
        """The stratum of each item, by its name; None for an item that is in none."""
        names: list[str | None] = [None] * len(self.items)
        counts = np.array([item.counts for item in self.items], dtype=np.float64)
        for name, mask in masks(kind, self.items, counts).items():
            for row in np.flatnonzero(mask):
                names[row] = name
        return names


@dataclass(frozen=True, slots=True)
class Changes:
    """Items whose most frequent answer of people only one of two models gives as its most probable one.

    Rows are positions in the items of A.
    """

    items: int
    """Those with one most frequent answer that both could be read on."""
    fixed: tuple[int, ...]
    """Rows on which B has it and A has not, those first that B is nearest to people on, compared with A."""
    broke: tuple[int, ...]
    """Rows on which A has it and B has not, in the same order for A."""
    strata: tuple[tuple[str, str, int, int, int], ...]
    """(kind, stratum, items, fixed, broke) of every stratum."""


def item_table(models: Sequence[ItemShares]) -> ItemTable:
    """The items of at least one model's shares of one task."""
    first = max(models, key=lambda shares: len(shares.items))
    ordered = {
        item.id: (item, row)
        for shares in (first, *models)
        for item, row in zip(shares.items, shares.people, strict=True)
    }
    numbers = {item_id: number for number, item_id in enumerate(ordered)}
    answers = np.full((len(models), len(ordered), len(first.labels)), np.nan)
    for number, shares in enumerate(models):
        answers[number, [numbers[item.id] for item in shares.items]] = shares.model
    return ItemTable(
        labels=first.labels,
        items=tuple(item for item, _ in ordered.values()),
        people=np.array([row for _, row in ordered.values()]),
        models=answers,
        strata=first.strata,
    )


def changes(a: ItemShares, b: ItemShares) -> Changes:
    """What B fixed and what it broke, compared with A on the same task."""
    table = item_table([a, b])
    top = table.people.max(axis=1, keepdims=True)
    single = (table.people >= top - 1e-12).sum(axis=1) == 1
    clear = single & ~np.isnan(table.models).any(axis=(0, 2))
    hits = np.zeros((2, len(table.items)), dtype=bool)
    hits[:, clear] = table.models[:, clear].argmax(axis=2) == table.people[clear].argmax(axis=1)
    distances = np.where(clear, 0.5 * np.abs(table.models - table.people).sum(axis=2), 0.0)
    gain = distances[0] - distances[1]
    fixed, broke = clear & hits[1] & ~hits[0], clear & hits[0] & ~hits[1]
    order = np.argsort(-gain, kind="stable")
    return Changes(
        items=int(clear.sum()),
        fixed=tuple(int(row) for row in order if fixed[row]),
        broke=tuple(int(row) for row in order[::-1] if broke[row]),
        strata=tuple(
            (kind, name, int((mask & clear).sum()), int((mask & fixed).sum()), int((mask & broke).sum()))
            for kind in table.strata
            for name, mask in masks(kind, table.items, np.array([item.counts for item in table.items], float)).items()
        ),
    )
