"""Draw the pictures of the documentation: `python docs/pictures/make.py`.

`scorecard.svg` is of an invented model on the embedded sample. `card.svg` and `board.svg` are of the signed cards in
`cards`: SmolLM2-135M-Instruct on all dev Dilemmas, as docs/real-models.md has it, and other people.
"""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from runner.archive.add import add
from runner.archive.leaderboard import Group, leaderboard
from runner.archive.store import open_store
from runner.core import resources
from runner.core.types import Prediction
from runner.report.html.leaderboard import leaderboard_chart
from runner.report.html.plots import scale_over, strip
from runner.report.html.render import figure
from runner.report.html.words import strata_in_order
from runner.scorecard import filenames
from runner.scorecard.build import build_tasks
from runner.scorecard.load import open_card
from runner.scorecard.signed_run import benchmark_of
from runner.signing.keyring import keyring_of
from runner.tasks.selection import RunConfig, Selection, align_predictions, prompts, select

HERE = Path(__file__).parent
METRIC = "cross_entropy"


def example_rows(selection: Selection, seed: int = 20241010) -> Iterator[Prediction]:
    """Predictions of an invented model: it leans as a second group of people does, with noise, and to the first option.

    Where the data has no second group it leans as the votes do.
    One row per prompt and order, with answer mass, as a run of a real model has them.
    """
    generator = np.random.default_rng(seed)
    votes = {
        (task, item.id): item.panel or item.counts for (task, _), items in selection.items().items() for item in items
    }
    for prompt in prompts(selection):
        counts = np.array(votes[prompt.task, prompt.item_id], dtype=np.float64)
        leaning = 0.6 * np.log((counts + 1) / (counts.sum() + len(counts)))
        spec = selection.benchmark.prompts[prompt.prompt_id]
        labels = selection.benchmark.tasks[prompt.task].labels
        first = np.array([label == spec.orders[prompt.order][0] for label in labels])
        scores = leaning + 0.4 * generator.standard_normal(len(counts)) + 0.3 * first - 2.0
        scores -= max(0.0, math.log(np.exp(scores).sum()))
        yield Prediction(
            task=prompt.task,
            item_id=prompt.item_id,
            log_scores=tuple(round(score, 6) for score in scores.tolist()),
            split=prompt.split,
            prompt_id=prompt.prompt_id,
            order=prompt.order,
            answer_mass=round(min(1.0, float(np.exp(scores).sum())), 6),
        )


def example_task() -> dict[str, Any]:
    """The Dilemmas block of a card with those predictions."""
    selection = select(RunConfig(resources.benchmark_file(), "sample", tasks=("dilemmas",)))
    found: dict[str, Any] = build_tasks(selection, align_predictions(selection, example_rows(selection)))["dilemmas"]
    return found


def real_cards() -> tuple[dict[str, Any], Group]:
    """The Dilemmas of SmolLM2's card in plain text, verified, and the board of all cards."""
    key = load_pem_public_key((HERE / "cards" / "key.pub.pem").read_bytes())
    assert isinstance(key, Ed25519PublicKey)
    keyring = keyring_of(key)
    files = sorted((HERE / "cards").glob("*.sigstore.json"))
    with TemporaryDirectory() as folder:
        store = open_store(f"{folder}/archive")
        for file in files:
            run = Path(folder) / file.name.removesuffix(".sigstore.json")
            run.mkdir()
            shutil.copy(file, run / filenames.BUNDLE)
            card = open_card(run, keyring).card
            add(store, [run], keyring, benchmark_file=benchmark_of(card, run, None))
        group = leaderboard(store, keyring).groups[0]
        card = open_card(Path(folder) / "smollm2-135m-instruct-plain", keyring).card
    task: dict[str, Any] = card["tasks"]["dilemmas"]
    return task, group


def draw(task: dict[str, Any], title: str | None = None) -> str:
    """The picture of a task of a card as SVG: with numbers for the text that explains it, or with a title."""
    estimate = task["metrics"][METRIC]
    interval = estimate["confidence_interval"]
    prior, ceiling = task["baselines"]["prior"][METRIC]["value"], task["ceiling"][METRIC]["value"]
    ends = (interval["lower"], interval["upper"])
    way = scale_over((estimate["value"], prior, ceiling, *ends), lower_is_better=True)
    parts = task["strata"]["unanimity"]
    estimates = {name: parts[name]["metrics"][METRIC] for name in strata_in_order(parts)}
    bounds = {name: one["confidence_interval"] for name, one in estimates.items()}
    values = [one["value"] for one in estimates.values()] + [part["ceiling"] for part in parts.values()]
    values = [value for value in values if value is not None]
    values += [end[side] for end in bounds.values() for side in ("lower", "upper")]
    scale = scale_over(values, lower_is_better=True)
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["figure"] = figure
    return environment.get_template("scorecard.svg.j2").render(
        title=title,
        way=strip(way, estimate["value"], *ends),
        prior=(way.at(prior), prior),
        ceiling=(way.at(ceiling), ceiling),
        value=estimate["value"],
        skill=task["metrics"]["skill"]["value"],
        parts=[
            (
                name,
                strip(scale, one["value"], bounds[name]["lower"], bounds[name]["upper"], parts[name]["ceiling"]),
                one["value"],
            )
            for name, one in estimates.items()
        ],
        points=[
            (100 * x, 100 - 100 * y)
            for x, y in zip(*(task["reliability"]["first"][axis] for axis in ("predicted", "observed")), strict=True)
        ],
    )


def pictures() -> dict[str, str]:
    """Name → SVG of every picture that this file draws."""
    task, group = real_cards()
    return {
        "scorecard.svg": draw(example_task()),
        "card.svg": draw(task, "SmolLM2-135M-Instruct, 2,340 Dilemmas"),
        "board.svg": leaderboard_chart(group),
    }


if __name__ == "__main__":
    for name, text in pictures().items():
        (HERE / name).write_text(text, encoding="utf-8")
