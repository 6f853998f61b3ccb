"""One replica of the model on whichever node Ray puts it, there again when it was lost."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from runner.artifacts import Kind
from runner.core import environment
from runner.core.errors import BackendError, Fault, UserError
from runner.core.types import Prediction, Prompt, Submission
from runner.models.base import LoadOptions
from runner.models.cluster.channel import NodeChannel, ReplicaLost, remote_call
from runner.models.worker import protocol
from runner.models.worker.client import LIMITS, Worker
from runner.tasks.predictions import to_line

T = TypeVar("T")
_POLL_SECONDS = 0.25
_SAY_AFTER_SECONDS = 20.0
_MOST_LOSSES = 3
# The worker alone was lost, and its actor is there to tell of it.
WORKER_LOST = frozenset({"WORKER_CRASH", "WORKER_MEMORY"})


@dataclass(frozen=True, slots=True)
class Order:
    """What every replica loads."""

    submission: Submission
    """The submission, with the paths or pins that each node follows."""
    manifests: Mapping[Kind, list[dict[str, Any]]]
    """Name, size and sha256 of every file, as the driver of the run hashed its own."""
    load: LoadOptions
    """Precision, batch size and threads."""


class Replica:
    """Holds an actor and speaks to the worker in it; to be used by one thread at a time."""

    def __init__(self, actor: Any, device: str, order: Order, notify: Callable[[str], None]) -> None:
        self.device = device
        self.actor = actor
        self.facts: Mapping[str, Any] = {}
        self.isolations: list[Mapping[str, str]] = []
        self.restarts = 0
        self._order = order
        self._notify = notify
        self._worker: Worker | None = None
        self._channel: NodeChannel | None = None
        self._closing: Any = None
        self._window: tuple[Sequence[Prompt], list[list[int]]] | None = None

    @property
    def name(self) -> str:
        """Node and device, for words."""
        return f"{self.facts.get('node', 'a node')}, {self.device}"

    def open(self, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Wait for the actor to be alive, and load the model in it; false where `give_up` said so first.

        Raises `BackendError` (NODES_DIFFER, NODE_FILES) for a node that is not like the driver's, and what opening a
        model raises. A restarted worker plans what it had planned, so that it says the same of itself as the others.
        """
        for _ in range(_MOST_LOSSES):
            if (facts := self._wait(give_up)) is None:
                return False
            self.facts = facts
            try:
                self._load()
                return True
            except ReplicaLost as problem:
                reason = str(problem)
                self.lose(reason)
        raise self._lost_for_good(reason)

    def revive(self, sample: tuple[Sequence[Prompt], list[Prediction]] | None, give_up: Callable[[], bool]) -> bool:
        """`open` after a loss; the new worker repeats the step of `sample`, if there is one, with equal answers.

        Raises `BackendError` (ANSWERS_DIFFER) where they are not equal.
        """
        before = self.name
        if not self.open(give_up):
            return False
        if sample is not None:
            prompts, answers = sample
            again = self.ask(lambda worker: list(worker.predict(prompts)))
            if [to_line(answer) for answer in again] != [to_line(answer) for answer in answers]:
                message = (
                    f"The worker on {self.name} answers a step that was answered before with other numbers, "
                    f"beginning with item {prompts[0].item_id}; it took the place of one on {before}."
                )
                raise BackendError(Fault("ANSWERS_DIFFER", message, hint="Run on nodes of the same kind."))
        self._notify(f"The worker is there again, on {self.name}.")
        return True

    def plan(self, prompts: Sequence[Prompt], *, first: bool) -> list[list[int]]:
        """See `Worker.plan`; the `first` window is planned again by a worker that replaces this one."""
        plan = self.ask(lambda worker: worker.plan(prompts))
        if first:
            self._window = prompts, plan
        return plan

    def ask(self, do: Callable[[Worker], T]) -> T:
        """What `do` gives of the worker; after a loss once more of a new one, `BackendError` after three.

        To be used for what may be repeated.
        """
        for _ in range(_MOST_LOSSES):
            try:
                return do(self.worker)
            except ReplicaLost as problem:
                reason = str(problem)
                self.lose(reason)
                self.open()
        raise self._lost_for_good(reason)

    @property
    def is_there(self) -> bool:
        """Whether it has a worker, as far as is known."""
        return self._worker is not None

    @property
    def worker(self) -> Worker:
        """The worker that is there now."""
        if self._worker is None:
            raise ReplicaLost("it is not there")
        return self._worker

    def lose(self, reason: str) -> None:
        """The worker is gone; `open` brings another."""
        self._worker = None
        self.restarts += 1
        self._notify(f"The worker on {self.name} was lost: {reason}. It is started again.")

    def changed(self) -> list[Fault]:
        """BYTES_CHANGED for each file of the node that is not what was loaded, by its node; hashes all of them."""
        try:
            row = remote_call(self.actor.changed)
        except ReplicaLost:
            return []  # its answers were journalled only while its files were untouched
        return [] if row is None else list(self._of_node(protocol.error_of(row)).faults)

    def close(self) -> None:
        """Have the worker ended once its node has done its earlier requests; `kill` is to follow."""
        if self._channel is not None:
            self._closing = self._channel.close()

    def kill(self, seconds: float) -> None:
        """End the actor for good, `seconds` after `close` at the latest."""
        import ray
        from ray.exceptions import RayError

        with suppress(RayError):  # of a cluster that is gone, nothing is left to be ended
            if self._closing is not None:
                ray.wait([self._closing], timeout=seconds)
            ray.kill(self.actor)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _lost_for_good(self, reason: str) -> BackendError:
        message = f"The worker on {self.name} was lost {_MOST_LOSSES} times in a row; the last time: {reason}."
        return BackendError(Fault("WORKER_LOST", message))

    def _wait(self, give_up: Callable[[], bool]) -> Mapping[str, Any] | None:
        """The facts of the actor once it is alive, on whatever node; None where `give_up` said so first."""
        import ray
        from ray.exceptions import ActorDiedError, ActorUnavailableError

        since, said = time.monotonic(), False
        waiting = self.actor.facts.remote()
        while not give_up():
            if ray.wait([waiting], timeout=_POLL_SECONDS)[0]:
                try:
                    facts: dict[str, Any] = ray.get(waiting)
                except ActorUnavailableError:  # it is being started again
                    time.sleep(_POLL_SECONDS)
                    waiting = self.actor.facts.remote()
                except ActorDiedError as problem:
                    raise _unusable(problem) from None
                else:
                    return facts
            if not said and time.monotonic() - since > _SAY_AFTER_SECONDS:
                said = True
                free = ", ".join(f"{amount:g} {name}" for name, amount in sorted(_free().items())) or "nothing"
                self._notify(f"Waiting for a node with room for a worker on {self.device}; free now: {free}.")
        return None

    def _load(self) -> None:
        self._check_node()
        order = self._order
        threads = order.load.threads
        reply = remote_call(self.actor.start, protocol.submission_row(order.submission), dict(order.manifests), threads)
        if "error" in reply:
            raise self._of_node(protocol.error_of(reply["error"]))
        folders: Mapping[Kind, str] = reply["folders"]
        self._channel = NodeChannel(self.actor, reply["incarnation"])
        worker = Worker(self._channel, list(folders.values()), self.device, LIMITS)
        worker.load(order.submission, folders["model"], folders.get("adapter"), order.load)
        self.isolations.append(worker.isolation)
        if self._window is not None:
            prompts, plan = self._window
            if worker.plan(prompts) != plan:
                message = f"The worker on {self.name} cuts the prompts into other batches than the one before it."
                raise BackendError(Fault("DEVICES_DIFFER", message, hint="Give --batch-tokens N."))
        self._worker = worker

    def _check_node(self) -> None:
        """`BackendError` (NODES_DIFFER) for each library whose version is not the driver's."""
        here, there = environment.versions(), self.facts["versions"]
        faults = [
            Fault(
                "NODES_DIFFER",
                f"The version of {name} is {there.get(name)} on {self.facts['node']}, "
                f"and {here.get(name)} on the machine that drives the run.",
                hint="Install the same versions on every node; an image is the surest way.",
            )
            for name in sorted(here.keys() | there.keys())
            if here.get(name) != there.get(name)
        ]
        if faults:
            raise BackendError(*faults)

    def _of_node(self, error: UserError) -> UserError:
        """An error that a node tells of, with its name."""
        faults = [replace(fault, message=f"On {self.facts['node']}: {fault.message}") for fault in error.faults]
        return type(error)(*faults)


def _free() -> Mapping[str, float]:
    import ray

    return {name: amount for name, amount in ray.available_resources().items() if name in ("CPU", "GPU")}


def _unusable(problem: Exception) -> BackendError:
    """An actor that cannot be made on its node, such as one without this package."""
    reason = " ".join(str(problem).split())[:300]
    hint = "Install this package, in the same version, on every node."
    return BackendError(Fault("CLUSTER", f"A worker cannot be started on its node: {reason}", hint=hint))
