"""Read a submitted JSON file strictly, and name the path of a value in it."""

import re
from collections import deque
from collections.abc import Iterator
from typing import Any

from runner.artifacts.reading import open_regular, read_exactly, shown
from runner.artifacts.tree import Tree
from runner.core.errors import Fault
from runner.core.strict_json import JsonFault, parse

# tokenizer_config.json says "no limit" as int(1e30).
_MAX_INTEGER = 10**31
# A value of a few bytes costs a hundred as a Python object; the largest vocabularies have two million values.
_MAX_VALUES = 6_000_000
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def read_object(tree: Tree, name: str, max_bytes: int) -> tuple[list[Fault], dict[str, Any] | None]:
    """The JSON object in a file of `tree`, or its faults (`JSON_STRICT`); none of either where the tree refused it."""
    if name not in tree.files:
        return [], None
    file = tree.shown_path(name)
    try:
        with open_regular(tree.path(name)) as stream:
            data = read_exactly(stream, max_bytes + 1)
    except OSError as error:
        return [Fault("FILE_UNREADABLE", f"It cannot be read: {error.strerror or error}.", file=file)], None
    if data.count(b",") + data.count(b"[") + data.count(b"{") > _MAX_VALUES:
        return [Fault("JSON_STRICT", f"It holds more than {_MAX_VALUES:,} values.", file=file)], None
    try:
        document = parse(data, max_bytes=max_bytes, max_integer=_MAX_INTEGER)
    except JsonFault as error:
        return [Fault("JSON_STRICT", f"Not strict JSON: {error.message}.", file=file, line=error.line)], None
    if not isinstance(document, dict):
        return [Fault("JSON_STRICT", f"It holds {shown(document)}, an object was expected.", file=file)], None
    return [], document


# The way from the top of a document to a value: the way to what holds it, and its key or index. Spelt out only where
# a fault names it, since a hostile document has a million values below a key of a megabyte.
Way = tuple["Way", str | int] | None


def members(value: Any) -> Iterator[tuple[Way, str, Any]]:
    """Every member of every object inside `value`: the way to it, its key and its value."""
    pending: deque[tuple[Way, Any]] = deque([(None, value)])
    while pending:
        way, value = pending.popleft()
        if isinstance(value, dict):
            for key, inner in value.items():
                yield (way, key), key, inner
                if isinstance(inner, dict | list):
                    pending.append(((way, key), inner))
        elif isinstance(value, list):
            pending.extend(((way, n), inner) for n, inner in enumerate(value) if isinstance(inner, dict | list))


def spelt(way: Way) -> str:
    """The JSON path of a value, `$.a[0]["b c"]`, with long keys cut."""
    parts: list[str] = []
    while way is not None:
        way, step = way
        if isinstance(step, int):
            parts.append(f"[{step}]")
        else:
            parts.append(f".{step}" if _PLAIN.fullmatch(step) else f"[{shown(step)}]")
    return "$" + "".join(reversed(parts))
