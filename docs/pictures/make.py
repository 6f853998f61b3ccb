"""Draw the picture of docs/read-a-scorecard.md from a run on the embedded sample: `python docs/pictures/make.py`."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from runner.core import resources
from runner.core.types import Prediction
from runner.report.html.plots import scale_over, strip
from runner.report.html.render import figure
from runner.report.html.words import strata_in_order
from runner.scorecard.build import build_tasks
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


def draw(task: dict[str, Any]) -> str:
    """The picture as SVG."""
    estimate = task["metrics"][METRIC]
    interval = estimate["confidence_interval"]
    prior, ceiling = task["baselines"]["prior"][METRIC]["value"], task["ceiling"][METRIC]["value"]
    ends = (interval["lower"], interval["upper"])
    way = scale_over((estimate["value"], prior, ceiling, *ends), lower_is_better=True)
    parts = task["strata"]["unanimity"]
    estimates = {name: parts[name]["metrics"][METRIC] for name in strata_in_order(parts)}
    bounds = {name: one["confidence_interval"] for name, one in estimates.items()}
    values = [one["value"] for one in estimates.values()] + [part["ceiling"] for part in parts.values()]
    values += [end[side] for end in bounds.values() for side in ("lower", "upper")]
    scale = scale_over(values, lower_is_better=True)
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["figure"] = figure
    return environment.get_template("scorecard.svg.j2").render(
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


if __name__ == "__main__":
    (HERE / "scorecard.svg").write_text(draw(example_task()), encoding="utf-8")
