"""Scores of every label from an encoder with a trained head: each text is read once, whatever the prompt."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from runner.core.errors import MOST_FAULTS, BackendError, Fault, InvalidInput
from runner.core.types import HeadSpec, Prediction, Prompt, Submission
from runner.models.base import LoadOptions
from runner.models.local import devices, loading, model_info
from runner.models.local.encoder_inputs import Texts, arranged, inputs_of, outputs_of
from runner.models.local.padded_batches import batches
from runner.models.local.tokenizer import load_tokenizer
from runner.models.tokenization import EncodedTexts, encode_texts
from runner.tasks.prompts import prompt_sha256

_DEFAULT_BATCH_TOKENS = {"cpu": 1024, "cuda": 32768}
_Read = tuple[list[list[Texts]], dict[Texts, EncodedTexts]]


def open_encoder(
    submission: Submission,
    model_folder: Path,
    adapter_folder: Path | None,
    load: LoadOptions,
) -> "Encoder":
    """Load an encoder, its tokenizer and, where there is one, its adapter; raises `BackendError`."""
    head = submission.model.head
    if head is None:
        raise ValueError("an encoder has a head")
    torch_device = devices.choose(load.device)
    tokenizer = load_tokenizer(model_folder)
    brought = loading.brought_by(adapter_folder)
    model = loading.load_encoder(model_folder, head, load.dtype or submission.model.dtype, torch_device, brought)
    if adapter_folder is not None:
        model = loading.apply_adapter(model, adapter_folder)
    return Encoder(model, tokenizer, head, load.batch_tokens)


class Encoder:
    """Holds an encoder with its head, and its tokenizer; see `runner.models.base.LocalModel`.

    `model` is a transformers model or a `PeftModel` around one, in evaluation mode on its device.
    """

    def __init__(self, model: Any, tokenizer: Any, head: HeadSpec, batch_tokens: int | None = None) -> None:
        if batch_tokens is not None and batch_tokens < 1:
            raise BackendError(Fault("BATCH_TOKENS", f"A batch of {batch_tokens} tokens holds no text."))
        self._model = model
        self._tokenizer = tokenizer
        self._head = head
        self._base = model.get_base_model() if hasattr(model, "peft_config") else model
        self._device: torch.device = self._base.device
        self._batch_tokens = batch_tokens or _DEFAULT_BATCH_TOKENS[self._device.type]
        self._limit = loading.limit_of(self._base.config)
        if head.max_tokens > self._limit:
            message = f"The head is said to read {head.max_tokens:,} tokens, the model has {self._limit:,} positions."
            raise BackendError(Fault("HEAD_TOKENS", message, hint="Lower `head.max_tokens` in submission.yaml."))

    def plan(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Encode and check every prompt, then batches of indexes in which all that read the same are together.

        Raises `InvalidInput`: `TASK_OF_HEAD`, `HEAD_READS`, `HEAD_LABELS`, `TOKENIZER_REWRITES`, `TOKENIZER_LIMIT`,
        `TOKENIZER_VOCABULARY`.
        """
        inputs, encoded = self.read(prompts)
        members: dict[tuple[Texts, ...], list[int]] = {}
        for number, prompt_texts in enumerate(inputs):
            members.setdefault(tuple(prompt_texts), []).append(number)
        lengths = [sum(len(encoded[texts].ids) for texts in set(prompt_texts)) for prompt_texts in members]
        alike = list(members.values())
        return [
            [number for index in batch for number in alike[index]] for batch in batches(lengths, self._batch_tokens)
        ]

    def predict(self, prompts: Sequence[Prompt], encodings: _Read | None = None) -> Iterator[Prediction]:
        """One prediction per prompt, in order; a text that several of them read is read once. `encodings` is `read`'s.

        Raises `BackendError`: `LOGITS_NON_FINITE` naming the item, `CONCENTRATION` where a model's own is not a
        positive number, `OUT_OF_MEMORY` where not even one text fits.
        """
        inputs, encoded = self.read(prompts) if encodings is None else encodings
        distinct = list(encoded)
        scores_by_text: dict[Texts, NDArray[np.float64]] = {}
        with devices.inference_mode():
            for batch in batches([len(encoding.ids) for encoding in encoded.values()], self._batch_tokens):
                scores = self._score([encoded[distinct[number]] for number in batch])
                scores_by_text |= zip((distinct[number] for number in batch), scores, strict=True)
        for prompt, texts in zip(prompts, inputs, strict=True):
            columns = outputs_of(prompt.labels, self._head, self._base.config)
            logits = np.concatenate([scores_by_text[text][columns] for text in texts])
            yield _prediction(prompt, logits, [encoded[text] for text in texts], self._head)

    def read(self, prompts: Sequence[Prompt]) -> _Read:
        """What each prompt reads, and each text that is read, encoded; raises as `plan` does."""
        inputs: list[list[Texts]] = []
        faults: dict[Fault, None] = {}  # each once, in order
        for prompt in prompts:
            try:
                outputs_of(prompt.labels, self._head, self._base.config)
                inputs.append(inputs_of(prompt, self._head))
            except InvalidInput as problem:
                faults |= dict.fromkeys(problem.faults)
        if faults:
            raise InvalidInput(*list(faults)[:MOST_FAULTS])
        distinct = list(dict.fromkeys(texts for prompt_texts in inputs for texts in prompt_texts))
        encoded = encode_texts(distinct, self._tokenizer, self._head.max_tokens)
        loading.check_vocabulary(self._base, max((max(encoding.ids) for encoding in encoded), default=0))
        return inputs, dict(zip(distinct, encoded, strict=True))

    def _score(self, texts: Sequence[EncodedTexts]) -> NDArray[np.float64]:
        """(texts, outputs) logits; a batch that does not fit into memory is halved."""
        parts = devices.split_on_oom(
            self._forward, texts, self._device, lambda encoding: f"text of {len(encoding.ids):,} tokens"
        )
        return np.concatenate(parts)

    def _forward(self, texts: Sequence[EncodedTexts]) -> NDArray[np.float64]:
        logits = self._base(**arranged(texts, self._base.config, self._head.kind, self._device)).logits
        scores: NDArray[np.float64] = logits.double().cpu().numpy()
        return scores

    def without_adapter(self) -> AbstractContextManager[None] | None:
        """A context in which the bare base model answers, or None where there is no adapter."""
        if not hasattr(self._model, "peft_config"):
            return None
        bare: AbstractContextManager[None] = self._model.disable_adapter()
        return bare

    def describe(self) -> Mapping[str, Any]:
        """JSON facts: the architecture, the head and what it reads, the device."""
        config, head = self._base.config, self._head
        named = [str(config.id2label[index]) for index in sorted(config.id2label)]
        return {
            "backend": "encoder",
            **model_info.of_architecture(self._base),
            "attention": config._attn_implementation,
            "context_limit": self._limit,
            "head": {
                "task": head.task,
                "kind": head.kind,
                "max_tokens": head.max_tokens,
                "reads": list(head.reads) or None,
                "labels": named if head.kind == "classification" else None,
                "concentration": head.concentration,
            },
            "batch_tokens": self._batch_tokens,
            **model_info.of_setting(self._model, self._device),
        }

    def peak_memory_bytes(self) -> int | None:
        """Peak device memory in bytes; None on the CPU."""
        return devices.peak_memory_bytes(self._device)

    def close(self) -> None:
        """Let go of the weights and give device memory back."""
        self._model = self._base = None
        devices.release(self._device)


def _prediction(
    prompt: Prompt, logits: NDArray[np.float64], encodings: Sequence[EncodedTexts], head: HeadSpec
) -> Prediction:
    """From one logit per label to a prediction; `LOGITS_NON_FINITE` unless all are finite."""
    where = f"item {prompt.item_id} ({prompt.prompt_id})"
    if not np.isfinite(logits).all():
        raise BackendError(Fault("LOGITS_NON_FINITE", f"The model gives the labels of {where} no finite scores."))
    concentration = None
    if head.concentration == "own":
        with np.errstate(over="ignore"):
            concentration = float(np.exp(logsumexp(logits)))
        if not 0 < concentration < np.inf:
            message = f"The model's own concentration for {where} is exp({logsumexp(logits):.1f}), no usable number."
            raise BackendError(Fault("CONCENTRATION", message))
    lengths = [len(encoding.ids) for encoding in encodings]
    return Prediction(
        **prompt.key._asdict(),
        log_scores=tuple(log_softmax(logits).tolist()),
        prompt_sha256=prompt_sha256(prompt),
        prompt_tokens=sum(lengths),
        token_counts=tuple(lengths) if head.kind == "ranking" else None,
        truncated=any(encoding.truncated for encoding in encodings),
        concentration=concentration,
    )
