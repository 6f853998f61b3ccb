"""Items, answers, selections, prediction files and signed runs made on the spot, for the rooms around the seam."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import ArrayLike
from scipy.special import log_softmax

from runner.config.benchmark import load_benchmark
from runner.core import resources
from runner.core.benchmark_types import Benchmark
from runner.core.types import Item, Prediction
from runner.evaluation.run_dir import write_card
from runner.evaluation.score import score_file
from runner.scorecard import filenames
from runner.signing.keyring import Keyring, keyring_of
from runner.tasks.answers import align
from runner.tasks.predictions import to_line
from runner.tasks.selection import RunConfig, Selection, TaskAnswers, TaskData, select

RELEASED = resources.benchmark_file()
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYRING: Keyring = keyring_of(KEY.public_key())


def benchmark(draws: int = 200, ceiling_draws: int = 50, **scoring: Any) -> Benchmark:
    """The released benchmark with fewer draws, so that a card takes milliseconds."""
    known = load_benchmark(RELEASED)
    fewer = replace(known.scoring.intervals, draws=draws)
    return replace(known, scoring=replace(known.scoring, intervals=fewer, ceiling_draws=ceiling_draws, **scoring))


def items(counts: ArrayLike, prefix: str = "i", groups: Sequence[str | None] | None = None) -> tuple[Item, ...]:
    """Items `i0`, `i1`, … with these counts `(items, labels)`."""
    rows = np.asarray(counts).astype(int).tolist()
    return tuple(
        Item(f"{prefix}{number}", {}, tuple(row), None, groups[number] if groups else None)
        for number, row in enumerate(rows)
    )


def rows(
    task: str, members: Iterable[Item], scores: ArrayLike, prompt_id: str | tuple[str, ...] | None = "p", **more: Any
) -> list:
    """One prediction for each item and order, from scores `(items, orders, labels)`; for several prompts the same."""
    if isinstance(prompt_id, tuple):
        members = tuple(members)
        return [row for name in prompt_id for row in rows(task, members, scores, name, **more)]
    return [
        Prediction(task, item.id, tuple(map(float, one)), prompt_id=prompt_id, order=order, **more)
        for item, views in zip(members, np.asarray(scores, dtype=float), strict=True)
        for order, one in enumerate(views)
    ]


def selection(
    counts: ArrayLike, *, task: str = "dilemmas", fitting: ArrayLike | None = None, groups: Any = None, **fewer: Any
) -> Selection:
    """A selection of one task over made items: the split `test`, fitted on `dev` where `fitting` counts are given."""
    known = benchmark(**fewer)
    scored, held_out = items(counts, groups=groups), items(fitting, "f") if fitting is not None else ()
    part = TaskData(
        task=known.tasks[task],
        dataset="scruples",
        synthetic=False,
        split="test",
        fitting_split="dev" if held_out else "test",
        scored=scored,
        fitting=held_out,
        answered_fitting=held_out,
        skipped=0,
    )
    data = {"scruples/test": {"sha256": "0" * 64, "rows": len(scored)}}
    return Selection(known, "full", None, (part,), data, ())


def answers(
    made: Selection, scores: ArrayLike, fitting: ArrayLike | None = None, **more: Any
) -> dict[str, TaskAnswers]:
    """The answers with these scores `(items, orders, labels)` to the one task of `made`."""
    part = made.tasks[0]
    name, labels = part.task.name, part.task.labels
    scored = align(part.scored, labels, rows(name, part.scored, scores, **more))
    if fitting is None:
        return {name: TaskAnswers(part, scored)}
    own = rows(name, part.answered_fitting, fitting, **more)
    return {name: TaskAnswers(part, scored, align(part.answered_fitting, labels, own))}


def simulated(number: int, labels: int = 2, votes: int = 5, seed: int = 0) -> tuple[Any, Any]:
    """Counts `(items, labels)`, scattered as people are, and scores `(items, 2, labels)` that know some of it."""
    generator = np.random.default_rng(seed)
    logs = log_softmax(generator.normal(0, 1.0, (number, labels)), axis=1)
    truth = generator.standard_gamma(2.0 * np.exp(logs)) + 1e-9
    counts = generator.multinomial(votes, truth / truth.sum(axis=1, keepdims=True))
    return counts, logs[:, None, :] + generator.normal(0, 0.5, (number, 2, labels))


# --- runs on the sample -------------------------------------------------------------------------------------------


def choice(**more: Any) -> RunConfig:
    """The sample's Dilemmas, or what is named."""
    return RunConfig(**{"benchmark": RELEASED, "suite": "sample", "tasks": ("dilemmas",), **more})


def sample_rows(
    seed: int = 0,
    noise: float = 1.0,
    chosen: RunConfig | None = None,
    fitting: bool = True,
    prompts: int | None = None,
) -> list:
    """Rows for all items of a choice, its prompts and orders: the log of the people's shares, smoothed, with noise.

    `prompts` is how many of a task's own prompts are asked, by default all.
    """
    generator = np.random.default_rng(seed)
    found = []
    made = select(chosen or choice())
    for (task, split), members in made.items().items():
        if not fitting and any(part.task.name == task and part.split != split for part in made.tasks):
            continue
        counts = np.array([item.counts for item in members], dtype=float) + 1.0
        logs = np.log(counts / counts.sum(axis=1, keepdims=True))
        for prompt in made.benchmark.tasks[task].prompts[:prompts]:
            scores = logs[:, None, :] + noise * generator.normal(size=(len(members), 2, counts.shape[1]))
            found += rows(task, members, scores, prompt, split=split, answer_mass=0.9)
    return found


def write_rows(path: Path, predictions: Iterable[Prediction]) -> Path:
    path.write_text("".join(map(to_line, predictions)), encoding="utf-8")
    return path


def scored(output: Path, predictions: Iterable[Prediction], name: str = "made", **more: Any) -> Path:
    """The folder of a signed run of these rows."""
    output.mkdir(parents=True, exist_ok=True)
    file = write_rows(output / f"{name}.jsonl", predictions)
    return score_file(file, choice(**more), name, output, None, lambda: KEY)[0]


def read_card(folder: Path) -> Any:
    return json.loads((folder / filenames.CARD).read_text(encoding="utf-8"))


def sign_again(folder: Path, card: Any) -> None:
    """Write `card` into the folder of a run, properly signed by the same key."""
    write_card(folder, card, KEY)


def golden_rows(chosen: RunConfig) -> list[Prediction]:
    """Answers to keep in a file: few digits, masses and a shortened text among them."""
    found = []
    for number, row in enumerate(sample_rows(seed=11, chosen=chosen)):
        found.append(
            replace(
                row,
                log_scores=tuple(round(score, 3) for score in row.log_scores),
                answer_mass=round(0.5 + 0.5 * ((number * 37) % 101) / 101, 3),
                truncated=row.task != "dilemmas" and number % 40 == 0,
            )
        )
    return found
