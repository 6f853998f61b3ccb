"""Log-probabilities of every option after a prompt from a causal language model: one pass for all options."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.core.errors import BackendError, Fault
from runner.core.types import Prediction, Prompt, Thinking
from runner.models.local import (
    devices,
    general,
    generation,
    lm_head,
    loading,
    model_info,
    padded_batches,
    quantization,
    sampling,
    to_prediction,
)
from runner.models.local.batch_sizes import default_sizes
from runner.models.local.form_scores import BatchStates, form_log_probs
from runner.models.local.packed import attention
from runner.models.local.packed.last_layer import scored_at, skip_unscored_positions
from runner.models.local.packed.layout import Packed, pack, pack_prefix
from runner.models.local.packed.prefix_grouping import LEAST_SHARED, Suffix, packed_batches
from runner.models.local.thread_pool import parallel_map
from runner.models.tokenization import EncodedPrompt, Format, PromptEncoder, encode_with

_ENDS = 8
T = TypeVar("T")
_NOTHING: NDArray[np.int32] = np.empty(0, dtype=np.int32)


def wrap(
    model: Any,
    tokenizer: Any,
    form: Format,
    batch_tokens: int | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    thinking: Thinking | None = None,
    system_prompt: str | None = None,
) -> "Causal":
    """A model that is loaded already, with or without an adapter, in batches of the default size.

    `arguments` and `system_prompt` are given to the chat template; `thinking` is how it thinks before drawn answers.
    Of the default size several batches are one step, on a CPU side by side; a given size is that of a step. With
    LLM.int8() a batch is one prompt, whatever `batch_tokens` says.
    """
    if quantization.one_by_one(model):
        batch_tokens = 1
    if batch_tokens is not None:
        return Causal(
            model, tokenizer, form, batch_tokens, arguments=arguments, thinking=thinking, system_prompt=system_prompt
        )
    sizes = default_sizes(base_of(model))
    # Not every architecture's own attention is known to be safe for two threads at once.
    lanes = sizes.lanes if loading.packed_limit(base_of(model).config) else 1
    return Causal(model, tokenizer, form, sizes.batch_tokens, sizes.at_once, lanes, arguments, thinking, system_prompt)


class Causal:
    """Holds a causal language model and its tokenizer; see `runner.models.base.LocalModel`.

    `model` is a transformers model or a `PeftModel` around one, in evaluation mode on its device. A step is `at_once`
    batches, of which as many as there are `lanes` are read side by side.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        form: Format,
        batch_tokens: int,
        at_once: int = 1,
        lanes: int = 1,
        arguments: Mapping[str, Any] | None = None,
        thinking: Thinking | None = None,
        system_prompt: str | None = None,
    ) -> None:
        if batch_tokens < 1:
            raise BackendError(Fault("BATCH_TOKENS", f"A batch of {batch_tokens} tokens holds no prompt."))
        self._model = model
        self._tokenizer = tokenizer
        self._form: Format = form
        self._arguments = arguments or {}
        self._thinking = thinking
        self._system_prompt = system_prompt
        self._batch_tokens = batch_tokens
        # What fits into memory, as far as is known: less once a batch did not.
        self._max_tokens_that_fit = batch_tokens
        self._base = base_of(model)
        self._devices = devices.devices_of(self._base)
        self._device: torch.device = self._base.device
        self._limit = loading.limit_of(self._base.config)
        self._packed_limit = loading.packed_limit(self._base.config)
        self._adjust = lm_head.adjustment_of(self._base.config)
        # By template: the tokens with which its prompts begin.
        self._beginnings: dict[str, NDArray[np.int32]] = {}
        # Two threads must not use a tokenizer at once.
        self._tokenizing = threading.Lock()
        # By beginning, those of the current step.
        self._prefix_cache: dict[bytes, attention.KeysValues] = {}
        self._batches_per_step = at_once
        self._threads = lanes
        self._first_prompt_ids: tuple[list[int], list[int]] | None = None

    # --- what is read, and in which batches ------------------------------------------------------------------------

    def plan(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Encode and check every prompt, then batches of indexes; raises `InvalidInput` with every fault."""
        encoded = self.read(prompts)
        if encoded and self._first_prompt_ids is None:
            ids = encoded[0].prefix.tolist()
            self._first_prompt_ids = ids[:_ENDS], ids[-_ENDS:]
        batches = self._batches(prompts, encoded)
        step = self._batches_per_step
        return [
            *([number for batch in batches[at : at + step] for number in batch] for at in range(0, len(batches), step)),
            *generation.batches(prompts, encoded, self._max_tokens_that_fit),
            *sampling.batches(prompts, encoded, self._max_tokens_that_fit, self._encoder.thought_tokens),
        ]

    def read(self, prompts: Sequence[Prompt]) -> list[EncodedPrompt]:
        """Encode and check prompts; raises `InvalidInput` with every fault."""
        with self._tokenizing:
            encoded = encode_with(self._encoder, prompts, self._limit)
            for prompt in {prompt.template: prompt for prompt in prompts}.values():
                if prompt.template not in self._beginnings:
                    begins = np.array(self._encoder.beginning(prompt), dtype=np.int32)
                    self._beginnings[prompt.template] = begins if len(begins) >= LEAST_SHARED else _NOTHING
        highest = max((max(int(prompt.prefix.max()), *map(max, prompt.tails), 0) for prompt in encoded), default=0)
        loading.check_vocabulary(self._base, highest)
        return encoded

    def predict(
        self, prompts: Sequence[Prompt], encodings: Sequence[EncodedPrompt] | None = None
    ) -> Iterator[Prediction]:
        """One prediction per prompt, in order; `encodings` is what `read` made of them.

        Raises `BackendError`: `LOGITS_NON_FINITE` naming the item, `OUT_OF_MEMORY` where not even one prompt fits.
        """
        encoded = self.read(prompts) if encodings is None else encodings
        answers: dict[int, Prediction] = {}
        with devices.inference_mode():
            batches = self._batches(prompts, encoded)
            for at in range(0, len(batches), self._batches_per_step):
                hidden = self._read(batches[at : at + self._batches_per_step], prompts, encoded)
                for number, forms in form_log_probs(self._base.get_output_embeddings(), hidden, encoded, self._adjust):
                    answers[number] = to_prediction.from_forms(prompts[number], encoded[number], forms)
            write_one = partial(self._write, prompts=prompts, encoded=encoded)
            for batch in generation.batches(prompts, encoded, self._max_tokens_that_fit):
                for part in self._halving(write_one, [batch], encoded):
                    answers.update(part)
            draw_one = partial(self._draw, prompts=prompts, encoded=encoded)
            drawn = sampling.batches(prompts, encoded, self._max_tokens_that_fit, self._encoder.thought_tokens)
            for batch in drawn:
                for part in self._halving(draw_one, [batch], encoded):
                    answers.update(part)
        yield from [answers[number] for number in range(len(prompts))]

    @cached_property
    def _encoder(self) -> PromptEncoder:
        return PromptEncoder(self._tokenizer, self._form, self._arguments, self._thinking, self._system_prompt)

    def _batches(self, prompts: Sequence[Prompt], encoded: Sequence[EncodedPrompt]) -> list[list[int]]:
        """Batches of the prompts whose options are read, each for one path; see `generation.batches` for the others."""
        numbers = [number for number, prompt in enumerate(prompts) if prompt.scored]
        in_rows = [number for number in numbers if self._in_rows(encoded[number])]
        packed = [number for number in numbers if not self._in_rows(encoded[number])]
        beginnings = [self._beginning(prompts[number], encoded[number]) for number in packed]
        groups: dict[bytes, int] = {}
        rests = [
            Suffix(
                groups.setdefault(past.tobytes(), len(groups)),
                encoded[number].prefix[len(past) :],
                sum(len(tail) - 1 for tail in encoded[number].tails),
            )
            for number, past in zip(packed, beginnings, strict=True)
        ]
        sizes = [general.tokens_of(encoded[number]) for number in in_rows]
        return [
            *(
                [in_rows[index] for index in batch]
                for batch in padded_batches.batches(sizes, self._max_tokens_that_fit)
            ),
            *([packed[index] for index in batch] for batch in packed_batches(rests, self._max_tokens_that_fit)),
        ]

    def _in_rows(self, encoded: EncodedPrompt) -> bool:
        """Whether a prompt goes the general path: its architecture does, or it is longer than the sliding window."""
        return general.longest_row(encoded) > self._packed_limit

    def _beginning(self, prompt: Prompt, encoded: EncodedPrompt) -> NDArray[np.int32]:
        """The tokens with which prompts of its template begin, if this one does."""
        shared = self._beginnings[prompt.template]
        begins = len(encoded.prefix) > len(shared) and np.array_equal(encoded.prefix[: len(shared)], shared)
        return shared if begins else _NOTHING

    # --- the model -------------------------------------------------------------------------------------------------

    def _read(
        self, batches: Sequence[Sequence[int]], prompts: Sequence[Prompt], encoded: Sequence[EncodedPrompt]
    ) -> list[BatchStates]:
        """Hidden states of batches, or of parts of them, which are read side by side."""
        in_rows = [batch for batch in batches if self._in_rows(encoded[batch[0]])]
        packed = [batch for batch in batches if not self._in_rows(encoded[batch[0]])]
        outputs = self._halving(partial(self._read_rows, encoded=encoded), in_rows, encoded) if in_rows else []
        base = self._base
        if not packed:
            return outputs
        beginnings = {batch[0]: self._beginning(prompts[batch[0]], encoded[batch[0]]).tobytes() for batch in packed}
        with attention.packed_attention(base.config), skip_unscored_positions(base.base_model):
            self._prefix_cache = {past: self._keys_values(past) for past in dict.fromkeys(beginnings.values())}
            past_of = {number: beginnings[batch[0]] for batch in packed for number in batch}
            read_one = partial(self._read_one, encoded=encoded, past_of=past_of)
            # Lanes wait for the last batch of a step, so that is a short one.
            by_size = sorted(packed, key=lambda batch: -sum(len(encoded[number].prefix) for number in batch))
            return outputs + self._halving(read_one, by_size, encoded)

    def _read_rows(self, batch: Sequence[int], encoded: Sequence[EncodedPrompt]) -> BatchStates:
        rows = general.lay_out([encoded[number] for number in batch])
        return BatchStates(batch, rows, general.hidden_states(self._base, rows, self._on_device))

    def _read_one(
        self, batch: Sequence[int], encoded: Sequence[EncodedPrompt], past_of: Mapping[int, bytes]
    ) -> BatchStates:
        past = past_of[batch[0]]
        packed = pack([encoded[number] for number in batch], len(_tokens(past)))
        return BatchStates(batch, packed, self._forward(packed, self._prefix_cache[past]))

    def _write(
        self, batch: Sequence[int], prompts: Sequence[Prompt], encoded: Sequence[EncodedPrompt]
    ) -> dict[int, Prediction]:
        """What the model writes after each prompt of a batch."""
        members = [prompts[number].writing for number in batch]
        limits = [writing.max_new_tokens for writing in members if writing is not None]
        with self._tokenizing:
            ends = generation.special_tokens(self._tokenizer, self._base.config)
            generations = generation.write(
                self._base, self._tokenizer, [encoded[number] for number in batch], limits, ends
            )
        return {
            number: to_prediction.from_text(prompts[number], encoded[number], answer)
            for number, answer in zip(batch, generations, strict=True)
        }

    def _draw(
        self, batch: Sequence[int], prompts: Sequence[Prompt], encoded: Sequence[EncodedPrompt]
    ) -> dict[int, Prediction]:
        """The answers that are drawn after each prompt of a batch, counted."""
        members = [prompts[number] for number in batch]
        reading = sampling.Reading(
            line=self._form == "plain", thinking=self._thinking, thought_begun=self._encoder.thought_begun
        )
        with self._tokenizing:
            ends = generation.special_tokens(self._tokenizer, self._base.config)
            drawn = sampling.draw(
                self._base, self._tokenizer, members, [encoded[number] for number in batch], ends, reading
            )
        return {
            number: to_prediction.from_samples(prompts[number], encoded[number], answers)
            for number, answers in zip(batch, drawn, strict=True)
        }

    def _halving(
        self, do: Callable[[Sequence[int]], T], batches: Sequence[Sequence[int]], encoded: Sequence[EncodedPrompt]
    ) -> list[T]:
        """What is done with batches, side by side; with one that does not fit into memory, by halves."""

        def in_parts(batch: Sequence[int]) -> list[T]:
            return devices.split_on_oom(
                do, batch, self._device, lambda number: f"prompt of {len(encoded[number].prefix):,} tokens"
            )

        try:
            results = parallel_map(in_parts, batches, self._threads)
        except BackendError:
            if self._threads == 1:
                raise
            # What does not fit beside others may fit alone.
            self._threads = 1
            results = parallel_map(in_parts, batches, 1)
        # Batches of equal size come after it, which would be tried in vain.
        self._max_tokens_that_fit = max(1, self._max_tokens_that_fit // max(map(len, results)))
        return [part for parts in results for part in parts]

    def _forward(self, packed: Packed, prefix: attention.KeysValues, *, keep: bool = False) -> Tensor:
        """(positions, hidden) last hidden states, each position once; `keep` stores keys and values in `prefix`."""
        positions = self._on_device(np.unique(packed.scored_positions))
        model = self._base.base_model
        with scored_at(positions, len(packed.ids)):
            states = model(
                input_ids=self._on_device(packed.ids[None]),
                position_ids=self._on_device(packed.positions[None]),
                use_cache=False,
                packing=attention.Batch(packed, prefix, keep, last_layer_idx=model.layers[-1].self_attn.layer_idx),
            ).last_hidden_state
        scored_states: Tensor = states[0, positions.to(states.device)]
        return scored_states

    def _keys_values(self, past: bytes) -> attention.KeysValues:
        """Keys and values of a shared beginning: those at hand, or computed."""
        prefix_kv = self._prefix_cache.get(past)
        if prefix_kv is None:
            prefix_kv = {}
            whole = pack_prefix(_tokens(past))
            if past:
                devices.split_on_oom(
                    lambda _: self._forward(whole, prefix_kv, keep=True),
                    [len(whole.ids)],
                    self._device,
                    lambda tokens: f"beginning of {tokens:,} tokens",
                )
        return prefix_kv

    def _on_device(self, array: NDArray[Any]) -> Tensor:
        return devices.put_on(self._device, torch.from_numpy(array))

    # --- the rest --------------------------------------------------------------------------------------------------

    def without_adapter(self) -> AbstractContextManager[None] | None:
        """A context in which the bare base model answers, or None where there is no adapter."""
        return self._bare() if hasattr(self._model, "peft_config") else None

    @contextmanager
    def _bare(self) -> Iterator[None]:
        self._prefix_cache = {}
        try:
            with self._model.disable_adapter():
                yield
        finally:
            self._prefix_cache = {}

    def describe(self) -> Mapping[str, Any]:
        """JSON facts: the architecture, the tokenizer, the device, and how options are scored."""
        template = getattr(self._tokenizer, "chat_template", None) if self._form == "chat" else None
        rendered = self._tokenizer.get_chat_template() if template is not None else None
        return {
            "backend": "causal",
            **model_info.of_architecture(self._base),
            "quantization": quantization.describe(self._base),
            "attention": attention.NAME if self._packed_limit else general.NAME,
            # Longer prompts are read by the library's own attention: they do not fit into a sliding window.
            "packed_tokens": self._packed_limit or None,
            "context_limit": self._limit,
            "head": lm_head.path_of(self._base.get_output_embeddings()),
            "batch_tokens": self._batch_tokens,
            "format": self._form,
            "chat_template_sha256": hashlib.sha256(rendered.encode()).hexdigest() if rendered is not None else None,
            **({"template_arguments": dict(self._arguments)} if self._arguments else {}),
            **({"system_prompt": self._system_prompt} if self._system_prompt is not None else {}),
            **({"thinking": asdict(self._thinking)} if self._thinking is not None else {}),
            **({"template_date": date} if (date := self._encoder.template_date) is not None else {}),
            "bos_token_id": self._tokenizer.bos_token_id,
            "first_prompt": {"first_token_ids": self._first_prompt_ids[0], "last_token_ids": self._first_prompt_ids[1]}
            if self._first_prompt_ids
            else None,
            **model_info.of_setting(self._model, self._device, len(self._devices)),
        }

    def peak_memory_bytes(self) -> int | None:
        """Peak device memory in bytes; None on the CPU."""
        return devices.peak_memory_bytes(*self._devices)

    def close(self) -> None:
        """Let go of the weights and give device memory back."""
        self._model = self._base = None
        self._prefix_cache = {}
        devices.release(self._device)


def base_of(model: Any) -> Any:
    """The model without the wrapper of its adapter."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _tokens(past: bytes) -> NDArray[np.int32]:
    return np.frombuffer(past, dtype=np.int32)
