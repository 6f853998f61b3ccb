"""Batches hold every prompt once within the budget; the head adds up."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import tiny_models

from runner.core.errors import BackendError
from runner.models.local.devices import choose, inference_mode
from runner.models.local.lm_head import log_probs, path_of
from runner.models.local.open import examine_device
from runner.models.local.padded_batches import batches


@given(lengths=st.lists(st.integers(1, 50), max_size=60), budget=st.integers(1, 200))
def test_batches(lengths: list[int], budget: int) -> None:
    cut = batches(lengths, budget)
    assert sorted(number for batch in cut for number in batch) == list(range(len(lengths)))
    for batch in cut:
        members = [lengths[number] for number in batch]
        assert len(batch) == 1 or max(members) * len(batch) <= budget
    in_order = [number for batch in cut for number in batch]
    assert in_order == sorted(in_order, key=lambda number: (-lengths[number], number))


@pytest.mark.parametrize("vocabulary", [7, 8192, 8193, 20_000])
@pytest.mark.parametrize("bias", [True, False])
def test_the_head_in_pieces_is_a_log_softmax(vocabulary: int, bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(16, vocabulary, bias=bias).requires_grad_(False)
    states = 20 * torch.randn(1100, 16, generator=generator)
    which = torch.randint(0, 1100, (200,), generator=generator)
    targets = torch.randint(0, vocabulary, (200,), generator=generator)
    exact = torch.log_softmax(
        torch.nn.functional.linear(states.double(), head.weight.double(), head.bias.double() if bias else None), dim=1
    )[which, targets]
    found = log_probs(head, states, which, targets)
    assert path_of(head) == "chunked"
    assert (found.double() - exact).abs().max() < 2e-5
    wrapped = torch.nn.Sequential(head)
    assert path_of(wrapped) == "whole"
    assert (log_probs(wrapped, states, which, targets).double() - exact).abs().max() < 2e-5


def test_products_of_low_precision_weights_are_float32() -> None:
    """With one hidden state of ones the logits are sums of weights, which bfloat16 could not hold."""
    head = torch.nn.Linear(512, 2, bias=False, dtype=torch.bfloat16).requires_grad_(False)
    head.weight[0] = 1.0
    head.weight[1] = 1.0
    head.weight[1, 0] = 1.0078125  # the next bfloat16 after 1: the sums are 512 and 512.0078125
    states = torch.ones(1, 512, dtype=torch.bfloat16)
    found = log_probs(head, states, torch.tensor([0, 0]), torch.tensor([0, 1]))
    assert (found[1] - found[0]).item() == pytest.approx(0.0078125, abs=1e-4)


def test_settings_are_put_back() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    with inference_mode():
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_inference_mode_enabled()
    assert torch.are_deterministic_algorithms_enabled() == before
    assert not torch.is_inference_mode_enabled()


def test_devices() -> None:
    assert choose("cpu") == torch.device("cpu")
    ((name, state, message, _),) = examine_device("cpu")
    assert (name, state) == ("device", "ok")
    assert "CPU" in message
    ((_, state, message, _),) = examine_device("abacus")
    assert state == "fail"
    assert "abacus" in message
    with pytest.raises(BackendError):
        choose("abacus")


def test_a_budget_without_tokens_is_refused() -> None:
    from runner.models.local.causal import Causal

    with pytest.raises(BackendError, match="BATCH_TOKENS"):
        Causal(tiny_models.model("llama", 32), None, "plain", 0)
