"""The walk from two YAML files to a signed scorecard; the file to read first."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runner.artifacts import (
    FileStat,
    Kind,
    binding,
    changed_files,
    check_folders,
    check_submission_files,
    raise_if_modified,
    stat_files,
)
from runner.config.submission import load_submission
from runner.core import clock, environment
from runner.core.canonical import digest, manifest_digest
from runner.core.errors import BackendError, Fault, Interrupted, InvalidInput, raise_faults
from runner.core.files import write_whole
from runner.core.types import Prediction, Prompt, Submission
from runner.evaluation import run_dir, submission_info
from runner.evaluation.batching import plan_steps
from runner.evaluation.run_dir import RunDir
from runner.evaluation.self_check import run_self_check
from runner.models.api import Access, allowed_key, open_service
from runner.models.base import Backend
from runner.models.hub import resolve_model
from runner.models.worker import Replicas, Worker, device_names, open_isolated, open_replicas
from runner.scorecard import filenames
from runner.scorecard.build import assemble, build_tasks
from runner.tasks.selection import RunConfig, align_predictions, prompts, select_for

if TYPE_CHECKING:
    from runner.models.api.service import Service

Progress = Callable[[str, int, int], None]
"""Told of a stage's name, what is done of it and what there is of it, in prompts."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run is made; nothing here may change what is measured beyond floating-point rounding.

    `device` may be several with commas between them: a copy of the model on each. `threads` are those of each copy.
    """

    output_dir: Path
    device: str | None = None
    dtype: str | None = None
    batch_tokens: int | None = None
    threads: int | None = None
    resume: bool = True
    nonce: str | None = None
    access: Access | None = None


def evaluate(
    submission_path: Path,
    choice: RunConfig,
    settings: Settings,
    signing_key: Callable[[], Ed25519PrivateKey],
    progress: Progress,
) -> tuple[Path, dict[str, Any]]:
    """Run a submission and leave a signed scorecard; the run's folder and the card.

    The model runs in a process of its own, which is given prompts and never learns what people answered; or it is a
    service's, and prompts are all that the service gets.
    `signing_key` is called when that process is gone, so that the key is not in memory while it runs. Raises
    `InvalidInput` before any work, `BackendError` when the model or device fails, `Interrupted` when stopped: what
    was finished is in the journal and the same call goes on from there.
    """
    machine = environment.describe()
    copies = len(device_names(settings.device))
    submission = load_submission(submission_path)
    selection = select_for(submission, choice)
    run_dir.check_writable(settings.output_dir / submission.name)
    raise_faults(check_submission_files(submission, pins=False))
    questions = prompts(selection)
    total = len(questions)
    folders = _folders(submission)
    loaded = [(folder, kind) for kind, folder in folders.items()]
    untouched = stat_files(*loaded)
    files = submission_info.files_of(submission, folders)
    progress("load", 0, 0)
    started = time.monotonic()
    opened = _open(submission, folders, settings)
    with closing(opened) as backend:
        batches = plan_steps(backend, questions, progress)
        load_seconds = time.monotonic() - started
        content = {
            "benchmark": selection.benchmark.digest,
            "submission": manifest_digest(files),
            "data": selection.data,
            "prompts": _digest_of(questions),
            "limit": selection.limit,
            "backend": backend.describe(),
            "versions": environment.versions(),
        }
        run = run_dir.open_run(settings.output_dir / submission.name, content, settings.nonce, resume=settings.resume)
        with _resumable(run, total):
            predict_seconds, answered = _predict(backend, questions, batches, run, progress, untouched)
            answers = _in_order(questions, run.journal.done)
            self_check = run_self_check(backend, questions, answers, selection.benchmark.scoring, progress)
        if changed := [
            fault
            for folder, kind in loaded
            for fault in changed_files(folder, kind, submission_info.part_of(files, kind))
        ]:
            run.journal.discard()  # no run may go on from answers of bytes that nobody knows
            raise_faults(changed)
        facts = backend.describe()
        device_memory = backend.peak_memory_bytes()
        spent = backend.spent() if submission.service and not isinstance(backend, Worker | Replicas) else None
    timing = {
        "load_seconds": load_seconds,
        "predict_seconds": predict_seconds,
        "prompts": answered,
        "prompts_resumed": total - answered,
        "tokens": sum(answer.prompt_tokens or 0 for answer in answers),
        "tokens_written": sum(answer.text_tokens or 0 for answer in answers),
        "prompts_per_second": answered / predict_seconds if answered else None,
        "peak_memory_bytes": environment.peak_memory_bytes(),
        "peak_device_memory_bytes": device_memory,
        "copies_of_the_model": None if submission.service else copies,
    }
    progress("score", 0, 0)
    del questions, batches  # scoring many items needs room
    with _resumable(run, total), run.journal:
        card = assemble(
            selection,
            submission=submission_info.describe(submission, files, facts, answers),
            run={
                **{name: run.journal.header[name] for name in ("id", "nonce", "started_at")},
                "finished_at": clock.now(),
                "limit": selection.limit,
                "self_check": self_check,
                "isolation": dict(opened.isolation),
                "bytes_bound": binding(*(folder for folder, _ in loaded)) if loaded else None,
            },
            machine=machine,
            predictions=run_dir.write_predictions(run.path, answers),
            environment=run_dir.write_environment(
                run.path, {**machine, "backend": facts, "timing": timing, **({"service": spent} if spent else {})}
            ),
            tasks=build_tasks(selection, align_predictions(selection, answers)),
        )
        write_whole(run.path / filenames.SUBMISSION, submission.source)
        write_whole(run.path / filenames.BENCHMARK, selection.benchmark.source)
        run_dir.write_card(run.path, card, signing_key())
        run.journal.path.unlink()
    return run.path, card


def _folders(submission: Submission) -> dict[Kind, Path]:
    """The folders of a submission's model and adapter, fetched and checked; none where a service runs the model."""
    if submission.service is not None:
        return {}
    folders: dict[Kind, Path] = {"model": resolve_model(submission.model)}
    if submission.adapter:
        folders["adapter"] = resolve_model(submission.adapter)
    if submission.model.repository or (submission.adapter and submission.adapter.repository):
        raise_faults(check_folders(submission, folders["model"], folders.get("adapter"), pins=False))
    return folders


