"""Several processes that each hold the whole model and share the steps of a run: whichever is free takes the next."""

import json
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from runner.core import environment
from runner.core.errors import BackendError, Fault
from runner.core.types import Prediction, Prompt, Submission
from runner.models.base import LoadOptions
from runner.models.worker import client
from runner.models.worker.client import Limits, Worker
from runner.models.worker.sandbox import ACTIVE

T = TypeVar("T")
_MAX_SHOWN = 80


class OnDevice(Protocol):
    """Whatever runs on a device."""

    @property
    def device(self) -> str | None:
        """Its name, as it was given."""


W = TypeVar("W", bound=OnDevice)


def device_names(devices: str | None) -> list[str | None]:
    """The devices of a comma list, one for each replica; one None where nothing is given.

    Raises `BackendError` (`DEVICE`) for a list with an empty name, with devices of several kinds, or with a CUDA
    device twice. Whether a device is there is known to the process that opens it.
    """
    if devices is None or "," not in devices:
        return [devices]
    names = [name.strip() for name in devices.split(",")]
    faults = []
    if not all(names):
        faults.append("has an empty name")
    if len({name.partition(":")[0] for name in names if name}) > 1:
        faults.append("mixes kinds of devices, whose answers would round differently")
    all_names = [device for name in names for device in name.split("+")]  # a replica may be spread over several
    cuda = ["cuda:0" if name == "cuda" else name for name in all_names if name.startswith("cuda")]
    if twice := sorted({name for name in cuda if cuda.count(name) > 1}):
        faults.append(f"names {', '.join(twice)} more than once")
    if faults:
        hint = "Name each CUDA device once, as in cuda:0,cuda:1; cpu may repeat."
        raise BackendError(*(Fault("DEVICE", f"The list of devices {devices!r} {what}.", hint=hint) for what in faults))
    return [*names]


