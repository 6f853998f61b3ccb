"""Where a stranger's value does not fit a schema, in words, in the order of the document."""

from typing import Any

import pytest

from runner.core.json_schema import Mismatch, mismatches, shown

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["a", "b"],
    "additionalProperties": False,
    "properties": {
        "a": {"type": "integer", "maximum": 3},
        "b": {"type": "string", "pattern": "^[a-z]+$"},
        "c": {"enum": ["x", "y"]},
        "d": {"const": 1},
        "e": {"type": "array", "items": {"type": "integer"}},
        "odd key": {"type": "null"},
        "_f-1": {"type": "null"},
    },
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"a": 4}, [(("a",), "$.a", "is 4, which maximum (3) does not allow.")]),
        ({"a": "4"}, [(("a",), "$.a", 'is "4"; type "integer" was expected.')]),
        ({"b": "A"}, [(("b",), "$.b", 'is "A"; pattern "^[a-z]+$" was expected.')]),
        # Python's `$` would take a line break at the end.
        ({"b": "a\n"}, [(("b",), "$.b", 'is "a\\n"; pattern "^[a-z]+$" was expected.')]),
        ({"c": "z"}, [(("c",), "$.c", 'is "z"; enum ["x", "y"] was expected.')]),
        ({"d": 2}, [(("d",), "$.d", "is 2; const 1 was expected.")]),
        ({"e": [1, "2"]}, [(("e", 1), "$.e[1]", 'is "2"; type "integer" was expected.')]),
        ({"odd key": 1}, [(("odd key",), '$["odd key"]', 'is 1; type "null" was expected.')]),
        ({"_f-1": 1}, [(("_f-1",), "$._f-1", 'is 1; type "null" was expected.')]),
        ({"z": 1, "y": 2}, [((), "$", 'has unknown "z", "y".')]),
        ({str(number): 1 for number in range(7)}, [((), "$", 'has unknown "0", "1", "2", "3", "4".')]),
    ],
)
def test_each_kind_of_mismatch(change: dict[str, Any], expected: list[tuple[Any, str, str]]) -> None:
    assert mismatches(SCHEMA, {"a": 1, "b": "b", **change}) == [Mismatch(*each) for each in expected]


def test_missing_keys_are_one_sentence() -> None:
    assert [(each.path, each.message) for each in mismatches(SCHEMA, {})] == [("$", 'lacks "a", "b".')]
    assert [each.message for each in mismatches(SCHEMA, {"b": "b"})] == ['lacks "a".']


def test_the_order_is_that_of_the_document_by_numbers_and_names() -> None:
    value = {"a": "", "b": "", "e": ["", *range(1, 10), "", ""]}
    paths = ["$.a", "$.b", "$.e[0]", "$.e[10]", "$.e[11]"]
    assert [each.path for each in mismatches(SCHEMA, value)] == paths
    assert len(mismatches(SCHEMA, value, limit=2)) == 2


def test_of_several_forms_the_one_that_was_meant_is_named() -> None:
    schema = {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"a": {"type": "integer"}}}]}
    assert mismatches(schema, {"a": "x"}) == [Mismatch(("a",), "$.a", 'is "x"; type "integer" was expected.')]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("é\x1b\x7f", '"\\u00e9\\u001b\\u007f"'),
        ([1, None], "[1, null]"),
        ("a" * 78, '"' + "a" * 78 + '"'),
        ("a" * 79, '"' + "a" * 78 + "…"),
    ],
)
def test_a_strangers_value_is_printable_and_short(value: object, text: str) -> None:
    assert shown(value) == text
    assert len(text) <= 80
