"""The model's process as a backend: its answers are checked, and its failures become messages."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from runner.artifacts import PrivateView, inherited_handles
from runner.core.errors import BackendError, InvalidInput
from runner.core.types import Prediction, Prompt, Submission
from runner.models.base import LoadOptions
from runner.models.worker import protocol, sandbox
from runner.models.worker.process import Process

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """Time and memory of the model's process.

    Encoding prompts has narrower limits, since it is quick unless a tokenizer or a template is made to be slow. They
    count the processor's time: the clock's would refuse a sound submission where others keep the machine busy.
    """

    start_seconds: float = 600
    """Seconds to start."""
    load_seconds: float = 3600
    """Seconds to load the model."""
    plan_seconds: float = 60
    """Seconds of the processor to encode prompts, whatever their number."""
    plan_seconds_per_prompt: float = 0.05
    """Further seconds of the processor per prompt."""
    plan_bytes: int = 4 << 30
    """Bytes of memory to encode prompts, whatever their number."""
    plan_bytes_per_prompt: int = 64 << 10
    """Further bytes per prompt."""
    call_seconds: float = 3600
    """Seconds between two messages of any other call."""
    memory_bytes: int | None = None
    """Bytes of memory where there is no CUDA; None for all that the machine has."""

    def of_plan(self, prompts: int) -> dict[str, float]:
        """Seconds of the processor and bytes for reading so many prompts."""
        return {
            "seconds": self.plan_seconds + self.plan_seconds_per_prompt * prompts,
            "bytes": self.plan_bytes + self.plan_bytes_per_prompt * prompts,
        }


LIMITS = Limits()
_BUSY = 60
"""Seconds of the clock for one of the processor, after which a process is taken to wait for something for ever."""
_PREDICTING = "predicting"


def open_isolated(
    submission: Submission,
    model_folder: Path,
    adapter_folder: Path | None,
    load: LoadOptions = LoadOptions(),
    limits: Limits | None = None,
) -> "Worker":
    """Load what `submission` names, as `open_backend` does, in a process that can reach those folders and little else.

    The number of threads is as `load` or `OMP_NUM_THREADS` says, or else one per core.
    The process gets prompts only, and dies with this one (with the thread that calls this, on Linux). Raises what
    `open_backend` does, and `BackendError` `WORKER_START`, `WORKER_TIMEOUT`, `WORKER_MEMORY`, `WORKER_CRASH` or
    `WORKER_REPLY`; so do all methods of the backend, after which it is closed for good.
    """
    folders = [model_folder, *([adapter_folder] if adapter_folder else ())]
    worker = start_worker(folders, load.device, limits or LIMITS, load.threads)
    try:
        adapter = str(adapter_folder.resolve()) if adapter_folder else None
        worker.load(submission, str(model_folder.resolve()), adapter, load)
    except BaseException:
        worker.close()
        raise
    return worker


def show_tokens_isolated(
    submission: Submission, model_folder: Path, prompts: Sequence[Prompt], limits: Limits | None = None
) -> Iterator[dict[str, Any]]:
    """What `models.local.open.show_tokens` gives, from a process that can reach `model_folder` and little else."""
    with PrivateView(model_folder, "model", weights=False) as view:
        worker = start_worker([view.folder], "cpu", limits or LIMITS)
        try:
            yield from worker.tokens(submission, view.folder, prompts)
        finally:
            worker.close()


def isolation(device: str | None = None) -> Mapping[str, str]:
    """Which protections a model's process would have on this machine: name to `active`, or to why not."""
    worker = start_worker([], device, LIMITS)
    worker.close()
    return worker.isolation


def start_worker(folders: Sequence[Path], device: str | None, limits: Limits, threads: int | None = None) -> "Worker":
    """A worker without a model, in a process of this machine that may read `folders`; it is to be closed."""
    process = Process(threads, [handle for folder in folders for handle in inherited_handles(folder)])
    return Worker(process, [str(folder.resolve()) for folder in folders], device, limits)


