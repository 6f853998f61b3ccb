"""A verified card together with what its numbers came from: its benchmark, the data it names, and its predictions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.config.benchmark import load_benchmark
from runner.core import resources
from runner.core.benchmark_types import Benchmark
from runner.core.errors import Fault, InvalidInput, VerificationError
from runner.core.types import Prediction
from runner.scorecard import filenames
from runner.tasks.predictions import read, sha256_of_rows
from runner.tasks.selection import RunConfig, Selection, TaskAnswers, align_predictions, select


@dataclass(frozen=True, slots=True)
class SignedRun:
    """A card and the files that it pins, each checked against the card's digest."""

    card: Any
    """The scorecard: the signed predicate, or a card that the caller takes unverified."""
    folder: Path
    """The folder of the run."""
    selection: Selection
    """The benchmark, tasks and items that the card was made with, read from data with the card's digests."""
    predictions_file: Path
    """The predictions, whose sha256 is the card's."""

    @property
    def benchmark(self) -> Benchmark:
        """The benchmark with the card's digest."""
        return self.selection.benchmark

    def predictions(self) -> list[Prediction]:
        """Every row of the predictions; `InvalidInput` with the faults of the file."""
        return list(read(self.predictions_file))

    def answers(self, rows: list[Prediction] | None = None) -> dict[str, TaskAnswers]:
        """Task → the predictions put beside its items; `InvalidInput` unless every item is answered exactly once."""
        optional = self.card["submission"]["model"] is None
        file = str(self.predictions_file)
        return align_predictions(
            self.selection, self.predictions() if rows is None else rows, file, optional_fitting=optional
        )


def open_signed_run(
    card: Any,
    folder: Path,
    benchmark_file: Path | None = None,
    data_dir: Path | None = None,
    predictions: Path | None = None,
    hint: str | None = None,
) -> SignedRun:
    """The run of `card`, which lies in `folder`; the predictions are those beside it, or the file given.

    `hint` says what to do where there are none. Raises `InvalidInput` (FILE_MISSING) without predictions,
    `VerificationError` (SIG_FILES) for predictions or a benchmark that are not the card's, and what `select` raises.
    """
    file = predictions or folder / filenames.PREDICTIONS
    try:
        sha256 = sha256_of_rows(file, card["predictions"]["rows"])
    except FileNotFoundError:
        message = "There are no predictions beside the card."
        raise InvalidInput(Fault("FILE_MISSING", message, str(file), hint=hint)) from None
    except PermissionError:
        raise
    except OSError as problem:
        message = f"The predictions cannot be read: {problem.strerror}."
        raise InvalidInput(Fault("FILE_MISSING", message, str(file), hint=hint)) from None
    if sha256 != card["predictions"]["sha256"]:
        what = f"sha256 {sha256}" if sha256 else "What has far more rows than the card says, or one beyond 1 MiB,"
        raise VerificationError(Fault("SIG_FILES", f"{what} is not that of the card's predictions.", str(file)))
    selection = selection_of(card, benchmark_of(card, folder, benchmark_file), data_dir)
    return SignedRun(card, folder, selection, file)


def benchmark_of(card: Any, folder: Path, given: Path | None) -> Path:
    """The benchmark file with the card's digest: the one given, the one beside the card, or a released one."""
    beside = folder / filenames.BENCHMARK
    candidates = [given] if given else [beside, *resources.released_benchmarks()]
    digests = {}
    for path in candidates:
        if path.is_file():
            digests[str(path)] = load_benchmark(path).digest
            if digests[str(path)] == card["benchmark"]["digest"]:
                return path
    seen = "; ".join(f"{path} is {digest[:23]}…" for path, digest in digests.items()) or "none was found"
    message = f"No benchmark with the card's digest {card['benchmark']['digest'][:23]}…: {seen}."
    raise VerificationError(Fault("SIG_FILES", message, str(folder), hint="Give the benchmark file with --benchmark."))


def selection_of(card: Any, benchmark: Path, data_dir: Path | None) -> Selection:
    """The selection that a card was made with."""
    tasks = card["tasks"]
    splits = {task["split"] for task in tasks.values()}
    specs = load_benchmark(benchmark)
    if len(splits) != 1 or not set(tasks) <= set(specs.tasks):
        raise VerificationError(Fault("SIG_RECOMPUTE", "The card's tasks or splits are not those of its benchmark."))
    prompts = [
        prompt
        for name, task in tasks.items()
        if task["prompts"] is not None and set(task["prompts"]) != set(specs.tasks[name].prompts)
        for prompt in task["prompts"]
    ]
    return select(
        RunConfig(
            benchmark=benchmark,
            suite=card["suite"],
            tasks=tuple(tasks),
            split=splits.pop(),
            data_dir=data_dir,
            limit=card["run"]["limit"],
            prompts=tuple(prompts),
        )
    )
