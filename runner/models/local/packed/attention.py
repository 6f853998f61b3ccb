"""Attention over a packed batch: in blocks of queries on a CPU, in one padded call per size elsewhere."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from runner.models.local.packed.blocks import BLOCK, Blocks, Padded, attention_bias, for_blocks, for_padded_calls
from runner.models.local.packed.layout import Packed, Range, Segment

NAME = "packed"

KeysValues = dict[int, tuple[Tensor, Tensor]]


@dataclass
class Batch:
    """A packed batch on its way through the layers."""

    packed: Packed
    """Layout of the batch."""
    prefix_kv: KeysValues
    """The prefix cache: by layer, keys and values (heads, prefix_len, size) that every prompt of the batch follows."""
    write_prefix: bool = False
    """Fill `prefix_kv` with the keys and values of the batch's own tokens, instead of reading it."""
    last_layer_idx: int | None = None
    """The layer whose result is needed only at the scored positions; None computes every layer everywhere."""
    _arranged: dict[tuple[torch.device, bool], Blocks] = field(default_factory=dict)
    """Blocks of the layout by device and by whether only scored positions are wanted; filled on first use."""

    def arranged(self, device: torch.device, heads: int, layer: int) -> Blocks:
        """What `layer`, which has so many heads and is on `device`, is to answer."""
        scored_only = layer == self.last_layer_idx
        if (device, scored_only) not in self._arranged:
            if device.type == "cpu":
                arrangement = for_blocks(self.packed, heads, scored_only=scored_only)
            else:
                arrangement = for_padded_calls(self.packed, scored_only=scored_only)
            self._arranged[device, scored_only] = arrangement.to(device)
        return self._arranged[device, scored_only]


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
    prefix_kv = packing.prefix_kv.get(module.layer_idx)
    if packing.write_prefix:
        packing.prefix_kv[module.layer_idx] = key[0].contiguous(), value[0].contiguous()
    arranged = packing.arranged(query.device, query.shape[1], module.layer_idx)
    answer = _in_blocks if query.device.type == "cpu" else _in_padded_calls
    return answer(query[0], key[0], value[0], arranged, prefix_kv, scale)[None], None


def _in_blocks(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    arranged: Blocks,
    prefix_kv: tuple[Tensor, Tensor] | None,
    scale: float,
) -> Tensor:
    """(tokens, heads, size) of `queries` (heads, tokens, size); keys and values may have fewer heads.

    Short segments of about one size are taken together, filled up; a long one in blocks of its queries, each of which
    leaves out the keys behind it. Scores are products in float32 whatever the dtype: rounded to bfloat16 they made the
    log-scores of small models an eighth less exact.
    """
    if prefix_kv is not None:
        prefix_kv = prefix_kv[0].float(), prefix_kv[1]
    answers = [_short(queries, keys, values, part, prefix_kv, scale) for part in arranged.together]
    output = _in_order(answers, arranged, queries)
    for segment in arranged.long:
        own = queries[:, segment.start : segment.stop]
        _long(output[segment.start : segment.stop], _float(own).mul_(scale), keys, values, segment, prefix_kv)
    return output


def _in_order(answers: list[Tensor], arranged: Blocks, queries: Tensor) -> Tensor:
    """(tokens, heads, size) of what is answered together, as `queries` (heads, tokens, size) are in order."""
    if not answers:
        return queries.new_zeros(queries.transpose(0, 1).shape)
    return (answers[0] if len(answers) == 1 else torch.cat(answers)).index_select(0, arranged.order)


def _float(states: Tensor) -> Tensor:
    """A contiguous float32 copy, made in one pass whatever the order in memory is."""
    return torch.empty(states.shape).copy_(states)


def _long(
    output: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    segment: Segment,
    prefix_kv: tuple[Tensor, Tensor] | None,
) -> None:
    """Put what the `queries` (heads, tokens, size) of `segment` find into `output` (tokens, heads, size).

    `keys` and `values` are those of the whole row.
    """
    heads, groups, (tokens, size) = len(keys), len(queries) // len(keys), queries.shape[1:]
    # (heads, groups of heads that share keys, tokens, size)
    grouped_queries = queries.view(heads, groups, tokens, size)
    own_keys = _joined(keys, segment.ranges, prefix_kv[0] if prefix_kv else None, torch.float32)
    own_values = _joined(values, segment.ranges, prefix_kv[1] if prefix_kv else None, values.dtype)
    ahead = own_keys.shape[1] - tokens
    upper = torch.full((BLOCK, BLOCK), -torch.inf).triu(1)
    for start in range(0, tokens, BLOCK):
        stop = min(start + BLOCK, tokens)
        visible = ahead + stop
        scores = torch.bmm(grouped_queries[:, :, start:stop].flatten(1, 2), own_keys[:, :visible].transpose(1, 2))
        by_group = scores.view(heads, groups, stop - start, visible)
        if segment.branches is None:
            by_group[..., ahead + start :] += upper[: stop - start, : stop - start]
        else:
            by_group[..., ahead:] += torch.from_numpy(attention_bias(segment.branches, start, stop))
        context = torch.bmm(torch.softmax(scores, dim=-1).to(values.dtype), own_values[:, :visible])
        by_token = context.view(heads, groups, stop - start, size).permute(2, 0, 1, 3)
        output[start:stop].view(by_token.shape).copy_(by_token)


