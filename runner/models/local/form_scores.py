"""From the hidden states of batches to the log-probability of every surface form."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from runner.models.local import lm_head
from runner.models.local.general import Rows
from runner.models.local.packed.layout import Packed
from runner.models.tokenization import EncodedPrompt


@dataclass(frozen=True, slots=True, eq=False)
class BatchStates:
    """A batch after the forward pass."""

    batch: Sequence[int]
    """Indexes of its prompts."""
    layout: Packed | Rows
    """Which position predicts which token of which form."""
    states: Tensor
    """(scored positions, hidden size) hidden states, each position once."""


def form_log_probs(
    output: Any,
    outputs: Sequence[BatchStates],
    encoded: Sequence[EncodedPrompt],
    adjust: Callable[[Tensor], Tensor],
) -> Iterator[tuple[int, list[float]]]:
    """For each prompt of the batches its index and the log-probability of each of its forms, in nats.

    `output` is the model's head, applied once to the states of all batches; `adjust` caps or scales its logits.
    """
    first = np.cumsum([0, *(len(batch.states) for batch in outputs)])
    rows = [
        np.unique(batch.layout.scored_positions, return_inverse=True)[1] + start
        for batch, start in zip(outputs, first[:-1], strict=True)
    ]
    log_probs = lm_head.log_probs(
        output,
        torch.cat([batch.states for batch in outputs]),
        torch.from_numpy(np.concatenate(rows)),
        torch.from_numpy(np.concatenate([batch.layout.target_ids for batch in outputs])),
        adjust,
    )
    ends = np.cumsum([len(batch.layout.target_ids) for batch in outputs])
    for batch, values in zip(outputs, np.split(log_probs.double().cpu().numpy(), ends), strict=False):
        forms = np.bincount(batch.layout.option_index, weights=values)
        last = np.cumsum([len(encoded[number].tails) for number in batch.batch])
        yield from zip(batch.batch, map(np.ndarray.tolist, np.split(forms, last[:-1])), strict=True)
