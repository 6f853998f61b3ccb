"""The walk from two YAML files to a signed scorecard; the file to read first."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runner.artifacts import check_submission_files
from runner.config.submission import load_submission
from runner.core import clock, environment
from runner.core.canonical import digest
from runner.core.errors import BackendError, Fault, Interrupted, InvalidInput, raise_faults
from runner.core.files import write_whole
from runner.core.types import Prediction, Prompt, PromptKey, Submission
from runner.evaluation import result_cache, run_dir
from runner.evaluation.batching import plan_steps
from runner.evaluation.open_submission import OpenedSubmission, open_submission, resolve_folders, stat_submission
from runner.evaluation.run_dir import RunDir
from runner.evaluation.self_check import run_self_check
from runner.evaluation.shards import Shard, write_shard
from runner.evaluation.thoughts import write_run_thoughts
from runner.models.api import Access
from runner.models.base import Cluster, LoadOptions
from runner.models.cluster import check_ray
from runner.models.worker import device_names
from runner.scorecard import filenames
from runner.scorecard.build import assemble, build_tasks
from runner.tasks import sampled
from runner.tasks.sampled import united
from runner.tasks.selection import RunConfig, Selection, align_predictions, prompts, select_for
from runner.tasks.thoughts import with_thoughts

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, its prompts done and its prompts in all."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a run is made; nothing here may change what is measured beyond floating-point rounding."""

    output_dir: Path
    """Where the folder of the run goes: `output_dir`/<submission name>/<UTC time>."""
    load: LoadOptions = LoadOptions()
    """Device, precision, batch size and threads of a model that is loaded here."""
    resume: bool = True
    """Whether an unfinished run with the same inputs is resumed."""
    nonce: str | None = None
    """A challenge that the card repeats."""
    access: Access | None = None
    """Address, key and limits of requests, where the submission names a service."""
    cluster: Cluster | None = None
    """Where the model runs, if not in processes of this machine."""
    cache: Path | None = None
    """Folder of answers of finished runs that an equal run takes (`result_cache`); None: all is computed."""
    keep_thoughts: bool = False
    """Whether the thoughts before drawn answers are written to thoughts.jsonl; no answer depends on it."""


@dataclass(frozen=True, slots=True)
class _Answered:
    """All answers of a run, and what is known once its model is gone."""

    run: RunDir
    """The run's folder and its journal, still locked."""
    answers: Sequence[Prediction]
    """One for each prompt, in the order of the prompts."""
    self_check: dict[str, Any]
    """The card's `run.self_check`."""
    facts: Mapping[str, Any]
    """What the backend says of itself."""
    timing: dict[str, Any]
    """The `timing` of environment.json."""
    extra: Mapping[str, Any]
    """Further parts of environment.json: requests to a `service`, or the nodes of an `engine`."""


def evaluate(
    submission_path: Path,
    config: RunConfig,
    settings: Settings,
    signing_key: Callable[[], Ed25519PrivateKey],
    progress: Progress,
) -> tuple[Path, dict[str, Any]]:
    """Run a submission and leave a signed scorecard; the run's folder and the card.

    The model runs in a process of its own, which is given prompts and never learns what people answered; or it is a
    service's, and prompts are all that the service gets.
    `signing_key` is called when that process is gone, so that the key is not in memory while it runs. Raises
    `InvalidInput` before any work, `BackendError` when the model or device fails, `Interrupted` when stopped: what
    was finished is in the journal and the same call resumes it.
    """
    machine = environment.describe()
    with _open(submission_path, config, settings, progress) as (opened, selection):
        answered = _answer_prompts(opened, selection, settings, progress)
    progress("score", 0, 0)
    run, answers = answered.run, answered.answers
    with _resumable(run, len(answers)), run.journal:
        card = assemble(
            selection,
            submission=opened.describe(answered.facts, answers),
            run={
                **{name: run.journal.header[name] for name in ("id", "nonce", "started_at")},
                "finished_at": clock.now(),
                "limit": selection.limit,
                "self_check": answered.self_check,
                "isolation": dict(opened.backend.isolation),
                "bytes_bound": opened.bytes_bound,
            },
            machine=machine,
            predictions=run_dir.write_predictions(run.path, answers),
            environment=run_dir.write_environment(
                run.path, {**machine, "backend": answered.facts, "timing": _with_peak(answered), **answered.extra}
            ),
            tasks=build_tasks(selection, align_predictions(selection, answers)),
        )
        write_whole(run.path / filenames.SUBMISSION, opened.submission.source)
        write_whole(run.path / filenames.BENCHMARK, selection.benchmark.source)
        write_run_thoughts(run, answers, requested=settings.keep_thoughts)
        run_dir.write_card(run.path, card, signing_key())
        run.journal.path.unlink()
    return run.path, card


