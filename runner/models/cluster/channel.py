"""A worker's process on a node as one of this machine: messages as bytes, two remote calls for each exchange."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from runner.core.errors import BackendError
from runner.models.worker import protocol
from runner.models.worker.process import refusal

_WITH_PROMPTS = ("predict", "tokens")


class ReplicaLost(Exception):
    """The actor, its worker or its node is gone; its requests have no answer."""


class NodeChannel:
    """Speaks to the worker that a `NodeProcess` started; see `worker.client.Channel`. Every method of it may raise
    `ReplicaLost`, too."""

    def __init__(self, actor: Any, incarnation: str) -> None:
        self._actor = actor
        self._incarnation = incarnation
        self._unsent: list[bytes] = []
        self._items = 0
        self._requests = 0
        self._pending: deque[tuple[int, int]] = deque()
        self._lines: deque[bytes] = deque()

    def send(self, message: Mapping[str, Any], seconds: float, activity: str) -> None:
        """Send once the request is whole; does not wait."""
        self._unsent.append(protocol.to_line(message))
        if message.get("do") in _WITH_PROMPTS:
            self._items += len(message["prompts"])
        if not message.get("more"):
            self._actor.send.remote(self._incarnation, self._requests, b"".join(self._unsent), seconds, activity)
            self._pending.append((self._requests, self._items))
            self._requests += 1
            self._unsent, self._items = [], 0

    def receive(self, seconds: float, activity: str) -> dict[str, Any]:
        """The worker's next message; all that answer a request are fetched at once."""
        if not self._lines:
            number, count = self._pending.popleft()
            reply = remote_call(self._actor.receive, self._incarnation, number, count, seconds, activity)
            if reply is None:
                raise ReplicaLost("it was started again, or a request was lost")
            if isinstance(reply, dict):
                raise protocol.error_of(reply)
            self._lines.extend(reply)
        try:
            return protocol.message_of(self._lines.popleft())
        except protocol.ProtocolError as problem:
            raise self.refuse(str(problem), activity) from None

    def refuse(self, what: str, activity: str) -> BackendError:
        """See `Process.refuse`."""
        self.close()
        return refusal(what, activity)

    def kill(self) -> None:
        """End the actor, and with it its worker, for good."""
        import ray

        ray.kill(self._actor)

    def close(self) -> Any:
        """End the worker when its node has done its earlier requests; Ray's reference, to wait for."""
        return self._actor.close.remote(self._incarnation)


def remote_call(method: Any, *arguments: Any) -> Any:
    """What a method of an actor returns; raises `ReplicaLost` where the actor is not there (any more)."""
    import ray
    from ray.exceptions import ActorUnavailableError, RayActorError

    try:
        return ray.get(method.remote(*arguments))
    except ActorUnavailableError:
        raise ReplicaLost("it cannot be reached") from None
    except RayActorError:  # its text is many lines of what Ray guesses
        raise ReplicaLost("its process or its node ended") from None