def _short(
    queries: Tensor, keys: Tensor, values: Tensor, part: Padded, prefix_kv: tuple[Tensor, Tensor] | None, scale: float
) -> Tensor:
    """(segments · max_queries, heads, size): the segments of `part` together; the cached prefix is read once."""
    heads, groups, size = len(keys), len(queries) // len(keys), queries.shape[2]
    several, max_queries = part.queries.shape
    own = _gathered(queries, part.queries, groups, torch.float32).mul_(scale).view(heads * several, -1, size)
    own_keys = _gathered(keys, part.keys, 1, torch.float32).view(heads * several, -1, size)
    own_values = _gathered(values, part.keys, 1, values.dtype).view(heads * several, -1, size)
    past = 0 if prefix_kv is None else prefix_kv[0].shape[1]
    scores = torch.bmm(own, own_keys.transpose(1, 2)).view(heads, several, groups, max_queries, -1)
    scores += part.hidden[:, None]
    if prefix_kv is not None:
        of_kept = torch.bmm(own.view(heads, -1, size), prefix_kv[0].transpose(1, 2))
        scores = torch.cat([of_kept.view(*scores.shape[:-1], past), scores], dim=-1)
    weights = torch.softmax(scores, dim=-1).to(values.dtype).view(heads * several, groups * max_queries, -1)
    context = torch.bmm(weights[..., past:], own_values)
    if prefix_kv is not None:
        context += torch.bmm(weights[..., :past].reshape(heads, -1, past), prefix_kv[1]).view(context.shape)
    return context.view(heads, several, groups, max_queries, size).permute(1, 3, 0, 2, 4).flatten(2, 3).flatten(0, 1)


def _gathered(states: Tensor, indices: Tensor, groups: int, dtype: torch.dtype) -> Tensor:
    """(heads, segments, groups, n, size) of `states` (heads · groups, tokens, size) at `indices` (segments, n).

    A token's heads lie together in memory, so they are taken together, and put in order while they are widened.
    """
    rows = states.transpose(0, 1).flatten(1).index_select(0, indices.flatten())
    rows = rows.view(*indices.shape, -1, groups, states.shape[2]).permute(2, 0, 3, 1, 4)
    return torch.empty(rows.shape, dtype=dtype).copy_(rows)


def _after(prefix: Tensor, states: Tensor) -> Tensor:
    return torch.cat([prefix, states], dim=1)


def _joined(states: Tensor, ranges: tuple[Range, ...], prefix: Tensor | None, dtype: torch.dtype) -> Tensor:
    """(heads, tokens, size): the cached prefix and the tokens of `ranges` one after the other, contiguous."""
    parts = [states[:, start:stop] for start, stop in ranges]
    if prefix is not None:
        parts.insert(0, prefix)
    output = torch.empty(len(states), sum(part.shape[1] for part in parts), states.shape[2], dtype=dtype)
    start = 0
    for part in parts:
        # One slice at a time: with gradients, views that come several at once cannot be written to.
        output[:, start : start + part.shape[1]].copy_(part)
        start += part.shape[1]
    return output


def _in_padded_calls(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    arranged: Blocks,
    prefix_kv: tuple[Tensor, Tensor] | None,
    scale: float,
) -> Tensor:
    """As `_in_blocks`, in the dtype of `queries` and by the library's attention for the device: few launches."""
    groups = len(queries) // len(keys)
    answers = []
    if prefix_kv is not None:
        keys, values = _after(prefix_kv[0], keys), _after(prefix_kv[1], values)
    for part in arranged.together:
        # With a mask, kernels for shared keys fall back to a slow form, so they are repeated.
        own_keys, own_values = (
            states[:, part.keys].transpose(0, 1).repeat_interleave(groups, dim=1) for states in (keys, values)
        )
        part_queries = queries[:, part.queries].transpose(0, 1)
        context = torch.nn.functional.scaled_dot_product_attention(
            part_queries, own_keys, own_values, attn_mask=part.hidden[:, None].to(part_queries.dtype), scale=scale
        )
        answers.append(context.transpose(1, 2).flatten(0, 1))
    return _in_order(answers, arranged, queries)


AttentionInterface.register(NAME, attend)
