"""Log-probabilities of given tokens from hidden states: float32 products and log-softmax for any dtype."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

# Weights of the output matrix that are held as float32 at once. On a CPU 3 MiB, which stay in its caches from the
# widening to the product: with 9 to 125 states, 768 wide, an eighth to a quarter less time than with 12 MiB.
_WEIGHTS_AT_ONCE = {"cpu": 3 << 18, "cuda": 32 << 20}
_STATES_AT_ONCE = 1024
_STATE_CHUNK = 64

Adjustment = Callable[[Tensor], Tensor]


def adjustment_of(config: Any) -> Adjustment:
    """What a model of this configuration does with the products of its head, number by number, to make them logits."""
    match config.model_type:
        case "cohere" | "cohere2":
            return lambda products: products * config.logit_scale
        case "granite" | "granitemoe":
            return lambda products: products / config.logits_scaling
        case "gemma2" | "gemma3_text" if config.final_logit_softcapping is not None:
            cap = config.final_logit_softcapping
            return lambda products: torch.tanh(products / cap) * cap
        case _:
            return _unchanged


def _unchanged(products: Tensor) -> Tensor:
    return products


def path_of(head: nn.Module) -> str:
    """`chunked` for a plain linear head; `whole` for anything else, such as one with LoRA on it."""
    return "chunked" if type(head) is nn.Linear else "whole"


def log_probs(
    head: nn.Module, states: Tensor, which: Tensor, targets: Tensor, adjust: Adjustment = _unchanged
) -> Tensor:
    """(targets,) float32 log-probability of token `targets[i]` after the hidden state `states[which[i]]`.

    `states` is (states, hidden) in the model's dtype. Products, sums and the log-softmax are float32: the steps of
    bfloat16 are .03 to .06 at usual logits. A linear head is applied to a piece of the vocabulary at a time with a
    running log-sum-exp, so that memory does not grow with the vocabulary; any other head is called as it is, with
    its parameters as float32, for a few states at a time. `adjust` is that of `adjustment_of`.
    """
    states, which, targets = (_beside(head, tensor) for tensor in (states, which, targets))
    states = states.float()
    if path_of(head) == "chunked":
        return _chunked(head, states, which, targets, adjust)
    target_log_probs = torch.empty(len(targets), dtype=torch.float32, device=states.device)
    for start, logits in _whole(head, states, adjust):
        selected = torch.nonzero((which >= start) & (which < start + _STATE_CHUNK))[:, 0]
        rows = which[selected] - start
        target_log_probs[selected] = logits[rows, targets[selected]] - torch.logsumexp(logits, dim=1)[rows]
    return target_log_probs


def most_probable(head: nn.Module, states: Tensor, adjust: Adjustment = _unchanged) -> tuple[Tensor, Tensor]:
    """(states,) the most probable token after each hidden state (states, hidden), the first of equals, and its float32
    log-probability; computed as by `log_probs`.
    """
    states = _beside(head, states).float()
    if path_of(head) != "chunked":
        parts = [torch.log_softmax(logits, dim=1).max(dim=1) for _, logits in _whole(head, states, adjust)]
        return torch.cat([part.indices for part in parts]), torch.cat([part.values for part in parts])
    linear: Any = head
    total = torch.full((len(states),), -torch.inf, device=states.device)
    best, tokens = total, torch.zeros(len(states), dtype=torch.long, device=states.device)
    for start, stop in _pieces(linear.weight):
        bias = None if linear.bias is None else linear.bias[start:stop].float()
        logits = adjust(nn.functional.linear(states, linear.weight[start:stop].float(), bias))
        total = torch.logaddexp(total, torch.logsumexp(logits, dim=1))
        highest = logits.max(dim=1)
        tokens = torch.where(highest.values > best, highest.indices + start, tokens)
        best = torch.maximum(best, highest.values)
    return tokens, best - total


def logits(head: nn.Module, states: Tensor, adjust: Adjustment = _unchanged) -> Tensor:
    """(states, vocabulary) float32 logits after each hidden state (states, hidden); computed as by `log_probs`."""
    states = _beside(head, states).float()
    if path_of(head) != "chunked":
        return torch.cat([part for _, part in _whole(head, states, adjust)])
    linear: Any = head
    parts = []
    for start, stop in _pieces(linear.weight):
        bias = None if linear.bias is None else linear.bias[start:stop].float()
        parts.append(adjust(nn.functional.linear(states, linear.weight[start:stop].float(), bias)))
    return torch.cat(parts, dim=1)


def _beside(head: nn.Module, states: Tensor) -> Tensor:
    """`states` where the head is: of a model over several devices that may be another than the last layer's."""
    return states.to(next(head.parameters()).device)


def _pieces(weight: Tensor) -> Iterator[tuple[int, int]]:
    """Ranges of the vocabulary, of which a piece of `weight` (vocabulary, hidden) is widened at once."""
    vocabulary, hidden = weight.shape
    lines = max(1, _WEIGHTS_AT_ONCE[weight.device.type] // hidden)
    for start in range(0, vocabulary, lines):
        yield start, min(start + lines, vocabulary)


def _whole(head: nn.Module, states: Tensor, adjust: Adjustment) -> Iterator[tuple[int, Tensor]]:
    """Float32 logits of a few states at a time (states, vocabulary), with the index of the first of them."""
    parameters = {name: value.float() for name, value in (*head.named_parameters(), *head.named_buffers())}
    for start in range(0, len(states), _STATE_CHUNK):
        yield start, adjust(torch.func.functional_call(head, parameters, (states[start : start + _STATE_CHUNK],)))


def _chunked(head: Any, states: Tensor, which: Tensor, targets: Tensor, adjust: Adjustment) -> Tensor:
    total = torch.full((len(states),), -torch.inf, device=states.device)
    target_logits = torch.zeros(len(targets), device=states.device)
    for start, stop in _pieces(head.weight):
        bias = None if head.bias is None else head.bias[start:stop].float()
        weight = head.weight[start:stop].float()
        inside = (targets >= start) & (targets < stop)
        sums = []  # nothing is written in place, since a model in training goes back through it
        for first in range(0, len(states), _STATES_AT_ONCE):
            last = min(first + _STATES_AT_ONCE, len(states))
            logits = adjust(nn.functional.linear(states[first:last], weight, bias))
            sums.append(torch.logsumexp(logits, dim=1))
            picked = logits[(which - first).clamp(0, last - first - 1), (targets - start).clamp(0, stop - start - 1)]
            target_logits = torch.where(inside & (which >= first) & (which < last), picked, target_logits)
        total = torch.logaddexp(total, torch.cat(sums))
    return target_logits - total[which]
