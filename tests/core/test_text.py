"""Text of strangers shows what it holds, and text that people write stays as it is."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.unseen import UNSEEN

from runner.core.text import is_unseen, name_of, printable


@pytest.mark.parametrize("character", UNSEEN, ids=lambda character: f"U+{ord(character):04X}")
def test_two_names_that_look_alike_are_told_apart(character: str) -> None:
    assert is_unseen(character)
    text = printable(f"my{character}model")
    assert text.isascii()
    assert ast.literal_eval(f"'{text}'") == f"my{character}model"


def test_what_draws_nothing_and_what_draws_something() -> None:
    for character in "\x00\n\x7f\x9f\u00ad\u200b\u202e\u2028\u2029\ud800\udfff\U000e0001":
        assert is_unseen(character), ascii(character)
    for character in "aß模🙂é 1~\u0301":
        assert not is_unseen(character), ascii(character)


@pytest.mark.parametrize("text", ["Zoë's naïve modèl", "模型 7B", "модель", "❤\ufe0f 🙂 é", "a-b_c.d/e", ""])
def test_what_people_write_stays(text: str) -> None:
    assert printable(text) == text


@given(st.text())
def test_nothing_unseen_is_left(text: str) -> None:
    assert not any(map(is_unseen, printable(text)))
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)


@pytest.mark.parametrize(
    ("value", "name"),
    [("1", "1"), (1, "1"), (1.0, "1"), (-2.0, "-2"), (True, "true"), (False, "false"), (1.5, None), (None, None),
     ([1], None), (float("nan"), None), (float("inf"), None), ("", "")],
)  # fmt: skip
def test_a_label_has_one_name_however_it_is_published(value: object, name: str | None) -> None:
    assert name_of(value) == name
