"""The last layer of a causal language model, computed only where somebody looks at its result."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

# Each thread has its own, so that several can run one model: scored positions of the row, and its number of tokens.
_SCORED: ContextVar[tuple[Tensor, int] | None] = ContextVar("_SCORED", default=None)


@contextmanager
def skip_unscored_positions(base: nn.Module) -> Iterator[None]:
    """Within it the last layer of `base`, a model without its head, is computed only at the positions of `scored_at`.

    Keys and values are computed for every token; queries, attention outputs and the feed-forward only at the positions,
    since no later layer reads them elsewhere: there they are zeros.
    """
    last: Any = base.layers[-1]  # type: ignore[index]
    hooks = [
        hook
        for part in (last.self_attn.q_proj, last.self_attn.o_proj, last.mlp)
        for hook in (part.register_forward_pre_hook(_take), part.register_forward_hook(_put))
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def scored_at(positions: Tensor, tokens: int) -> Iterator[None]:
    """Within it this thread scores only `positions` of a row of `tokens` tokens.

    Without positions the first token is computed: not every kernel takes no token at all.
    """
    before = _SCORED.set((positions if len(positions) else torch.zeros(1, dtype=torch.long), tokens))
    try:
        yield
    finally:
        _SCORED.reset(before)


def _take(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    scored = _SCORED.get()
    if scored is None:
        return args
    states, *rest = args
    return states[:, scored[0].to(states.device)], *rest


def _put(_: nn.Module, __: Any, output: Tensor) -> Tensor:
    scored = _SCORED.get()
    if scored is None:
        return output
    positions, tokens = scored
    return output.new_zeros(1, tokens, output.shape[2]).index_copy_(1, positions.to(output.device), output)
