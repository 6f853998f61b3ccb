"""Whether the tensors of an adapter change anything: a product with a matrix of zeros does not."""

import json
import re
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from runner.artifacts.reading import open_regular, read_exactly
from runner.core.errors import Fault

_PAIRED = re.compile(r"(.+)\.lora_(?:embedding_)?([AB])(?:\.weight)?")
_BLOCK = 1 << 20


def no_effect_faults(path: Path, file: str) -> list[Fault]:
    """`ADAPTER_NO_EFFECT` where in each module one of the two matrices is all zeros and nothing else is changed.

    For a file whose header has no fault. Reads until something is not zero. DoRA, biases and whole heads change
    something of their own. Raises `OSError`.
    """
    with open_regular(path) as stream:
        length = int.from_bytes(read_exactly(stream, 8), "little")
        header: Mapping[str, Any] = json.loads(read_exactly(stream, length))
        pairs: dict[str, dict[str, tuple[int, int]]] = {}
        for name, entry in header.items():
            if name == "__metadata__" or ".base_layer." in name:
                continue
            match = _PAIRED.fullmatch(name)
            if match is None:
                return []
            first, last = entry["data_offsets"]
            pairs.setdefault(match[1], {})[match[2]] = (8 + length + first, last - first)
        # The second matrix is zeros where training begins: it is looked at first.
        if not pairs or any(
            not any(_is_zero(stream, *sides[side]) for side in sorted(sides)[::-1]) for sides in pairs.values()
        ):
            return []
    message = f"In all {len(pairs):,} modules one of the two matrices is all zeros: the bare base would be scored."
    return [Fault("ADAPTER_NO_EFFECT", message, file=file, hint="Save the adapter after training.")]


def _is_zero(stream: FileIO, start: int, length: int) -> bool:
    """Whether a tensor holds zeros only; a negative zero is one."""
    stream.seek(start)
    while length > 0 and (block := read_exactly(stream, min(length, _BLOCK))):
        if block.strip(b"\0\x80"):
            return False
        length -= len(block)
    return True
