"""How many tokens are a batch, how many batches a step, and how many are read side by side, where nobody said."""

import math
import re
from dataclasses import dataclass
from typing import Any

import torch

from runner.models.local import quantization
from runner.models.local.thread_pool import threads_for

# On a CPU the time per token was the same from 512 to 4,096 tokens; each lane has a batch.
_BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}
# Largest number of tokens of a step, and of tokens times layer weights: some seconds of a CPU's work.
_MOST_AT_ONCE = 1 << 15
_SOME_SECONDS = 1_200_000_000_000
# Layers are numbered, whatever an architecture calls them.
_IN_LAYER = re.compile(r"\.\d+\.")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of batches and steps."""

    batch_tokens: int
    """Maximum of tokens of a batch."""
    at_once: int
    """Batches of a step."""
    lanes: int
    """Threads that read batches side by side."""


def default_sizes(base: Any) -> Sizes:
    """The sizes for `base`, a causal language model without an adapter around it, on its device.

    A step is the same number of batches for each lane: as many as make the widening of the output head to float32,
    once for all, a hundredth of the work or less, where widening a weight is taken for 160 products with a token's
    state; 120 to 150 were measured on a CPU. Of a small model more, as long as they take seconds: at the end of a step
    lanes wait for the last.
    """
    kind = base.device.type
    # A quantised layer lays its weights out when it is first called, which two threads must not do at once.
    alone = kind != "cpu" or quantization.describe(base) is not None
    lanes = 1 if alone else threads_for(torch.get_num_threads())
    output: int = base.get_output_embeddings().weight.numel()
    layers: int = sum(
        parameter.numel() for name, parameter in base.base_model.named_parameters() if _IN_LAYER.search(f".{name}")
    )
    tokens = min(_MOST_AT_ONCE, max(16_000 * output, _SOME_SECONDS) / layers)
    return Sizes(_BATCH_TOKENS[kind], lanes * math.ceil(tokens / _BATCH_TOKENS[kind] / lanes), lanes)