def evaluate_shard(
    submission_path: Path, config: RunConfig, settings: Settings, shard: Shard, progress: Progress
) -> Path:
    """Run one part of a submission and leave its folder, for `merge`; nothing is scored or signed.

    Raises what `evaluate` does, and `InvalidInput` (OPTION) for a submission that names a service.
    """
    machine = environment.describe()
    with _open(submission_path, config, settings, progress) as (opened, selection):
        if opened.submission.service is not None:
            message = "A service is asked by one process: --shard is for models that are loaded."
            raise InvalidInput(Fault("OPTION", message, hint="Give --api-concurrency N for more requests at once."))
        answered = _answer_prompts(opened, selection, settings, progress, shard)
    run = answered.run
    with _resumable(run, len(answered.answers)), run.journal:
        predictions = run_dir.write_predictions(run.path, answered.answers)
        write_whole(run.path / filenames.SUBMISSION, opened.submission.source)
        write_whole(run.path / filenames.BENCHMARK, selection.benchmark.source)
        write_run_thoughts(run, answered.answers, requested=settings.keep_thoughts)
        write_shard(
            run.path,
            shard,
            content={name: value for name, value in run.journal.header["content"].items() if name != "shard"},
            config={
                "suite": config.suite,
                "tasks": [part.task.name for part in selection.tasks],
                "split": config.split,
                "limit": config.limit,
                "prompts": list(config.prompts),
                "elicitation": config.elicitation,
            },
            submission=opened.describe(answered.facts, answered.answers),
            run={
                "nonce": settings.nonce,
                "started_at": run.journal.header["started_at"],
                "self_check": answered.self_check,
                "isolation": dict(opened.backend.isolation),
                "bytes_bound": opened.bytes_bound,
            },
            environment={**machine, "backend": answered.facts, "timing": _with_peak(answered), **answered.extra},
            predictions=predictions,
        )
        run.journal.path.unlink()
    return run.path


@contextmanager
def _open(
    submission_path: Path, config: RunConfig, settings: Settings, progress: Progress
) -> Iterator[tuple[OpenedSubmission, Selection]]:
    """Everything that can be refused before work is, then the model is loaded; at the end it is closed."""
    device_names(settings.load.device)  # a list that makes no sense is refused before any work
    submission = load_submission(submission_path)
    if settings.cluster is not None:
        check_cluster(settings.cluster, submission)
    selection = select_for(submission, config)
    run_dir.check_writable(settings.output_dir / submission.name)
    stats = stat_submission(submission)
    raise_faults(check_submission_files(submission, pins=False))
    folders, stats = resolve_folders(submission, stats)
    progress("load", 0, 0)
    with open_submission(submission, folders, stats, settings.load, settings.access, settings.cluster) as opened:
        yield opened, selection