def threads_per_replica(threads: int | None, replicas: int) -> int | None:
    """CPU threads of each of several replicas: as given by `threads` or the variables, else its share.

    None leaves them to the process, as with a single replica.
    """
    if threads is not None or not {"OMP_NUM_THREADS", "MKL_NUM_THREADS"}.isdisjoint(os.environ):
        return threads
    return max(1, (environment.cpus() or 1) // replicas)


def open_replicas(
    submission: Submission,
    model_folder: Path,
    adapter_folder: Path | None,
    load: LoadOptions,
    limits: Limits | None = None,
) -> "Replicas":
    """Load what `submission` names once on each device of the list `device`, at the same time; see `open_isolated`.

    `threads` are those of each replica (default: `threads_per_replica`). Raises what `open_isolated` and
    `device_names` do.
    """
    names = device_names(load.device)
    folders = [model_folder, *([adapter_folder] if adapter_folder else ())]
    replicas = Replicas()
    try:
        # All are started by this thread: on Linux they die with the thread that started them.
        for name in names:
            replicas.workers.append(
                client.start_worker(
                    folders, name, limits or client.LIMITS, threads_per_replica(load.threads, len(names))
                )
            )
        adapter = str(adapter_folder.resolve()) if adapter_folder else None
        replicas.load(submission, str(model_folder.resolve()), adapter, load)
    except BaseException:
        replicas.close()
        raise
    return replicas


class Replicas:
    """Holds the processes; see `runner.models.base.Backend`. What is predicted outside of `share`, the first predicts.

    When one fails, or the run is stopped, all are ended. To be used by the thread that opened them.
    """

    def __init__(self) -> None:
        self.workers: list[Worker] = []
        self._threads: list[threading.Thread] = []
        self._alike = False

    @property
    def isolation(self) -> Mapping[str, str]:
        """The protections that all have; of one that some lack, why."""
        return common_isolation([worker.isolation for worker in self.workers])

    def load(self, *what: Any) -> None:
        """See `Worker.load`."""

        def load(worker: Worker) -> Iterator[None]:
            worker.load(*what)
            yield

        list(self._at_once(load))

    def plan(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """See `Worker.plan`. The first time all plan, and their plans are equal; from then on the first does it alone.

        Raises `BackendError` (`DEVICES_DIFFER`) where they are not.
        """
        if self._alike:
            return self.workers[0].plan(prompts)
        plans = list(self._at_once(lambda worker: [worker.plan(prompts)]))
        self.describe()  # tells of more than that the plans differ
        if any(plan != plans[0] for plan in plans):
            raise BackendError(Fault("DEVICES_DIFFER", "The copies of the model cut the prompts into other batches."))
        self._alike = True
        return plans[0]

    def share(self, steps: Iterable[Sequence[Prompt]]) -> Iterator[tuple[Sequence[Prompt], list[Prediction]]]:
        """Each step with its predictions, as they are finished; a step is predicted as a whole by one of the replicas.

        Raises what `Worker.predict` does, as soon as one fails, and `KeyboardInterrupt`: all are ended then, and what
        any of them had finished is given first.
        """
        remaining = deque(steps)

        def next_steps() -> Iterator[Sequence[Prompt] | None]:
            ahead = False
            while True:
                # Of the last ones none is given out ahead: whichever is free first takes it.
                if ahead and len(remaining) <= len(self.workers):
                    ahead = False
                    yield None
                    continue
                try:
                    step = remaining.popleft()
                except IndexError:
                    return
                ahead = True
                yield step

        yield from self._at_once(lambda worker: worker.share(next_steps()))

    def predict(self, prompts: Sequence[Prompt]) -> Iterator[Prediction]:
        """See `Worker.predict`."""
        return self.workers[0].predict(prompts)

    def without_adapter(self) -> AbstractContextManager[None] | None:
        """See `Worker.without_adapter`; for the prompts of `predict`."""
        return self.workers[0].without_adapter()

    def describe(self) -> Mapping[str, Any]:
        """See `Worker.describe`; the same whatever the number of replicas. Raises `BackendError` (`DEVICES_DIFFER`)."""
        return compare_facts([(str(worker.device), worker.describe()) for worker in self.workers])

    def peak_memory_bytes(self) -> int | None:
        """See `Worker.peak_memory_bytes`; the largest of them."""
        return max((peak for worker in self.workers if (peak := worker.peak_memory_bytes()) is not None), default=None)

    def spent(self) -> None:
        """None: there is no service."""
        return

    def close(self) -> None:
        """End all processes, and the threads that wait for them."""
        # A pipe that another thread waits on must not be closed: the thread ends with its process first.
        for worker in self.workers:
            worker.kill()
        for thread in self._threads:
            thread.join()
        for worker in self.workers:
            worker.close()

    def _at_once(self, do: Callable[[Worker], Iterable[T]]) -> Iterator[T]:
        return each_in_a_thread(self.workers, do, self._threads, self.close)


def each_in_a_thread(
    members: Sequence[W], do: Callable[[W], Iterable[T]], threads: list[threading.Thread], close: Callable[[], None]
) -> Iterator[T]:
    """What `do` gives of each of `members`, in a thread for each, as it comes; `threads` are replaced by theirs.

    At the first failure or a stop `close` is called, which is to end all threads; what was given before comes first.
    """
    results: queue.SimpleQueue[tuple[T] | BaseException | None] = queue.SimpleQueue()

    def tell(member: W) -> None:
        try:
            for result in do(member):
                results.put((result,))
        except BaseException as problem:  # handed to the thread that waits for it
            results.put(problem)
        else:
            results.put(None)

    threads.clear()
    for member in members:
        thread = threading.Thread(target=tell, args=(member,), daemon=True, name=f"copy on {member.device}")
        thread.start()
        threads.append(thread)
    failure: BaseException | None = None
    running = len(threads)
    while running and failure is None:
        try:
            result = results.get()
        except KeyboardInterrupt as stop:
            result = stop
        if result is None:
            running -= 1
        elif isinstance(result, BaseException):
            failure = result
        else:
            yield result[0]
    if failure is not None:
        close()
        while not results.empty():
            if isinstance(result := results.get(), tuple):
                yield result[0]
        raise failure


def compare_facts(members: Sequence[tuple[str, Mapping[str, Any]]]) -> Mapping[str, Any]:
    """The facts that all members give, by their names; `BackendError` (`DEVICES_DIFFER`) naming two that differ."""
    (name, first), *others = members
    for other_name, other in others:
        if other != first:
            path, here, there = _difference(first, other)
            message = (
                f"The copies of the model differ in {_shown('.'.join(path))}: {_shown(here)} on {name}, "
                f"{_shown(there)} on {other_name}."
            )
            raise BackendError(Fault("DEVICES_DIFFER", message, hint="Run on equal devices, or on one of them."))
    return first


def common_isolation(isolations: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The protections that all have; of one that some lack, why."""
    names = sorted({name for states in isolations for name in states})
    states_by_name = {name: [states.get(name, "unavailable") for states in isolations] for name in names}
    return {
        name: next((state for state in values if state != ACTIVE), ACTIVE) for name, values in states_by_name.items()
    }


def _difference(first: Any, other: Any) -> tuple[list[str], Any, Any]:
    """Where two JSON values that differ do so first, and what stands there."""
    if not (isinstance(first, Mapping) and isinstance(other, Mapping)):
        return [], first, other
    name = next(
        name
        for name in sorted({*first, *other})
        if (name in first, first.get(name)) != (name in other, other.get(name))
    )
    path, here, there = _difference(first.get(name), other.get(name))
    return [name, *path], here, there


def _shown(value: Any) -> str:
    """A value that a process gave, as printable text of a sane length."""
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
