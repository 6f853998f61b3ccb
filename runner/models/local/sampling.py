"""Answers drawn from a causal model: one pass over a prompt for all of them, and one for all that begin alike.

    step 0                     step 1                        step 2
    prompt ──┬─ "A"  (11 of 16) ── "A" + end  (10)            done
             │                  └─ "A" + "."   (1) ────────── "A." + end (1)
             └─ "B"   (5 of 16) ── "B" + end   (5)            done

A row of the batch is a prompt with a beginning that some answers share: drawn answers differ in few places, so there
are far fewer rows than answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from runner.core.errors import BackendError, Fault
from runner.core.types import Prompt, SamplingFormat, Thinking
from runner.models.local import general, lm_head
from runner.models.local import padded_batches as padded
from runner.models.tokenization import EncodedPrompt
from runner.tasks.sampled import DEFAULT_THINKING, may_become_answer, seed_of, split_thought


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer that was drawn."""

    answer: str | None
    """What follows the thought; None where that was not ended."""
    tokens: int
    """Tokens that were drawn, those of the thought and of the end included."""
    thought: str
    """The thought without its marks; empty where there was none."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How drawn text is read."""

    line: bool
    """Whether an answer is one line: in plain text a newline ends it."""
    thinking: Thinking | None
    """How the model thinks; None where the submission does not say that it does."""
    thought_begun: bool
    """Whether the prompt itself begins a thought."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A prompt with the beginning that some of its answers share."""

    prompt: int
    """Index of the prompt in the batch."""
    tokens: tuple[int, ...]
    """Tokens drawn so far."""


def batches(
    prompts: Sequence[Prompt], encoded: Sequence[EncodedPrompt], budget: int, thought_tokens: int
) -> list[list[int]]:
    """Indexes of the prompts after which answers are drawn, each once, the longest first.

    A batch has at most `budget` tokens with all its answers, as if no two of them began alike.
    """
    requests = [
        (number, prompt.sampling.samples * (len(encoding.prefix) + prompt.sampling.max_new_tokens + thought_tokens))
        for number, (prompt, encoding) in enumerate(zip(prompts, encoded, strict=True))
        if prompt.sampling is not None
    ]
    return [
        [requests[index][0] for index in batch] for batch in padded.batches([width for _, width in requests], budget)
    ]


def draw(
    base: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    encoded: Sequence[EncodedPrompt],
    ends: frozenset[int],
    reading: Reading,
) -> list[list[Sample]]:
    """The answers of each prompt, in the order of their numbers.

    `base` is a transformers causal language model. The prompts are filled up on the left, as in `generation.write`.
    Every answer has a generator of its own, seeded by its question and number: a token is the first whose cumulative
    probability exceeds the generator's next number, so that it depends on no other answer and on no batch beyond the
    rounding of the logits. Raises `BackendError` (`LOGITS_NON_FINITE`).
    """
    formats = [_format_of(prompt) for prompt in prompts]
    randoms = [[np.random.default_rng(seed_of(prompt.key, number)) for number in range(form.samples)]
               for prompt, form in zip(prompts, formats, strict=True)]  # fmt: skip
    results: list[list[Sample]] = [[Sample(None, 0, "")] * form.samples for form in formats]
    # Row → the numbers of the answers that have begun so.
    rows: dict[_Row, list[int]] = {_Row(at, ()): list(range(form.samples)) for at, form in enumerate(formats)}
    model = _Cached(base, encoded)
    while rows:
        logits = model.logits()
        following: dict[_Row, list[int]] = {}
        parents: list[int] = []
        for row_index, (row, numbers) in enumerate(rows.items()):
            form = formats[row.prompt]
            cumulative = _cumulative(logits[row_index], form)
            if not np.isfinite(cumulative[-1]):
                message = f"The model gives what follows item {prompts[row.prompt].item_id} no finite probability."
                raise BackendError(Fault("LOGITS_NON_FINITE", message))
            for number in numbers:
                wanted = randoms[row.prompt][number].random() * cumulative[-1]
                token = int(np.searchsorted(cumulative, wanted, side="right"))
                grown = _Row(row.prompt, (*row.tokens, min(token, len(cumulative) - 1)))
                if grown not in following:
                    following[grown] = []
                    parents.append(row_index)
                following[grown].append(number)
        unfinished: dict[_Row, list[int]] = {}
        kept_parents: list[int] = []
        for parent, (row, numbers) in zip(parents, following.items(), strict=True):
            sample = _finished(tokenizer, row, formats[row.prompt], ends, reading)
            if sample is None:
                unfinished[row] = numbers
                kept_parents.append(parent)
            else:
                for number in numbers:
                    results[row.prompt][number] = sample
        rows = unfinished
        if rows:
            model.go_on(kept_parents, [row.tokens[-1] for row in rows])
    return results


