"""What one run covers: a benchmark, a suite, its tasks, the items that are scored and those that are fitted on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from runner.dataset.read import LoadedSplit, find_file, load_items
from runner.errors import Fault, InvalidInput, UserError, raise_faults
from runner.predictions import Answers, align, by_task_and_split
from runner.prompts import all_prompts
from runner.records import Benchmark, Item, Prediction, Prompt, Submission, Task
from runner.spec.benchmark import load_benchmark
from runner.spec.released import is_released


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user asked for; None means the benchmark's own choice. `prompts` replaces a task's default prompts."""

    benchmark: Path
    suite: str = "full"
    tasks: tuple[str, ...] = ()
    split: str | None = None
    data_dir: Path | None = None
    limit: int | None = None
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task with its items: `scored`, all of the `fitting` split's, and those of them that the model is asked.

    `fitting` is empty when the scored split is the fitting split itself: then fitted values are cross-fitted.
    """

    task: Task
    dataset: str
    synthetic: bool
    split: str
    fitting_split: str
    scored: tuple[Item, ...]
    fitting: tuple[Item, ...]
    asked_fitting: tuple[Item, ...]
    skipped: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Everything a run needs to know before a model is opened; `data` as it stands in the scorecard."""

    benchmark: Benchmark
    suite: str
    limit: int | None
    tasks: tuple[TaskData, ...]
    data: dict[str, dict[str, Any]]
    not_comparable: tuple[str, ...]

    def items(self) -> dict[tuple[str, str], tuple[Item, ...]]:
        """(task, split) → the items that predictions are needed for."""
        wanted: dict[tuple[str, str], tuple[Item, ...]] = {}
        for part in self.tasks:
            wanted[part.task.name, part.split] = part.scored
            if part.asked_fitting:
                wanted[part.task.name, part.fitting_split] = part.asked_fitting
        return wanted

    def only(self, parts: tuple[TaskData, ...]) -> "Selection":
        """The same run over fewer tasks; data that no task uses any more is dropped."""
        used = {f"{part.dataset}/{split}" for part in parts for split in (part.split, part.fitting_split)}
        return replace(self, tasks=parts, data={name: entry for name, entry in self.data.items() if name in used})


def select(choice: Choice) -> Selection:
    """Read the benchmark and the data that `choice` names; `InvalidInput` with the faults of all files at once."""
    benchmark = load_benchmark(choice.benchmark)
    where = str(choice.benchmark)
    if choice.suite not in benchmark.suites:
        known = ", ".join(benchmark.suites)
        raise InvalidInput(Fault("UNKNOWN_SUITE", f"There is no suite {choice.suite!r}; there are: {known}.", where))
    suite = benchmark.suites[choice.suite]
    names = choice.tasks or tuple(suite.datasets)
    if unknown := [name for name in names if name not in suite.datasets]:
        known = ", ".join(suite.datasets)
        message = f"Suite {suite.name!r} has no task {unknown[0]!r}; it has: {known}."
        raise InvalidInput(Fault("UNKNOWN_TASK", message, where))
    if unknown := [name for name in choice.prompts if name not in benchmark.prompts]:
        known = ", ".join(benchmark.prompts)
        raise InvalidInput(Fault("UNKNOWN_PROMPT", f"There is no prompt {unknown[0]!r}; there are: {known}.", where))
    if unknown := [name for name in choice.prompts if benchmark.prompts[name].task not in names]:
        message = f"Prompt {unknown[0]!r} is for the task {benchmark.prompts[unknown[0]].task!r}, which is not run."
        raise InvalidInput(Fault("UNKNOWN_PROMPT", message, where))
    split = choice.split or suite.split
    data: dict[str, dict[str, Any]] = {}
    parts: list[TaskData] = []
    faults: list[Fault] = []
    for name in dict.fromkeys(names):
        task = _with_prompts(benchmark, benchmark.tasks[name], choice.prompts)
        try:
            parts.append(_load(benchmark, task, suite.datasets[name], split, choice, data))
        except UserError as error:
            faults.extend(fault for fault in error.faults if fault not in faults)
    if faults:
        raise InvalidInput(*faults)
    return Selection(
        benchmark=benchmark,
        suite=suite.name,
        limit=choice.limit,
        tasks=tuple(parts),
        data=data,
        not_comparable=tuple(_reasons(benchmark, choice)),
    )


