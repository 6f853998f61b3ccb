"""Strict JSON: one meaning or none, in time that grows with the length and no faster."""

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.strict_json import JsonFault, parse

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(json_values, st.sampled_from([None, 2]), st.booleans())
def test_every_ordinary_document_keeps_its_value(value: Any, indent: int | None, ascii_only: bool) -> None:
    assert parse(json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_json_fault(data: bytes) -> None:
    code = None
    try:
        value = parse(data)
    except JsonFault as fault:
        code = fault.code
    if code is None:
        assert value == json.loads(data)  # nothing is read differently from the standard reader
    assert code in {None, "ENCODING", "TOO_DEEP", "JSON"}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "JSON"),
        (b" ", "JSON"),
        (b"\xef\xbb\xbf{}", "ENCODING"),
        ('{"a": 1}'.encode("utf-16"), "ENCODING"),
        ('{"a": 1}'.encode("utf-16-le"), "JSON"),
        ('{"a": 1}'.encode("utf-32"), "ENCODING"),
        (b'"\xff"', "ENCODING"),
        (b'"\xed\xa0\x80"', "ENCODING"),  # a surrogate written as three bytes
        (b'{"a": 1, "a": 1}', "JSON"),
        (b'[{"b": {"a": 1, "\\u0061": 2}}]', "JSON"),  # the same key, once escaped
        (b"NaN", "JSON"),
        (b"[Infinity]", "JSON"),
        (b"[-Infinity]", "JSON"),
        (b"1e999", "JSON"),
        (b"-1e999", "JSON"),
        (b'{"a": [0.5, 1.5E+999]}', "JSON"),
        (b'["1e-9\\"", 2e-9, 9E0999]', "JSON"),
        (b"9" * 400 + b".5", "JSON"),
        (b"9007199254740992", "JSON"),
        (b"-9007199254740992", "JSON"),
        (b"1" * 5000, "JSON"),
        (b"01", "JSON"),
        (b"1.", "JSON"),
        (b".5", "JSON"),
        (b"+1", "JSON"),
        (b"0x10", "JSON"),
        (b"'a'", "JSON"),
        (b"[1,]", "JSON"),
        (b"{} {}", "JSON"),
        (b"{}\x00", "JSON"),
        (b'"a\nb"', "JSON"),  # a raw line break inside a string
        (b'"\\x41"', "JSON"),
        (b'"\\ud800"', "ENCODING"),  # half a character
        (b'"\\ude00\\ud83d"', "ENCODING"),  # both halves, in the wrong order
        (b'{"\\uDBFF": 1}', "ENCODING"),
        (b'"\\ud83d\\\\ude00"', "ENCODING"),  # a half, and a backslash before other text
        (b'{"a": 1} // comment', "JSON"),
        ("\u00a0{}".encode(), "JSON"),  # a no-break space is not JSON whitespace
    ],
)
def test_refused(data: bytes, code: str) -> None:
    with pytest.raises(JsonFault) as caught:
        parse(data)
    assert caught.value.code == code


def test_bounds_are_inclusive() -> None:
    assert parse(b"9007199254740991") == 2**53 - 1
    assert parse(b"-9007199254740991") == -(2**53) + 1
    assert parse(b"[" * 64 + b"]" * 64) is not None
    with pytest.raises(JsonFault) as caught:
        parse(b"[" * 65 + b"]" * 65)
    assert caught.value.code == "TOO_DEEP"
    assert parse(b'"12"', max_bytes=4) == "12"
    with pytest.raises(JsonFault) as caught:
        parse(b'"123"', max_bytes=4)
    assert caught.value.code == "TOO_LARGE"


def test_depth_is_not_the_number_of_brackets() -> None:
    wide = b"[[" + b"[{}]," * 100
    assert parse(wide + b"[" * 62 + b"]" * 64)
    with pytest.raises(JsonFault, match="more than 64 levels"):
        parse(wide + b"[" * 63 + b"]" * 65)


def test_names_given_twice_are_told_and_no_others() -> None:
    with pytest.raises(JsonFault, match=r"^key given twice: 'a', 'c'$"):
        parse(b'{"a": 1, "b": 2, "c": 3, "c": 4, "a": 5}')


def test_minus_infinity_is_a_number_where_it_is_said() -> None:
    assert parse(b"[-Infinity]", minus_infinity=True) == [-math.inf]
    for document, minus_infinity in ((b"[-Infinity]", False), (b"[Infinity]", True), (b"[NaN]", True)):
        with pytest.raises(JsonFault, match="is not a JSON number"):
            parse(document, minus_infinity=minus_infinity)


def test_the_bound_of_an_integer_is_told() -> None:
    assert parse(b"[-1000, 1000]", max_integer=1000) == [-1000, 1000]
    for document, max_integer, words in (
        (b"-1001", 1000, r"-1001 is beyond 1,000$"),
        (b"9007199254740992", 2**53 - 1, r"9007199254740992 is beyond 2\^53 − 1$"),
    ):
        with pytest.raises(JsonFault, match=words):
            parse(document, max_integer=max_integer)


def test_a_whole_pair_and_an_escaped_backslash_are_no_half() -> None:
    assert parse(b'"\\ud83d\\ude00"') == "😀"
    assert parse(b'"\\\\ud83d"') == "\\ud83d"


def test_brackets_inside_strings_are_not_depth() -> None:
    assert parse(json.dumps(["[" * 500, '\\"' + "{" * 500]).encode()) == ["[" * 500, '\\"' + "{" * 500]


def test_exponents_inside_strings_and_below_zero_are_no_overflow() -> None:
    assert parse(b'["1e999", 1e-999, 2.5e-7, 1e2, "\\\\", 1E+3]') == ["1e999", 0.0, 2.5e-7, 100.0, "\\", 1000.0]


nested = st.recursive(
    st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(nested, st.integers(1, 4), st.booleans())
def test_depth_is_counted_as_by_walking_the_value(value: Any, max_depth: int, ascii_only: bool) -> None:
    def depth(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    document = json.dumps(value, ensure_ascii=ascii_only).encode()
    if depth(value) <= max_depth:
        parse(document, max_depth=max_depth)
    else:
        with pytest.raises(JsonFault) as caught:
            parse(document, max_depth=max_depth)
        assert caught.value.code == "TOO_DEEP"


def test_the_line_of_a_syntax_error_is_told() -> None:
    with pytest.raises(JsonFault) as caught:
        parse(b'{\n  "a": 1,\n  "b" 2\n}')
    assert caught.value.line == 3


@pytest.mark.parametrize(
    "data",
    [
        b'"' + b'\\"' * 1_000_000,  # a string that never ends: every quotation mark could begin another search
        b'"' + b'\\"' * 1_000_000 + b"\\",
        b'"a' * 1_000_000,
        b"[" * 2_000_000,
        b"]" * 2_000_000,
        b'{"a":' * 500_000,
        b"1" * 2_000_000,
        b"1." + b"1" * 2_000_000 + b"x",
    ],
    ids=["endless-string", "endless-escape", "many-quotes", "open", "close", "objects", "integer", "fraction"],
)
def test_hostile_documents_are_refused_in_linear_time(data: bytes) -> None:
    began = time.process_time()
    with pytest.raises(JsonFault):
        parse(data)
    assert time.process_time() - began < 5  # of the processor; quadratic time would be hours
