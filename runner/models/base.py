"""Anything that answers prompts, whatever it is: a model on this machine, in a process of its own, or a service."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from runner.core.types import Prediction, Prompt


class Backend(Protocol):
    """A loaded model that answers prompts. Nothing here needs torch to be imported."""

    def plan(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Check every prompt before the device is used, and cut them into batches of indexes into `prompts`.

        Each index comes once; the same prompts give the same batches. Raises `InvalidInput` with every fault.
        """

    def predict(self, prompts: Sequence[Prompt]) -> Iterator[Prediction]:
        """One prediction for each prompt, in order; any prompts will do, those of one planned batch are fastest.

        Raises `BackendError`, and then gives none.
        """

    def without_adapter(self) -> AbstractContextManager[None] | None:
        """Within it the bare base model answers; None where there is no adapter."""

    def describe(self) -> Mapping[str, Any]:
        """JSON facts about the model, its tokenizer and the device, the same before and after predicting."""

    def peak_memory_bytes(self) -> int | None:
        """The most device memory that was in use at once, or None where that is not measured (a CPU)."""

    def close(self) -> None:
        """Let go of the weights."""


class LocalBackend(Backend, Protocol):
    """A model in this process, which can read the next prompts while it predicts."""

    def read(self, prompts: Sequence[Prompt]) -> Any:
        """What `predict` makes of prompts before it uses the device; to be called by one thread at a time.

        Raises `InvalidInput` as `plan` does.
        """

    def predict(self, prompts: Sequence[Prompt], encodings: Any = None) -> Iterator[Prediction]:
        """See `Backend.predict`; `encodings` is what `read` made of the same prompts, or None."""
