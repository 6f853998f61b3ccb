"""Per-item losses of archived predictions, so that ranks rest on the same items and numbers on their rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from runner.archive import benchmarks, objects
from runner.archive.leaderboard.candidates import Candidate
from runner.archive.leaderboard.values import ComparisonKey
from runner.archive.objects import FILES
from runner.archive.store import Store
from runner.core.errors import UserError
from runner.core.types import Array
from runner.scorecard import filenames
from runner.scorecard.task_metrics import measure, shared_by
from runner.scoring.intervals import bootstrap_means
from runner.scoring.rules import RULES
from runner.tasks.predictions import read
from runner.tasks.selection import RunConfig, Selection, align_predictions, select


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What the archived predictions give."""

    draws: Mapping[str, Array]
    """By digest of a card: `(resamples,)` bootstrap means of the primary metric, on resampled items that all cards
    share."""
    refused: Mapping[str, str]
    """By digest of a card: why it is refused."""
    notes: tuple[str, ...]
    """Sentences on what could not be rebuilt."""


def rebuild(
    store: Store,
    measures: ComparisonKey,
    cards: Sequence[Candidate],
    data_dir: Path,
    observe: Callable[[int, int], None],
) -> Rebuilt:
    """Read the predictions of `cards` from the archive and score them on the data in `data_dir`.

    A card is refused whose mean loss is not its value, within the benchmark's `recompute_tolerance`, or whose
    predictions are damaged or do not answer every item once.
    """
    data = objects.read(store, FILES["benchmark"], cards[0].benchmark_file)
    with benchmarks.benchmark_file(data) as path:
        try:
            selection = select(
                RunConfig(
                    path,
                    measures.suite,
                    tasks=(measures.task,),
                    split=measures.split,
                    data_dir=data_dir,
                    limit=measures.limit,
                )
            )
        except UserError as problem:
            return Rebuilt({}, {}, (f"Not rebuilt from predictions: {problem.faults[0].message}",))
    data_sha256 = selection.data[f"{measures.dataset}/{measures.split}"]["sha256"]
    if data_sha256 != measures.data_sha256:
        return Rebuilt(
            {}, {}, (f"Not rebuilt from predictions: the data here is {data_sha256[:16]}…, not the cards'.",)
        )
    losses: dict[str, Array] = {}
    refused: dict[str, str] = {}
    without = 0
    tolerance = selection.benchmark.scoring.recompute_tolerance
    for done, candidate in enumerate(cards, start=1):
        observe(done, len(cards))
        if candidate.predictions is None:
            without += 1
            continue
        try:
            column = _losses(store, candidate, selection)
        except UserError as problem:
            refused[candidate.card] = f"its predictions: {problem.faults[0].message}"
            continue
        mean = float(column.mean())
        if abs(mean - candidate.value) > tolerance * max(1.0, abs(mean)):
            refused[candidate.card] = f"it says {candidate.value:.6f}, its predictions give {mean:.6f}"
        else:
            losses[candidate.card] = column
    notes = [f"{without} of {len(cards)} rows have no predictions in the archive."] if without else []
    if not losses:
        return Rebuilt({}, refused, tuple(notes))
    spec = selection.benchmark.scoring.intervals
    shared = shared_by(selection.tasks[0], selection.benchmark.scoring)
    drawn = bootstrap_means(np.column_stack(list(losses.values())), spec.draws, spec.seed, shared)
    return Rebuilt({card: drawn[:, number] for number, card in enumerate(losses)}, refused, tuple(notes))


def _losses(store: Store, candidate: Candidate, selection: Selection) -> Array:
    """(items,) the primary metric of each item."""
    assert candidate.predictions is not None
    content = objects.read(store, FILES["predictions"], candidate.predictions)
    with TemporaryDirectory() as folder:
        path = Path(folder) / filenames.PREDICTIONS
        path.write_bytes(content)
        part = selection.tasks[0]
        rows = [row for row in read(path) if row.task == part.task.name]
    answers = align_predictions(selection, rows, optional_fitting=True)[part.task.name]
    scoring = selection.benchmark.scoring
    rule = RULES.get(scoring.primary)
    if rule is not None:
        counts = np.array([item.counts for item in part.scored], dtype=np.float64)
        losses: Array = rule(answers.scored.averaged(), counts)
        return losses
    return measure(answers, scoring).values[scoring.primary]
