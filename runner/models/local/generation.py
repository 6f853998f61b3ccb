"""Greedy continuation of a batch of prompts, token by token, up to a newline or a special token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from runner.core.types import Prompt
from runner.models.local import general, lm_head
from runner.models.local import padded_batches as padded
from runner.models.tokenization import EncodedPrompt


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model wrote, up to a newline, a special token or its limit of tokens."""

    text: str
    """Text before the newline or special token."""
    tokens: int
    """Number of tokens written, the newline or special token included."""
    log_prob: float
    """Natural log of their joint probability."""


def special_tokens(tokenizer: Any, config: Any) -> frozenset[int]:
    """Tokens that end an answer: the end of a text as tokenizer and config.json have it, and every special token."""
    ends = config.eos_token_id
    listed = ends if isinstance(ends, list) else [ends]
    special = (number for number, token in tokenizer.added_tokens_decoder.items() if token.special)
    return frozenset(number for number in (*listed, tokenizer.eos_token_id, *special) if number is not None)


def batches(prompts: Sequence[Prompt], encoded: Sequence[EncodedPrompt], budget: int) -> list[list[int]]:
    """Indexes of the prompts that ask for a written answer, each once, in batches of at most `budget` tokens with the
    answers and what fills them up; the longest first, so that memory runs out at once or not at all."""
    requests = [
        (number, len(encoding.prefix) + prompt.writing.max_new_tokens)
        for number, (prompt, encoding) in enumerate(zip(prompts, encoded, strict=True))
        if prompt.writing is not None
    ]
    return [
        [requests[index][0] for index in batch] for batch in padded.batches([width for _, width in requests], budget)
    ]


def write(
    base: Any, tokenizer: Any, prompts: Sequence[EncodedPrompt], limits: Sequence[int], ends: frozenset[int]
) -> list[Generation]:
    """The most probable continuation, one token after the other, of each prompt, in at most `limits` tokens.

    `base` is a transformers causal language model. The prompts are filled up on the left, the filler hidden by the
    mask and the positions counted without it. The library's own `generate` is not used: it takes the argmax of logits
    in the model's dtype, whose steps in bfloat16 (.03 to .06) make digits equally probable; here the head is float32.
    """
    device = base.device
    width = max(len(prompt.prefix) for prompt in prompts)
    ids = torch.zeros((len(prompts), width), dtype=torch.long)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt.prefix) :] = torch.from_numpy(prompt.prefix)
        mask[row, width - len(prompt.prefix) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    cache = DynamicCache()
    adjust = lm_head.adjustment_of(base.config)
    outputs: list[list[int]] = [[] for _ in prompts]
    log_probs = [0.0] * len(prompts)
    writing = [limit > 0 for limit in limits]
    while True:
        states: Tensor = base.base_model(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **general.positions(base.base_model, positions),
        ).last_hidden_state[:, -1]
        tokens, likely = lm_head.most_probable(base.get_output_embeddings(), states, adjust)
        for row, (token, log_prob) in enumerate(zip(tokens.tolist(), likely.tolist(), strict=True)):
            if writing[row]:
                outputs[row].append(token)
                log_probs[row] += log_prob
                over = token in ends or "\n" in tokenizer.decode(outputs[row]) or len(outputs[row]) >= limits[row]
                writing[row] = not over
        if not any(writing):
            break
        ids = tokens[:, None].to(device)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        positions = positions[:, -1:] + 1
    return [
        Generation(_text(tokenizer, tokens, ends), len(tokens), log_prob)
        for tokens, log_prob in zip(outputs, log_probs, strict=True)
    ]


def _text(tokenizer: Any, tokens: list[int], ends: frozenset[int]) -> str:
    body = tokens[:-1] if tokens[-1] in ends else tokens
    return str(tokenizer.decode(body, clean_up_tokenization_spaces=False)).partition("\n")[0]
