"""The items on which a model's distribution is farthest from people's, from a card's predictions and the data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runner.scorecard.load import OpenCard
from runner.scorecard.signed_run import open_signed_run
from runner.scoring.rules import shares
from runner.tasks.selection import drop_unparsed


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


def largest_differences(
    opened: OpenCard, limit: int, benchmark_file: Path | None, data_dir: Path | None, *, show_texts: bool
) -> dict[str, list[Difference]]:
    """Task → its `limit` items with the largest total variation between model and votes, largest first.

    Equal distances stand in the order of the data. Texts are given for synthetic data, or if `show_texts`. Raises
    `InvalidInput` if predictions or data are missing, `VerificationError` if they are not those of the card.
    """
    run = open_signed_run(opened.card, opened.folder, benchmark_file, data_dir)
    largest = {}
    for answers in run.answers().values():
        parsed = drop_unparsed(answers)
        part = parsed.task
        model = np.exp(parsed.scored.averaged())
        counts = np.array([item.counts for item in part.scored], dtype=np.float64).reshape(model.shape)
        people = shares(counts)
        distance = 0.5 * np.abs(model - people).sum(axis=1)
        largest[part.task.name] = [
            Difference(
                item=part.scored[row].id,
                votes=part.scored[row].counts,
                people=tuple(people[row].tolist()),
                model=tuple(model[row].tolist()),
                distance=float(distance[row]),
                texts=dict(part.scored[row].fields) if part.synthetic or show_texts else None,
            )
            for row in np.argsort(-distance, kind="stable")[:limit]
        ]
    return largest
