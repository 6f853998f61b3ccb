"""Dotted paths into a row: `actions.0.description`, with keys that hold dots in double quotes: `a."b.c"`."""

import re
from functools import cache
from typing import Any

_SEGMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|[^."]+')
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


class Nowhere(Exception):
    """A path leads to nothing; the arguments are the JSON path where it ended and why."""


@cache
def segments(path: str) -> tuple[str, ...]:
    """The keys of a path in the form that the schema's `row_path` describes; a backslash in quotes escapes."""
    return tuple(
        match[0] if match[1] is None else re.sub(r"\\(.)", r"\1", match[1]) for match in _SEGMENT.finditer(path)
    )


def written(key: str) -> str:
    """`key` as one segment of a path, in quotes where it needs them."""
    plain = key and not re.search(r'[."\\\x00-\x1f]', key) and not key.startswith("$") and key == key.strip()
    return key if plain else '"' + re.sub(r'(["\\])', r"\\\1", key) + '"'


def follow(row: Any, path: str) -> Any:
    """The value at a path of a row; a segment into an array is an index from 0. Raises `Nowhere`."""
    value = row
    for depth, key in enumerate(segments(path)):
        if isinstance(value, dict):
            if key not in value:
                raise Nowhere(json_path(row, path, depth), _missing(value, path, depth))
            value = value[key]
        elif isinstance(value, list):
            if not _INDEX.fullmatch(key):
                raise Nowhere(json_path(row, path, depth), f"{key!r} is no index of an array")
            if int(key) >= len(value):
                raise Nowhere(json_path(row, path, depth), f"there is no element {key} in an array of {len(value)}")
            value = value[int(key)]
        else:
            raise Nowhere(json_path(row, path, depth), f"there is no {key!r} in {describe(value)}")
    return value


def _missing(value: dict[str, Any], path: str, depth: int) -> str:
    """Why a key is not there, and whether what is left of the path is one key that has dots in it."""
    key = segments(path)[depth]
    rest = ".".join(segments(path)[depth:])
    if rest != key and rest in value:
        return f"there is no {key!r} here, but {shorten(repr(rest))}: write it in quotes, {written(rest)}"
    return f"there is no {key!r} here"


def value_at(row: Any, path: str) -> list[Any]:
    """The value at a path of a row as a list of one, or an empty list where the path leads to nothing."""
    try:
        return [follow(row, path)]
    except Nowhere:
        return []


def json_path(row: Any, path: str, depth: int | None = None) -> str:
    """The JSON path of what lies at the first `depth` segments of a path (None: all)."""
    value, where = row, "$"
    for key in segments(path)[:depth]:
        if isinstance(value, list):
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
