"""Batches hold every prompt once within the budget; the head adds up."""

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from runner.backends import examine_device
from runner.backends.batches import Load, batches, shared_beginning
from runner.backends.devices import choose, deterministic
from runner.backends.head import log_probs, path_of
from runner.backends.packing import LEAST_SHARED, pack
from runner.encoding import EncodedPrompt
from runner.errors import BackendError

ids = st.lists(st.integers(0, 3), min_size=1, max_size=30).map(lambda found: np.array(found, dtype=np.int32))


@st.composite
def loads(draw: st.DrawFn) -> list[Load]:
    """Prompts of a few groups, some of which begin alike."""
    stories = draw(st.lists(st.integers(0, 60), min_size=1, max_size=4))
    found = []
    for _ in range(draw(st.integers(0, 40))):
        story = draw(st.integers(0, len(stories) - 1))
        rest = np.array([story] * stories[story] + draw(st.lists(st.integers(10, 12), min_size=1, max_size=30)))
        found.append(Load(draw(st.integers(0, 3)), rest.astype(np.int32), draw(st.integers(0, 5))))
    return found


@given(found=loads(), budget=st.integers(1, 200))
def test_batches(found: list[Load], budget: int) -> None:
    cut = batches(found, budget)
    assert sorted(number for batch in cut for number in batch) == list(range(len(found)))
    assert cut == batches(found, budget)
    for batch in cut:
        members = [found[number] for number in batch]
        assert len({member.group for member in members}) == 1
        packed = pack([as_prompt(member) for member in members], 0)
        # A beginning that branches again soon is not kept apart there, and so is read more than once.
        slack = LEAST_SHARED * len(members)
        assert len(batch) == 1 or len(packed.ids) <= budget + slack
    if found:  # the family of the longest prompt comes first, maybe without it where they do not fit together
        longest = max(found, key=lambda load: load.tokens)
        assert found[cut[0][0]].group in {load.group for load in found if load.tokens == longest.tokens}


def as_prompt(load: Load) -> EncodedPrompt:
    return EncodedPrompt(load.rest, (tuple(range(1, load.options + 2)),), (0,), False, False)


def test_what_begins_alike_stays_together() -> None:
    generator = np.random.default_rng(0)
    stories = [generator.integers(0, 99, 90) for _ in range(5)]
    found = [
        Load(0, np.concatenate([story, generator.integers(0, 99, 20)]).astype(np.int32), 0)
        for _ in range(2)
        for story in stories
    ]
    # Together the two prompts of a story have 130 tokens: two stories fit, and a third is not torn apart for the room.
    assert [sorted(batch) for batch in batches(found, 380)] == [[0, 1, 5, 6], [2, 3, 7, 8], [4, 9]]


@given(start=ids, rests=st.lists(ids, min_size=1, max_size=6))
def test_shared_beginning(start: np.ndarray, rests: list[np.ndarray]) -> None:
    prefixes = [np.concatenate([start, rest]) for rest in rests]
    found = shared_beginning(prefixes)
    assert all(len(found) < len(prefix) and np.array_equal(prefix[: len(found)], found) for prefix in prefixes)
    if len(prefixes) == 1:
        assert not len(found)
    elif len(start) >= LEAST_SHARED:
        assert len(found) >= len(start)
    else:
        assert len(found) == 0 or len(found) >= LEAST_SHARED


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
    with deterministic():
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
    from runner.backends.causal import Causal

    with pytest.raises(BackendError, match="BATCH_TOKENS"):
        Causal(tiny.model("llama", 32), None, "plain", 0)
