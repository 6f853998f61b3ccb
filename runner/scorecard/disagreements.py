"""The items on which a model's distribution is farthest from people's, from a card's predictions and the data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runner.core.canonical import sha256_file
from runner.core.errors import Fault, InvalidInput
from runner.scorecard import filenames
from runner.scorecard.load import OpenCard
from runner.scorecard.recompute import benchmark_of, selection_of
from runner.scoring.rules import shares
from runner.tasks.predictions import read
from runner.tasks.selection import align_predictions, drop_unparsed


@dataclass(frozen=True, slots=True)
class Difference:
    """One item: people's `votes` per label, their `people` shares, the `model`'s shares, and their total variation.

    `texts` are the item's fields, None where they may not be shown: released texts are people's own stories.
    """

    item: str
    votes: tuple[int, ...]
    people: tuple[float, ...]
    model: tuple[float, ...]
    distance: float
    texts: Mapping[str, str] | None

    def to_json(self) -> dict[str, Any]:
        """The difference as a JSON value."""
        return asdict(self)


def largest_differences(
    opened: OpenCard, most: int, benchmark_file: Path | None, data_dir: Path | None, *, show_texts: bool
) -> dict[str, list[Difference]]:
    """Task → its `most` items with the largest total variation between model and votes, largest first.

    Equal distances stand in the order of the data. Texts are given for synthetic data, or if `show_texts`. Raises
    `InvalidInput` if predictions or data are missing or are not those of the card.
    """
    card = opened.card
    rows_file = opened.folder / filenames.PREDICTIONS
    if not rows_file.is_file():
        raise InvalidInput(Fault("FILE_MISSING", "There are no predictions beside the card.", str(rows_file)))
    if (found := sha256_file(rows_file)) != card["predictions"]["sha256"]:
        message = f"sha256 {found} is not that of the card's predictions."
        raise InvalidInput(Fault("SIG_FILES", message, str(rows_file)))
    selection = selection_of(card, benchmark_of(card, opened.folder, benchmark_file), data_dir)
    optional = card["submission"]["model"] is None
    answers = align_predictions(selection, read(rows_file), str(rows_file), optional_fitting=optional)
    largest = {}
    for whole in selection.tasks:
        part, cut = drop_unparsed(whole, answers)
        model = np.exp(cut[part.task.name, part.split].averaged())
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
            for row in np.argsort(-distance, kind="stable")[:most]
        ]
    return largest
