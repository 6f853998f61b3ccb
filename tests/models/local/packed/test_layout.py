"""A packed batch shows every option exactly its own past, and both forms of attention answer as the plainest one."""

from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.models.local.packed import attention, blocks
from runner.models.local.packed.layout import Packed, pack
from runner.models.local.packed.prefix_grouping import LEAST_SHARED, in_order
from runner.models.tokenization import EncodedPrompt

tokens = st.lists(st.integers(0, 3), min_size=1, max_size=30).map(lambda found: np.array(found, dtype=np.int32))


@st.composite
def prompts(draw: st.DrawFn) -> tuple[list[EncodedPrompt], int]:
    """Prompts that agree in their first tokens (as many as are kept), some of them in a long beginning after that."""
    kept = draw(st.integers(0, 3))
    stories = draw(st.lists(st.integers(0, 2 * LEAST_SHARED), min_size=1, max_size=3))
    found = []
    for _ in range(draw(st.integers(1, 6))):
        story = draw(st.integers(0, len(stories) - 1))
        own = draw(st.lists(st.integers(100, 102), min_size=1, max_size=8))
        prefix = [9] * kept + [50 + story] * stories[story] + own
        tails = draw(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=4), min_size=1, max_size=4))
        found.append(
            EncodedPrompt(
                np.array(prefix, dtype=np.int32), tuple(map(tuple, tails)), tuple(range(len(tails))), False, False
            )
        )
    return found, kept


def visible(packed: Packed) -> np.ndarray:
    """(tokens, tokens): whether one token of the row sees another, by what `Segment` says."""
    sees = np.zeros((len(packed.ids), len(packed.ids)), dtype=bool)
    for segment in packed.segments:
        own = slice(segment.start, segment.stop)
        for start, stop in segment.before:
            sees[own, start:stop] = True
        inside = np.tri(segment.stop - segment.start, dtype=bool)
        if segment.branches is not None:
            inside &= segment.branches[:, None] == segment.branches
        sees[own, own] = inside
    return sees


@pytest.mark.slow
@settings(deadline=None)
@given(made=prompts())
def test_every_option_sees_its_prompt_and_itself(made: tuple[list[EncodedPrompt], int]) -> None:
    asked, kept = made
    packed = pack(asked, kept)
    covered = [place for segment in packed.segments for place in range(segment.start, segment.stop)]
    assert covered == list(range(len(packed.ids)))
    sees = visible(packed)
    owner = 0
    for prompt in asked:
        for tail in prompt.tails:
            mine = np.flatnonzero(packed.option_index == owner)
            assert packed.target_ids[mine].tolist() == list(tail)
            for step, place in enumerate(packed.scored_positions[mine]):
                seen = np.flatnonzero(sees[place])
                # What is read there is exactly the rest of the prompt and the option so far, at its own positions.
                in_order_of_text = seen[np.argsort(packed.positions[seen], kind="stable")]
                assert packed.ids[in_order_of_text].tolist() == [*prompt.prefix[kept:], *tail[:step]]
                assert packed.positions[in_order_of_text].tolist() == list(range(kept, len(prompt.prefix) + step))
            owner += 1
    assert len(packed.target_ids) == sum(len(tail) for prompt in asked for tail in prompt.tails)


@given(rests=st.lists(tokens, min_size=1, max_size=8))
def test_order(rests: list[np.ndarray]) -> None:
    order, shared = in_order(rests)
    assert sorted(order) == list(range(len(rests)))
    assert [rests[number].tolist() for number in order] == sorted(rest.tolist() for rest in rests)
    for at in range(1, len(order)):
        one, other = rests[order[at - 1]], rests[order[at]]
        common = shared[at]
        assert one[:common].tolist() == other[:common].tolist()
        assert common < min(len(one), len(other))
        assert common == min(len(one), len(other)) - 1 or one[common] != other[common]


def test_what_two_prompts_begin_with_is_read_once() -> None:
    story = np.arange(100, 100 + LEAST_SHARED, dtype=np.int32)

    def encoded(*own: int) -> EncodedPrompt:
        return EncodedPrompt(np.array([*story, *own], dtype=np.int32), ((1,), (2,)), (0, 1), False, False)

    assert len(pack([encoded(5, 6), encoded(7)], 0).ids) == LEAST_SHARED + 3
    assert len(pack([encoded(5, 6), encoded(7)], 1).ids) == 2 * (LEAST_SHARED - 1) + 3  # too short to keep apart
    assert len(pack([encoded(5), encoded(5, 6, 7)], 0).ids) == LEAST_SHARED + 4  # one begins the other


