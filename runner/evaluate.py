"""The walk from two YAML files to a signed scorecard; the file to read first."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runner import environment, run_folder, run_names
from runner.artifacts import (
    Stamp,
    binding,
    changed_files,
    check_folders,
    check_submission_files,
    raise_if_touched,
    stamps,
    submission_manifest,
)
from runner.backends import Backend, resolve_model
from runner.canonical import digest, manifest_digest
from runner.errors import BackendError, Fault, Interrupted, raise_faults
from runner.journal import write_whole
from runner.records import AdapterRef, ModelRef, Prediction, Prompt, ScoringSpec, Submission
from runner.run_folder import RunFolder
from runner.scorecard import assemble, build_tasks
from runner.selection import Choice, aligned, prompts, select
from runner.spec.submission import load_submission
from runner.worker import open_isolated

Progress = Callable[[str, int, int], None]
"""Told of a stage's name, what is done of it and what there is of it, in prompts."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run is made; nothing here may change what is measured beyond floating-point rounding."""

    output_dir: Path
    device: str | None = None
    dtype: str | None = None
    batch_tokens: int | None = None
    resume: bool = True
    nonce: str | None = None


def evaluate(
    submission_path: Path,
    choice: Choice,
    settings: Settings,
    signing_key: Callable[[], Ed25519PrivateKey],
    progress: Progress,
) -> tuple[Path, dict[str, Any]]:
    """Run a submission and leave a signed scorecard; the run's folder and the card.

    The model runs in a process of its own, which is given prompts and never learns what people answered.
    `signing_key` is called when that process is gone, so that the key is not in memory while it runs. Raises
    `InvalidInput` before any work, `BackendError` when the model or device fails, `Interrupted` when stopped: what
    was finished is in the journal and the same call goes on from there.
    """
    submission = load_submission(submission_path)
    selection = select(choice)
    run_folder.check_writable(settings.output_dir / submission.name)
    raise_faults(check_submission_files(submission, pins=False))
    questions = prompts(selection)
    model_folder = resolve_model(submission.model)
    adapter_folder = resolve_model(submission.adapter) if submission.adapter else None
    if submission.model.repository or (submission.adapter and submission.adapter.repository):
        raise_faults(check_folders(submission, model_folder, adapter_folder, pins=False))
    loaded = [(model_folder, "model"), *([(adapter_folder, "adapter")] if adapter_folder else ())]
    untouched = stamps(*loaded)
    files = submission_manifest(submission, model_folder, adapter_folder)
    progress("load", 0, 0)
    started = time.monotonic()
    opened = open_isolated(
        submission,
        model_folder,
        adapter_folder,
        device=settings.device,
        dtype=settings.dtype,
        batch_tokens=settings.batch_tokens,
    )
    with closing(opened) as backend:
        batches = backend.plan(questions)
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
        run = run_folder.open_run(
            settings.output_dir / submission.name, content, settings.nonce, resume=settings.resume
        )
        with _resumable(run, len(questions)):
            predict_seconds, asked = _predict(backend, questions, batches, run, progress, untouched)
            answers = _in_order(questions, run.journal.done)
            self_check = _self_check(backend, questions, answers, selection.benchmark.scoring, progress)
        if changed := [
            fault for folder, kind in loaded for fault in changed_files(folder, kind, _part_of(files, kind))
        ]:
            run.journal.discard()  # no run may go on from answers of bytes that nobody knows
            raise_faults(changed)
        facts = backend.describe()
        device_memory = backend.peak_memory_bytes()
    timing = {
        "load_seconds": load_seconds,
        "predict_seconds": predict_seconds,
        "prompts": asked,
        "prompts_resumed": len(questions) - asked,
        "tokens": sum(answer.prompt_tokens or 0 for answer in answers),
        "prompts_per_second": asked / predict_seconds if asked else None,
        "peak_memory_bytes": environment.peak_memory_bytes(),
        "peak_device_memory_bytes": device_memory,
    }
    progress("score", 0, 0)
    with _resumable(run, len(questions)), run.journal:
        machine = environment.describe()
        card = assemble(
            selection,
            submission=_submission(submission, files, facts),
            run={
                **{name: run.journal.header[name] for name in ("id", "nonce", "started_at")},
                "finished_at": run_folder.now(),
                "limit": selection.limit,
                "self_check": self_check,
                "isolation": dict(opened.isolation),
                "bytes_bound": binding(*(folder for folder, _ in loaded)),
            },
            machine=machine,
            predictions=run_folder.write_predictions(run.path, answers),
            environment=run_folder.write_environment(run.path, {**machine, "backend": facts, "timing": timing}),
            tasks=build_tasks(selection, aligned(selection, answers)),
        )
        write_whole(run.path / run_names.SUBMISSION, submission.source)
        write_whole(run.path / run_names.BENCHMARK, selection.benchmark.source)
        run_folder.write_card(run.path, card, signing_key())
        run.journal.path.unlink()
    return run.path, card


