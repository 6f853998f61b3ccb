"""Which queries of a packed batch attention takes together, filled up to one size, and which one segment at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.models.local import devices
from runner.models.local.packed.layout import Ints, Packed, Segment

# On a CPU so many queries of a long segment are computed at once. Later keys than a block's last are not looked at,
# so small blocks save work; large ones make fast products.
BLOCK = 64
# Segments with at most so many queries, and twice as many keys, are taken together on a CPU.
_SHORT = 128
# Scores that are computed at once on a CPU: 2 MiB, which stay in its caches from the products to the softmax.
_SCORES = 1 << 19


@dataclass(frozen=True, slots=True, eq=False)
class Padded:
    """Segments of similar size, padded to one size."""

    queries: Tensor
    """(segments, max queries) index in the row of every query; 0 for padding."""
    keys: Tensor
    """(segments, max keys) index of every key in the row, or in the prefix cache followed by the row; 0 for padding."""
    hidden: Tensor
    """(segments, max queries, max keys) additive mask: minus infinity where the query does not see the key, else 0."""

    def to(self, device: torch.device) -> "Padded":
        """The same on `device`."""
        return Padded(*(devices.put_on(device, tensor) for tensor in (self.queries, self.keys, self.hidden)))


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """The segments of a batch, by how attention computes them."""

    together: list[Padded]
    """Groups of segments that are computed as one."""
    long: list[Segment]
    """Segments that are computed one at a time."""
    order: Tensor
    """(tokens,) index of a token's output in the concatenated outputs of `together`; 0 for tokens that are not in
    it."""

    def to(self, device: torch.device) -> "Blocks":
        """The same on `device`."""
        return Blocks([part.to(device) for part in self.together], self.long, devices.put_on(device, self.order))


def for_blocks(packed: Packed, heads: int, *, scored_only: bool) -> Blocks:
    """Short segments are padded together, up to 2 MiB of scores in all `heads`; the rest is long.

    `scored_only`: only the batch's scored positions are wanted, so segments with few of them are padded too.
    The cached prefix is not among the keys: all segments together are multiplied with it.
    """
    query_ranges = _query_ranges(packed, scored_only)
    fits: Callable[[QueryRange], bool] = _is_few if scored_only else _is_short
    scores = _SCORES // heads
    # Of few queries it is the keys that need room.
    min_queries = BLOCK if scored_only else 1
    alike = bucket_by_size(list(filter(fits, query_ranges)), 0, 1.2)
    together = [part for members in alike for part in _pieces(members, packed.prefix_len, scores, min_queries)]
    return _blocks(
        together, [query_range.segment for query_range in query_ranges if not fits(query_range)], 0, len(packed.ids)
    )


def for_padded_calls(packed: Packed, *, scored_only: bool) -> Blocks:
    """Everything is padded, with few sizes; the cached prefix is among the keys."""
    return _blocks(
        bucket_by_size(_query_ranges(packed, scored_only), packed.prefix_len, 2.0),
        [],
        packed.prefix_len,
        len(packed.ids),
    )


def attention_bias(branches: Ints, start: int, stop: int) -> NDArray[np.float32]:
    """(stop − start, stop): minus infinity where a token does not see another of its segment, else 0."""
    return _minus_infinity(causal_mask(branches, np.arange(start, stop), stop))


@dataclass(frozen=True, slots=True, eq=False)
class QueryRange:
    """The queries of one segment."""

    segment: Segment
    """The segment."""
    tokens: Ints
    """Tokens whose outputs are wanted, ascending, counted from the segment's first."""

    def seen(self, prefix_len: int) -> int:
        """Keys that the segment's last token sees, if it has no branches."""
        return prefix_len + sum(stop - start for start, stop in self.segment.ranges)


def _query_ranges(packed: Packed, scored_only: bool) -> list[QueryRange]:
    if not scored_only:
        return [QueryRange(segment, np.arange(segment.stop - segment.start)) for segment in packed.segments]
    scored = np.unique(packed.scored_positions)
    query_ranges = [
        QueryRange(segment, scored[slice(*np.searchsorted(scored, (segment.start, segment.stop)))] - segment.start)
        for segment in packed.segments
    ]
    return [query_range for query_range in query_ranges if len(query_range.tokens)]