class Channel(Protocol):
    """What a worker needs of its process, wherever that runs; see `process.Process`."""

    def send(self, message: Mapping[str, Any], seconds: float, activity: str) -> None:
        """See `Process.send`."""

    def receive(self, seconds: float, activity: str) -> dict[str, Any]:
        """See `Process.receive`."""

    def refuse(self, what: str, activity: str) -> BackendError:
        """See `Process.refuse`."""

    def kill(self) -> None:
        """See `Process.kill`."""

    def close(self) -> None:
        """See `Process.close`."""


class Worker:
    """Holds the process that holds the model; see `runner.models.base.Backend`.

    `isolation` is what the process gave up before it opened any file of the submission, `device` the one it was given.
    """

    isolation: Mapping[str, str]

    def __init__(self, process: Channel, folders: Sequence[str], device: str | None, limits: Limits) -> None:
        """Take over a process that was just started; `folders` are the absolute paths that it may read."""
        self._limits = limits
        self.device = device
        self._process = process
        try:
            opening = {
                "folders": list(folders),
                "device": device,
                "memory_bytes": limits.memory_bytes,
            }
            self._process.send(opening, limits.start_seconds, "starting")
            states = self._process.receive(limits.start_seconds, "starting").get("item")
            # What this process took away before it could be hostile.
            scrubbed = dict.fromkeys(("environment", "file_descriptors"), sandbox.ACTIVE)
            self.isolation = {**scrubbed, **self._fit(protocol.states_of, states, "starting")}
        except BaseException:
            self.close()
            raise

    def load(
        self,
        submission: Submission,
        model_folder: str,
        adapter_folder: str | None,
        load: LoadOptions,
    ) -> None:
        """Load the model on the worker's own device, from absolute paths; to be called once, before all else."""
        request = {
            "do": "load",
            "submission": protocol.submission_row(submission),
            "model_folder": model_folder,
            "adapter_folder": adapter_folder,
            "device": self.device,
            "dtype": load.dtype,
            "batch_tokens": load.batch_tokens,
        }
        facts = self._ask([request], self._limits.load_seconds, "loading the model")
        self._has_adapter = self._fit(protocol.facts_of, facts, "loading the model").get("adapter") is True

    def plan(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """See `Backend.plan`; also raises `InvalidInput` `TEMPLATE_LIMIT` and `TOKENIZER_LIMIT`."""
        with self._reading(len(prompts)) as (bounds, seconds, activity):
            batches = self._ask(
                [{**part, **bounds, "do": "plan"} for part in protocol.in_chunks(prompts)], seconds, activity
            )
        return self._fit(partial(protocol.batches_of, prompts=len(prompts)), batches, "reading the prompts")

    def tokens(self, submission: Submission, folder: Path, prompts: Sequence[Prompt]) -> Iterator[dict[str, Any]]:
        """See `models.local.open.show_tokens`; the tokenizer and config.json are those in `folder`."""
        here = replace(submission, model=replace(submission.model, path=str(folder.resolve()), repository=None))
        task = {"do": "tokens", "submission": protocol.submission_row(here)}
        with self._reading(len(prompts)) as (bounds, seconds, activity):
            requests = [{**part, **bounds, **task} for part in protocol.in_chunks(prompts)]
            rows = list(self._items(requests, seconds, activity, len(prompts)))
        yield from (self._fit(protocol.facts_of, row, "reading the prompts") for row in rows)

    def predict(self, prompts: Sequence[Prompt]) -> Iterator[Prediction]:
        """See `Backend.predict`."""
        for _, answers in self.share([prompts]):
            yield from answers

    def share(self, steps: Iterable[Sequence[Prompt] | None]) -> Iterator[tuple[Sequence[Prompt], list[Prediction]]]:
        """Each step with its predictions; the process has the next step to read while it predicts one.

        `None` among them is no step: there is none to be read ahead yet. Raises what `predict` does; left before its
        end, the process is ended.
        """
        pending: deque[Sequence[Prompt]] = deque()
        try:
            for step in steps:
                if step is not None:
                    for part in protocol.in_chunks(step):
                        self._process.send({**part, "do": "predict"}, self._limits.call_seconds, _PREDICTING)
                    pending.append(step)
                if len(pending) > 1 or (pending and step is None):
                    yield pending[0], self._predictions(pending.popleft())
            while pending:
                yield pending[0], self._predictions(pending.popleft())
        finally:
            if pending:  # what it still answers would be taken for the answer to something else
                self.close()

    def without_adapter(self) -> AbstractContextManager[None] | None:
        """See `Backend.without_adapter`."""
        return self._bare() if self._has_adapter else None

    @contextmanager
    def _bare(self) -> Iterator[None]:
        self._ask([{"do": "adapter off"}], self._limits.call_seconds, "switching the adapter off")
        yield
        self._ask([{"do": "adapter on"}], self._limits.call_seconds, "switching the adapter on")

    def describe(self) -> Mapping[str, Any]:
        """See `Backend.describe`; reported by the process, checked for form only."""
        activity = "describing the model"
        return self._fit(
            protocol.description_of, self._ask([{"do": "describe"}], self._limits.call_seconds, activity), activity
        )

    def peak_memory_bytes(self) -> int | None:
        """See `Backend.peak_memory_bytes`."""
        activity = "telling its memory"
        return self._fit(
            protocol.number_of, self._ask([{"do": "peak memory"}], self._limits.call_seconds, activity), activity
        )

    def kill(self) -> None:
        """End the process while another thread may be asking it, which gets an error; `close` is still to be called."""
        self._process.kill()

    def spent(self) -> None:
        """None: there is no service."""
        return

    def close(self) -> None:
        """End the process."""
        self._process.close()

    # --- inside ----------------------------------------------------------------------------------------------------

    def _predictions(self, prompts: Sequence[Prompt]) -> list[Prediction]:
        """The answers to the first of the steps that wait."""
        rows = list(self._items([], self._limits.call_seconds, _PREDICTING, len(prompts)))
        return [
            self._fit(partial(protocol.prediction_of, prompt=prompt), row, _PREDICTING)
            for row, prompt in zip(rows, prompts, strict=True)
        ]

    def _ask(self, requests: Sequence[Mapping[str, Any]], seconds: float, activity: str) -> Any:
        """The one answer to `requests`, which are one request in parts."""
        waiting = self._items(requests, seconds, activity, 0)
        try:
            next(waiting)
        except StopIteration as end:
            return end.value
        raise self._process.refuse("an item", activity)

    def _items(
        self, requests: Sequence[Mapping[str, Any]], seconds: float, activity: str, count: int
    ) -> Generator[Any, None, Any]:
        """The `count` items of an answer; its end is what the generator returns."""
        for request in requests:
            self._process.send(request, seconds, activity)
        for number in range(count + 1):
            ((kind, value),) = self._process.receive(seconds, activity).items()
            if kind == "error":
                raise self._fit(protocol.error_of, value, activity)
            if kind == "ok" and number == count:
                return value
            if kind == "ok" or number == count:
                raise self._process.refuse(f"{number:,} items or more instead of {count:,}", activity)
            yield value

    @contextmanager
    def _reading(self, prompts: int) -> Iterator[tuple[dict[str, float], float, str]]:
        """Bounds for reading prompts; a process that has to be ended then has a tokenizer that does not come back."""
        bounds = self._limits.of_plan(prompts)
        try:
            yield bounds, bounds["seconds"] * _BUSY, "reading the prompts"
        except BackendError as problem:
            if problem.faults[0].code != "WORKER_TIMEOUT":
                raise
            raise InvalidInput(replace(problem.faults[0], code="TOKENIZER_LIMIT")) from None

    def _fit(self, check: Callable[[Any], T], value: Any, activity: str) -> T:
        """What `check` makes of a value that the process gave; if it does not fit, the process is ended."""
        try:
            return check(value)
        except protocol.ProtocolError as problem:
            raise self._process.refuse(str(problem), activity) from None
