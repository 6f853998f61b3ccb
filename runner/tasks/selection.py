"""What one run covers: a benchmark, a suite, its tasks, the items that are scored and those that are fitted on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.config.benchmark import load_benchmark
from runner.config.released import claims_release, is_released, unreleased
from runner.core.benchmark_types import Benchmark, Dataset, Suite, Task
from runner.core.errors import MOST_FAULTS, Fault, InvalidInput, UserError, raise_faults
from runner.core.types import Item, Prediction, Prompt, Submission
from runner.tasks import sampled, verbalized
from runner.tasks.answers import Answers, align, by_task_and_split
from runner.tasks.data.load import LoadedSplit, find_file, load_items
from runner.tasks.data.locate import candidate_paths, default_data_dir, is_file
from runner.tasks.prompts import all_prompts, sampling_of, writing_of

EXAMPLES = "train"
"""The split that items are taken from to be shown with their answers."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What the user chose; None means the benchmark's own choice."""

    benchmark: Path
    """Path of the benchmark file."""
    suite: str | None = "full"
    """Name of the suite."""
    tasks: tuple[str, ...] = ()
    """Names of the tasks; empty for all."""
    split: str | None = None
    """Name of the scored split."""
    data_dir: Path | None = None
    """Folder with the data files."""
    limit: int | None = None
    """Maximum of items of a task."""
    prompts: tuple[str, ...] = ()
    """Names of the prompts that replace a task's own of that elicitation; empty for these."""
    elicitation: str = "logprob"
    """`logprob`, `verbalized` or `sampled`."""


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task with its items."""

    task: Task
    """The task."""
    dataset: str
    """Name of its dataset."""
    synthetic: bool
    """Whether the votes were made up."""
    split: str
    """Name of the scored split."""
    fitting_split: str
    """Name of the calibration split."""
    scored: tuple[Item, ...]
    """Items that are scored."""
    fitting: tuple[Item, ...]
    """All items of the calibration split; empty if that is the scored split, which is then cross-fitted."""
    answered_fitting: tuple[Item, ...]
    """Items of the calibration split that the model answers."""
    skipped: int
    """Rows of the scored split that are not scored."""
    examples: tuple[Item, ...] = ()
    """Items of the split `train` that prompts show with their answers, as many as the one that shows most."""

    def only(self, scored: NDArray[np.bool_], answered_fitting: NDArray[np.bool_] | None) -> "TaskData":
        """The same task with the scored items of one mask and the calibration items of another (None: all)."""
        scored_items = tuple(item for item, keep in zip(self.scored, scored, strict=True) if keep)
        if answered_fitting is None:
            return replace(self, scored=scored_items)
        fitting_items = tuple(item for item, keep in zip(self.answered_fitting, answered_fitting, strict=True) if keep)
        return replace(self, scored=scored_items, answered_fitting=fitting_items)


@dataclass(frozen=True, slots=True)
class TaskAnswers:
    """A task's items and a model's answers to them."""

    task: TaskData
    """The items, and the labels that the answers are over."""
    scored: Answers
    """The answers to `task.scored`, in that order."""
    fitting: Answers | None = None
    """The answers to `task.answered_fitting`, on which calibration is fitted; None without a calibration split."""


@dataclass(frozen=True, slots=True)
class Selection:
    """All that a run needs to know before a model is opened."""

    benchmark: Benchmark
    """The benchmark."""
    suite: str
    """Name of the suite."""
    limit: int | None
    """Maximum of items of a task; None for all."""
    tasks: tuple[TaskData, ...]
    """Tasks with their items."""
    data: dict[str, dict[str, Any]]
    """Data files, as in the scorecard."""
    not_comparable: tuple[str, ...]
    """Reasons why the card cannot be ranked."""

    def items(self) -> dict[tuple[str, str], tuple[Item, ...]]:
        """(task, split) → the items that predictions are needed for."""
        items_by_split: dict[tuple[str, str], tuple[Item, ...]] = {}
        for part in self.tasks:
            items_by_split[part.task.name, part.split] = part.scored
            if part.answered_fitting:
                items_by_split[part.task.name, part.fitting_split] = part.answered_fitting
        return items_by_split

    def only(self, parts: tuple[TaskData, ...]) -> "Selection":
        """The same run over fewer tasks; data that no task uses any more is dropped."""
        used = {
            f"{part.dataset}/{split}"
            for part in parts
            for split in (part.split, part.fitting_split, *([EXAMPLES] if part.examples else []))
        }
        return replace(self, tasks=parts, data={name: entry for name, entry in self.data.items() if name in used})


def select(choice: RunConfig) -> Selection:
    """Read the benchmark and the data that `choice` names; `InvalidInput` with the faults of all files at once."""
    benchmark = load_benchmark(choice.benchmark)
    where = str(choice.benchmark)
    suite = _suite(benchmark, choice)
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
    faults = list(_elicitation_faults(benchmark, choice, names))
    split = choice.split or suite.split
    data: dict[str, dict[str, Any]] = {}
    parts: list[TaskData] = []
    for name in dict.fromkeys(names):
        task = _with_prompts(benchmark, benchmark.tasks[name], choice)
        try:
            parts.append(_load(benchmark, task, suite.datasets[name], split, choice, data))
        except UserError as error:
            faults.extend(fault for fault in error.faults if fault not in faults)
    if faults:
        raise InvalidInput(*_missing_as_one(benchmark, suite, names, split, choice.data_dir, faults))
    return Selection(
        benchmark=benchmark,
        suite=suite.name,
        limit=choice.limit,
        tasks=tuple(parts),
        data=data,
        not_comparable=tuple(_reasons(benchmark, choice, suite)),
    )


def select_for(submission: Submission, choice: RunConfig) -> Selection:
    """`select`, for an encoder only the task of its head; `TASK_OF_HEAD` where another one was requested.

    Only causal language models write a distribution, and encoders draw no answers: `ELICITATION` for any other.
    """
    head = submission.model.head
    if head is not None and (other := [name for name in choice.tasks if name != head.task]):
        message = f"The model's head answers the task {head.task!r}, {other[0]!r} was asked for."
        raise InvalidInput(Fault("TASK_OF_HEAD", message, hint=f"Give --task {head.task}, or no task."))
    selection = select(choice if head is None else replace(choice, tasks=(head.task,)))
    prompt_specs = [selection.benchmark.prompts[name] for part in selection.tasks for name in part.task.prompts]
    elicitations = {spec.elicitation for spec in prompt_specs}
    unable = {"encoder": {"verbalized", "sampled"}, "api": {"verbalized"}}.get(submission.model.backend, set())
    if elicitations & unable:
        what = "to write a distribution" if "verbalized" in elicitations else "for answers that are drawn"
        message = f"A model with the backend {submission.model.backend!r} is not asked {what}."
        raise InvalidInput(Fault("ELICITATION", message, hint="Leave out --elicitation, and ask with other prompts."))
    return selection


def _elicitation_faults(benchmark: Benchmark, choice: RunConfig, names: Sequence[str]) -> Iterator[Fault]:
    """Tasks without prompts of the wanted track: no run mixes tracks."""
    kinds = {benchmark.prompts[name].elicitation for name in choice.prompts}
    if len(kinds) > 1 or (choice.elicitation != "logprob" and kinds and kinds != {choice.elicitation}):
        message = "Prompts of two elicitations need runs of their own."
        yield Fault("ELICITATION", message, str(choice.benchmark), hint="Choose --prompt of one kind.")
    lists = {"verbalized": "for a written distribution", "sampled": "after which answers are drawn"}
    if choice.elicitation in lists and not choice.prompts:
        for name in dict.fromkeys(names):
            task = benchmark.tasks[name]
            if not (task.verbalized if choice.elicitation == "verbalized" else task.sampled):
                message = f"Task {name!r} has no prompt {lists[choice.elicitation]}."
                yield Fault("ELICITATION", message, str(choice.benchmark), path=f"$.tasks.{name}")


def _with_prompts(benchmark: Benchmark, task: Task, choice: RunConfig) -> Task:
    own = tuple(name for name in choice.prompts if benchmark.prompts[name].task == task.name)
    listed = {"verbalized": task.verbalized, "sampled": task.sampled}
    return replace(task, prompts=own or listed.get(choice.elicitation, task.prompts))


def _load(
    benchmark: Benchmark, task: Task, dataset_name: str, split: str, choice: RunConfig, data: dict[str, dict[str, Any]]
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

    shots = max((benchmark.prompts[name].few_shot for name in task.prompts), default=0)
    if shots and (EXAMPLES not in dataset.splits or EXAMPLES in (split, fit.split)):
        message = f"Prompts of {task.name!r} show examples of the split {EXAMPLES!r}, "
        other = EXAMPLES in dataset.splits
        message += "which is scored or fitted on itself." if other else f"which {dataset_name!r} does not have."
        raise InvalidInput(Fault("FEW_SHOT", message, str(choice.benchmark)))
    split_names = _splits(dataset, split, fit.split)
    if shots and EXAMPLES not in split_names:
        split_names.append(EXAMPLES)
    loaded: dict[str, LoadedSplit] = {}
    faults: list[Fault] = []
    for name in split_names:
        try:
            loaded[name] = read(name)
        except UserError as error:
            faults.extend(error.faults)
    raise_faults(faults)
    scored = loaded[split]
    fitting = loaded[fit.split].items if fit.split in split_names[1:] else ()
    return TaskData(
        task=task,
        dataset=dataset_name,
        synthetic=dataset.synthetic,
        split=split,
        fitting_split=fit.split if fitting else split,
        scored=scored.items[: choice.limit],
        fitting=fitting,
        answered_fitting=_seeded_part(fitting, fit.items, fit.seed)[: choice.limit],
        skipped=len(scored.skipped),
        examples=_seeded_part(loaded[EXAMPLES].items, shots, fit.seed) if shots else (),
    )


def _splits(dataset: Dataset, split: str, fit: str) -> list[str]:
    """The split that is scored, and that for fitting where it is another one that the dataset has."""
    return [split, *([fit] if fit != split and fit in dataset.splits else [])]


def _missing_as_one(
    benchmark: Benchmark, suite: Suite, names: Sequence[str], split: str, data_dir: Path | None, faults: list[Fault]
) -> list[Fault]:
    """`faults` with several files that were not fetched as one: what is missing is the data, not each file of it."""
    absent: dict[tuple[str, str], str] = {}
    for dataset_name in dict.fromkeys(suite.datasets[name] for name in names):
        dataset = benchmark.datasets[dataset_name]
        if dataset.url is None and dataset.hub is None:
            continue
        for name in _splits(dataset, split, benchmark.scoring.fit.split):
            if name in dataset.splits:
                looked_at = candidate_paths(dataset, dataset.splits[name], data_dir)
                if not any(map(is_file, looked_at)):
                    absent[dataset.name, name] = str(looked_at[0])
    parts = [fault for fault in faults if fault.code == "DATA_MISSING" and fault.file in absent.values()]
    if len(parts) < 2:
        return faults
    splits: dict[str, list[str]] = {}
    for owner, name in absent:
        splits.setdefault(owner, []).append(name)
    listing = ", ".join(f"{' and '.join(own)} of {name}" for name, own in splits.items())
    folder = default_data_dir() if data_dir is None else data_dir
    message = f"{len(absent)} files of the data were not found in {folder}: {listing}."
    joined = Fault("DATA_MISSING", message, file=str(folder), hint=parts[0].hint)
    return [joined if fault is parts[0] else fault for fault in faults if fault is parts[0] or fault not in parts]


def _seeded_part(items: tuple[Item, ...], size: int, seed: int) -> tuple[Item, ...]:
    """`size` of `items` drawn without replacement, in their own order: the same for every model."""
    if len(items) <= size:
        return items
    numbers = np.random.default_rng(seed).choice(len(items), size, replace=False)
    return tuple(items[number] for number in sorted(numbers))


def _suite(benchmark: Benchmark, choice: RunConfig) -> Suite:
    """The suite of that name; without a name the one called full, or the only one."""
    name = choice.suite
    if name is None:
        name = next(iter(benchmark.suites)) if len(benchmark.suites) == 1 else "full"
    if name not in benchmark.suites:
        known = ", ".join(benchmark.suites)
        message = f"There is no suite {name!r}; there are: {known}."
        if choice.suite is None:
            message = f"There are several suites: {known}."
        hint = "Name one with --suite." if choice.suite is None else None
        raise InvalidInput(Fault("UNKNOWN_SUITE", message, str(choice.benchmark), hint=hint))
    return benchmark.suites[name]


def _reasons(benchmark: Benchmark, choice: RunConfig, suite: Suite) -> list[str]:
    """Why a run may not be ranked. A benchmark of another name than the released ones' is what its author says."""
    reasons = []
    if claims_release(benchmark) and not is_released(benchmark):
        reasons.append(unreleased(benchmark))
    of_suite, of_limit = trial_reasons(suite.name, choice.limit)
    if not suite.comparable:
        reasons.append(of_suite)
    if choice.limit is not None:
        reasons.append(of_limit)
    return reasons


