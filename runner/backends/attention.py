"""Attention over a packed batch: in blocks of queries on a CPU, in one padded call per size elsewhere."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AttentionInterface

from runner.backends import devices
from runner.backends.packing import Packed, Segment

NAME = "packed"
# Queries that are taken at once on a CPU. Later keys than a block's last are not looked at, so small blocks save work;
# large ones make fast products.
_BLOCK = 64
# Segments with at most so many queries, and twice as many keys, are taken together on a CPU.
_SHORT = 128
# Scores that are computed at once on a CPU: 2 MiB, which stay in its caches from the products to the softmax.
_SCORES = 1 << 19

KeysValues = dict[int, tuple[Tensor, Tensor]]


@dataclass
class Batch:
    """A packed batch on its way through the layers.

    `kept` has, by layer, keys and values (heads, tokens, size) of the beginning that every prompt of the batch
    follows; where `keep` is set, those of the batch's own tokens are put there instead.
    """

    packed: Packed
    kept: KeysValues
    keep: bool = False
    _ready: dict[torch.device, "_Ready"] = field(default_factory=dict)

    def ready(self, device: torch.device, heads: int) -> "_Ready":
        """The batch's segments for `device`: on a CPU only the short ones are filled up, and no more of them together
        than have `_SCORES` scores in all `heads`.
        """
        if device not in self._ready:
            on_cpu = device.type == "cpu"
            found = _arranged(self._short(_SCORES // heads), self.long) if on_cpu else _arranged(self._all, [])
            self._ready[device] = found.to(device)
        return self._ready[device]

    @cached_property
    def long(self) -> list[Segment]:
        """Segments that are taken one by one on a CPU."""
        return [segment for segment in self.packed.segments if not _is_short(segment)]

    def _short(self, scores: int) -> list["_Padded"]:
        # What is kept is not among the keys: all segments together are multiplied with it.
        alike = _alike(list(filter(_is_short, self.packed.segments)), 0, 1.2)
        return [_pad(part, 0) for members in alike for part in _pieces(members, self.packed.kept, scores)]

    @cached_property
    def _all(self) -> list["_Padded"]:
        kept = self.packed.kept
        return [_pad(members, kept) for members in _alike(list(self.packed.segments), kept, 2.0)]


@contextmanager
def packed_attention(config: Any) -> Iterator[None]:
    """Within it a model with this configuration attends by a `Batch` that it is given as `packing`."""
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, *, packing: Batch, **options: Any
) -> tuple[Tensor, None]:
    """(1, tokens, heads, size) answers to `query` (1, heads, tokens, size); keys and values may have fewer heads.

    Called by the layers of a model. No mask is read: who sees whom is in `packing`. A sliding window is not looked
    at either, since no prompt is longer than one.
    """
    if options.get("softcap") is not None:
        raise ValueError("scores that are capped are not supported")
    scale = options.get("scaling")
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    kept = packing.kept.get(module.layer_idx)
    if packing.keep:
        packing.kept[module.layer_idx] = key[0].contiguous(), value[0].contiguous()
    answer = _in_blocks if query.device.type == "cpu" else _in_padded_calls
    return answer(query[0], key[0], value[0], packing, kept, scale)[None], None


def _in_blocks(
    queries: Tensor, keys: Tensor, values: Tensor, batch: Batch, kept: tuple[Tensor, Tensor] | None, scale: float
) -> Tensor:
    """(tokens, heads, size) of `queries` (heads, tokens, size); keys and values may have fewer heads.

    Short segments of about one size are taken together, filled up; a long one in blocks of its queries, each of which
    leaves out the keys behind it. Scores are products in float32 whatever the dtype: rounded to bfloat16 they made the
    log-scores of small models an eighth less exact.
    """
    ready = batch.ready(queries.device, len(queries))
    if kept is not None:
        kept = kept[0].float(), kept[1]
    answers = [_short(queries, keys, values, part, kept, scale) for part in ready.together]
    if ready.long:
        answers += _long(_float(queries).mul_(scale), _float(keys), values.contiguous(), ready.long, kept)
    return (answers[0] if len(answers) == 1 else torch.cat(answers)).index_select(0, ready.order)


def _float(states: Tensor) -> Tensor:
    """A contiguous float32 copy, made in one pass whatever the order in memory is."""
    return torch.empty(states.shape).copy_(states)


def _long(
    queries: Tensor, keys: Tensor, values: Tensor, segments: list[Segment], kept: tuple[Tensor, Tensor] | None
) -> Iterator[Tensor]:
    """(queries, heads, size) for each block of each segment; everything is contiguous, else each product copies."""
    heads, groups, (tokens, size) = len(keys), len(queries) // len(keys), queries.shape[1:]
    # (heads, groups of heads that share keys, tokens, size)
    asked = queries.view(heads, groups, tokens, size)
    upper = torch.full((_BLOCK, _BLOCK), -torch.inf).triu(1)
    for segment in segments:
        ranges = (*segment.before, (segment.start, segment.stop))
        own_keys = _joined(keys, ranges, kept[0] if kept else None)
        own_values = _joined(values, ranges, kept[1] if kept else None)
        ahead = own_keys.shape[1] - (segment.stop - segment.start)
        for start in range(segment.start, segment.stop, _BLOCK):
            stop = min(start + _BLOCK, segment.stop)
            seen = ahead + stop - segment.start
            scores = torch.bmm(asked[:, :, start:stop].flatten(1, 2), own_keys[:, :seen].transpose(1, 2))
            by_group = scores.view(heads, groups, stop - start, seen)
            if segment.branches is None:
                by_group[..., seen - (stop - start) :] += upper[: stop - start, : stop - start]
            else:
                by_group[..., ahead:] += _hidden(segment.branches, start - segment.start, stop - segment.start)
            found = torch.bmm(torch.softmax(scores, dim=-1).to(values.dtype), own_values[:, :seen])
            yield found.view(heads, groups, stop - start, size).permute(2, 0, 1, 3).flatten(1, 2)


def _short(
    queries: Tensor, keys: Tensor, values: Tensor, part: "_Padded", kept: tuple[Tensor, Tensor] | None, scale: float
) -> Tensor:
    """(segments · most queries, heads, size): the segments of `part` together; what is kept is read once for all."""
    heads, groups, size = len(keys), len(queries) // len(keys), queries.shape[2]
    several, most = part.queries.shape
    own = _gathered(queries, part.queries, groups, torch.float32).mul_(scale).view(heads * several, -1, size)
    own_keys = _gathered(keys, part.keys, 1, torch.float32).view(heads * several, -1, size)
    own_values = _gathered(values, part.keys, 1, values.dtype).view(heads * several, -1, size)
    past = 0 if kept is None else kept[0].shape[1]
    scores = torch.bmm(own, own_keys.transpose(1, 2)).view(heads, several, groups, most, -1)
    scores += part.hidden[:, None]
    if kept is not None:
        of_kept = torch.bmm(own.view(heads, -1, size), kept[0].transpose(1, 2))
        scores = torch.cat([of_kept.view(*scores.shape[:-1], past), scores], dim=-1)
    weights = torch.softmax(scores, dim=-1).to(values.dtype).view(heads * several, groups * most, -1)
    found = torch.bmm(weights[..., past:], own_values)
    if kept is not None:
        found += torch.bmm(weights[..., :past].reshape(heads, -1, past), kept[1]).view(found.shape)
    return found.view(heads, several, groups, most, size).permute(1, 3, 0, 2, 4).flatten(2, 3).flatten(0, 1)


def _gathered(states: Tensor, places: Tensor, groups: int, dtype: torch.dtype) -> Tensor:
    """(heads, segments, groups, most, size) of `states` (heads · groups, tokens, size) at `places` (segments, most).

    A token's heads lie together in memory, so they are taken together, and put in order while they are widened.
    """
    rows = states.transpose(0, 1).flatten(1).index_select(0, places.flatten())
    rows = rows.view(*places.shape, -1, groups, states.shape[2]).permute(2, 0, 3, 1, 4)
    return torch.empty(rows.shape, dtype=dtype).copy_(rows)


def _after(kept: Tensor, states: Tensor) -> Tensor:
    return torch.cat([kept, states], dim=1)


def _joined(states: Tensor, ranges: tuple[tuple[int, int], ...], kept: Tensor | None) -> Tensor:
    """What is kept and the tokens of `ranges`, one after the other; nothing is copied where that is one piece."""
    merged: list[tuple[int, int]] = []
    for start, stop in ranges:
        if merged and merged[-1][1] == start:
            merged[-1] = merged[-1][0], stop
        else:
            merged.append((start, stop))
    parts = [states[:, start:stop] for start, stop in merged]
    if kept is not None:
        parts.insert(0, kept)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _hidden(branches: NDArray[np.int64], start: int, stop: int) -> Tensor:
    """(stop − start, stop): minus infinity where a token does not see another of its segment."""
    sees = (branches[start:stop, None] == branches[None, :stop]) & np.tri(stop, dtype=bool)[start:]
    return torch.from_numpy(np.where(sees, np.float32(0), np.float32(-np.inf)))


@dataclass(frozen=True, slots=True)
class _Ready:
    """Segments that are taken together and `long` ones that are taken one by one; `order` (tokens,) is where each
    token's answer lies among those of the former, one part after the other, and then of the latter.
    """

    together: list["_Padded"]
    long: list[Segment]
    order: Tensor

    def to(self, device: torch.device) -> "_Ready":
        return _Ready([each.to(device) for each in self.together], self.long, devices.put_on(device, self.order))


def _arranged(together: list["_Padded"], long: list[Segment]) -> _Ready:
    tokens = [part.tokens for part in together] + [torch.arange(each.start, each.stop) for each in long]
    starts = np.cumsum([0, *(part.queries.numel() for part in together), *(each.stop - each.start for each in long)])
    places = [part.places for part in together] + [torch.arange(each.stop - each.start) for each in long]
    order = torch.empty(sum(map(len, tokens)), dtype=torch.long)
    order[torch.cat(tokens)] = torch.cat([place + int(start) for place, start in zip(places, starts, strict=False)])
    return _Ready(together, long, order)


# --- filled up to one size ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Padded:
    """Segments of about one size: indexes of their `queries` (segments, most queries) in the row and of their `keys`
    (segments, most keys) in the row, or in what is kept and then the row, 0 where there is none; and what is `hidden`
    (segments, most queries, most keys) from whom: minus infinity, else 0. `tokens` of the row have their answers at
    `places`, counted through the queries of all segments.
    """

    queries: Tensor
    keys: Tensor
    hidden: Tensor
    tokens: Tensor
    places: Tensor

    def to(self, device: torch.device) -> "_Padded":
        parts = self.queries, self.keys, self.hidden, self.tokens, self.places
        return _Padded(*(devices.put_on(device, each) for each in parts))


def _is_short(segment: Segment) -> bool:
    return segment.stop - segment.start <= _SHORT and _seen(segment, 0) <= 2 * _SHORT


def _seen(segment: Segment, kept: int) -> int:
    """Keys that a segment's last token sees, if it has no branches."""
    return kept + sum(stop - start for start, stop in segment.before) + segment.stop - segment.start


