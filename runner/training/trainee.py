"""A model in training: its inputs, its log-scores with gradients, and how it is saved."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from runner.core.canonical import digest
from runner.core.recipe_types import Recipe
from runner.core.types import HeadSpec, Item, Prompt
from runner.models.base import Predictor
from runner.models.local import general, lm_head, loading
from runner.models.local.causal import wrap
from runner.models.local.packed import attention
from runner.models.local.packed.last_layer import scored_at, skip_unscored_positions
from runner.models.local.packed.layout import Packed, pack
from runner.models.local.packed.prefix_grouping import LEAST_SHARED, in_order
from runner.models.local.tokenizer import load_tokenizer
from runner.models.tokenization import EncodedPrompt, Format, encode_all
from runner.tasks import verbalized
from runner.training import lora

ADAPTER, MODEL = "adapter", "model"


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A prompt to train on."""

    task: str
    """Name of the task."""
    encoded: Any
    """What the model reads, in the model's own form."""
    identity: str
    """Digest of `encoded`, which as a JSON value would take ten times the memory of the rest."""
    tokens: int
    """Length in tokens."""
    counts: Tensor
    """(labels,) votes."""
    truncated: bool
    """Whether a field was cut."""


class TrainableModel(Protocol):
    """A model whose trained weights are the parameters of `model` that need gradients."""

    model: Any

    @property
    def subfolder(self) -> str:
        """The folder of the submission that the trained weights go to."""

    @property
    def head(self) -> HeadSpec | None:
        """What the submission says of an encoder's head."""

    def examples(self, questions: Sequence[tuple[Prompt, Item]]) -> list[Example]:
        """What there is to train on; raises `InvalidInput` with every prompt that cannot be encoded."""

    def batches(self, examples: Sequence[Example], size: int) -> list[list[Example]]:
        """The examples of a step in batches that are read at once, at most as many as batches of `size` would be."""

    def log_scores(self, examples: Sequence[Example]) -> list[Tensor]:
        """(labels,) unnormalised natural-log scores of each example, in label order, with gradients."""

    def backend(self) -> Predictor:
        """The model as it is now, as evaluation asks it; the model must be in evaluation mode meanwhile."""

    def save(self, folder: Path) -> None:
        """Write what was trained into `folder`, as a submission holds it."""

    def load(self, folder: Path) -> None:
        """Take up what `save`, or a checkpoint, left in `folder`."""


