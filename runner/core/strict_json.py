"""Read JSON that a stranger wrote: one meaning or none."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

MAX_BYTES = 8 << 20
"""Largest size of a document in bytes, unless another bound is given."""

_MAX_INTEGER = 2**53 - 1


class JsonFault(ValueError):
    """Why a document was refused: `code` is ENCODING, TOO_LARGE, TOO_DEEP or JSON; `line` counts from 1 if known."""

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.line = line


def parse(
    data: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = 64,
    max_integer: int = _MAX_INTEGER,
    minus_infinity: bool = False,
) -> Any:
    """The value of a JSON document, or `JsonFault`.

    Refused: more than `max_bytes`, a byte-order mark, anything but UTF-8, nesting beyond `max_depth` (found by a scan
    before the parser runs, so that depth cannot exhaust it), duplicate keys, NaN and infinities, numbers that overflow
    a float, integers beyond `max_integer` (2^53 − 1 by default: other languages would round), data after the document.
    `minus_infinity` reads the one constant `-Infinity`, which servers write for the logarithm of zero.
    """
    document = _decode(data, max_bytes)
    as_float: Callable[[str], float] = _finite
    if _may_nest(document, max_depth):
        outside = _outside_strings(data)
        _refuse_depth(outside.translate(None, _NO_BRACKETS).decode(), max_depth)
        if not _may_overflow(outside):
            as_float = float
    _refuse_half_surrogates(document)
    try:
        return json.loads(
            document,
            object_pairs_hook=_unique,
            parse_constant=_minus_infinity if minus_infinity else _refuse_constant,
            parse_float=as_float,
            parse_int=lambda digits: _exact(digits, max_integer),
        )
    except json.JSONDecodeError as error:
        raise JsonFault("JSON", f"{error.msg} at column {error.colno}", error.lineno) from None


def elements(data: bytes, *, max_bytes: int, max_depth: int = 64) -> Iterator[tuple[int, str | None, Any]]:
    """The line, key and value of each member of an object or element of an array (whose key is None), one at a time.

    Refused as by `parse`, and a document that is neither.
    """
    document = _decode(data, max_bytes)
    if _may_nest(document, max_depth):
        _refuse_depth(_BESIDE.sub("", document), max_depth)
    _refuse_half_surrogates(document)
    decoder = json.JSONDecoder(
        object_pairs_hook=_unique,
        parse_constant=_refuse_constant,
        parse_float=_finite,
        parse_int=lambda digits: _exact(digits, _MAX_INTEGER),
    )
    at, line, seen = _SPACE.match(document).end(), 1, set[str]()  # type: ignore[union-attr]
    counted = 0
    opening = document[at : at + 1]
    if opening not in ("[", "{"):
        raise JsonFault("JSON", "an array of rows, or an object of rows by name, was expected", 1)
    closing, at = {"[": "]", "{": "}"}[opening], at + 1

    def expect(characters: str) -> str:
        """The next character that is no blank, which must be one of these; `at` is then behind it."""
        nonlocal at
        at = _SPACE.match(document, at).end()  # type: ignore[union-attr]
        if document[at : at + 1] not in tuple(characters):
            raise JsonFault("JSON", f"{' or '.join(characters)} was expected", document.count("\n", 0, at) + 1)
        at += 1
        return document[at - 1]

    at = _SPACE.match(document, at).end()  # type: ignore[union-attr]
    if document[at : at + 1] == closing:
        at += 1
    else:
        while True:
            at = _SPACE.match(document, at).end()  # type: ignore[union-attr]
            line += document.count("\n", counted, at)
            counted = at
            try:
                key: str | None = None
                if opening == "{":
                    value, at = decoder.raw_decode(document, at)
                    if not isinstance(value, str):
                        raise JsonFault("JSON", "a name in quotes was expected")
                    if value in seen:
                        raise JsonFault("JSON", f"key given twice: {value[:100]!r}")
                    seen.add(value)
                    key = value
                    expect(":")
                    at = _SPACE.match(document, at).end()  # type: ignore[union-attr]
                value, at = decoder.raw_decode(document, at)
            except json.JSONDecodeError as error:
                raise JsonFault("JSON", f"{error.msg} at column {error.colno}", error.lineno) from None
            except JsonFault as error:
                raise JsonFault(error.code, error.message, error.line or line) from None
            yield line, key, value
            if expect("," + closing) == closing:
                break
    if document[at:].strip(" \t\n\r"):
        raise JsonFault("JSON", "there is more after the end of the document", document.count("\n", 0, at) + 1)


_SPACE = re.compile(r"[ \t\n\r]*")


def _decode(data: bytes, max_bytes: int) -> str:
    """The text of a document that is not too large and plain UTF-8."""
    if len(data) > max_bytes:
        raise JsonFault("TOO_LARGE", f"{len(data):,} bytes, at most {max_bytes:,} are read")
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise JsonFault("ENCODING", "begins with a byte-order mark, plain UTF-8 was expected")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise JsonFault("ENCODING", f"not UTF-8: {error.reason} at byte {error.start}") from None


def _may_nest(document: str, max_depth: int) -> bool:
    return document.count("[") + document.count("{") > max_depth


# A leaderboard reads thousands of cards, so what `parse` looks for in a document of many brackets runs in C: brackets
# that nest too deep, and numbers that may overflow, both only outside strings. `elements`, for documents of a hundred
# megabytes, takes the brackets out by a pattern, which needs no copy of the rest.
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_AS_ZERO = bytes.maketrans(b"123456789", b"0" * 9)


def _outside_strings(data: bytes) -> bytes:
    """All of a document but its strings. Right up to the first backslash outside a string, where the parser stops."""
    if b"\\" in data:
        data = _ESCAPE.sub(b"", data)
    return b"".join(data.split(b'"')[::2])


def _may_overflow(outside: bytes) -> bool:
    """Whether a number may be beyond the largest float: one with an exponent above zero, or 300 digits and more."""
    zeros = outside.translate(_AS_ZERO)
    return any(part in zeros for part in (b"0e0", b"0e+", b"0E0", b"0E+", b"0" * 300))


# Everything but brackets: a string (escapes included) or a run of other characters. Strings are consumed whole, so
# brackets inside them do not count. A string without its end matches as well, up to the end of the document: were it to
# fail there, the search would begin again at every later quotation mark, and time would grow with the square of the
# length.
_BESIDE = re.compile(r'"(?:[^"\\]++|\\.?)*+"?|[^\[\]{}"]++', re.DOTALL)


def _refuse_depth(brackets: str, max_depth: int) -> None:
    depth = 0
    for bracket in brackets:
        if bracket in "[{":
            depth += 1
            if depth > max_depth:
                raise JsonFault("TOO_DEEP", f"nested more than {max_depth} levels deep")
        else:
            depth -= 1


# A whole pair, or one half; a backslash that is itself escaped begins no escape.
_SURROGATE = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def _refuse_half_surrogates(document: str) -> None:
    if "\\u" not in document:
        return
    for match in _SURROGATE.finditer(document):
        if match[1]:
            raise JsonFault("ENCODING", f"{match[1]} is half a surrogate pair, which no UTF-8 text can hold")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        times = Counter(name for name, _ in pairs)
        repeated = [name for name, count in times.items() if count > 1]
        raise JsonFault("JSON", f"key given twice: {', '.join(map(repr, repeated))[:200]}")
    return mapping


def _refuse_constant(name: str) -> Any:
    raise JsonFault("JSON", f"{name} is not a JSON number")


def _minus_infinity(name: str) -> float:
    if name == "-Infinity":
        return -math.inf
    raise JsonFault("JSON", f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise JsonFault("JSON", f"{digits[:40]} overflows a float")
    return value


def _exact(digits: str, max_integer: int) -> int:
    if len(digits) > len(str(max_integer)) + 1 or abs(int(digits)) > max_integer:
        limit = "2^53 − 1" if max_integer == _MAX_INTEGER else f"{max_integer:,}"
        raise JsonFault("JSON", f"integer {digits[:40]} is beyond {limit}")
    return int(digits)
