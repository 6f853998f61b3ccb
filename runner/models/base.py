"""Anything that answers prompts, whatever it is: a model on this machine, in a process of its own, or a service."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from runner.core.types import Prediction, Prompt


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model is loaded; nothing here changes what is measured beyond floating-point rounding."""

    device: str | None = None
    """cpu, cuda or cuda:N; several joined by + hold one model's layers, several with commas a replica each. None: the
    first CUDA device, or else the CPU."""
    dtype: str | None = None
    """Precision instead of the submission's: float32, bfloat16 or float16."""
    batch_tokens: int | None = None
    """Largest number of tokens in a batch; None leaves it to the device."""
    threads: int | None = None
    """CPU threads of each replica; None: one per core, in all."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where replicas run that do not run on this machine alone."""

    address: str | None = None
    """HOST:PORT of the head of a Ray cluster, or `auto` for the one that this machine belongs to; None: a cluster on
    this machine, for this run alone."""
    notify: Callable[[str], None] = lambda _: None
    """Called with a sentence when a replica waits, is lost, or is back."""


class Predictor(Protocol):
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
        """Peak device memory in bytes, or None where that is not measured (a CPU)."""

    def close(self) -> None:
        """Let go of the weights."""


class Backend(Predictor, Protocol):
    """What a run evaluates: a worker, its replicas, or a service."""

    @property
    def isolation(self) -> Mapping[str, str]:
        """The protections of the process that holds the model: name to `active`, or to why not."""

    def share(self, steps: Iterable[Sequence[Prompt]]) -> Iterator[tuple[Sequence[Prompt], Iterable[Prediction]]]:
        """Each step with its predictions, as steps are finished; see `Predictor.predict`.

        The predictions of a step are to be read before the next step is taken.
        """

    def spent(self) -> Mapping[str, int] | None:
        """Requests to a service, self-checks and failed attempts included; None for a model on this machine."""


class LocalModel(Predictor, Protocol):
    """A model in this process, which can read the next prompts while it predicts."""

    def read(self, prompts: Sequence[Prompt]) -> Any:
        """What `predict` makes of prompts before it uses the device; to be called by one thread at a time.

        Raises `InvalidInput` as `plan` does.
        """

    def predict(self, prompts: Sequence[Prompt], encodings: Any = None) -> Iterator[Prediction]:
        """See `Predictor.predict`; `encodings` is what `read` made of the same prompts, or None."""
