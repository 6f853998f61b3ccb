"""The layout of a packed batch: prompts and all their options as one row of tokens, each shared prefix once.

Two prompts, "The sky is A/B" and "The sky was A/B", with the options " yes" (one token) and " not at all" (three):

    prefix cache │ row: one token a column                                            scored position → token
    ─────────────┼────────────────────────────────────────────────────────────────    ──────────────────────
    instruction  │ The sky │ is A/B │ not at │ was A/B │ not at                        "A/B" → yes, "A/B" → not,
    (prefix_len) │ seg. 0  │ seg. 1 │ seg. 2 │ seg. 3  │ seg. 4                        "not" → at,  "at" → all; …

A segment sees the prefix cache, the segments that it follows (`before`: 0 for 1; 0, 1 for 2), and its own earlier
tokens. Options that have several tokens are branches of one segment; a branch sees only its own tokens. The last token
of an option is never read, only scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from runner.models.local.packed.prefix_grouping import LEAST_SHARED, in_order
from runner.models.tokenization import EncodedPrompt

Ints = NDArray[np.int64]
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive tokens of the row that follow the same tokens."""

    start: int
    """Index of the first token in the row."""
    stop: int
    """Index after the last token."""
    before: tuple[Range, ...]
    """Ranges of the row that every token of the segment sees, beside the prefix cache."""
    branches: Ints | None = None
    """(stop − start,) branch of each token, which sees only earlier tokens of its own; None: one branch."""

    @property
    def ranges(self) -> tuple[Range, ...]:
        """Where what the segment's tokens see lies in the row, its own tokens last."""
        return *self.before, (self.start, self.stop)


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch laid out. Token t of an option is scored at the position that has read everything before t."""

    prefix_len: int
    """Tokens at the start of every prompt whose keys and values are in the prefix cache, and not in the row."""
    ids: Ints
    """(tokens,) token ids of the row."""
    positions: Ints
    """(tokens,) position ids, as in the prompt by itself."""
    segments: tuple[Segment, ...]
    """The row cut into segments, in order; every token lies in exactly one."""
    scored_positions: Ints
    """(scores,) index in the row of the hidden state that predicts each scored token."""
    target_ids: Ints
    """(scores,) the token whose log-probability is wanted there."""
    option_index: Ints
    """(scores,) the surface form that the token belongs to, counted through the whole batch."""


def pack(prompts: Sequence[EncodedPrompt], prefix_len: int) -> Packed:
    """Lay out prompts whose first `prefix_len` tokens are at hand; each must have at least one more."""
    row = _Row(prefix_len)
    order, shared = in_order([prompt.prefix[prefix_len:] for prompt in prompts])
    first_form = np.cumsum([0, *(len(prompt.tails) for prompt in prompts)])

    def grow(low: int, high: int, depth: int, before: tuple[Range, ...]) -> None:
        """Lay out the prompts low to high of the order, which agree in `depth` tokens, those of `before`."""
        if high - low == 1:
            number = order[low]
            _end(row, prompts[number], depth, before, int(first_form[number]))
            return
        common = min(shared[low + 1 : high])
        if common - depth >= LEAST_SHARED:
            before = row.add(prompts[order[low]].prefix[prefix_len + depth : prefix_len + common], depth, before)
            depth = common
        at = low
        for number in range(low + 1, high + 1):
            if number == high or shared[number] - depth < LEAST_SHARED:
                grow(at, number, depth, before)
                at = number

    grow(0, len(prompts), 0, ())
    scored_positions, target_ids, option_index = np.array(row.scored, dtype=np.int64).T
    ids, positions = np.concatenate(row.ids).astype(np.int64), np.concatenate(row.positions).astype(np.int64)
    return Packed(prefix_len, ids, positions, tuple(row.segments), scored_positions, target_ids, option_index)


def pack_prefix(tokens: NDArray[np.int32]) -> Packed:
    """Tokens by themselves, none of which is scored."""
    nothing = np.empty(0, dtype=np.int64)
    whole = Segment(0, len(tokens), ())
    return Packed(0, tokens.astype(np.int64), np.arange(len(tokens)), (whole,), nothing, nothing, nothing)


@dataclass
class _Row:
    """The row as far as it is laid out."""

    cached: int
    """Tokens of the prefix cache, which come before the row."""
    length: int = 0
    """Tokens of the row so far."""
    ids: list[NDArray[np.int32]] = field(default_factory=list)
    """Token ids of every segment."""
    positions: list[Ints] = field(default_factory=list)
    """Position ids of every segment."""
    segments: list[Segment] = field(default_factory=list)
    """Segments, in order."""
    scored: list[tuple[int, int, int]] = field(default_factory=list)
    """(index in the row, target token, surface form) of every score."""

    def add(self, ids: NDArray[np.int32], depth: int, before: tuple[Range, ...]) -> tuple[Range, ...]:
        """Put a segment at the end; the ranges that what comes after it follows."""
        start = self._put(ids, np.arange(len(ids)) + self.cached + depth, before, None)
        if before and before[-1][1] == start:
            return (*before[:-1], (before[-1][0], self.length))
        return (*before, (start, self.length))

    def add_branches(self, ids: NDArray[np.int32], positions: Ints, branches: Ints, before: tuple[Range, ...]) -> int:
        """Put a segment of branches at the end, and say where it starts."""
        return self._put(ids, positions, before, branches)

    def _put(self, ids: NDArray[np.int32], positions: Ints, before: tuple[Range, ...], branches: Ints | None) -> int:
        start, self.length = self.length, self.length + len(ids)
        self.ids.append(ids)
        self.positions.append(positions)
        self.segments.append(Segment(start, self.length, before, branches))
        return start


def _end(row: _Row, prompt: EncodedPrompt, depth: int, before: tuple[Range, ...], owner: int) -> None:
    """Lay out the rest of a prompt, and behind it each form but for its last token as a branch of its own."""
    before = row.add(prompt.prefix[row.cached + depth :], depth, before)
    last = row.length - 1
    inner = [len(tail) - 1 for tail in prompt.tails]
    if any(inner):
        ids = np.array([token for tail in prompt.tails for token in tail[:-1]], dtype=np.int32)
        steps = np.concatenate([np.arange(length) for length in inner])
        start = row.add_branches(ids, len(prompt.prefix) + steps, np.repeat(np.arange(len(inner)), inner), before)
    else:
        start = row.length
    for number, tail in enumerate(prompt.tails, start=owner):
        predicting = (last, *range(start, start + len(tail) - 1))
        row.scored.extend((position, token, number) for position, token in zip(predicting, tail, strict=True))
        start += len(tail) - 1
