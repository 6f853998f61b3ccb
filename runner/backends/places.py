"""The last layer of a causal language model, computed only where somebody looks at its result."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def last_layer_at(places: Tensor, base: nn.Module) -> Iterator[None]:
    """Within it the last layer of `base`, a model without its head, is right at `places` of a row of tokens only.

    Every token's keys and values are computed; queries, what attention gives and the feed-forward only at `places`,
    since no later layer reads what they are elsewhere. Without places they are computed at the first token: not every
    kernel takes no token at all.
    """
    if not len(places):
        places = torch.zeros(1, dtype=torch.long)
    last: Any = base.layers[-1]  # type: ignore[index]
    with ExitStack() as stack:
        for part in (last.self_attn.q_proj, last.self_attn.o_proj, last.mlp):
            stack.enter_context(_only_at(places, part))
        yield


@contextmanager
def _only_at(places: Tensor, part: nn.Module) -> Iterator[None]:
    """Within it `part` reads (1, tokens, size) only at `places` and gives zeros elsewhere."""
    lengths = []

    def take(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        states, *rest = given
        lengths.append(states.shape[1])
        return states[:, places.to(states.device)], *rest

    def put(_: nn.Module, __: Any, found: Tensor) -> Tensor:
        whole = found.new_zeros(1, lengths.pop(), found.shape[2])
        return whole.index_copy_(1, places.to(found.device), found)

    hooks = part.register_forward_pre_hook(take), part.register_forward_hook(put)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