def select_for(submission: Submission, choice: Choice) -> Selection:
    """`select`, for an encoder only the task of its head; `TASK_OF_HEAD` where another one was asked for."""
    head = submission.model.head
    if head is None:
        return select(choice)
    if other := [name for name in choice.tasks if name != head.task]:
        message = f"The model's head answers the task {head.task!r}, {other[0]!r} was asked for."
        raise InvalidInput(Fault("TASK_OF_HEAD", message, hint=f"Give --task {head.task}, or no task."))
    return select(replace(choice, tasks=(head.task,)))


def _with_prompts(benchmark: Benchmark, task: Task, wanted: Sequence[str]) -> Task:
    own = tuple(name for name in wanted if benchmark.prompts[name].task == task.name)
    return replace(task, prompts=own) if own else task


def _load(
    benchmark: Benchmark, task: Task, dataset_name: str, split: str, choice: Choice, data: dict[str, dict[str, Any]]
) -> TaskData:
    dataset = benchmark.datasets[dataset_name]
    fit = benchmark.scoring.fit
    if split not in dataset.splits:
        known = ", ".join(dataset.splits)
        message = f"Dataset {dataset_name!r} has no split {split!r}; it has: {known}."
        raise InvalidInput(Fault("UNKNOWN_SPLIT", message, str(choice.benchmark)))

    def read(name: str) -> LoadedSplit:
        pinned = dataset.splits[name]
        loaded = load_items(task, pinned, find_file(dataset, pinned, choice.data_dir))
        data[f"{dataset_name}/{name}"] = {"sha256": loaded.sha256, "rows": loaded.rows}
        return loaded

    wanted = [split, *([fit.split] if fit.split != split and fit.split in dataset.splits else [])]
    loaded: dict[str, LoadedSplit] = {}
    faults: list[Fault] = []
    for name in wanted:
        try:
            loaded[name] = read(name)
        except UserError as error:
            faults.extend(error.faults)
    raise_faults(faults)
    scored = loaded[split]
    fitting = loaded[fit.split].items if fit.split in wanted[1:] else ()
    return TaskData(
        task=task,
        dataset=dataset_name,
        synthetic=dataset.synthetic,
        split=split,
        fitting_split=fit.split if fitting else split,
        scored=scored.items[: choice.limit],
        fitting=fitting,
        asked_fitting=_seeded_part(fitting, fit.items, fit.seed)[: choice.limit],
        skipped=len(scored.skipped),
    )


def _seeded_part(items: tuple[Item, ...], size: int, seed: int) -> tuple[Item, ...]:
    """`size` of `items` drawn without replacement, in their own order: the same for every model."""
    if len(items) <= size:
        return items
    chosen = np.random.default_rng(seed).choice(len(items), size, replace=False)
    return tuple(items[number] for number in sorted(chosen))


def _reasons(benchmark: Benchmark, choice: Choice) -> list[str]:
    reasons = []
    if not is_released(benchmark):
        reasons.append(f"{benchmark.name} {benchmark.version} with this content is not a released benchmark")
    if not benchmark.suites[choice.suite].comparable:
        reasons.append(f"suite {choice.suite!r} is for trying things")
    if choice.limit is not None:
        reasons.append(f"limited to {choice.limit} items")
    return reasons


def prompts(selection: Selection) -> list[Prompt]:
    """Every prompt of the run: task by task, the scored items first, then those that are fitted on."""
    asked: list[Prompt] = []
    for part in selection.tasks:
        specs = [selection.benchmark.prompts[name] for name in part.task.prompts]
        asked.extend(all_prompts(specs, part.task.labels, part.split, part.scored))
        asked.extend(all_prompts(specs, part.task.labels, part.fitting_split, part.asked_fitting))
    return asked


def aligned(
    selection: Selection, rows: Iterable[Prediction], file: str | None = None, *, optional_fitting: bool = False
) -> dict[tuple[str, str], Answers]:
    """(task, split) → answers in item order; `InvalidInput` unless every item is answered exactly once.

    With `optional_fitting`, a fitting split without any row is left out instead.
    """
    sorted_rows = by_task_and_split(rows, selection.items(), file)
    found = {}
    for part in selection.tasks:
        for split, items in ((part.split, part.scored), (part.fitting_split, part.asked_fitting)):
            own = sorted_rows.get((part.task.name, split), [])
            if (split != part.split and optional_fitting and not own) or not items:
                continue
            found[part.task.name, split] = align(items, part.task.labels, own, file)
    return found
