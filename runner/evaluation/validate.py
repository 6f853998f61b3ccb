"""Every fault of a submission, recipe or benchmark that can be found without running it."""

import importlib.util
from dataclasses import replace
from pathlib import Path

from runner.artifacts import check_submission_files, list_ignored
from runner.artifacts.check import unknown_modules
from runner.config.benchmark import load_benchmark
from runner.config.detect import check_file, kind_of
from runner.config.recipe import base_of, load_recipe
from runner.config.scalars import shown
from runner.config.schema import did_you_mean
from runner.config.source import BENCHMARK_BYTES, fault_at, read
from runner.config.submission import load_submission
from runner.core import resources
from runner.core.benchmark_types import Benchmark
from runner.core.errors import Fault, InvalidInput, UserError
from runner.core.recipe_types import Recipe
from runner.core.text import printable
from runner.core.types import Submission
from runner.tasks.data.load import find_file, load_items

_PROBED_ITEMS = 4
_SHOWN = 6


def check(path: Path, data_dir: Path | None = None, *, probe: bool = True) -> tuple[Fault, ...]:
    """The faults of a benchmark, submission, recipe or sweep in a file, and of the folders that it names.

    With `data_dir` the rows of a benchmark are read too: of every split, as each task of a suite reads them. With
    `probe` the tokenizer of a submission without other faults reads some prompts; see `probe_prompts`.
    """
    if path.is_dir():
        path = path / "submission.yaml"
    faults = check_file(path)
    if faults:
        return faults
    match kind_of(read(path, BENCHMARK_BYTES)):
        case "submission":
            submission = load_submission(path)
            faults = check_submission_files(submission)
            if faults or not probe:
                return faults
            return tuple(replace(fault, file=fault.file or str(path)) for fault in probe_prompts(submission))
        case "recipe":
            recipe = load_recipe(path)
            return check_submission_files(base_of(recipe)) or _target_faults(recipe, path)
        case "benchmark":
            return () if data_dir is None else _row_faults(load_benchmark(path), data_dir)
        case "sweep":
            return ()


def _target_faults(recipe: Recipe, path: Path) -> tuple[Fault, ...]:
    """Target modules of a recipe that the model beside it lacks; nothing of a model that is not on this machine."""
    folder, targets = recipe.base.path, recipe.method.target_modules
    if folder is None or not targets:
        return ()
    unknown, known = unknown_modules(Path(folder), targets)
    document = read(path, BENCHMARK_BYTES)
    return tuple(
        fault_at(
            document,
            "RECIPE",
            ("method", "target_modules", targets.index(name)),
            f"The model has no module {shown(name)}.",
            did_you_mean(name, known),
        )
        for name in unknown
    )


def _row_faults(benchmark: Benchmark, data_dir: Path) -> tuple[Fault, ...]:
    used = dict.fromkeys(pair for suite in benchmark.suites.values() for pair in suite.datasets.items())
    faults: list[Fault] = []
    for task, name in used:
        dataset = benchmark.datasets[name]
        for data in dataset.splits.values():
            try:
                load_items(benchmark.tasks[task], data, find_file(dataset, data, data_dir))
            except InvalidInput as error:
                faults.extend(fault for fault in error.faults if fault not in faults)
    return tuple(faults)


def probe_prompts(submission: Submission) -> tuple[Fault, ...]:
    """What `evaluate` would refuse as it reads prompts: chat template, special tokens, options, length.

    A process that can reach the model's folder and little else reads prompts of the embedded sample with the tokenizer
    alone, without weights, as `benchmark prompts` does. Nothing is checked where the model is not in a folder on this
    machine, or where what runs a model is not installed.
    """
    folder = submission.model.path
    if folder is None or any(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "peft")):
        return ()
    from runner.models.worker import show_tokens_isolated
    from runner.tasks.selection import RunConfig, prompts, select_for

    # A model that thinks first has no options to be scored: answers are drawn from it.
    elicitation = "logprob" if submission.model.thinking is None else "sampled"
    config = RunConfig(resources.benchmark_file(), suite="sample", limit=_PROBED_ITEMS, elicitation=elicitation)
    try:
        questions = prompts(select_for(submission, config))
        for _ in show_tokens_isolated(submission, Path(folder), questions):
            pass
    except UserError as problem:
        # A head for another benchmark's task cannot answer ours.
        return tuple(fault for fault in problem.faults if fault.code != "UNKNOWN_TASK")
    return ()


def ignored(path: Path, *, all_names: bool) -> list[str]:
    """What a faultless submission or recipe brings that is not read, one line for each kind, cut unless `all_names`."""
    if path.is_dir():
        path = path / "submission.yaml"
    match kind_of(read(path, BENCHMARK_BYTES)):
        case "submission":
            ignored = list_ignored(load_submission(path))
        case "recipe":
            ignored = list_ignored(base_of(load_recipe(path)))
        case _:
            ignored = []
    lines = []
    for file, what, names in ignored:
        listed = names if all_names else names[:_SHOWN]
        more = f" and {len(names) - len(listed):,} more" if len(names) > len(listed) else ""
        lines.append(f"{file}: {what}: {', '.join(map(printable, listed))}{more}")
    return lines
