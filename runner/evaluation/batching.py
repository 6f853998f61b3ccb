"""A run's prompts in the steps in which they are predicted, planned so that many need no more memory than some."""

from collections.abc import Callable, Iterator, Sequence

from runner.core.errors import MOST_FAULTS, Fault, InvalidInput
from runner.core.types import Prompt
from runner.models.base import Predictor

_MOST_AT_ONCE = 4096


def plan_steps(
    backend: Predictor, prompts: Sequence[Prompt], progress: Callable[[str, int, int], None] | None = None
) -> list[list[int]]:
    """Steps of indexes into `prompts`, each once, as `backend` plans them: some thousands of prompts at a time.

    Raises `InvalidInput` with the faults of all prompts, or of as many as have twenty.
    """
    steps: list[list[int]] = []
    faults: list[Fault] = []
    done = 0
    for window in windows(prompts):
        if progress is not None:
            progress("read", done, len(prompts))
        try:
            batches = backend.plan([prompts[number] for number in window])
            steps += [[window[index] for index in step] for step in batches]
        except InvalidInput as problem:
            faults += [fault for fault in problem.faults if fault not in faults]
        if len(faults) >= MOST_FAULTS:
            break
        done += len(window)
    if faults:
        raise InvalidInput(*faults)
    return steps


def windows(prompts: Sequence[Prompt]) -> Iterator[list[int]]:
    """Indexes into `prompts`, each once, ascending within a window; all prompts about an item are in the same one."""
    items: dict[tuple[str, str, str], list[int]] = {}
    for number, prompt in enumerate(prompts):
        items.setdefault((prompt.task, prompt.split, prompt.item_id), []).append(number)
    window: list[int] = []
    for members in items.values():
        if window and len(window) + len(members) > _MOST_AT_ONCE:
            yield sorted(window)
            window = []
        window += members
    if window:
        yield sorted(window)