def trial_reasons(suite: str, limit: int | None) -> tuple[str, str]:
    """What a card says that cannot be ranked for its suite, or for its limit: it only tries the machinery."""
    return f"suite {suite!r} is for trying things", f"limited to {limit} items"


def prompts(selection: Selection) -> list[Prompt]:
    """Every prompt of the run: task by task, the scored items first, then those that are fitted on."""
    selected_prompts: list[Prompt] = []
    for part in selection.tasks:
        specs = [selection.benchmark.prompts[name] for name in part.task.prompts]
        selected_prompts.extend(all_prompts(specs, part.task.labels, part.split, part.scored, part.examples))
        selected_prompts.extend(
            all_prompts(specs, part.task.labels, part.fitting_split, part.answered_fitting, part.examples)
        )
    return selected_prompts


def align_predictions(
    selection: Selection, rows: Iterable[Prediction], file: str | None = None, *, optional_fitting: bool = False
) -> dict[str, TaskAnswers]:
    """Task → its answers in item order; `InvalidInput` unless every item is answered exactly once.

    With `optional_fitting`, a calibration split without any row is left out instead. A text is read again, and a row
    whose scores are not what its text says is a fault.
    """
    rows = list(rows)
    raise_faults(_text_faults(selection, rows, file))
    sorted_rows = by_task_and_split(rows, selection.items(), file)
    answers = {}
    for part in selection.tasks:
        name, labels = part.task.name, part.task.labels
        scored = align(part.scored, labels, sorted_rows.get((name, part.split), []), file)
        fitting_rows = sorted_rows.get((name, part.fitting_split), [])
        wanted = part.answered_fitting and (fitting_rows or not optional_fitting)
        fitting = align(part.answered_fitting, labels, fitting_rows, file) if wanted else None
        answers[name] = TaskAnswers(part, scored, fitting)
    return answers


