"""What people and a model say of each item, from a card's predictions and the data; and where they are far apart."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runner.core.types import Array, Item
from runner.scorecard.load import OpenCard
from runner.scorecard.signed_run import open_signed_run
from runner.scoring.rules import shares
from runner.tasks.selection import TaskAnswers, drop_unparsed

_BARS = 10


@dataclass(frozen=True, slots=True)
class ItemShares:
    """The items of a task whose answers could be read, with people's and a model's shares of each label."""

    labels: tuple[str, ...]
    """Labels of the task."""
    items: tuple[Item, ...]
    """Items, in the order of the data."""
    people: Array
    """(items, labels) shares of the votes."""
    model: Array
    """(items, labels) the model's shares, averaged over prompts and orders as they are scored."""
    synthetic: bool
    """Whether texts and votes are ours."""
    strata: tuple[str, ...] = ()
    """Kinds of strata of the task."""

    @property
    def distances(self) -> Array:
        """(items,) total variation between model and people."""
        return np.asarray(0.5 * np.abs(self.model - self.people).sum(axis=1))


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many items have which share of one label."""

    edges: tuple[float, ...]
    """Of the bins, from 0 to 1."""
    people: tuple[int, ...]
    """Items in each bin, by people's votes."""
    model: tuple[int, ...]
    """Items in each bin, by the model's shares."""

    def to_json(self) -> dict[str, Any]:
        """The histogram as a JSON value."""
        return {name: list(getattr(self, name)) for name in ("edges", "people", "model")}


@dataclass(frozen=True, slots=True)
class Difference:
    """One item on which model and people differ."""

    item: str
    """Its id."""
    votes: tuple[int, ...]
    """Of people, per label."""
    people: tuple[float, ...]
    """Their shares, per label."""
    model: tuple[float, ...]
    """The model's shares, per label."""
    distance: float
    """The total variation between the two."""
    texts: Mapping[str, str] | None
    """The item's fields; None where they may not be shown: released texts are people's own stories."""

    def to_json(self) -> dict[str, Any]:
        """The difference as a JSON value."""
        return asdict(self)


def item_shares(opened: OpenCard, benchmark_file: Path | None, data_dir: Path | None) -> dict[str, ItemShares]:
    """Task → what people and the model of the card say of its items.

    Raises `InvalidInput` if predictions or data are missing, `VerificationError` if they are not those of the card.
    """
    run = open_signed_run(opened.card, opened.folder, benchmark_file, data_dir)
    return {name: shares_of(answers) for name, answers in run.answers().items()}


def shares_of(answers: TaskAnswers) -> ItemShares:
    """What people and the model say of the items whose answers could be read."""
    parsed = drop_unparsed(answers)
    part = parsed.task
    model = np.exp(parsed.scored.averaged())
    counts = np.array([item.counts for item in part.scored], dtype=np.float64).reshape(model.shape)
    return ItemShares(part.task.labels, part.scored, shares(counts), model, part.synthetic, part.task.strata)


def furthest(shares_of_items: ItemShares, limit: int, *, show_texts: bool) -> list[Difference]:
    """The `limit` items with the largest total variation, largest first; equal ones in the order of the data.

    Texts are given for synthetic data, or if `show_texts`.
    """
    distance = shares_of_items.distances
    return [
        Difference(
            item=shares_of_items.items[row].id,
            votes=shares_of_items.items[row].counts,
            people=tuple(shares_of_items.people[row].tolist()),
            model=tuple(shares_of_items.model[row].tolist()),
            distance=float(distance[row]),
            texts=dict(shares_of_items.items[row].fields) if shares_of_items.synthetic or show_texts else None,
        )
        for row in np.argsort(-distance, kind="stable")[:limit]
    ]


def histograms(shares_of_items: ItemShares) -> dict[str, Histogram]:
    """Label → how people's and the model's shares of it are distributed over the items, by tenths."""
    edges = np.linspace(0.0, 1.0, _BARS + 1)
    return {
        label: Histogram(
            edges=tuple(round(float(edge), 10) for edge in edges),
            # Rounding may leave a share a little beyond its end.
            people=tuple(np.histogram(shares_of_items.people[:, column].clip(0, 1), edges)[0].tolist()),
            model=tuple(np.histogram(shares_of_items.model[:, column].clip(0, 1), edges)[0].tolist()),
        )
        for column, label in enumerate(shares_of_items.labels)
    }


def largest_differences(
    opened: OpenCard, limit: int, benchmark_file: Path | None, data_dir: Path | None, *, show_texts: bool
) -> dict[str, list[Difference]]:
    """Task → its `limit` items of `furthest`. Raises as `item_shares` does."""
    shares_by_task = item_shares(opened, benchmark_file, data_dir)
    return {name: furthest(own, limit, show_texts=show_texts) for name, own in shares_by_task.items()}