def _answer_prompts(
    opened: OpenedSubmission,
    selection: Selection,
    settings: Settings,
    progress: Progress,
    shard: Shard | None = None,
) -> _Answered:
    """Plan, predict and self-check, resuming an unfinished run with the same inputs; of a `shard` only its own steps.

    Raises `InvalidInput` (BYTES_CHANGED), and keeps no answer, where a loaded file is not what was hashed.
    """
    backend, run_prompts = opened.backend, prompts(selection)
    started = time.monotonic()
    steps = plan_steps(backend, run_prompts, progress)
    load_seconds = opened.load_seconds + time.monotonic() - started
    content = {
        "benchmark": selection.benchmark.digest,
        "submission": opened.digest,
        "data": selection.data,
        "prompts": _digest_of(run_prompts),
        "limit": selection.limit,
        "backend": backend.describe(),
        "versions": environment.versions(),
        "plan": digest(steps),
        **({} if shard is None else {"shard": [shard.index, shard.count]}),
    }
    own_steps = steps if shard is None else shard.steps(steps)
    if not own_steps:
        message = f"This run has {len(steps):,} steps, so it can be cut into {len(steps):,} parts at most."
        raise InvalidInput(Fault("OPTION", message, hint=f"Give --shard I/N with N up to {len(steps)}."))
    questions = list(map(with_thoughts, run_prompts)) if settings.keep_thoughts else run_prompts
    batches = [[questions[number] for number in step] for step in own_steps]
    if shard is not None:
        run_prompts = [run_prompts[number] for number in sorted(number for step in own_steps for number in step)]
    self_check = partial(run_self_check, backend, run_prompts, scoring=selection.benchmark.scoring, progress=progress)
    key, cached = None, result_cache.CachedAnswers(None)
    if settings.cache is not None and shard is None and opened.submission.service is None:
        key = result_cache.cache_key(opened.submission, content)
        cached = result_cache.checked_answers(settings.cache, key, run_prompts, self_check)
    parent = settings.output_dir / opened.submission.name
    run = run_dir.open_run(parent, content, settings.nonce, resume=settings.resume)
    predict_seconds, answered, resumed = 0.0, 0, 0
    with _resumable(run, len(run_prompts)):
        if cached.answers is None:
            predict_seconds, answered = _predict(opened, batches, run, settings, progress)
            resumed = len(run_prompts) - answered
        answers = list(cached.answers or _in_order(run_prompts, run.journal.done))
        checked = dict(cached.self_check or self_check(answers))
    if changed := opened.changed_files():
        run.journal.discard()  # no run may go on from answers of bytes that nobody knows
        raise_faults(changed)
    cache: dict[str, Any] = {}
    if settings.cache is not None and key is not None:
        run_id = str(run.journal.header["id"])
        cache["cache"] = result_cache.finish(settings.cache, key, cached, run_id, answers, checked)
    timing = {
        "load_seconds": load_seconds,
        "predict_seconds": predict_seconds,
        "prompts": answered,
        "prompts_resumed": resumed,
        "tokens": sum(answer.prompt_tokens or 0 for answer in answers),
        "tokens_written": sum(answer.text_tokens or 0 for answer in answers),
        "prompts_per_second": answered / predict_seconds if answered else None,
        "peak_memory_bytes": None,
        "peak_device_memory_bytes": backend.peak_memory_bytes(),
        "copies_of_the_model": _copies(opened, settings),
        **cache,
    }
    spent = backend.spent()
    extra: dict[str, Any] = {"service": spent} if spent else {}
    if opened.replicas is not None:
        extra["engine"] = {"name": "ray", "nodes": opened.replicas.nodes(), "restarts": opened.replicas.restarts}
    return _Answered(run, answers, checked, backend.describe(), timing, extra)


def _with_peak(answered: _Answered) -> dict[str, Any]:
    """The timing with the peak memory, which the process that held the model tells of itself when it has ended."""
    return {**answered.timing, "peak_memory_bytes": environment.peak_memory_bytes()}


def check_cluster(cluster: Cluster, submission: Submission) -> None:
    """Raise `InvalidInput` (OPTION) where a cluster cannot run the submission, before any work."""
    if submission.service is not None:
        message = "A service is asked by one process: --engine ray is for models that are loaded."
        raise InvalidInput(Fault("OPTION", message, hint="Give --api-concurrency N for more requests at once."))
    check_ray(cluster.address)


def _copies(opened: OpenedSubmission, settings: Settings) -> int | None:
    if opened.replicas is not None:
        return len(opened.replicas.replicas)
    return None if opened.submission.service else len(device_names(settings.load.device))