class TrainableCausal:
    """Holds a causal language model with a LoRA adapter; see `TrainableModel`.

    The log-scores are those of the scored options, after the same prompts, token for token: the encodings are
    `runner.models.tokenization`'s, the layout of a batch and the float32 head those of the backend.
    """

    subfolder = ADAPTER
    head = None

    def __init__(self, recipe: Recipe, folder: Path, device: torch.device) -> None:
        base = recipe.base
        self._form: Format = "chat" if base.format == "chat" else "plain"
        self._arguments = base.template_arguments
        self._tokenizer = load_tokenizer(folder)
        model = loading.load_model(folder, base.dtype, device, quantization=base.quantization)
        self._limit = min(loading.limit_of(model.config), recipe.training.max_tokens or loading.limit_of(model.config))
        torch.manual_seed(recipe.training.seed)
        self.model = lora.put_on(model, recipe.method, "CAUSAL_LM", base.repository or Path(base.path or folder).name)
        self._base = self.model.get_base_model()
        self._attention = self._base.config._attn_implementation
        self._device = device
        self._reads_again = recipe.training.gradient_checkpointing

    def examples(self, questions: Sequence[tuple[Prompt, Item]]) -> list[Example]:
        """What there is to train on, in order; where the model is to write, the line it should write is the option."""
        prompts = [_answered(prompt, item) for prompt, item in questions]
        return [
            Example(
                task=prompt.task,
                encoded=encoded,
                identity=digest(
                    [encoded.prefix.tolist(), [list(tail) for tail in encoded.tails], list(encoded.labels)]
                ),
                tokens=len(encoded.prefix) + sum(len(tail) - 1 for tail in encoded.tails),
                counts=torch.tensor(item.counts, dtype=torch.float64, device=self._device),
                truncated=encoded.truncated,
            )
            for encoded, (prompt, item) in zip(
                encode_all(prompts, self._tokenizer, self._form, self._limit, self._arguments), questions, strict=True
            )
        ]

    def batches(self, examples: Sequence[Example], size: int) -> list[list[Example]]:
        """Prompts that begin alike together, as many as have about as many tokens as `size` of the step's longest.

        What they share counts once, so that a batch holds more than `size` of them.
        """
        if max(general.longest_row(example.encoded) for example in examples) > loading.packed_limit(self._base.config):
            return in_turn(examples, size)
        batches: list[list[Example]] = []
        max_tokens, room = size * max(example.tokens for example in examples), 0
        for number, shared in zip(*in_order([example.encoded.prefix for example in examples]), strict=True):
            tokens = examples[number].tokens
            own = tokens - shared if shared >= LEAST_SHARED else tokens
            if own > room:
                batches.append([])
                own, room = tokens, max_tokens
            batches[-1].append(examples[number])
            room -= own
        return batches

    def log_scores(self, examples: Sequence[Example]) -> list[Tensor]:
        """(labels,) log-probabilities of the options of each example, surface forms added up."""
        encoded: list[EncodedPrompt] = [example.encoded for example in examples]
        packed, states = self._read(encoded)
        which = np.unique(packed.scored_positions, return_inverse=True)[1]
        tokens = lm_head.log_probs(
            self._base.get_output_embeddings(),
            states,
            self._on_device(which),
            self._on_device(packed.target_ids),
            lm_head.adjustment_of(self._base.config),
        )
        owners = self._on_device(packed.option_index)
        forms = torch.zeros(int(packed.option_index.max()) + 1, device=self._device).index_add(0, owners, tokens)
        scores, start = [], 0
        for encoding in encoded:
            own = forms[start : start + len(encoding.tails)]
            start += len(encoding.tails)
            labels = torch.tensor(encoding.labels, device=self._device)
            scores.append(torch.stack([own[labels == label].logsumexp(0) for label in range(max(encoding.labels) + 1)]))
        return scores

    def _read(self, encoded: Sequence[EncodedPrompt]) -> tuple[Packed | general.Rows, Tensor]:
        """How the prompts of a step are laid out, and (positions, hidden) last hidden states, each position once."""
        if max(map(general.longest_row, encoded)) > loading.packed_limit(self._base.config):
            self._base.config._attn_implementation = self._attention
            rows = general.lay_out(encoded)
            return rows, general.hidden_states(self._base, rows, self._on_device)
        packed = pack(encoded, 0)
        # Until the model predicts: gradient checkpointing attends once more on the way back.
        self._base.config._attn_implementation = attention.NAME
        positions = self._on_device(np.unique(packed.scored_positions))
        model = self._base.base_model
        # What is read again on the way back is read outside of this function, where nobody says what is scored.
        last = None if self._reads_again else model.layers[-1].self_attn.layer_idx
        skipping = nullcontext() if self._reads_again else skip_unscored_positions(model)
        with skipping, scored_at(positions, len(packed.ids)):
            states = model(
                input_ids=self._on_device(packed.ids[None]),
                position_ids=self._on_device(packed.positions[None]),
                use_cache=False,
                packing=attention.Batch(packed, {}, last_layer_idx=last),
            ).last_hidden_state
        return packed, states[0, positions]

    def _on_device(self, array: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def backend(self) -> Predictor:
        """The model as `benchmark evaluate` would open it once it is saved."""
        self._base.config._attn_implementation = self._attention
        return wrap(self.model, self._tokenizer, self._form, arguments=self._arguments)

    def save(self, folder: Path) -> None:
        """The adapter alone."""
        lora.save_adapter(self.model, folder)

    def load(self, folder: Path) -> None:
        """Take up the adapter in `folder`."""
        lora.load_adapter(self.model, folder, self._device)


def in_turn(examples: Sequence[Example], size: int) -> list[list[Example]]:
    """Batches of `size` examples in the order given, which is one of similar lengths."""
    return [list(examples[start : start + size]) for start in range(0, len(examples), size)]


def _answered(prompt: Prompt, item: Item) -> Prompt:
    """The prompt itself, or one for a written answer with that answer, the shares of the votes, as its one option.

    The line ends with a newline, by which the writing of an answer ends. It is shortened to hold the line as well.
    """
    if prompt.writing is None:
        return prompt
    votes = [item.counts[label] for label in prompt.writing.labels]
    line = verbalized.write(verbalized.whole_percentages(votes), prompt.writing.names)
    return replace(prompt, writing=None, options=((f" {line}\n",),))