def _open(submission: Submission, folders: Mapping[Kind, Path], settings: Settings) -> "Worker | Replicas | Service":
    """A process for each copy of the model, or the service that runs it; `InvalidInput` for options of the other."""
    of_models = {name: getattr(settings, name) for name in ("device", "dtype", "batch_tokens", "threads")}
    if submission.service is None:
        if settings.access is not None:
            message = "The options --api-… are for submissions that name a service; this one names a model."
            raise InvalidInput(Fault("OPTION", message))
        opening = open_isolated if len(device_names(settings.device)) == 1 else open_replicas
        return opening(submission, folders["model"], folders.get("adapter"), **of_models)
    if unused := [name.replace("_", "-") for name, value in of_models.items() if value is not None]:
        raise InvalidInput(Fault("OPTION", f"The option --{unused[0]} is for models, this submission names a service."))
    access = settings.access or Access()
    return open_service(submission.service, allowed_key(submission.service, access), access)


@contextmanager
def _resumable(run: RunDir, total: int) -> Iterator[None]:
    """Turn a stop, or a disk that takes no more, into words: what is in the journal is kept, whatever happens."""
    try:
        yield
    except BaseException as problem:
        run.journal.close()
        if not isinstance(problem, KeyboardInterrupt | OSError):
            raise
        stopped = isinstance(problem, KeyboardInterrupt)
        reason = "Stopped" if stopped else f"Writing failed ({problem.strerror})"  # type: ignore[union-attr]
        raise Interrupted(
            Fault(
                "INTERRUPTED",
                f"{reason} after {len(run.journal.done):,} of {total:,} prompts; they are kept.",
                str(run.path),
                hint="Run the same command again to go on from there.",
            )
        ) from (None if stopped else problem)


def _predict(
    backend: Backend,
    questions: Sequence[Prompt],
    batches: Sequence[Sequence[int]],
    run: RunDir,
    progress: Progress,
    untouched: tuple[FileStat, ...],
) -> tuple[float, int]:
    """Answer every batch that the journal does not hold; seconds taken and prompts answered now.

    Raises `InvalidInput` (BYTES_CHANGED) once the files are not as they were when `untouched` was taken.
    """
    known = {answer.key for answer in run.journal.done}
    done = len(known)
    answered = 0
    started = time.monotonic()
    progress("predict", done, len(questions))
    remaining = (
        [question for number in batch if (question := questions[number]).key not in known] for batch in batches
    )
    steps = [step for step in remaining if step]
    shared = (
        backend.share(steps)
        if isinstance(backend, Worker | Replicas)
        else ((step, backend.predict(step)) for step in steps)
    )
    for members, predictions in shared:
        answers: list[Prediction] = []
        try:
            for answer in predictions:
                answers.append(answer)
        except BaseException:
            if answers:  # those that a service gave before it failed, or we were stopped, are paid for
                run.journal.append(answers)
            raise
        if [answer.key for answer in answers] != [member.key for member in members]:
            raise BackendError(Fault("RUN_INCONSISTENT", "The backend did not answer each prompt once, in order."))
        raise_if_modified(untouched)
        run.journal.append(answers)
        done += len(members)
        answered += len(members)
        progress("predict", done, len(questions))
    return time.monotonic() - started, answered


def _in_order(questions: Sequence[Prompt], answers: Sequence[Prediction]) -> list[Prediction]:
    """Answers in the order of the questions; `KeyError` if one is missing would be our bug."""
    by_key = {answer.key: answer for answer in answers}
    return [by_key[question.key] for question in questions]


def _digest_of(questions: Sequence[Prompt]) -> str:
    """Digest of all that is asked, in order."""
    return digest([digest([*question.key, dict(question.values)]) for question in questions])
