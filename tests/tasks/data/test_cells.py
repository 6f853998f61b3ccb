"""Cells of tables: what is a list or mapping in them, and what stays the text that it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.tasks.data.cells import value_of_cell

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@given(st.lists(PLAIN, max_size=4) | st.dictionaries(st.text(), PLAIN, max_size=4))
def test_what_python_writes_is_read(value: object) -> None:
    assert value_of_cell(repr(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yes",
        "4",
        "(1, 2)",
        "[4 1]",
        "{1, 2}",
        "{'a': 1, 'a'}",
        "[1 + 2j]",
        "{(1, 2): 3}",
        "{1: 2, '1': 3}",
        "[__import__('os')]",
        "[open]",
        "[f'{1}']",
        "[b'a']",
        "[1e999]",
        "[" * 60_000,
        "[" * 150 + "]" * 149,
        "[" + "-" * 60_000 + "1]",
        "[" + "1," * 40_000 + "'a']",
        "[" + "9" * 5_000 + "]",
        "['\ud800']",
        "['\x00']",
    ],
    ids=lambda text: text[:12].encode("unicode_escape").decode(),
)
def test_what_is_neither_stays_the_text(text: str) -> None:
    assert value_of_cell(text) == text
