"""What a cell of a table of text holds: a list or mapping, a number that a program wrote as a float, or nothing."""

import ast
import re
from typing import Any

from runner.core import strict_json
from runner.core.text import name_of

_ABSENT = frozenset({"", "NaN", "nan", "NA", "N/A", "<NA>", "null", "NULL", "None"})
"""How programs write that there is no number."""
_WHOLE_FLOAT = re.compile(r"-?[0-9]{1,15}\.0+")
_BOOLEANS = {"True": "true", "False": "false", "TRUE": "true", "FALSE": "false"}
_MAX_LITERAL = 1 << 16


def is_absent(cell: str) -> bool:
    """Whether a cell where a number belongs is blank, or says in the way of some program that there is none."""
    return cell.strip() in _ABSENT


def canonical_name(cell: str) -> str:
    """The name that a cell means beside its own text: `1.0` is 1, and `True` is true, as pandas writes them."""
    if _WHOLE_FLOAT.fullmatch(cell):
        return cell.partition(".")[0]
    return _BOOLEANS.get(cell, cell)


def value_of_cell(text: str) -> Any:
    """The list or mapping that a cell holds, as JSON or as Python writes one; the text itself where it is neither."""
    if text[:1] not in ("[", "{"):
        return text
    try:
        return strict_json.parse(text.encode())
    except (strict_json.JsonFault, UnicodeEncodeError):
        pass
    try:
        # Numbers, texts, lists and mappings only: nothing is called. The parser itself bounds the depth.
        value = ast.literal_eval(text) if len(text) <= _MAX_LITERAL else text
        return _plain(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _plain(value: Any) -> Any:
    """The value as JSON would have it; `ValueError` for what it has no word for."""
    match value:
        case dict():
            names = [name_of(key) for key in value]
            if None in names or len(set(names)) < len(names):
                raise ValueError
            return dict(zip(names, map(_plain, value.values()), strict=True))
        case list() | tuple():
            return [_plain(entry) for entry in value]
        case str() | int() | None:
            return value
        case float() if value == value and abs(value) != float("inf"):
            return value
    raise ValueError