def _format_of(prompt: Prompt) -> SamplingFormat:
    assert prompt.sampling is not None
    return prompt.sampling


def _cumulative(logits: NDArray[np.float64], form: SamplingFormat) -> NDArray[np.float64]:
    """(vocabulary,) running sum of the weights that tokens are drawn by, in the order of the vocabulary."""
    if form.temperature == 0.0:
        weights = (logits == logits.max()).astype(np.float64)
        return np.cumsum(weights)
    weights = np.exp((logits - logits.max()) / form.temperature)
    if form.top_p < 1.0:
        order = np.argsort(-weights, kind="stable")
        before = np.cumsum(weights[order]) - weights[order]
        weights[order[before >= form.top_p * weights.sum()]] = 0.0
    return np.cumsum(weights)


def _finished(tokenizer: Any, row: _Row, form: SamplingFormat, ends: frozenset[int], reading: Reading) -> Sample | None:
    """The answer of a row that is over, or None."""
    ended = row.tokens[-1] in ends
    body = row.tokens[:-1] if ended else row.tokens
    text = str(tokenizer.decode(body, clean_up_tokenization_spaces=False))
    thought_text, answer = split_thought(text, reading.thinking, begun=reading.thought_begun)
    if ended:
        return Sample(answer, len(row.tokens), thought_text)
    thought = DEFAULT_THINKING if reading.thinking is None else reading.thinking
    if answer is None:
        # A thought is cut where its tokens end; the answer is then a failure.
        over = len(row.tokens) >= form.max_new_tokens + thought.max_thought_tokens
        return Sample(None, len(row.tokens), thought_text) if over else None
    thought_tokens = 0 if answer == text else thought.max_thought_tokens
    if len(row.tokens) >= form.max_new_tokens + thought_tokens:
        return Sample(answer, len(row.tokens), thought_text)
    if reading.line and answer == text and not thought.open.startswith(text.strip() or "\0"):
        line, newline, _ = answer.partition("\n")
        if newline or not may_become_answer(line, form):
            return Sample(line, len(row.tokens), thought_text)
    return None


class _Cached:
    """A model that has read prompts, with the keys and values of its rows."""

    def __init__(self, base: Any, encoded: Sequence[EncodedPrompt]) -> None:
        self._base = base
        self._adjust = lm_head.adjustment_of(base.config)
        self._cache = DynamicCache()
        width = max(len(prompt.prefix) for prompt in encoded)
        ids = torch.zeros((len(encoded), width), dtype=torch.long)
        mask = torch.zeros((len(encoded), width), dtype=torch.long)
        for row, prompt in enumerate(encoded):
            ids[row, width - len(prompt.prefix) :] = torch.from_numpy(prompt.prefix)
            mask[row, width - len(prompt.prefix) :] = 1
        self._mask = mask.to(base.device)
        self._positions = (self._mask.cumsum(dim=1) - 1).clamp(min=0)
        self._read(ids.to(base.device))

    def _read(self, ids: Tensor) -> None:
        self._states: Tensor = self._base.base_model(
            input_ids=ids,
            attention_mask=self._mask,
            past_key_values=self._cache,
            use_cache=True,
            **general.positions(self._base.base_model, self._positions),
        ).last_hidden_state[:, -1]

    def logits(self) -> NDArray[np.float64]:
        """(rows, vocabulary) logits of what follows each row, computed in float32."""
        logits = lm_head.logits(self._base.get_output_embeddings(), self._states, self._adjust)
        return logits.cpu().numpy().astype(np.float64)

    def go_on(self, parents: Sequence[int], tokens: Sequence[int]) -> None:
        """Make rows of the rows `parents`, each with one more token."""
        device = self._mask.device
        if list(parents) != list(range(len(self._mask))):
            chosen = torch.tensor(parents, device=device)
            self._cache.batch_select_indices(chosen)
            self._mask, self._positions = self._mask[chosen], self._positions[chosen]
        ids = torch.tensor(tokens, device=device)[:, None]
        self._mask = torch.cat([self._mask, torch.ones_like(ids)], dim=1)
        self._positions = self._positions[:, -1:] + 1
        self._read(ids)