def _is_short(query_range: QueryRange) -> bool:
    return len(query_range.tokens) <= _SHORT and query_range.seen(0) <= 2 * _SHORT


def _is_few(query_range: QueryRange) -> bool:
    return len(query_range.tokens) <= BLOCK or _is_short(query_range)


def bucket_by_size(query_ranges: Sequence[QueryRange], prefix_len: int, ratio: float) -> list[list[QueryRange]]:
    """Query ranges in groups whose numbers of queries, and of keys, are within a factor of about `ratio`."""
    groups: list[list[QueryRange]] = []
    smallest = (0, 0)
    for query_range in sorted(
        query_ranges, key=lambda query_range: (query_range.seen(prefix_len), len(query_range.tokens))
    ):
        size = (len(query_range.tokens), query_range.seen(prefix_len))
        if groups and all(now <= ratio * low + 4 for now, low in zip(size, smallest, strict=True)):
            groups[-1].append(query_range)
            smallest = min(smallest[0], size[0]), smallest[1]
        else:
            groups.append([query_range])
            smallest = size
    return groups


def _pieces(
    query_ranges: list[QueryRange], prefix_len: int, scores: int, min_queries: int
) -> Iterator[list[QueryRange]]:
    """Ranges of about one size in parts with at most `scores` scores per head, or one segment."""
    queries = max(min_queries, *(len(query_range.tokens) for query_range in query_ranges))
    several = max(1, scores // (queries * max(query_range.seen(prefix_len) for query_range in query_ranges)))
    for start in range(0, len(query_ranges), several):
        yield query_ranges[start : start + several]


def _blocks(together: list[list[QueryRange]], long: list[Segment], prefix_len: int, tokens: int) -> Blocks:
    order = np.zeros(tokens, dtype=np.int64)
    start = 0
    for members in together:
        max_queries = max(len(query_range.tokens) for query_range in members)
        for query_range in members:
            order[query_range.segment.start + query_range.tokens] = start + np.arange(len(query_range.tokens))
            start += max_queries
    return Blocks([_pad(members, prefix_len) for members in together], long, torch.from_numpy(order))


def _pad(query_ranges: list[QueryRange], prefix_len: int) -> Padded:
    lines = [
        np.concatenate([np.arange(prefix_len), *(np.arange(*span) + prefix_len for span in query_range.segment.ranges)])
        for query_range in query_ranges
    ]
    max_queries = max(len(query_range.tokens) for query_range in query_ranges)
    queries = np.zeros((len(query_ranges), max_queries), dtype=np.int64)
    keys = np.zeros((len(query_ranges), max(map(len, lines))), dtype=np.int64)
    sees = np.zeros((len(query_ranges), max_queries, keys.shape[1]), dtype=bool)
    sees[..., 0] = True  # so that what is nobody's answer is finite
    for number, (query_range, line) in enumerate(zip(query_ranges, lines, strict=True)):
        count, own = len(query_range.tokens), query_range.segment.stop - query_range.segment.start
        queries[number, :count] = query_range.segment.start + query_range.tokens
        keys[number, : len(line)] = line
        sees[number, :count, : len(line) - own] = True
        sees[number, :count, len(line) - own : len(line)] = causal_mask(
            query_range.segment.branches, query_range.tokens, own
        )
    return Padded(
        queries=torch.from_numpy(queries),
        keys=torch.from_numpy(keys),
        hidden=torch.from_numpy(_minus_infinity(sees)),
    )


def causal_mask(branches: Ints | None, tokens: Ints, stop: int) -> NDArray[np.bool_]:
    """(tokens, stop): which of the first `stop` tokens of their segment `tokens` see."""
    sees = tokens[:, None] >= np.arange(stop)
    return sees if branches is None else sees & (branches[tokens, None] == branches[:stop])


def _minus_infinity(sees: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(sees, np.float32(0), np.float32(-np.inf))
