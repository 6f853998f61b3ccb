"""Open the local backend that a submission names, its tokenizer alone, or only its device."""

import gc
import importlib
import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from runner.core.errors import BackendError, Fault
from runner.core.types import Prompt, Submission
from runner.models.base import LoadOptions, LocalModel
from runner.models.hub import resolve_model

# It tells every program that imports it which faster kernels could be fetched from the Hub; none are, on purpose.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def open_backend(
    submission: Submission,
    model_folder: Path,
    adapter_folder: Path | None,
    load: LoadOptions = LoadOptions(),
) -> LocalModel:
    """Load what `submission` names from local folders, on one device, or a causal model over several.

    Raises `BackendError` when the weights, the adapter, the tokenizer or the device cannot be used.
    """
    need_libraries()
    # Read when torch is first imported. By default its threads wait for each other in a busy loop, which on a machine
    # that others use as well takes up to ten times as long (measured), and asleep they wake late; after a short loop
    # they are as fast as in a long one, and leave room (docs/speed.md).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    match submission.model.backend:
        case "causal":
            from runner.models.local.open_causal import open_causal

            _collect_from_here()
            return open_causal(submission, model_folder, adapter_folder, load)
        case "encoder":
            from runner.models.local.encoder import open_encoder

            _collect_from_here()
            return open_encoder(submission, model_folder, adapter_folder, load)
        case other:
            raise BackendError(Fault("BACKEND", f"There is no backend {other!r}; causal or encoder was expected."))


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer in a model's folder, without its weights; `BackendError` if it cannot be loaded."""
    need_libraries()
    from runner.models.local.tokenizer import load_tokenizer as load

    return load(folder)


def need_libraries(*more: str) -> None:
    """`BackendError` (`MODEL_LIBRARIES`) where the package was installed without what a model needs, or `more`."""
    missing = [name for name in ("torch", "transformers", "peft", *more) if importlib.util.find_spec(name) is None]
    if missing:
        message = f"What runs a model is not installed here: {', '.join(missing)}."
        hint = "The image `benchmark` has it; the image `benchmark-verify` is for what needs no model."
        raise BackendError(Fault("MODEL_LIBRARIES", message, hint=hint))


def import_tokenization() -> None:
    """Import the libraries that `show_tokens` needs; `BackendError` (`MODEL_LIBRARIES`) where they are missing."""
    need_libraries()
    # The last one comes with the configuration of any architecture.
    for name in ("runner.models.local.loading", "runner.models.tokenization", "transformers.modeling_utils"):
        importlib.import_module(name)
    _collect_from_here()


def _collect_from_here() -> None:
    """Wake the collector of garbage, if this process was started without, and let it leave alone what is there.

    Half a million objects of the libraries never become garbage. To look through them again and again took .8 of 4.6
    processor-seconds until a model could be loaded.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def show_tokens(submission: Submission, prompts: Sequence[Prompt]) -> Iterator[dict[str, Any]]:
    """What the submission's model reads, one row per prompt: `token_ids`, and each surface form's `tails`.

    For an encoder: `texts`, each with its `token_ids`. Needs the tokenizer and config.json, not the weights. Raises
    `InvalidInput` with every fault of the encoding.
    """
    need_libraries()
    from runner.models.local.loading import context_limit
    from runner.models.tokenization import Format, PromptEncoder, encode_texts, encode_with

    folder = resolve_model(submission.model, weights=False)
    if submission.model.head is not None:
        from runner.models.local.encoder_inputs import inputs_of

        tokenizer = load_tokenizer(folder)
        for prompt in prompts:
            encodings = encode_texts(
                inputs_of(prompt, submission.model.head), tokenizer, submission.model.head.max_tokens
            )
            yield {
                "texts": [{"token_ids": list(encoding.ids), "truncated": encoding.truncated} for encoding in encodings],
                "truncated": any(encoding.truncated for encoding in encodings),
            }
        return
    form: Format = "chat" if submission.model.format == "chat" else "plain"
    named = submission.model
    encoder = PromptEncoder(load_tokenizer(folder), form, named.template_arguments, named.thinking, named.system_prompt)
    for encoded in encode_with(encoder, prompts, context_limit(folder)):
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
    from runner.models.local.devices import examine

    return examine(device)
