"""Which items a recipe trains on and which it is evaluated on, once it is sure that the first are not scored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from runner.core import resources
from runner.core.benchmark_types import Benchmark, Task
from runner.core.errors import Fault, InvalidInput, raise_faults
from runner.core.recipe_types import Recipe
from runner.core.types import Item, Prompt
from runner.tasks.data.load import find_file, load_items
from runner.tasks.prompts import all_prompts
from runner.tasks.selection import RunConfig, Selection, select
from runner.training import leaks

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Part:
    """The items of one task that are trained on."""

    task: Task
    """The task."""
    split: str
    """Name of the split."""
    items: tuple[Item, ...]
    """The items."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a training reads and is evaluated on."""

    benchmark: Benchmark
    """The benchmark."""
    parts: tuple[Part, ...]
    """Training items by task."""
    evaluation: Selection
    """Items of the last evaluation."""
    written: Selection | None
    """The same where the model is to write the distribution; None unless the objective is `text`."""
    interim: tuple[Part, ...]
    """Items of the evaluations during training."""
    interim_written: tuple[Part, ...]
    """The same where the model is to write the distribution; empty unless the objective is `text`."""
    data: dict[str, dict[str, Any]]
    """File that was read to its sha256 and rows."""
    leaks: dict[str, Any]
    """What was compared for leaks, what leaked, and what could not be compared."""

    def prompts(self, parts: Sequence[Part]) -> Iterator[tuple[Prompt, Item]]:
        """Every prompt of the items of `parts` in every order, as evaluation asks them, each with its item."""
        for part in parts:
            specs = [self.benchmark.prompts[name] for name in part.task.prompts]
            for item in part.items:
                yield from ((prompt, item) for prompt in all_prompts(specs, part.task.labels, part.split, [item]))


def gather(recipe: Recipe, data_dir: Path | None) -> TrainingData:
    """Read the data of a recipe; `InvalidInput` with every fault, LEAK where an item to train on is scored."""
    spec = recipe.data
    choice = RunConfig(spec.benchmark or resources.benchmark_file(), spec.suite, spec.tasks, spec.evaluate, data_dir)
    train_choice = replace(choice, elicitation="verbalized") if recipe.objective.kind == "text" else choice
    evaluation, train = select(choice), select(replace(train_choice, split=spec.train))
    written = None if train_choice is choice else select(train_choice)
    parts = [Part(part.task, part.split, part.scored) for part in train.tasks]
    leaked_ids, report = _compare(recipe, evaluation, parts, data_dir)
    seed = recipe.training.seed
    parts = [
        replace(part, items=_drawn([item for item in part.items if item.id not in gone], spec.items, seed))
        for part, gone in zip(parts, leaked_ids, strict=True)
    ]
    if empty := [part.task.name for part in parts if not part.items]:
        raise InvalidInput(Fault("RECIPE", f"No item of the task {empty[0]} is left to train on."))

    def interim(selection: Selection | None) -> tuple[Part, ...]:
        task_parts = selection.tasks if selection else ()
        return tuple(
            Part(part.task, part.split, _drawn(part.scored, recipe.evaluation.items, seed)) for part in task_parts
        )

    return TrainingData(
        benchmark=train.benchmark,
        parts=tuple(parts),
        evaluation=evaluation,
        written=written,
        interim=interim(evaluation),
        interim_written=interim(written),
        data={**train.data, **evaluation.data},
        leaks=report,
    )


def _drawn(items: Sequence[Item], limit: int | None, seed: int) -> tuple[Item, ...]:
    """At most so many of `items`, drawn without replacement, in their own order."""
    if limit is None or len(items) <= limit:
        return tuple(items)
    numbers = np.random.default_rng(seed).choice(len(items), limit, replace=False)
    return tuple(items[number] for number in sorted(numbers))


def _compare(
    recipe: Recipe, evaluation: Selection, parts: Sequence[Part], data_dir: Path | None
) -> tuple[list[set[str]], dict[str, Any]]:
    """For each part the ids that are scored, and what was compared; `InvalidInput` unless they are to be dropped.

    Compared is every other split of the task's dataset that is on this machine.
    """
    compared: dict[str, int] = {}
    absent: list[str] = []
    gone: list[set[str]] = []
    examples: list[dict[str, str]] = []
    faults: list[Fault] = []
    for part, evaluated in zip(parts, evaluation.tasks, strict=True):
        dataset = evaluation.benchmark.datasets[evaluated.dataset]
        ids: set[str] = set()
        for split in dataset.splits:
            if split == part.split:
                continue
            name = f"{evaluated.dataset}/{split}"
            try:
                path = find_file(dataset, dataset.splits[split], data_dir)
            except InvalidInput:
                absent.append(name)
                continue
            scored = load_items(part.task, dataset.splits[split], path).items
            compared[f"{part.task.name}: {name}"] = len(scored)
            item_leaks = leaks.find([item for item in part.items if item.id not in ids], scored)
            if not item_leaks:
                continue
            ids.update(leak.item for leak in item_leaks)
            rows = [
                {"item": leak.item, "by": leak.by, "scored": leak.scored, "in": name} for leak in item_leaks[:_SHOWN]
            ]
            examples += rows
            hint = "With `leaks: drop` under `data` they are left out, and counted."
            faults.append(Fault("LEAK", _describe_leaks(part, name, item_leaks), hint=hint))
        gone.append(ids)
    if recipe.data.leaks == "refuse":
        raise_faults(faults)
    return gone, {
        "compared": compared,
        "not_compared_since_absent": sorted(set(absent)),
        "dropped": {part.task.name: len(ids) for part, ids in zip(parts, gone, strict=True)},
        "examples": examples,
    }


def _describe_leaks(part: Part, name: str, item_leaks: Sequence[leaks.Leak]) -> str:
    kinds = ((kind, sum(leak.by == kind for leak in item_leaks)) for kind in ("id", "text"))
    by = " and ".join(f"{number:,} by {kind}" for kind, number in kinds if number)
    which = ", ".join(
        leak.item if leak.by == "id" else f"{leak.item} (the same text as {leak.scored})"
        for leak in item_leaks[:_SHOWN]
    )
    more = ", …" if len(item_leaks) > _SHOWN else ""
    return f"{len(item_leaks):,} of {len(part.items):,} items to train on are in {name} ({by}): {which}{more}."
