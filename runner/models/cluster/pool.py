"""The steps of a run while several replicas work on them, any of which may be lost."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from runner.core.errors import BackendError, Fault
from runner.core.types import Prediction, Prompt

MOST_LOSSES = 3
"""Workers that one step may take with it before the run is ended."""


@dataclass(slots=True)
class Step:
    """A step, and what became of those that computed it."""

    number: int
    """Its number among the steps of this call, from 1."""
    prompts: Sequence[Prompt]
    """The question."""
    losses: int = 0
    """Workers that were lost while they computed it."""

    def __str__(self) -> str:
        first = self.prompts[0]
        more = f" and {len(self.prompts) - 1:,} other prompts" if len(self.prompts) > 1 else ""
        return f"step {self.number:,} ({first.task}/{first.split}, item {first.item_id}{more})"


class StepPool:
    """Gives out each step until it is answered; to be shared by the threads of all replicas."""

    def __init__(self, steps: Iterable[Sequence[Prompt]], replicas: int) -> None:
        self._waiting = deque(Step(number, prompts) for number, prompts in enumerate(steps, 1))
        self._replicas = replicas
        self._open = len(self._waiting)
        self._changed = threading.Condition()
        self.sample: tuple[Sequence[Prompt], list[Prediction]] | None = None
        """One step with its answers, which a replica that is there again repeats; None before there is one."""

    @property
    def finished(self) -> bool:
        """Whether every step is answered, or the run was ended."""
        return self._open <= 0

    def end(self) -> None:
        """Give out nothing more: the run has failed or was stopped."""
        with self._changed:
            self._open = 0
            self._waiting.clear()
            self._changed.notify_all()

    def take(self, held: deque[Step]) -> Iterator[Sequence[Prompt] | None]:
        """What one replica is to compute next, put into `held` as well; ends when every step is answered.

        None: nothing may be read ahead, since of the last steps whichever replica is free first takes each.
        """
        while True:
            with self._changed:
                # Another replica may lose what it holds: one that has nothing to do waits for the end.
                while not held and not self._waiting and self._open > 0:
                    self._changed.wait()
                if self._open <= 0:
                    return
                if held and len(self._waiting) <= self._replicas:
                    step = None
                else:
                    held.append(step := self._waiting.popleft())
            yield step.prompts if step is not None else None

    def finish(self, held: deque[Step], answers: list[Prediction]) -> None:
        """The first of `held` is answered."""
        step = held.popleft()
        with self._changed:
            self.sample = self.sample or (step.prompts, answers)
            self._open -= 1
            self._changed.notify_all()

    def give_back(self, held: deque[Step], reason: str, notify: Callable[[str], None]) -> None:
        """A replica was lost: others take what it held, first its first, which it was computing.

        Raises `BackendError` (STEP_FATAL) for a step that took its third worker.
        """
        if held:
            held[0].losses += 1
            if held[0].losses >= MOST_LOSSES:
                message = f"{MOST_LOSSES} workers were lost, each while it computed {held[0]}; the last: {reason}"
                hint = "Fewer --batch-tokens need less memory; `benchmark prompts` shows what is asked of these items."
                raise BackendError(Fault("STEP_FATAL", message, hint=hint))
            notify(f"{held[0]} goes to another worker.".capitalize())
        with self._changed:
            self._waiting.extendleft(reversed(held))
            held.clear()
            self._changed.notify_all()
