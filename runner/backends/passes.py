"""What a model computes between its products, on a CPU: in place, or in pieces that stay in the caches."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import SiLUActivation

# Numbers of a state that are normed at once: 1 MiB as float32.
_AT_ONCE = 1 << 18
# Feed-forwards that are down(act(gate(x)) · up(x)) and nothing else; others of the same parts may also scale.
_GATED = ("LlamaMLP", "MistralMLP")


def save_passes(model: nn.Module) -> None:
    """Put `Gated` and `Pieces` in the place of feed-forwards and norms of `model` that they can stand for.

    To be used without gradients. With 2,000 tokens, 768 wide, these passes wait for memory: of `anecdotes` in
    docs/speed.md the two together save 3 % of the time, of `dilemmas` 1 to 5 %. The bits are the same.
    """
    for parent in list(model.modules()):
        for name, part in list(parent.named_children()):
            if type(part).__name__ in _GATED and isinstance(part.act_fn, SiLUActivation | nn.SiLU):
                setattr(parent, name, Gated(part))
            elif type(part).__name__.endswith("RMSNorm"):
                setattr(parent, name, Pieces(part))


class Gated(nn.Module):
    """Holds the layers of a feed-forward with a gate; what the gate gives is overwritten."""

    def __init__(self, part: Any) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = part.gate_proj, part.up_proj, part.down_proj

    def forward(self, states: Tensor) -> Tensor:
        """(…, hidden) of `states` (…, hidden)."""
        gate = nn.functional.silu(self.gate_proj(states), inplace=True)
        found: Tensor = self.down_proj(gate.mul_(self.up_proj(states)))
        return found


class Pieces(nn.Module):
    """Holds a norm over the last dimension, which is computed for some tokens at a time."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, states: Tensor) -> Tensor:
        """As the norm gives it, of the shape of `states` (…, hidden)."""
        tokens = states.reshape(-1, states.shape[-1])
        pieces = torch.split(tokens, max(1, _AT_ONCE // states.shape[-1]))
        return torch.cat([self.norm(piece) for piece in pieces]).view(states.shape)