def _alike(segments: list[Segment], kept: int, most: float) -> list[list[Segment]]:
    """Segments in groups whose numbers of queries, and of keys, are within a factor of about `most`."""
    found: list[list[Segment]] = []
    least = (0, 0)
    for segment in sorted(segments, key=lambda each: (_seen(each, kept), each.stop - each.start)):
        size = (segment.stop - segment.start, _seen(segment, kept))
        if found and all(now <= most * low + 4 for now, low in zip(size, least, strict=True)):
            found[-1].append(segment)
            least = min(least[0], size[0]), least[1]
        else:
            found.append([segment])
            least = size
    return found


def _pieces(segments: list[Segment], kept: int, scores: int) -> Iterator[list[Segment]]:
    """Segments of about one size in parts that have at most so many `scores` for a head, or one segment."""
    queries = max(segment.stop - segment.start for segment in segments)
    several = max(1, scores // (queries * max(_seen(segment, kept) for segment in segments)))
    for start in range(0, len(segments), several):
        yield segments[start : start + several]


def _pad(segments: list[Segment], kept: int) -> _Padded:
    lines = [
        np.concatenate(
            [np.arange(kept), *(np.arange(*each) + kept for each in (*segment.before, (segment.start, segment.stop)))]
        )
        for segment in segments
    ]
    most = max(segment.stop - segment.start for segment in segments)
    queries = np.full((len(segments), most), -1, dtype=np.int64)
    keys = np.zeros((len(segments), max(map(len, lines))), dtype=np.int64)
    sees = np.zeros((len(segments), most, keys.shape[1]), dtype=bool)
    sees[..., 0] = True  # so that what is nobody's answer is finite
    for number, (segment, line) in enumerate(zip(segments, lines, strict=True)):
        tokens = segment.stop - segment.start
        queries[number, :tokens] = np.arange(segment.start, segment.stop)
        keys[number, : len(line)] = line
        inside = np.tri(tokens, dtype=bool)
        if segment.branches is not None:
            inside &= segment.branches[:, None] == segment.branches
        sees[number, :tokens, : len(line) - tokens] = True
        sees[number, :tokens, len(line) - tokens : len(line)] = inside
    places = np.flatnonzero(queries >= 0)
    return _Padded(
        queries=torch.from_numpy(queries.clip(0)),
        keys=torch.from_numpy(keys),
        hidden=torch.from_numpy(np.where(sees, np.float32(0), np.float32(-np.inf))),
        tokens=torch.from_numpy(queries.ravel()[places]),
        places=torch.from_numpy(places),
    )


def _in_padded_calls(
    queries: Tensor, keys: Tensor, values: Tensor, batch: Batch, kept: tuple[Tensor, Tensor] | None, scale: float
) -> Tensor:
    """As `_in_blocks`, in the dtype of `queries` and by the library's attention for the device: few launches."""
    groups = len(queries) // len(keys)
    answers = []
    if kept is not None:
        keys, values = _after(kept[0], keys), _after(kept[1], values)
    ready = batch.ready(queries.device, len(queries))
    for part in ready.together:
        # With a mask, kernels for shared keys fall back to a slow form, so they are repeated.
        own_keys, own_values = (
            states[:, part.keys].transpose(0, 1).repeat_interleave(groups, dim=1) for states in (keys, values)
        )
        asked = queries[:, part.queries].transpose(0, 1)
        found = torch.nn.functional.scaled_dot_product_attention(
            asked, own_keys, own_values, attn_mask=part.hidden[:, None].to(asked.dtype), scale=scale
        )
        answers.append(found.transpose(1, 2).flatten(0, 1))
    return torch.cat(answers)[ready.order]


AttentionInterface.register(NAME, attend)
