"""What was thought before drawn answers: bounded, with the label of its answer, and no part of a row of predictions."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.types import Prediction, Prompt, SamplingFormat
from runner.models.worker import protocol
from runner.tasks.predictions import from_row, to_row
from runner.tasks.prompts import prompt_sha256
from runner.tasks.sampled import count, log_scores, united
from runner.tasks.thoughts import (
    MAX_CHARACTERS,
    MAX_CHARACTERS_OF_ROW,
    from_record,
    thoughts_of,
    to_record,
    with_thoughts,
)

LABELS = ("first", "second")
ANSWERS = ["A", "x\nB", None, ""]


def prompt(samples: int = 4) -> Prompt:
    form = SamplingFormat((("A",), ("B",)), samples, 1.0, 1.0, 8)
    return Prompt(
        "t", "dev", "i", "p", 0, "Q?", {}, "\nAnswer:", "Answer:", (), 100, None, labels=LABELS, sampling=form
    )


def answered(answers: list[str | None], texts: list[str], question: Prompt) -> Prediction:
    assert question.sampling is not None
    samples, failures, failed = count(answers, question.sampling, LABELS)
    return Prediction(
        **question.key._asdict(),
        log_scores=log_scores(list(samples.values()), failures),
        prompt_sha256=prompt_sha256(question),
        samples=samples,
        failures=failures,
        failed=failed or None,
        thoughts=thoughts_of(answers, texts, question),
    )


def test_each_answer_has_its_thought_and_the_label_that_it_counts_for() -> None:
    row = answered(ANSWERS, ["a", "b", "c", ""], with_thoughts(prompt()))
    assert row.thoughts is not None
    assert [(thought.label, thought.text) for thought in row.thoughts] == [
        ("first", "a"),
        ("second", "b"),
        (None, "c"),
        (None, ""),
    ]
    assert answered(ANSWERS, ["a", "b", "c", ""], prompt()).thoughts is None


def test_a_row_of_predictions_is_the_same_with_thoughts_and_without() -> None:
    row = answered(ANSWERS, ["a", "b", "c", ""], with_thoughts(prompt()))
    assert to_row(row) == to_row(replace(row, thoughts=None))
    assert united([row, row]).thoughts is None
    with pytest.raises(ValueError, match="unknown field 'thoughts'"):
        from_row(json.loads(json.dumps(to_record(row))))


@pytest.mark.parametrize(
    ("samples", "most"), [(1, MAX_CHARACTERS), (8, MAX_CHARACTERS), (1024, MAX_CHARACTERS_OF_ROW // 1024)]
)
def test_a_long_thought_is_cut_and_a_row_of_them_fits_into_a_message(samples: int, most: int) -> None:
    question = with_thoughts(prompt(samples))
    letter = "x" if samples > 8 else "\U0001d54f"
    row = answered(["A"] * samples, [letter * (most + 7)] * samples, question)
    assert row.thoughts is not None
    assert {(len(thought.text), thought.characters) for thought in row.thoughts} == {(most, most + 7)}
    line = protocol.to_line({"item": to_record(row)})
    # Outside the Basic Multilingual Plane a character is 12 bytes of ASCII; label, length and brackets are some 100.
    assert 12 * MAX_CHARACTERS_OF_ROW + 100 * 1024 + 10_000 < protocol.MOST_BYTES
    assert len(line) <= 12 * most * samples + 100 * samples + 10_000
    assert protocol.prediction_of(protocol.message_of(line)["item"], question) == row


@given(
    st.lists(
        st.tuples(st.sampled_from(ANSWERS), st.text(st.characters(exclude_categories=["Cs"]), max_size=20)), min_size=1
    )
)
def test_a_record_is_read_again(drawn: list[tuple[str | None, str]]) -> None:
    question = with_thoughts(prompt(len(drawn)))
    row = answered([answer for answer, _ in drawn], [text for _, text in drawn], question)
    assert from_record(json.loads(json.dumps(to_record(row)))) == row


@pytest.mark.parametrize(
    ("thoughts", "words"),
    [
        ("abc", "a list"),
        ([["first", "x", 1]], "1 thoughts of 4"),
        ([["first", "x"]] * 4, "a label, a text and a length"),
        ([["first", "x", 1], ["first", "x", 1], [None, "", 0], [None, "", 0]], "other answers"),
        ([["first", "x", 1], ["third", "x", 1], [None, "", 0], [None, "", 0]], "other answers"),
        ([["first", "x", 1], ["second", "x", 0], [None, "", 0], [None, "", 0]], "characters"),
        ([["first", "x", 1], ["second", "x", True], [None, "", 0], [None, "", 0]], "characters"),
        ([["first", "x" * (MAX_CHARACTERS + 1), 10**6], ["second", "x", 1], [None, "", 0], [None, "", 0]], "at most"),
        ([[1, "x", 1], ["second", "x", 1], [None, "", 0], [None, "", 0]], "a label or null"),
        ([["first", None, 1], ["second", "x", 1], [None, "", 0], [None, "", 0]], "a text"),
    ],
)
def test_a_workers_thoughts_are_checked(thoughts: Any, words: str) -> None:
    question = with_thoughts(prompt())
    record = {**to_record(answered(ANSWERS, [""] * 4, question)), "thoughts": thoughts}
    with pytest.raises(protocol.ProtocolError, match=words):
        protocol.prediction_of(json.loads(json.dumps(record)), question)


def test_a_worker_gives_thoughts_where_they_were_asked_for_and_only_there() -> None:
    question = with_thoughts(prompt())
    record = json.loads(json.dumps(to_record(answered(ANSWERS, [""] * 4, question))))
    assert protocol.prediction_of(dict(record), question).thoughts is not None
    with pytest.raises(protocol.ProtocolError, match="not asked for"):
        protocol.prediction_of(dict(record), prompt())
    del record["thoughts"]
    with pytest.raises(protocol.ProtocolError, match="not asked for"):
        protocol.prediction_of(record, question)