def _text_faults(selection: Selection, rows: Iterable[Prediction], file: str | None) -> list[Fault]:
    """Written answers without a text, texts to questions that ask for none, and scores that are not their texts'."""
    specs = selection.benchmark.prompts
    faults: list[Fault] = []
    labels = {part.task.name: part.task.labels for part in selection.tasks}
    for number, row in enumerate(rows, start=1):
        spec = specs.get(row.prompt_id or "")
        if spec is None or spec.task != row.task or spec.task not in labels or row.order >= len(spec.orders):
            writing = sampling = None
        else:
            writing = writing_of(spec, labels[row.task], row.order)
            sampling = sampling_of(spec, labels[row.task], row.order)
        tolerance = selection.benchmark.scoring.recompute_tolerance
        problem = verbalized.disagreement(row, writing, tolerance)
        if problem is None:
            problem = sampled.disagreement(row, sampling, labels.get(row.task, ()), tolerance)
        if problem is not None and len(faults) < MOST_FAULTS:
            faults.append(Fault("PREDICTION_TEXT", f"Item {row.item_id!r} {problem}.", file, number))
    return faults


def drop_unparsed(answers: TaskAnswers, where: NDArray[np.bool_] | None = None) -> TaskAnswers:
    """A task cut down to the items whose every answer could be parsed; of the scored ones, to `where`.

    `where` (items,) must itself hold only such items.
    """
    scored, fitting = answers.scored, answers.fitting
    parsed = scored.read() if where is None else where
    parsed_fitting = None if fitting is None else fitting.read()
    return TaskAnswers(
        task=answers.task.only(parsed, parsed_fitting),
        scored=scored.only(parsed),
        fitting=None if fitting is None or parsed_fitting is None else fitting.only(parsed_fitting),
    )
