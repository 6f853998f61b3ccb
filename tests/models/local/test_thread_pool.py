"""Batches side by side are what they are one after the other, whatever goes wrong in one of them."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import tiny_models

from runner.core.types import Prompt
from runner.models.local import causal
from runner.models.local.causal import Causal
from runner.models.local.thread_pool import parallel_map, threads_for

THREADS = 4
# Models this small are multiplied otherwise with several threads than with one, unlike those of 768 and more; options
# of several tokens, at 26 nats, differ by six steps of float32 then.
OF_WORDS = 3e-5


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def byte() -> Any:
    return tiny_models.byte_tokenizer()


# --- lanes -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 1000))
def test_lanes_are_few_and_use_nearly_all_threads(threads: int) -> None:
    lanes = threads_for(threads)
    assert 1 <= lanes <= min(threads, 16)
    each = threads // lanes
    assert threads - each * lanes < each + 1
    if threads <= 16:
        assert lanes == threads


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("lanes", "parts", "at_once"), [(2, 4, 2), (4, 8, 4), (4, 3, 3), (9, 8, 4)])
def test_so_many_are_done_at_once_with_their_share_of_the_threads(lanes: int, parts: int, at_once: int) -> None:
    together = threading.Barrier(at_once)

    def do(part: int) -> tuple[int, int, bool, str]:
        if part < at_once:
            together.wait(60)  # broken unless as many are here at the same time
        return part, torch.get_num_threads(), torch.is_inference_mode_enabled(), threading.current_thread().name

    found = parallel_map(do, range(parts), lanes)
    assert [part for part, *_ in found] == list(range(parts))
    assert {count for _, count, *_ in found} == {THREADS // at_once}
    assert all(bare for _, _, bare, _ in found)
    assert len({name for *_, name in found}) == at_once
    assert torch.get_num_threads() == THREADS


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("lanes", "counts"), [(2, [2, 2, 2, 2, 4]), (4, [1] * 4 + [2, 2]), (3, [1] * 6 + [4])])
def test_the_last_ones_share_all_threads(lanes: int, counts: list[int]) -> None:
    assert parallel_map(lambda _: torch.get_num_threads(), range(len(counts)), lanes) == counts
    assert torch.get_num_threads() == THREADS


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("lanes", "parts"), [(1, 3), (4, 1), (4, 0)])
def test_one_lane_or_part_is_this_thread_s_with_all_threads(lanes: int, parts: int) -> None:
    found = parallel_map(lambda _: (threading.get_ident(), torch.get_num_threads()), range(parts), lanes)
    assert found == [(threading.get_ident(), THREADS)] * parts


@pytest.mark.usefixtures("threads")
def test_what_one_raises_is_raised_and_the_threads_are_as_before() -> None:
    def do(part: int) -> int:
        if part == 1:
            raise ValueError("the second")
        return part

    with pytest.raises(ValueError, match="the second"):
        parallel_map(do, range(4), 2)
    assert torch.get_num_threads() == THREADS


# --- a model asked in lanes --------------------------------------------------------------------------------------


def scores(backend: Causal, prompts: Sequence[Prompt]) -> list[tuple[float, ...] | None]:
    return [each.log_scores for each in backend.predict(prompts)]


def furthest(one: Sequence[Any], other: Sequence[Any]) -> float:
    return float(np.abs(np.concatenate(one) - np.concatenate(other)).max())


def mixed(options: Sequence[Sequence[str]]) -> list[Prompt]:
    """Prompts of three kinds in turns, two of which begin in a way of their own."""
    other = "One thing, then another, that people have told: $first; $second. Which is less ethical?"
    kinds = [tiny_models.prompts(options)]
    for name, template in (("other", other), ("bare", "$first $second")):
        kinds.append([replace(each, template=template, prompt_id=name) for each in tiny_models.prompts(options)])
    return [prompt for members in zip(*kinds, strict=True) for prompt in members]


@cache
def asked_alone(kind: str, options: Any, byte: Any) -> tuple[Any, list[Prompt], list[tuple[float, ...] | None]]:
    """A model, prompts, and what it says when it is asked one after the other."""
    model, prompts = tiny_models.model(kind, len(byte)), mixed(options)
    return model, prompts, [scores(Causal(model, byte, "plain", 400), [prompt])[0] for prompt in prompts]


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(
    "kind", ["llama", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("mistral", "qwen2", "qwen3"))]
)
@pytest.mark.parametrize("lanes", [2, 4])
@pytest.mark.parametrize(("options", "most"), [(((" A",), (" B",)), 1e-5), (tiny_models.WORDS, OF_WORDS)])
def test_lanes_do_not_matter(kind: str, lanes: int, options: Any, most: float, byte: Any) -> None:
    model, prompts, alone = asked_alone(kind, options, byte)
    found = [scores(Causal(model, byte, "plain", 150, 8, lanes), prompts) for _ in range(5)]
    assert all(each == found[0] for each in found), "the same bits each time"
    assert furthest(found[0], alone) <= most
    assert furthest(scores(Causal(model, byte, "plain", 150, 8), prompts), found[0]) <= most


@pytest.mark.usefixtures("threads")
def test_an_adapter_on_and_off_in_lanes(byte: Any) -> None:
    base = tiny_models.model("llama", len(byte))
    adapted, prompts = tiny_models.adapter(base, ("q_proj", "o_proj", "down_proj")), tiny_models.prompts()
    backend = Causal(adapted, byte, "plain", 150, 8, 4)
    on = scores(backend, prompts)
    assert furthest(on, scores(Causal(adapted, byte, "plain", 150), prompts)) <= 1e-5
    without = backend.without_adapter()
    assert without is not None
    with without:
        off = scores(backend, prompts)
    assert furthest(off, scores(Causal(base, byte, "plain", 150), prompts)) <= 1e-5
    assert furthest(on, off) > 0.1


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
def test_what_does_not_fit_beside_others_is_done_alone(byte: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompts = tiny_models.model("llama", len(byte)), tiny_models.prompts(tiny_models.WORDS)
    expected = scores(Causal(model, byte, "plain", 1), prompts)
    longest = max(each.prompt_tokens or 0 for each in Causal(model, byte, "plain", 1).predict(prompts)) + 20
    backend = Causal(model, byte, "plain", 150, 8, 4)
    forward = type(model.model).forward
    seen: set[int] = set()

    def limited(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.add(threading.get_ident())
        in_a_lane = threading.current_thread() is not threading.main_thread()
        if in_a_lane or kwargs["input_ids"].numel() > longest:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model.model), "forward", limited)
    assert furthest(scores(backend, prompts), expected) <= 1e-5
    assert len(seen) > 1
    seen.clear()
    assert furthest(scores(backend, prompts), expected) <= 1e-5
    assert seen == {threading.get_ident()}, "it is not tried again"


@pytest.mark.usefixtures("threads")
def test_a_model_is_asked_in_as_many_lanes_as_there_are_threads(byte: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def watched(do: Any, parts: Any, lanes: int) -> Any:
        asked.append(lanes)
        return parallel_map(do, parts, lanes)

    monkeypatch.setattr(causal, "parallel_map", watched)
    model = tiny_models.model("llama", len(byte))
    backend = causal.wrap(model, byte, "plain")
    assert scores(backend, tiny_models.prompts())
    assert set(asked) == {THREADS}
    assert backend._batches_per_step % THREADS == 0
    asked.clear()
    assert scores(causal.wrap(model, byte, "plain", 400), tiny_models.prompts())
    assert set(asked) == {1}