@contextmanager
def _resumable(run: RunFolder, total: int) -> Iterator[None]:
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


def _submission(submission: Submission, files: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Who was measured: names, pins and digests of every file, and what the loaded model says of itself."""

    def part(ref: ModelRef | AdapterRef, folder: str) -> dict[str, Any]:
        return {
            "repository": ref.repository,
            "revision": ref.revision,
            "folder": Path(ref.path).name if ref.path else None,
            "digest": manifest_digest(_part_of(files, folder)),
        }

    model = submission.model
    return {
        "name": submission.name,
        "digest": manifest_digest(files),
        "yaml_digest": submission.digest,
        "files": list(files),
        "model": {
            **part(model, "model"),
            "backend": model.backend,
            "format": model.format,
            "dtype": model.dtype,
            "quantization": model.quantization,
            "facts": dict(facts),
        },
        "adapter": part(submission.adapter, "adapter") if submission.adapter else None,
    }


def _part_of(files: Sequence[Mapping[str, Any]], folder: str) -> list[dict[str, Any]]:
    """The manifest of one folder, with names as they are in it."""
    return [
        {**entry, "name": entry["name"].removeprefix(f"{folder}/")}
        for entry in files
        if entry["name"].startswith(f"{folder}/")
    ]


def _predict(
    backend: Backend,
    questions: Sequence[Prompt],
    batches: Sequence[Sequence[int]],
    run: RunFolder,
    progress: Progress,
    untouched: tuple[Stamp, ...],
) -> tuple[float, int]:
    """Answer every batch that the journal does not hold; seconds taken and prompts answered now.

    Raises `InvalidInput` (BYTES_CHANGED) once the files are not as they were when `untouched` was taken.
    """
    known = {_key(answer) for answer in run.journal.done}
    done = len(known)
    asked = 0
    started = time.monotonic()
    progress("predict", done, len(questions))
    for batch in batches:
        members = [questions[number] for number in batch]
        if all(_key(member) in known for member in members):
            continue
        answers = list(backend.predict(members))
        if [_key(answer) for answer in answers] != [_key(member) for member in members]:
            raise BackendError(Fault("RUN_INCONSISTENT", "The backend did not answer each prompt once, in order."))
        raise_if_touched(untouched)
        run.journal.append(answers)
        done += len(members)
        asked += len(members)
        progress("predict", done, len(questions))
    return time.monotonic() - started, asked


def _key(row: Prompt | Prediction) -> tuple[str, str | None, str, str | None, int]:
    return row.task, row.split, row.item_id, row.prompt_id, row.order


def _in_order(questions: Sequence[Prompt], answers: Sequence[Prediction]) -> list[Prediction]:
    """Answers in the order of the questions; `KeyError` if one is missing would be our bug."""
    found = {_key(answer): answer for answer in answers}
    return [found[_key(question)] for question in questions]


def _self_check(
    backend: Backend,
    questions: Sequence[Prompt],
    answers: Sequence[Prediction],
    scoring: ScoringSpec,
    progress: Progress,
) -> dict[str, Any]:
    """Ask a few prompts again: alone, in another order together, and with the adapter off.

    Differences are the largest over the chosen prompts and labels, in nats of log-score. An adapter that changes
    nothing is refused (`ADAPTER_NO_EFFECT`): what was scored then was the bare base model.
    """
    count = min(scoring.self_check_prompts, len(questions))
    step = len(questions) / count
    chosen = [int(number * step) for number in range(count)]
    progress("self-check", 0, count)
    asked = [questions[number] for number in chosen]
    first = [answers[number] for number in chosen]
    alone = [next(iter(backend.predict([question]))) for question in asked]
    shuffled = list(backend.predict(asked[::-1]))[::-1]
    dtype = str(backend.describe()["dtype"])
    tolerance = scoring.self_check_tolerance.get(dtype)
    differences = {"alone": _largest_difference(first, alone), "shuffled": _largest_difference(first, shuffled)}
    without_adapter = backend.without_adapter()
    adapter_effect = None
    if without_adapter is not None:
        with without_adapter:
            adapter_effect = _largest_difference(first, list(backend.predict(asked)))
        if adapter_effect == 0:
            message = f"With the adapter switched off, {count} prompts score exactly the same: it has no effect."
            raise BackendError(Fault("ADAPTER_NO_EFFECT", message, hint="Check that it was trained for this model."))
    return {
        "prompts": count,
        "largest_difference": differences,
        "tolerance": tolerance,
        "passed": tolerance is not None and max(differences.values()) <= tolerance,
        "adapter_effect": adapter_effect,
    }


def _largest_difference(first: Sequence[Prediction], second: Sequence[Prediction]) -> float:
    pairs = zip(first, second, strict=True)
    return max(abs(a - b) for one, two in pairs for a, b in zip(one.log_scores, two.log_scores, strict=True))


def _digest_of(questions: Sequence[Prompt]) -> str:
    """Digest of all that is asked, in order."""
    return digest([[*_key(question)[:4], question.order, dict(question.values)] for question in questions])
