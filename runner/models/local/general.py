"""The general path: any causal language model, by the library's own attention, over rows filled up on the right."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.core.errors import BackendError, Fault
from runner.models.local import lm_head
from runner.models.tokenization import EncodedPrompt

NAME = "general"

Ints = NDArray[np.int64]
_PROBE_TOKENS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Prompts with their options as rows of tokens, filled up with 0 on the right.

    A prompt has a row for each option that no other option of it begins with, all but the option's last token.
    """

    ids: Ints
    """(rows, width) token ids."""
    scored_positions: Ints
    """(scores,) index of the hidden state that predicts each scored token, counted through all rows."""
    target_ids: Ints
    """(scores,) the token whose log-probability is wanted there."""
    option_index: Ints
    """(scores,) the surface form that the token belongs to, counted through the whole batch."""


def lay_out(prompts: Sequence[EncodedPrompt]) -> Rows:
    """One batch of prompts with all their options."""
    rows: list[list[int]] = []
    scored: list[tuple[int, int, int, int]] = []
    option = 0
    for prompt in prompts:
        prefix, last = prompt.prefix.tolist(), len(prompt.prefix) - 1
        endings = list(_endings(prompt))
        first_row = len(rows)
        rows += [prefix + list(ending) for ending in endings]
        for tail in prompt.tails:
            row = first_row + next(at for at, ending in enumerate(endings) if ending[: len(tail) - 1] == tail[:-1])
            scored += [(row, last + step, token, option) for step, token in enumerate(tail)]
            option += 1
    width = max(map(len, rows))
    ids = np.zeros((len(rows), width), dtype=np.int64)
    for number, tokens in enumerate(rows):
        ids[number, : len(tokens)] = tokens
    row, column, targets, options = np.array(scored, dtype=np.int64).T
    return Rows(ids, row * width + column, targets, options)


def tokens_of(prompt: EncodedPrompt) -> int:
    """Tokens that the rows of one prompt hold at most, as long as its longest."""
    return len(list(_endings(prompt))) * longest_row(prompt)


def longest_row(prompt: EncodedPrompt) -> int:
    """Tokens of a prompt with its longest option, but for that option's last one."""
    return len(prompt.prefix) + max((len(tail) - 1 for tail in prompt.tails), default=0)


def hidden_states(base: Any, rows: Rows, put: Callable[[NDArray[Any]], Tensor]) -> Tensor:
    """(positions, hidden) last hidden states of `base`, a causal language model of transformers, at scored positions.

    `put` brings an array to the model's device. No mask is given: what fills a row up comes after its tokens, and a
    causal model does not look ahead.
    """
    model = base.base_model
    ids = put(rows.ids)
    states = model(input_ids=ids, use_cache=False, **positions(model, torch.arange(ids.shape[1])[None].to(ids.device)))
    flat: Tensor = states.last_hidden_state.flatten(0, 1)
    return flat[put(np.unique(rows.scored_positions)).to(flat.device)]


def positions(model: Any, ids: Tensor) -> dict[str, Tensor]:
    """`ids` as the argument `position_ids`, for a model that takes one; others count the distance of keys (ALiBi)."""
    return {"position_ids": ids} if "position_ids" in inspect.signature(model.forward).parameters else {}


def check_head(base: Any) -> None:
    """Raise `BackendError` (`MODEL_TYPE`) unless the logits of `base` are what `lm_head` makes of its hidden states."""
    tokens = torch.arange(1, 1 + _PROBE_TOKENS, device=base.device)[None]
    with torch.inference_mode():
        states = base.base_model(input_ids=tokens, use_cache=False).last_hidden_state[0]
        own = base(input_ids=tokens, use_cache=False).logits[0].float()
        log_probs = torch.log_softmax(own, dim=-1)
        best = own.argmax(dim=-1).cpu()
        steps = torch.arange(_PROBE_TOKENS)
        computed = lm_head.log_probs(
            base.get_output_embeddings(), states, steps, best, lm_head.adjustment_of(base.config)
        ).to(log_probs.device)
    rounding = max(1e-4, 4 * torch.finfo(base.dtype).eps) * max(1.0, float(own.abs().max()))
    if not float((computed - log_probs[steps, best]).abs().max()) <= rounding:
        message = f"The logits of this {base.config.model_type} are not the product of its head and its last states."
        raise BackendError(Fault("MODEL_TYPE", message))


def _endings(prompt: EncodedPrompt) -> Iterator[tuple[int, ...]]:
    """All but the last token of each option, once each, and none that begins another."""
    inner = sorted({tail[:-1] for tail in prompt.tails})
    for ending, after in zip(inner, [*inner[1:], None], strict=True):
        if after is None or after[: len(ending)] != ending:
            yield ending
