"""Read the header of a safetensors file, and nothing after it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.artifacts.reading import capped, open_regular, read_exactly, shown
from runner.core.errors import Fault
from runner.core.strict_json import JsonFault, parse

MAX_HEADER = 16 << 20
MAX_TENSORS = 50_000
MAX_METADATA = 64 << 10
MAX_NAME = 512
MAX_DIMENSIONS = 8
_MAX_ELEMENTS = 2**53

# Bytes per element. Unsigned words, 8-bit floats and packed types need kernels that no listed architecture calls for.
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_FIELDS = {"dtype", "shape", "data_offsets"}
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Tensor:
    """The header's entry for one tensor."""

    dtype: str
    """Name of the number format, such as `BF16`."""
    shape: tuple[int, ...]
    """Size of every dimension."""


Header = dict[str, Tensor]


def read_header(path: Path, file: str) -> tuple[list[Fault], Header | None]:
    """The tensors of a safetensors file, or its faults (shown under the name `file`).

    Reads 8 bytes and the header, at most `MAX_HEADER` bytes more: the tensors themselves may be any size. Refused
    (rule 5): `ST_HEADER_SIZE`, `ST_HEADER_JSON`, `ST_DTYPE`, `ST_SHAPE`, `ST_COVERAGE`, `ST_LIMIT`.
    Raises `OSError` when the file cannot be opened.
    """
    with open_regular(path) as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        prefix = read_exactly(stream, 8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or not 2 <= length <= size - 8:
            claim = f"its header claims {length:,} bytes" if len(prefix) == 8 else "it has no header"
            return [Fault("ST_HEADER_SIZE", f"The file has {size:,} bytes and {claim}.", file=file)], None
        if length > MAX_HEADER:
            message = f"The header has {length:,} bytes, at most {MAX_HEADER:,} are read."
            return [Fault("ST_HEADER_SIZE", message, file=file)], None
        header = read_exactly(stream, length)
    return check_header(header, size - 8 - length, file)


def check_header(header: bytes, data_bytes: int, file: str) -> tuple[list[Fault], Header | None]:
    """The tensors that `header` describes in `data_bytes` bytes of data, or every fault of it.

    What is accepted here is accepted by the safetensors library; what it accepts beyond that (a name given twice, one
    of which silently wins; unknown fields; types outside the list) is refused.
    """
    try:
        document = parse(header, max_bytes=MAX_HEADER)
    except JsonFault as error:
        return [Fault("ST_HEADER_JSON", f"The header is not strict JSON: {error.message}.", file=file)], None
    if not header.startswith(b"{") or not isinstance(document, dict):
        return [Fault("ST_HEADER_JSON", "The header does not begin with an object.", file=file)], None
    if "-" in _STRING.sub("", header.decode()):  # -0 is an integer to Python and a float to the library
        return [Fault("ST_HEADER_JSON", "The header holds a negative number.", file=file)], None
    metadata = document.pop("__metadata__", {})
    faults = _metadata_faults(metadata, file)
    if len(document) > MAX_TENSORS:
        faults.append(Fault("ST_LIMIT", f"{len(document):,} tensors, at most {MAX_TENSORS:,} are read.", file=file))
        return faults, None

    tensors: Header = {}
    spans: list[tuple[int, int, str]] = []
    for name, entry in document.items():
        parsed = _tensor(name, entry, file)
        if isinstance(parsed, Fault):
            faults.append(parsed)
            continue
        tensor, begin, end = parsed
        tensors[name] = tensor
        spans.append((begin, end, name))
    if len(spans) == len(document):
        faults += _coverage_faults(sorted(spans), data_bytes, file)
    return capped(faults), None if faults else tensors


def _tensor(name: str, entry: Any, file: str) -> tuple[Tensor, int, int] | Fault:
    """One entry of a header as tensor, begin and end, or the first thing that is wrong with it."""
    where = f"Tensor {shown(name)}"
    if not _is_unicode(name) or not isinstance(entry, dict) or set(entry) != _FIELDS:
        return Fault("ST_HEADER_JSON", f"{where} is not given as dtype, shape and data_offsets.", file=file)
    if len(name) > MAX_NAME:
        message = f"{where} has a name of {len(name):,} characters, at most {MAX_NAME} are read."
        return Fault("ST_LIMIT", message, file=file)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        message = f"{where} has the type {shown(dtype)}, one of {', '.join(ITEM_BYTES)} was expected."
        return Fault("ST_DTYPE", message, file=file)
    if not _are_counts(shape) or len(shape) > MAX_DIMENSIONS:
        message = f"{where} has the shape {shown(shape)}, at most {MAX_DIMENSIONS} whole numbers were expected."
        return Fault("ST_SHAPE", message, file=file)
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        message = f"{where} has the offsets {shown(offsets)}, a begin and an end were expected."
        return Fault("ST_COVERAGE", message, file=file)
    elements = 1
    for length in shape:
        elements *= length
        if elements > _MAX_ELEMENTS:  # refused even if a zero follows: the library multiplies in this order too
            return Fault("ST_SHAPE", f"{where} would have more than 2^53 elements.", file=file)
    begin, end = offsets
    if elements * ITEM_BYTES[dtype] != end - begin:
        message = f"{where} has {end - begin:,} bytes, {dtype} of shape {shape} needs {elements * ITEM_BYTES[dtype]:,}."
        return Fault("ST_SHAPE", message, file=file)
    return Tensor(dtype, tuple(shape)), begin, end


def _coverage_faults(spans: list[tuple[int, int, str]], data_bytes: int, file: str) -> list[Fault]:
    """Where the tensors overlap, leave a hole, or do not end with the file."""
    faults = []
    position = 0
    for begin, end, name in spans:
        if begin != position:
            problem = "overlaps the one before it" if begin < position else "leaves a hole before it"
            message = f"Tensor {shown(name)} begins at byte {begin:,} and {problem}, which ends at {position:,}."
            faults.append(Fault("ST_COVERAGE", message, file=file))
        position = max(position, end)
    if position != data_bytes:
        message = f"The tensors end at byte {position:,} of the data, the file at {data_bytes:,}."
        faults.append(Fault("ST_COVERAGE", message, file=file, hint="Nothing may follow the last tensor."))
    return faults


def _metadata_faults(metadata: Any, file: str) -> list[Fault]:
    if not isinstance(metadata, dict) or not all(
        isinstance(text, str) and _is_unicode(name + text) for name, text in metadata.items()
    ):
        return [Fault("ST_HEADER_JSON", "__metadata__ is not an object of strings.", file=file)]
    length = sum(len(name) + len(text) for name, text in metadata.items())
    if length > MAX_METADATA:
        return [
            Fault("ST_LIMIT", f"__metadata__ has {length:,} characters, at most {MAX_METADATA:,} are read.", file=file)
        ]
    return []


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def _is_unicode(text: str) -> bool:
    """False where the text holds half of a surrogate pair, which JSON can spell and UTF-8 cannot hold."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text) if not text.isascii() else True