@contextmanager
def _resumable(run: RunDir, total: int) -> Iterator[None]:
    """Turn a stop, or a full disk, into an error with a message: the journal's answers stay, whatever happens."""
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
    opened: OpenedSubmission,
    steps: Sequence[Sequence[Prompt]],
    run: RunDir,
    settings: Settings,
    progress: Progress,
) -> tuple[float, int]:
    """Answer every prompt that the journal does not hold; seconds taken and prompts answered now.

    Raises `InvalidInput` (BYTES_CHANGED) once a loaded file was written to.
    """
    known: dict[PromptKey, list[Prediction]] = {}
    for answer in run.journal.done:
        known.setdefault(answer.key, []).append(answer)
    open_steps = [questions for step in steps if (questions := _open_questions(step, known))]
    total, answered = sum(map(len, steps)), 0
    done = total - sum(map(len, open_steps))
    started = time.monotonic()
    progress("predict", done, total)
    one_by_one = opened.submission.service is not None and any(prompt.sampling for step in steps for prompt in step)
    max_cost = None if settings.access is None else settings.access.max_cost
    for members, predictions in opened.backend.share(open_steps):
        if max_cost is not None:
            _stop_at_cost(opened.submission, run, max_cost)
        answers: list[Prediction] = []
        try:
            for answer in predictions:
                answers.append(answer)
                if one_by_one:  # each is paid for, and there may be many to a prompt
                    run.journal.append([answer])
        except BaseException:
            if answers and not one_by_one:  # those that a service gave before it failed, or we were stopped, are paid
                run.journal.append(answers)
            raise
        if list(dict.fromkeys(answer.key for answer in answers)) != [prompt.key for prompt in members]:
            raise BackendError(Fault("RUN_INCONSISTENT", "The backend did not answer each prompt once, in order."))
        opened.raise_if_modified()
        if not one_by_one:
            run.journal.append(answers)
        done += len(members)
        answered += len(members)
        progress("predict", done, total)
    return time.monotonic() - started, answered


def _stop_at_cost(submission: Submission, run: RunDir, max_cost: float) -> None:
    """Raise `Interrupted` (API_MAX_COST) where the answers so far have cost `max_cost` or more; answers stay.

    Raises `BackendError` (API_NO_USAGE) where the service does not count its tokens, so that nobody knows.
    """
    price = submission.service.price if submission.service is not None else None
    if price is None:
        return
    usage = [answer.usage for answer in run.journal.done]
    if None in usage:
        message = "The service does not count tokens, so that --api-max-cost cannot hold."
        raise BackendError(Fault("API_NO_USAGE", message, hint="Leave it out to go on; what was answered is kept."))
    cost = sum(tokens[0] * price.input + tokens[1] * price.output for tokens in usage if tokens is not None) / 1e6
    if cost >= max_cost:
        message = f"The answers have cost {cost:,.4g} {price.currency}, {max_cost:g} are allowed; they are kept."
        hint = "Run the same command with a larger --api-max-cost to go on from there."
        raise Interrupted(Fault("API_MAX_COST", message, str(run.path), hint=hint))


def _in_order(questions: Sequence[Prompt], answers: Sequence[Prediction]) -> list[Prediction]:
    """Answers in the order of the questions; `KeyError` if one is missing would be our bug."""
    by_key: dict[PromptKey, list[Prediction]] = {}
    for answer in answers:
        by_key.setdefault(answer.key, []).append(answer)
    return [united(by_key[question.key]) for question in questions]


def _open_questions(step: Sequence[Prompt], done: Mapping[PromptKey, Sequence[Prediction]]) -> list[Prompt]:
    """The prompts of a step that the journal does not answer; of drawn answers, as many as are still to be drawn."""
    questions = []
    for prompt in step:
        rows = done.get(prompt.key, ())
        if not rows:
            questions.append(prompt)
        elif prompt.sampling is not None and (missing := prompt.sampling.samples - sum(map(sampled.answered, rows))):
            questions.append(replace(prompt, sampling=replace(prompt.sampling, samples=missing)))
    return questions


def _digest_of(questions: Sequence[Prompt]) -> str:
    """Digest of all prompts, in order."""
    return digest([digest([*question.key, dict(question.values)]) for question in questions])
