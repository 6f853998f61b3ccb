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

from runner.backends.packing import Packed, Segment

NAME = "packed"
# Queries that are taken at once on a CPU. Later keys than a block's last are not looked at, so small blocks save work;
# large ones make fast products.
_BLOCK = 128

KeysValues = dict[int, tuple[Tensor, Tensor]]


@dataclass
class Batch:
    """A packed batch on its way through the layers.

    `kept` has, by layer, keys and values (tokens, heads, size) of the beginning that every prompt of the batch
    follows; where `keep` is set, those of the batch's own tokens are put there instead.
    """

    packed: Packed
    kept: KeysValues
    keep: bool = False
    _moved: dict[torch.device, list["_Padded"]] = field(default_factory=dict)

    def padded(self, device: torch.device) -> list["_Padded"]:
        """The batch's segments, those of one size together, with indexes on `device`."""
        if device not in self._moved:
            self._moved[device] = [each.to(device) for each in self._padded]
        return self._moved[device]

    @cached_property
    def _padded(self) -> list["_Padded"]:
        sizes: dict[tuple[int, int], list[Segment]] = {}
        for segment in self.packed.segments:
            tokens = segment.stop - segment.start
            keys = self.packed.kept + sum(stop - start for start, stop in segment.before) + tokens
            sizes.setdefault((tokens.bit_length(), keys.bit_length()), []).append(segment)
        return [_pad(members, self.packed.kept) for members in sizes.values()]

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """(tokens,) where the answer of each token lies in those of `padded`, one after the other."""
        found = np.empty(len(self.packed.ids), dtype=np.int64)
        start = 0
        for each in self._padded:
            real = each.queries.numpy() >= 0
            found[each.queries.numpy()[real]] = start + np.flatnonzero(real)
            start += real.size
        return found


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
    queries, keys, values = (states[0].transpose(0, 1) for states in (query, key, value))
    in_blocks = query.device.type == "cpu"
    if in_blocks:
        keys, values = keys.float(), values.float()
    kept = packing.kept.get(module.layer_idx)
    if packing.keep:
        packing.kept[module.layer_idx] = keys, values
    if in_blocks:
        return _in_blocks(queries, keys, values, packing.packed, kept, scale)[None], None
    return _in_padded_calls(queries, keys, values, packing, kept, scale)[None], None


def _in_blocks(
    queries: Tensor, keys: Tensor, values: Tensor, packed: Packed, kept: tuple[Tensor, Tensor] | None, scale: float
) -> Tensor:
    """(tokens, heads, size) in the dtype of `queries`; products and softmax are float32.

    Half the time of the library's own attention on a CPU (measured), which leaves no call for a part of the keys.
    """
    heads = keys.shape[1]
    groups, size = queries.shape[1] // heads, queries.shape[2]
    answers = torch.empty(len(queries), heads, groups, size, dtype=queries.dtype)
    # (heads, groups of heads that share keys, tokens, size)
    asked = (queries.float() * scale).view(-1, heads, groups, size).permute(1, 2, 0, 3)
    upper = torch.full((_BLOCK, _BLOCK), -torch.inf).triu(1)
    for segment in packed.segments:
        ranges = (*segment.before, (segment.start, segment.stop))
        own_keys = _joined(keys, ranges, kept[0] if kept else None)
        own_values = _joined(values, ranges, kept[1] if kept else None)
        ahead = len(own_keys) - (segment.stop - segment.start)
        for start in range(segment.start, segment.stop, _BLOCK):
            stop = min(start + _BLOCK, segment.stop)
            seen = ahead + stop - segment.start
            scores = torch.bmm(asked[:, :, start:stop].flatten(1, 2), own_keys[:seen].permute(1, 2, 0))
            by_group = scores.view(heads, groups, stop - start, seen)
            if segment.branches is None:
                by_group[..., seen - (stop - start) :] += upper[: stop - start, : stop - start]
            else:
                by_group[..., ahead:] += _hidden(segment.branches, start - segment.start, stop - segment.start)
            found = torch.bmm(torch.softmax(scores, dim=-1), own_values[:seen].transpose(0, 1))
            answers[start:stop] = found.view(heads, groups, stop - start, size).permute(2, 0, 1, 3)
    return answers.flatten(1, 2)


def _joined(states: Tensor, ranges: tuple[tuple[int, int], ...], kept: Tensor | None) -> Tensor:
    """What is kept and the tokens of `ranges`, one after the other; nothing is copied where that is one piece."""
    parts = [states[start:stop] for start, stop in _merged(ranges)]
    if kept is not None:
        parts.insert(0, kept)
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _merged(ranges: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, stop in ranges:
        if merged and merged[-1][1] == start:
            merged[-1] = merged[-1][0], stop
        else:
            merged.append((start, stop))
    return merged


def _hidden(branches: NDArray[np.int64], start: int, stop: int) -> Tensor:
    """(stop − start, stop): minus infinity where a token does not see another of its segment."""
    sees = (branches[start:stop, None] == branches[None, :stop]) & np.tri(stop, dtype=bool)[start:]
    return torch.from_numpy(np.where(sees, np.float32(0), np.float32(-np.inf)))


# --- in padded calls -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Padded:
    """Segments of about one size: indexes of their `queries` (segments, most queries) in the row, −1 where there is
    none, of their `keys` (segments, most keys) in what is kept and then the row, and who sees whom, `mask` (segments,
    1, most queries, most keys).
    """

    queries: Tensor
    keys: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> "_Padded":
        return _Padded(self.queries.to(device), self.keys.to(device), self.mask.to(device))


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
    mask = np.zeros((len(segments), 1, most, keys.shape[1]), dtype=bool)
    mask[..., 0] = True  # so that what is nobody's answer is finite
    for number, (segment, line) in enumerate(zip(segments, lines, strict=True)):
        tokens = segment.stop - segment.start
        queries[number, :tokens] = np.arange(segment.start, segment.stop)
        keys[number, : len(line)] = line
        sees = np.tri(tokens, dtype=bool)
        if segment.branches is not None:
            sees &= segment.branches[:, None] == segment.branches
        mask[number, 0, :tokens, : len(line) - tokens] = True
        mask[number, 0, :tokens, len(line) - tokens : len(line)] = sees
    return _Padded(torch.from_numpy(queries), torch.from_numpy(keys), torch.from_numpy(mask))


def _in_padded_calls(
    queries: Tensor, keys: Tensor, values: Tensor, batch: Batch, kept: tuple[Tensor, Tensor] | None, scale: float
) -> Tensor:
    """(tokens, heads, size) in the dtype of `queries`, by the library's attention for the device."""
    if kept is not None:
        keys, values = torch.cat([kept[0], keys]), torch.cat([kept[1], values])
    groups = queries.shape[1] // keys.shape[1]
    found = []
    for part in batch.padded(queries.device):
        # With a mask, kernels for shared keys fall back to a slow form, so they are repeated.
        own_keys, own_values = (
            states[part.keys].transpose(1, 2).repeat_interleave(groups, dim=1) for states in (keys, values)
        )
        asked = queries[part.queries.clamp(min=0)].transpose(1, 2)
        answers = torch.nn.functional.scaled_dot_product_attention(
            asked, own_keys, own_values, attn_mask=part.mask, scale=scale
        )
        found.append(answers.transpose(1, 2).flatten(0, 1))
    return torch.cat(found)[torch.from_numpy(batch.order).to(queries.device)]


AttentionInterface.register(NAME, attend)