@pytest.mark.slow
@pytest.mark.parametrize("groups", [1, 3], ids=["each head its keys", "three heads share keys"])
@pytest.mark.parametrize("form", ["in blocks", "in padded calls"])
@settings(max_examples=40)
@given(made=prompts(), seed=st.integers(0, 1000), scores=st.sampled_from([1, 1000, blocks._SCORES]))
def test_attention(form: str, groups: int, made: tuple[list[EncodedPrompt], int], seed: int, scores: int) -> None:
    with mock.patch.object(blocks, "_SCORES", scores):
        assert error(pack(*made), form, groups, seed) < 1e-5
        assert error(pack(*made), form, groups, seed, scored_only=True) < 1e-5


@settings(max_examples=40)
@given(made=prompts(), heads=st.integers(1, 8), scores=st.sampled_from([1, 1000, blocks._SCORES]))
def test_short_segments_are_taken_in_parts_of_so_many_scores(
    made: tuple[list[EncodedPrompt], int], heads: int, scores: int
) -> None:
    packed = pack(*made)
    with mock.patch.object(blocks, "_SCORES", scores):
        everywhere, scored_only = (blocks.for_blocks(packed, heads, scored_only=which) for which in (False, True))
    for part in everywhere.together:
        several, queries = part.queries.shape
        assert several == 1 or heads * several * queries * (part.keys.shape[1] + packed.prefix_len) <= scores
    for part in scored_only.together:
        several, queries = part.queries.shape
        assert several == 1 or heads * several * max(queries, 64) * (part.keys.shape[1] + packed.prefix_len) <= scores


def test_at_places_no_other_answers_are_computed() -> None:
    story = np.arange(400, dtype=np.int32)
    packed = pack([EncodedPrompt(story, ((1, 2), (3, 4, 5)), (0, 1), False, False)], 0)
    for found in (
        blocks.for_blocks(packed, 2, scored_only=True),
        blocks.for_padded_calls(packed, scored_only=True),
    ):
        assert not found.long
        queries = np.concatenate([part.queries.numpy().ravel() for part in found.together])
        assert set(queries) - {0} == set(packed.scored_positions)  # 0 is filler


@pytest.mark.slow
@pytest.mark.parametrize("form", ["in blocks", "in padded calls"])
def test_attention_of_a_text_longer_than_a_block(form: str) -> None:
    generator = np.random.default_rng(0)
    story = generator.integers(0, 99, 300)
    texts = [np.concatenate([story, generator.integers(0, 99, length)]).astype(np.int32) for length in (150, 3, 200)]
    tails = tuple(tuple(generator.integers(0, 99, 40).tolist()) for _ in range(5))
    packed = pack([EncodedPrompt(each, tails, tuple(range(5)), False, False) for each in texts], 0)
    assert error(packed, form, 2, 1) < 1e-5
    assert error(packed, form, 2, 1, scored_only=True) < 1e-5


def error(packed: Packed, form: str, groups: int, seed: int, *, scored_only: bool = False) -> float:
    """Largest difference, in answers and in gradients, to a softmax in float64 over all tokens and what is kept, one
    mask for all.
    """
    generator = torch.Generator().manual_seed(seed)
    heads, size, length = 2, 8, len(packed.ids)
    query = torch.randn(heads * groups, length, size, generator=generator)
    key, value = (torch.randn(heads, length, size, generator=generator) for _ in range(2))
    kept = torch.randn(2, heads, packed.prefix_len, size, generator=generator)
    given = [each.requires_grad_() for each in (query, key, value)]
    if form == "in padded calls":
        asked = blocks.for_padded_calls(packed, scored_only=scored_only)
    else:
        asked = blocks.for_blocks(packed, heads * groups, scored_only=scored_only)
    function: Any = attention._in_padded_calls if form == "in padded calls" else attention._in_blocks
    found = function(query, key, value, asked, (kept[0], kept[1]) if packed.prefix_len else None, 0.3)

    all_keys, all_values = (
        torch.cat([one, other], dim=1).repeat_interleave(groups, dim=0).double()
        for one, other in zip(kept, (key, value), strict=True)
    )
    sees = np.concatenate([np.ones((length, packed.prefix_len), dtype=bool), visible(packed)], axis=1)
    scores = (0.3 * query.double() @ all_keys.transpose(1, 2)).masked_fill(~torch.from_numpy(sees), -torch.inf)
    exact = torch.softmax(scores, dim=-1) @ all_values
    looked_at = torch.from_numpy(np.unique(packed.scored_positions)) if scored_only else slice(None)
    answers = found.transpose(0, 1).double()[:, looked_at], exact[:, looked_at]
    weights = torch.randn(answers[0].shape, generator=generator, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((each * weights).sum(), given) for each in answers)
    pairs = [answers, *zip(ours, theirs, strict=True)]
    return max(float((one - other).detach().abs().max()) for one, other in pairs)
