"""A causal language model asked for the log-probability of every option after a prompt: one pass for all of them."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from runner.backends import devices, head, loading
from runner.backends.batches import Load, batches, shared_beginning
from runner.backends.tree import lay_out, tokens_of
from runner.encoding import EncodedPrompt, Format, encode_all
from runner.errors import BackendError, Fault
from runner.prompts import prompt_sha256
from runner.records import Prediction, Prompt, Submission

# On a CPU small batches stay in its cache: 256 to 1,024 tokens took half the time of 16,384 with a small model.
_DEFAULT_BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}
_ENDS = 8
_NOTHING: NDArray[np.int32] = np.empty(0, dtype=np.int32)

_Key = tuple[str, str, str, str, int]
_KeysValues = list[tuple[Tensor, Tensor]]


def open_causal(
    submission: Submission,
    model_folder: Path,
    adapter_folder: Path | None,
    *,
    device: str | None,
    dtype: str | None,
    batch_tokens: int | None,
) -> "Causal":
    """Load a causal language model, its tokenizer and, where there is one, its adapter; raises `BackendError`."""
    if submission.model.quantization not in (None, "none"):
        message = f"Quantisation to {submission.model.quantization} is not supported by this version."
        raise BackendError(Fault("QUANTIZATION", message))
    chosen = devices.choose(device)
    tokenizer = loading.load_tokenizer(model_folder)
    model = loading.load_model(model_folder, dtype or submission.model.dtype, chosen)
    if adapter_folder is not None:
        model = loading.apply_adapter(model, adapter_folder)
    return wrap(model, tokenizer, "chat" if submission.model.format == "chat" else "plain", batch_tokens)


def wrap(model: Any, tokenizer: Any, form: Format, batch_tokens: int | None = None) -> "Causal":
    """A model that is loaded already, with or without an adapter, asked in batches of the default size."""
    return Causal(model, tokenizer, form, batch_tokens or _DEFAULT_BATCH_TOKENS[model.device.type])


class Causal:
    """Holds a causal language model and its tokenizer; see `runner.backends.Backend`.

    `model` is a transformers model or a `PeftModel` around one, in evaluation mode on its device.
    """

    def __init__(self, model: Any, tokenizer: Any, form: Format, batch_tokens: int) -> None:
        if batch_tokens < 1:
            raise BackendError(Fault("BATCH_TOKENS", f"A batch of {batch_tokens} tokens holds no prompt."))
        self._model = model
        self._tokenizer = tokenizer
        self._form: Format = form
        self._batch_tokens = batch_tokens
        self._base = model.get_base_model() if hasattr(model, "peft_config") else model
        self._device: torch.device = self._base.device
        self._limit = loading.limit_of(self._base.config)
        self._encoded: dict[_Key, tuple[Prompt, EncodedPrompt]] = {}
        self._beginnings: dict[tuple[str, str], NDArray[np.int32]] = {}
        self._cached: tuple[bytes, _KeysValues] | None = None
        self._ends: tuple[list[int], list[int]] | None = None

    # --- what is read, and in which batches ------------------------------------------------------------------------

    def plan(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Encode and check every prompt, then batches of indexes; raises `InvalidInput` with every fault."""
        encoded = self._encode(prompts)
        self._encoded = {_key(prompt): (prompt, each) for prompt, each in zip(prompts, encoded, strict=True)}
        members: dict[tuple[str, str], list[NDArray[np.int32]]] = {}
        for prompt, each in zip(prompts, encoded, strict=True):
            members.setdefault(_group(prompt), []).append(each.prefix)
        self._beginnings = {group: shared_beginning(prefixes) for group, prefixes in members.items()}
        if encoded:
            ids = encoded[0].prefix.tolist()
            self._ends = ids[:_ENDS], ids[-_ENDS:]
        return self._batches(prompts, encoded)

    def predict(self, prompts: Sequence[Prompt]) -> Iterator[Prediction]:
        """One prediction per prompt, in order.

        Raises `BackendError`: `LOGITS_NON_FINITE` naming the item, `OUT_OF_MEMORY` where not even one prompt fits.
        """
        encoded = self._encodings(prompts)
        scores: list[list[float]] = [[] for _ in prompts]
        with devices.deterministic():
            for batch in self._batches(prompts, encoded):
                past = self._beginning(prompts[batch[0]], encoded[batch[0]])
                for number, found in zip(batch, self._score([encoded[one] for one in batch], past), strict=True):
                    scores[number] = found
        yield from [_prediction(*answer) for answer in zip(prompts, encoded, scores, strict=True)]

    def _encode(self, prompts: Sequence[Prompt]) -> list[EncodedPrompt]:
        encoded = encode_all(prompts, self._tokenizer, self._form, self._limit)
        highest = max((max(int(each.prefix.max()), *map(max, each.tails)) for each in encoded), default=0)
        vocabulary = self._base.get_input_embeddings().weight.shape[0]
        if highest >= vocabulary:
            message = (
                f"The tokenizer gives token {highest:,}, but the model has {vocabulary:,}; they do not belong together."
            )
            raise BackendError(Fault("TOKENIZER_VOCABULARY", message))
        return encoded

    def _encodings(self, prompts: Sequence[Prompt]) -> list[EncodedPrompt]:
        """As planned; prompts that were not are encoded now."""
        known = [self._encoded.get(_key(prompt)) for prompt in prompts]
        new = [prompt for prompt, found in zip(prompts, known, strict=True) if found is None or found[0] != prompt]
        fresh = iter(self._encode(new) if new else [])
        return [
            found[1] if found is not None and found[0] == prompt else next(fresh)
            for prompt, found in zip(prompts, known, strict=True)
        ]

    def _batches(self, prompts: Sequence[Prompt], encoded: Sequence[EncodedPrompt]) -> list[list[int]]:
        beginnings = [self._beginning(*pair) for pair in zip(prompts, encoded, strict=True)]
        groups: dict[bytes, int] = {}
        loads = [
            Load(groups.setdefault(past.tobytes(), len(groups)), tokens_of(each, len(past)))
            for each, past in zip(encoded, beginnings, strict=True)
        ]
        return batches(loads, self._batch_tokens)

    def _beginning(self, prompt: Prompt, encoded: EncodedPrompt) -> NDArray[np.int32]:
        """The tokens with which all planned prompts of its kind begin, if this one does."""
        shared = self._beginnings.get(_group(prompt), _NOTHING)
        begins = len(encoded.prefix) > len(shared) and np.array_equal(encoded.prefix[: len(shared)], shared)
        return shared if begins else _NOTHING

    # --- the model -------------------------------------------------------------------------------------------------

    def _score(self, prompts: Sequence[EncodedPrompt], past: NDArray[np.int32]) -> list[list[float]]:
        """Log-probability of each form of each prompt; a batch that does not fit into memory is halved."""
        problem: str
        try:
            return self._forward(prompts, past)
        except RuntimeError as error:
            if not devices.is_out_of_memory(error):
                raise
            problem = " ".join(str(error).split())[:200]
        # Here, where the error and the tensors that its frames hold are gone.
        devices.release(self._device)
        if len(prompts) == 1:
            message = f"There is not enough memory for one prompt of {len(prompts[0].prefix):,} tokens ({problem})."
            raise BackendError(Fault("OUT_OF_MEMORY", message, hint="Use a larger device or a smaller dtype."))
        half = len(prompts) // 2
        return self._score(prompts[:half], past) + self._score(prompts[half:], past)

    def _forward(self, prompts: Sequence[EncodedPrompt], past: NDArray[np.int32]) -> list[list[float]]:
        tree = lay_out(prompts, len(past))
        states = self._base.base_model(
            input_ids=self._on_device(tree.ids),
            position_ids=self._on_device(tree.positions),
            attention_mask=None if tree.is_plain else self._on_device(tree.mask()),
            past_key_values=self._cache(past, len(prompts)),
            use_cache=bool(len(past)),
        ).last_hidden_state
        width = tree.ids.shape[1]
        places, which = np.unique(tree.rows * width + tree.columns, return_inverse=True)
        needed = states.flatten(0, 1)[self._on_device(places)]
        found = head.log_probs(
            self._base.get_output_embeddings(), needed, self._on_device(which), self._on_device(tree.targets)
        )
        forms = np.bincount(tree.owners, weights=found.double().cpu().numpy())
        ends = np.cumsum([len(prompt.tails) for prompt in prompts])
        return [part.tolist() for part in np.split(forms, ends[:-1])]

    def _cache(self, past: NDArray[np.int32], prompts: int) -> Any:
        """Keys and values of the shared beginning, once per prompt; None where nothing is shared."""
        if not len(past):
            return None
        name = past.tobytes()
        if self._cached is None or self._cached[0] != name:
            ids = self._on_device(past.astype(np.int64)[None])
            kept = DynamicCache()
            self._base.base_model(input_ids=ids, past_key_values=kept, use_cache=True)
            self._cached = name, [(layer.keys, layer.values) for layer in kept.layers]
        return DynamicCache(
            [(keys.expand(prompts, -1, -1, -1), values.expand(prompts, -1, -1, -1)) for keys, values in self._cached[1]]
        )

    def _on_device(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    # --- the rest --------------------------------------------------------------------------------------------------

    def without_adapter(self) -> AbstractContextManager[None] | None:
        """A context in which the bare base model answers, or None where there is no adapter."""
        return self._bare() if hasattr(self._model, "peft_config") else None

    @contextmanager
    def _bare(self) -> Iterator[None]:
        self._cached = None
        try:
            with self._model.disable_adapter():
                yield
        finally:
            self._cached = None

    def describe(self) -> Mapping[str, Any]:
        """JSON facts: the architecture, the tokenizer, the device, and how options are scored."""
        template = getattr(self._tokenizer, "chat_template", None) if self._form == "chat" else None
        rendered = self._tokenizer.get_chat_template() if template is not None else None
        config = self._base.config
        return {
            "backend": "causal",
            "model_type": config.model_type,
            "parameters": loading.count_parameters(self._base),
            "vocabulary": config.vocab_size,
            "layers": config.num_hidden_layers,
            "hidden_size": config.hidden_size,
            "dtype": str(self._base.dtype).removeprefix("torch."),
            "attention": config._attn_implementation,
            "context_limit": self._limit,
            "head": head.path_of(self._base.get_output_embeddings()),
            "batch_tokens": self._batch_tokens,
            "format": self._form,
            "chat_template_sha256": hashlib.sha256(rendered.encode()).hexdigest() if rendered is not None else None,
            "bos_token_id": self._tokenizer.bos_token_id,
            "first_prompt": {"first_token_ids": self._ends[0], "last_token_ids": self._ends[1]} if self._ends else None,
            "adapter": loading.describe_adapter(self._model),
            "device": devices.describe(self._device),
            "versions": {
                name: version(name) for name in ("torch", "transformers", "tokenizers", "peft", "safetensors")
            },
        }

    def peak_memory_bytes(self) -> int | None:
        """The most device memory in use at once; None on the CPU."""
        return devices.peak_memory_bytes(self._device)

    def close(self) -> None:
        """Let go of the weights and give device memory back."""
        self._model = self._base = self._cached = None
        self._encoded = {}
        devices.release(self._device)


def _key(prompt: Prompt) -> _Key:
    return prompt.task, prompt.split, prompt.item_id, prompt.prompt_id, prompt.order


def _group(prompt: Prompt) -> tuple[str, str]:
    return prompt.task, prompt.prompt_id


def _prediction(prompt: Prompt, encoded: EncodedPrompt, forms: Sequence[float]) -> Prediction:
    """From log-probabilities of surface forms to one prediction; `LOGITS_NON_FINITE` unless all are finite."""
    if not np.isfinite(forms).all():
        message = f"The model gives the options of item {prompt.item_id} ({prompt.prompt_id}) no finite probability."
        raise BackendError(Fault("LOGITS_NON_FINITE", message))
    labels = range(len(prompt.options))
    by_label = [
        [value for value, owner in zip(forms, encoded.labels, strict=True) if owner == label] for label in labels
    ]
    lengths = [
        max(len(tail) for tail, owner in zip(encoded.tails, encoded.labels, strict=True) if owner == label)
        for label in labels
    ]
    log_scores = tuple(float(np.logaddexp.reduce(values)) for values in by_label)
    return Prediction(
        task=prompt.task,
        item_id=prompt.item_id,
        log_scores=log_scores,
        split=prompt.split,
        prompt_id=prompt.prompt_id,
        order=prompt.order,
        prompt_sha256=prompt_sha256(prompt),
        prompt_tokens=len(encoded.prefix),
        token_counts=tuple(lengths),
        truncated=encoded.truncated,
        answer_mass=None if encoded.joined else min(1.0, float(np.exp(np.logaddexp.reduce(forms)))),
    )
