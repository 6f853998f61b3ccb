"""Prompts that begin alike are found, and lie together in batches that hold each once within the budget."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.models.local.packed.layout import pack
from runner.models.local.packed.prefix_grouping import LEAST_SHARED, Suffix, packed_batches
from runner.models.tokenization import EncodedPrompt

ids = st.lists(st.integers(0, 3), min_size=1, max_size=30).map(lambda found: np.array(found, dtype=np.int32))


@st.composite
def loads(draw: st.DrawFn) -> list[Suffix]:
    """Prompts of a few groups, some of which begin alike."""
    stories = draw(st.lists(st.integers(0, 60), min_size=1, max_size=4))
    found = []
    for _ in range(draw(st.integers(0, 40))):
        story = draw(st.integers(0, len(stories) - 1))
        rest = np.array([story] * stories[story] + draw(st.lists(st.integers(10, 12), min_size=1, max_size=30)))
        found.append(Suffix(draw(st.integers(0, 3)), rest.astype(np.int32), draw(st.integers(0, 5))))
    return found


@pytest.mark.slow
@given(found=loads(), budget=st.integers(1, 200))
def test_batches(found: list[Suffix], budget: int) -> None:
    cut = packed_batches(found, budget)
    assert sorted(number for batch in cut for number in batch) == list(range(len(found)))
    assert cut == packed_batches(found, budget)
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


def as_prompt(load: Suffix) -> EncodedPrompt:
    return EncodedPrompt(load.ids, (tuple(range(1, load.options + 2)),), (0,), False, False)


def test_what_begins_alike_stays_together() -> None:
    generator = np.random.default_rng(0)
    stories = [generator.integers(0, 99, 90) for _ in range(5)]
    found = [
        Suffix(0, np.concatenate([story, generator.integers(0, 99, 20)]).astype(np.int32), 0)
        for _ in range(2)
        for story in stories
    ]
    # Together the two prompts of a story have 130 tokens: two stories fit, and a third is not torn apart for the room.
    assert [sorted(batch) for batch in packed_batches(found, 380)] == [[0, 1, 5, 6], [2, 3, 7, 8], [4, 9]]
