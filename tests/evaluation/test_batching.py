"""Steps of a run: each prompt once, planned window by window, with the faults of all of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import tiny_models

from runner.core.errors import Fault, InvalidInput
from runner.core.types import Prompt
from runner.evaluation import batching

PROMPT = tiny_models.prompt()
ITEM = st.tuples(st.sampled_from(["dilemmas", "anecdotes"]), st.sampled_from(["dev", "test"]), st.integers(0, 5))
ITEMS = st.lists(ITEM, max_size=40)


def prompts(items: Sequence[tuple[str, str, int]]) -> list[Prompt]:
    return [replace(PROMPT, task=task, split=split, item_id=str(item)) for task, split, item in items]


class Plans:
    """Plans steps of two, the last first, and finds fault with items above a number."""

    def __init__(self, most: int = 10) -> None:
        self.most = most
        self.asked: list[int] = []

    def plan(self, asked: Sequence[Prompt]) -> list[list[int]]:
        self.asked.append(len(asked))
        faults = [Fault("PROMPT_TOO_LONG", each.item_id) for each in asked if int(each.item_id) > self.most]
        if faults:
            raise InvalidInput(*faults)
        places = list(range(len(asked)))[::-1]
        return [places[at : at + 2] for at in range(0, len(places), 2)]


@given(items=ITEMS, size=st.integers(1, 12))
def test_windows_hold_each_prompt_once_and_items_whole(items: list[tuple[str, str, int]], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "_MOST_AT_ONCE", size)
        found = list(batching.windows(prompts(items)))
    assert sorted(number for window in found for number in window) == list(range(len(items)))
    assert all(window == sorted(window) for window in found)
    held = [{items[number] for number in window} for window in found]
    assert sum(map(len, held)) == len(set(items))
    # Only a single item with more prompts than that is larger; and none is left small for nothing.
    assert all(len(window) <= size or len(of) == 1 for window, of in zip(found, held, strict=True))
    order = list(dict.fromkeys(items))
    for one, other in zip(found, held[1:], strict=False):
        following = min(other, key=order.index)
        assert len(one) + items.count(following) > size


@given(items=ITEMS, size=st.integers(1, 12))
def test_a_plan_is_that_of_each_window(items: list[tuple[str, str, int]], size: int) -> None:
    backend: Any = Plans()
    told: list[tuple[str, int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "_MOST_AT_ONCE", size)
        asked = prompts(items)
        windows = list(batching.windows(asked))
        found = batching.plan_steps(backend, asked, lambda *each: told.append(each))
    assert backend.asked == list(map(len, windows))
    assert [number for step in found for number in step] == [number for each in windows for number in each[::-1]]
    assert all(1 <= len(step) <= 2 for step in found)
    done = [sum(map(len, windows[:at])) for at in range(len(windows))]
    assert told == [("read", each, len(items)) for each in done]


def test_the_faults_of_all_windows_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_MOST_AT_ONCE", 3)
    with pytest.raises(InvalidInput) as caught:
        batching.plan_steps(Plans(most=5), prompts([("dilemmas", "dev", number) for number in range(9)]))  # type: ignore[arg-type]
    assert [fault.message for fault in caught.value.faults] == ["6", "7", "8"]


def test_after_twenty_faults_no_more_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_MOST_AT_ONCE", 8)
    backend: Any = Plans(most=-1)
    with pytest.raises(InvalidInput) as caught:
        batching.plan_steps(backend, prompts([("dilemmas", "dev", number) for number in range(100)]))
    assert len(caught.value.faults) == 24
    assert backend.asked == [8, 8, 8]
