"""The last layer of a causal language model, computed only where somebody looks at its result."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

# Each thread's own, so that several may ask one model at once: places in the row, and how many tokens that has.
_LOOKED_AT: ContextVar[tuple[Tensor, int] | None] = ContextVar("_LOOKED_AT", default=None)


@contextmanager
def skip_unscored_positions(base: nn.Module) -> Iterator[None]:
    """Within it the last layer of `base`, a model without its head, is computed only at the places of `scored_at`.

    Every token's keys and values are computed; queries, what attention gives and the feed-forward only at the places,
    since no later layer reads what they are elsewhere: there they are zeros.
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
def scored_at(places: Tensor, tokens: int) -> Iterator[None]:
    """Within it this thread looks only at `places` of a row of so many tokens.

    Without places the first token is computed: not every kernel takes no token at all.
    """
    before = _LOOKED_AT.set((places if len(places) else torch.zeros(1, dtype=torch.long), tokens))
    try:
        yield
    finally:
        _LOOKED_AT.reset(before)


def _take(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    looked_at = _LOOKED_AT.get()
    if looked_at is None:
        return args
    states, *rest = args
    return states[:, looked_at[0].to(states.device)], *rest


def _put(_: nn.Module, __: Any, output: Tensor) -> Tensor:
    looked_at = _LOOKED_AT.get()
    if looked_at is None:
        return output
    places, tokens = looked_at
    return output.new_zeros(1, tokens, output.shape[2]).index_copy_(1, places.to(output.device), output)
