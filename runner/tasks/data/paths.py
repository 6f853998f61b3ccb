"""Dotted paths into a row: `actions.0.description`, `answers.*.label`; keys that hold dots in quotes: `a."b.c"`."""

import json
import re
from functools import cache
from typing import Any

from runner.config.scalars import ScalarFault, plain

_SEGMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|[^."]+')
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_PLAIN_TEXT = re.compile(r"[A-Za-z$][A-Za-z0-9_$*./-]*(?: [A-Za-z0-9_$./-]+)*", re.ASCII)
_NAMES = 8
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


class Nowhere(Exception):
    """A path leads to nothing; the arguments are the JSON path where it ended, why, and a hint or None."""


@cache
def segments(path: str) -> tuple[str, ...]:
    """The keys of a path in the form that the schema's `row_path` describes; a backslash in quotes escapes."""
    return tuple(
        match[0] if match[1] is None else re.sub(r"\\(.)", r"\1", match[1]) for match in _SEGMENT.finditer(path)
    )


def written(key: str) -> str:
    """`key` as one segment of a path, in quotes where it needs them."""
    bare = key and not re.search(r'[."\\\x00-\x1f]', key) and not key.startswith("$") and key == key.strip()
    return key if bare else '"' + re.sub(r'(["\\])', r"\\\1", key) + '"'


def follow(row: Any, path: str) -> Any:
    """The value at a path of a row; a segment into an array is an index from 0. Raises `Nowhere`.

    `*` stands for every element of an array, or every value of an object without such a key: the result is a list.
    """
    return _walk(row, row, path, 0)


def _walk(value: Any, row: Any, path: str, start: int) -> Any:
    keys = segments(path)
    for depth in range(start, len(keys)):
        key = keys[depth]
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif key == "*" and isinstance(value, list | dict):
            inner = value if isinstance(value, list) else value.values()
            return [_walk(entry, row, path, depth + 1) for entry in inner]
        elif isinstance(value, dict):
            raise Nowhere(json_path(row, path, depth), *_missing(value, path, depth))
        elif isinstance(value, list):
            where = json_path(row, path, depth)
            if not _INDEX.fullmatch(key):
                raise Nowhere(where, f"{key!r} is no index of an array", "Each element's own: `*` in its place.")
            if int(key) >= len(value):
                raise Nowhere(where, f"there is no element {key} in an array of {len(value)}", None)
            value = value[int(key)]
        else:
            raise Nowhere(json_path(row, path, depth), f"there is no {key!r} in {describe(value)}", None)
    return value


def _missing(value: dict[str, Any], path: str, depth: int) -> tuple[str, str]:
    """Why a key is not there, and the path that may be meant, or the keys that there are."""
    keys = segments(path)
    rest = ".".join(keys[depth:])
    near = [name for name in value if name.strip().lower() == keys[depth].strip().lower()]
    if len(keys) > depth + 1 and rest in value:
        why = f"there is no {keys[depth]!r} here, but {shorten(repr(rest))}"
        return why, f"Write a key with a dot in quotes: `{in_yaml('.'.join(map(written, (*keys[:depth], rest))))}`."
    why = f"there is no {keys[depth]!r} here"
    if near:
        meant = ".".join(map(written, (*keys[:depth], near[0], *keys[depth + 1 :])))
        return why, f"Is it `{in_yaml(meant)}`?"
    names = ", ".join(shorten(repr(name)) for name in list(value)[:_NAMES])
    more = f" and {len(value) - _NAMES:,} more" if len(value) > _NAMES else ""
    return why, f"Here are the keys {names}{more}." if value else "Here are no keys."


def in_yaml(text: str) -> str:
    """`text` as it stands in YAML: as it is where every reader takes it for that text, else in quotes."""
    try:
        alone = bool(_PLAIN_TEXT.fullmatch(text)) and plain(text) == text
    except ScalarFault:
        alone = False
    if alone:
        return text
    return (
        f"'{text}'" if '"' in text and "'" not in text and text.isprintable() else json.dumps(text, ensure_ascii=False)
    )


def value_at(row: Any, path: str) -> list[Any]:
    """The value at a path of a row as a list of one, or an empty list where the path leads to nothing.

    Of a path with `*` the list has every value.
    """
    try:
        value = follow(row, path)
    except Nowhere:
        return []
    return value if "*" in segments(path) and isinstance(value, list) else [value]


def json_path(row: Any, path: str, depth: int | None = None) -> str:
    """The JSON path of what lies at the first `depth` segments of a path (None: all)."""
    value, where = row, "$"
    for key in segments(path)[:depth]:
        if key == "*" and not (isinstance(value, dict) and key in value):
            where += "[*]"
            value = None
        elif isinstance(value, list):
            where += f"[{key}]"
            value = value[int(key)] if int(key) < len(value) else None
        else:
            where += f".{key}" if _PLAIN_KEY.fullmatch(key) else f"[{key!r}]"
            value = value.get(key) if isinstance(value, dict) else None
    return where


def describe(value: Any) -> str:
    """What a value of a row is, in a few words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text {shorten(repr(value))}" if value else "an empty text"
        case list():
            return f"an array of {len(value)}"
        case dict():
            return f"an object of {len(value)}"
        case _:
            return f"the number {value}"


def shorten(text: str) -> str:
    """`text`, cut to 40 characters."""
    return text if len(text) <= 40 else f"{text[:39]}…"
