"""Models that do not behave: what a process answers, or does not, when code in it is hostile or a library fails."""

import hashlib
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner.core.errors import BackendError, Fault, InvalidInput
from runner.core.types import Prediction, Prompt
from runner.models.worker import server
from runner.tasks.prompts import prompt_sha256


class PanicException(BaseException):
    """As a library in Rust raises it."""


class Sound:
    """A backend without a model that answers as it should."""

    def plan(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        return [[number] for number in range(len(prompts))]

    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        for prompt in prompts:
            yield Prediction(
                task=prompt.task,
                item_id=prompt.item_id,
                log_scores=tuple(-1.0 - number for number in range(len(prompt.options))),
                split=prompt.split,
                prompt_id=prompt.prompt_id,
                order=prompt.order,
                prompt_sha256=prompt_sha256(prompt),
                answer_mass=0.5,
            )

    def read(self, prompts: Sequence[Prompt]) -> Any:
        return None

    def without_adapter(self) -> AbstractContextManager[None] | None:
        return None

    def describe(self) -> dict[str, Any]:
        return {"backend": "causal", "dtype": "float32"}

    def peak_memory_bytes(self) -> int | None:
        """The number of its process instead, by which the tests find it."""
        return os.getpid()

    def close(self) -> None: ...


class Panic(Sound):
    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        raise PanicException("index out of bounds \x1b[31m\x07")


class Segfault(Sound):
    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError


class Patient(Sound):
    """Waits for a second, and computes nothing meanwhile."""

    def plan(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        time.sleep(1)
        return super().plan(prompts)


class Busy(Sound):
    def plan(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        while True:
            pass


class Lost(Sound):
    """Does not come back from a library, so that no signal is heard."""

    def plan(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        server._GRACE_SECONDS = 0
        with server._bounded(0.1, 1 << 30):
            return [[sum(itertools.repeat(0))]]


class Exit(Sound):
    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        sys.exit(0)


class Sleep(Sound):
    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        time.sleep(3600)
        raise AssertionError


class Babble(Sound):
    """Never answers, and is never silent."""

    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        while True:
            os.write(2, b"still thinking " * 4000)


class Trickle(Sound):
    """Never ends its answer, and always says a little more of it."""

    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        # Python keeps the pipe for answers to itself: the lowest number that is one, beside the three of every process.
        answers = next(number for number in range(3, 20) if Path(f"/proc/self/fd/{number}").is_fifo())
        while True:
            os.write(answers, b"x")


class Stubborn(Sound):
    """Does not even listen to a polite signal."""

    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        for number in (signal.SIGABRT, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(3600)
        raise AssertionError


class Oom(Sound):
    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        taken = []
        while True:
            taken.append(bytearray(64 << 20))


class Reply(Sound):
    """Answers that were not asked for: those of another item."""

    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        for answer in super().predict(prompts):
            yield replace(answer, item_id="another")


class Scores(Sound):
    """One score too many."""

    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        for answer in super().predict(prompts):
            yield replace(answer, log_scores=(*answer.log_scores, 0.0))


class Text(Sound):
    """An answer to other words than were asked."""

    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        for answer in super().predict(prompts):
            yield replace(answer, prompt_sha256="0" * 64)


class Counts(Sound):
    """More counts than any reader of predictions takes."""

    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        for answer in super().predict(prompts):
            yield replace(answer, token_counts=(1,) * 600_000)


class Nameless(Sound):
    def describe(self) -> dict[str, Any]:
        return {}


class Unsignable(Sound):
    """A number that becomes an integer beyond 2^53 once it is written canonically."""

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "scale": 1e17}


class Few(Sound):
    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        yield from list(super().predict(prompts))[1:]


class Many(Sound):
    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        for answer in super().predict(prompts):
            yield answer
            yield answer


class Plan(Sound):
    def plan(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        return [[0], *super().plan(prompts)]


class Ahead(Sound):
    """Predicts a prompt when the one after it was read, which is not to be when 9 comes; 5 cannot be read."""

    def __init__(self) -> None:
        self.known = threading.Condition()
        self.read_so_far = -1

    def read(self, prompts: Sequence[Prompt]) -> Any:
        with self.known:
            self.read_so_far = int(prompts[-1].item_id)
            self.known.notify_all()
        if self.read_so_far == 5:
            raise InvalidInput(Fault("PROMPT_TOO_LONG", "Item 5 is too long."))
        return self.read_so_far

    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        with self.known:
            if read != 9 and not self.known.wait_for(lambda: self.read_so_far > read, timeout=10):
                raise BackendError(Fault("LATE", f"Nothing was read while item {read} waited."))
        for answer in super().predict(prompts):
            yield replace(answer, prompt_tokens=read)


class Loud(Sound):
    """Writes more on both outputs than a pipe holds, and answers all the same."""

    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        print("x" * 300_000, flush=True)
        print("y" * 300_000, file=sys.stderr, flush=True)
        return super().predict(prompts)


# --- copies, which differ in the device that they are told ------------------------------------------------------------


class Copy(Sound):
    """One of several copies; it says in `prompt_tokens` which process answered."""

    def __init__(self, device: str | None = None) -> None:
        self.second = device == "cpu:1"

    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        for answer in super().predict(prompts):
            self.meet(int(answer.item_id))
            yield replace(answer, prompt_tokens=os.getpid())

    def meet(self, number: int) -> None:
        """What happens at an item."""


class Lame(Copy):
    """The second copy is slow."""

    def meet(self, number: int) -> None:
        time.sleep(0.5 if self.second else 0.005)


class Fragile(Copy):
    """Item 0 ends the process that reads it, item 1 is not answered, item 2 is an error."""

    def meet(self, number: int) -> None:
        if number == 0:
            raise PanicException("item 0")
        if number == 1:
            time.sleep(3600)
        if number == 2:
            raise BackendError(Fault("LOGITS_NON_FINITE", "Item 2 has no finite scores."))
        time.sleep(0.005)


class Renamed(Copy):
    """The second copy is on another device."""

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "device": {"type": "cuda", "name": "two\n\x1b[31m" if self.second else "one"}}


class Cut(Copy):
    """The second copy plans other batches."""

    def plan(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        return [list(range(len(prompts)))] if self.second else super().plan(prompts)


class Absent(Copy):
    """The second copy cannot be loaded."""

    def __init__(self, device: str | None = None) -> None:
        super().__init__(device)
        if self.second:
            raise BackendError(Fault("DEVICE", "There is no second device."))


class Reading(Sound):
    """Answers with a digest of the files that it is given, opened anew for each prompt."""

    folder: Path

    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        for answer in super().predict(prompts):
            yield replace(answer, log_scores=reading_of(self.folder))


def reading_of(folder: Path) -> tuple[float, float]:
    """Two numbers that stand for the bytes of every file in a folder."""
    data = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    digest = hashlib.sha256(data).digest()
    return -1.0 - int.from_bytes(digest[:4]) / 2**32, -1.0 - int.from_bytes(digest[4:8]) / 2**32


COPIES = {kind.__name__.lower(): kind for kind in (Copy, *Copy.__subclasses__())}
KINDS = {kind.__name__.lower(): kind for kind in Sound.__subclasses__()} | {"sound": Sound}


def __getattr__(name: str) -> Any:
    """`support.misbehaving_worker:panic` is an entry whose model panics."""
    if name not in KINDS and name not in COPIES:
        raise AttributeError(name)

    def main(parent: int) -> None:
        def opened(*given: Any) -> Sound:
            Reading.folder = given[1]
            return COPIES[name](given[-1].device) if name in COPIES else KINDS[name]()

        server.open_backend = opened  # type: ignore[assignment]
        server.main(parent)

    return main
