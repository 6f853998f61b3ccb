"""Anything that answers prompts: one protocol, and the one place that knows which backend a submission names."""

import importlib.util
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from runner.backends.hub import resolve_model
from runner.errors import BackendError, Fault
from runner.records import Prediction, Prompt, Submission

__all__ = [
    "Backend",
    "LocalBackend",
    "examine_device",
    "load_tokenizer",
    "need_libraries",
    "open_backend",
    "resolve_model",
    "show_tokens",
]

# It tells every program that imports it which faster kernels could be fetched from the Hub; none are, on purpose.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


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

    def predict(self, prompts: Sequence[Prompt], read: Any = None) -> Iterator[Prediction]:
        """See `Backend.predict`; `read` is what `read` made of the same prompts, or None."""


def open_backend(
    submission: Submission,
    model_folder: Path,
    adapter_folder: Path | None,
    *,
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int | None = None,
) -> LocalBackend:
    """Load what `submission` names from local folders.

    `device` is cpu, cuda or cuda:N, or for a causal model several with + between them, over which its layers are spread
    (default: the first CUDA device, or the CPU), `dtype` overrides the submission's,
    `batch_tokens` is the most tokens in a batch (default: by device). Raises `BackendError`
    when the weights, the adapter, the tokenizer or the device cannot be used.
    """
    need_libraries()
    # Read when torch is first imported. By default its threads wait for each other in a busy loop, which on a machine
    # that others use as well takes up to ten times as long (measured), and asleep they wake late; after a short loop
    # they are as fast as in a long one, and leave room (docs/speed.md).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    match submission.model.backend:
        case "causal":
            from runner.backends.causal import open_causal

            return open_causal(
                submission, model_folder, adapter_folder, device=device, dtype=dtype, batch_tokens=batch_tokens
            )
        case "encoder":
            from runner.backends.encoder import open_encoder

            return open_encoder(
                submission, model_folder, adapter_folder, device=device, dtype=dtype, batch_tokens=batch_tokens
            )
        case other:
            raise BackendError(Fault("BACKEND", f"There is no backend {other!r}; causal or encoder was expected."))


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer in a model's folder, without its weights; `BackendError` if it cannot be loaded."""
    need_libraries()
    from runner.backends.loading import load_tokenizer as load

    return load(folder)


def need_libraries(*more: str) -> None:
    """`BackendError` (`MODEL_LIBRARIES`) where the package was installed without what a model needs, or `more`."""
    missing = [name for name in ("torch", "transformers", "peft", *more) if importlib.util.find_spec(name) is None]
    if missing:
        message = f"What runs a model is not installed here: {', '.join(missing)}."
        hint = "The image `benchmark` has it; the image `benchmark-verify` is for what needs no model."
        raise BackendError(Fault("MODEL_LIBRARIES", message, hint=hint))


def show_tokens(submission: Submission, prompts: Sequence[Prompt]) -> Iterator[dict[str, Any]]:
    """What the submission's model reads, one row per prompt: `token_ids`, and each surface form's `tails`.

    For an encoder: `texts`, each with its `token_ids`. Needs the tokenizer and config.json, not the weights. Raises
    `InvalidInput` with every fault of the encoding.
    """
    need_libraries()
    from runner.backends.loading import context_limit
    from runner.encoding import Format, encode_all, encode_texts

    folder = resolve_model(submission.model, weights=False)
    if submission.model.head is not None:
        from runner.backends.encoder_inputs import inputs_of

        tokenizer = load_tokenizer(folder)
        for prompt in prompts:
            read = encode_texts(inputs_of(prompt, submission.model.head), tokenizer, submission.model.head.max_tokens)
            yield {
                "texts": [{"token_ids": list(each.ids), "truncated": each.truncated} for each in read],
                "truncated": any(each.truncated for each in read),
            }
        return
    form: Format = "chat" if submission.model.format == "chat" else "plain"
    for encoded in encode_all(prompts, load_tokenizer(folder), form, context_limit(folder)):
        yield {
            "token_ids": encoded.prefix.tolist(),
            "tails": [
                {"label": label, "token_ids": list(tail)}
                for label, tail in zip(encoded.labels, encoded.tails, strict=True)
            ],
            "truncated": encoded.truncated,
            "joined": encoded.joined,
        }


def examine_device(device: str | None) -> list[tuple[str, str, str, str | None]]:
    """Name, state (ok, warn or fail), message and hint of what can be said of the device before a run."""
    try:
        need_libraries()
    except BackendError as problem:
        return [("model libraries", "fail", fault.message, fault.hint) for fault in problem.faults]
    from runner.backends.devices import examine

    return examine(device)
