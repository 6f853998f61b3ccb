"""The seam: what is written is read back, what is malformed is told with its line, and rows find their items."""

import json
import math
import os
import re
import resource
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jsonschema import Draft202012Validator
from support import factories

from runner.core import resources
from runner.core.errors import InvalidInput
from runner.core.strict_json import JsonFault, parse
from runner.core.types import Prediction
from runner.tasks.answers import align, by_task_and_split
from runner.tasks.predictions import from_row, read, to_line
from runner.tasks.scales import read_scores

LABELS = ("first", "second")
SCHEMA = Draft202012Validator(
    json.loads((resources.schema_folder() / "predictions.schema.json").read_text(encoding="utf-8"))
)

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
told = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)
scores = st.floats(-1e6, 1e6)
counts = st.integers(0, 2**40)
predictions = st.builds(
    Prediction,
    task=names,
    item_id=names,
    log_scores=st.lists(scores, min_size=2, max_size=6).map(tuple),
    split=st.none() | names,
    prompt_id=st.none() | names,
    order=st.integers(0, 9),
    prompt_sha256=st.none() | names,
    prompt_tokens=st.none() | counts,
    token_counts=st.none() | st.lists(counts, max_size=6).map(tuple),
    truncated=st.booleans(),
    answer_mass=st.none() | st.floats(0, 1),
    concentration=st.none() | st.floats(1e-9, 1e9),
    bounded=st.none() | st.lists(st.integers(0, 9), max_size=4, unique=True).map(tuple),
    usage=st.none() | st.tuples(counts, counts),
    model_version=st.none() | told,
    system_fingerprint=st.none() | told,
    samples=st.none() | st.dictionaries(names, counts, min_size=2, max_size=4),
    failures=st.none() | counts,
    failed=st.none()
    | st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), min_size=1, max_size=3).map(tuple),
)


# --- rows ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(st.lists(predictions, max_size=5))
def test_what_is_written_is_read_back(tmp_path_factory, rows):
    path = factories.write_rows(tmp_path_factory.mktemp("rows") / "p.jsonl", rows)
    assert list(read(path)) == rows


@given(predictions)
def test_a_line_is_one_line_and_fits_the_schema(row):
    line = to_line(row)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    SCHEMA.validate(json.loads(line))


def test_defaults_are_left_out_but_the_order_beside_a_prompt():
    assert json.loads(to_line(Prediction("t", "i", (0.0, -1.5)))) == {
        "task": "t",
        "item_id": "i",
        "log_scores": [0, -1.5],
    }
    assert json.loads(to_line(Prediction("t", "i", (0.0, 1.0), prompt_id="p")))["order"] == 0


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**53 - 1) | st.floats(allow_nan=False, width=32) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
FIELDS = sorted(asdict(Prediction("", "", ())))
COUNTS = ("order", "prompt_tokens", "text_tokens", "token_counts", "bounded", "usage", "samples", "failures")


@given(predictions, st.sampled_from([*FIELDS, "log_score", ""]), anything)
@example(Prediction("t", "i", (0.0, 0.0)), "log_scores", [0.0, -1e9])
@example(Prediction("t", "i", (0.0, 0.0)), "log_scores", [0.0])
@example(Prediction("t", "i", (0.0, 0.0)), "truncated", 1)
@example(Prediction("t", "i", (0.0, 0.0)), "order", True)
@example(Prediction("t", "i", (0.0, 0.0)), "prompt_id", "x" * 151)
@example(Prediction("t", "i", (0.0, 0.0)), "answer_mass", 0)
@example(Prediction("t", "i", (0.0, 0.0)), "concentration", 0)
@example(Prediction("t", "i", (0.0, 0.0)), "bounded", [1, 1])
@example(Prediction("t", "i", (0.0, 0.0)), "bounded", [-1])
@example(Prediction("t", "i", (0.0, 0.0)), "usage", [1])
@example(Prediction("t", "i", (0.0, 0.0)), "usage", [1, -1])
@example(Prediction("t", "i", (0.0, 0.0)), "model_version", "x" * 201)
@example(Prediction("t", "i", (0.0, 0.0)), "system_fingerprint", "")
@example(Prediction("t", "i", (0.0, 0.0)), "system_fingerprint", "fp\n")
@example(Prediction("t", "i", (0.0, 0.0)), "system_fingerprint", "\x1b[31m")
@example(Prediction("t", "i", (0.0, 0.0)), "samples", {"a": 1, "b": 2})
@example(Prediction("t", "i", (0.0, 0.0)), "samples", {"a": 1})
@example(Prediction("t", "i", (0.0, 0.0)), "samples", {"a": 1, "b": -2})
@example(Prediction("t", "i", (0.0, 0.0)), "samples", {"a": 1, "b" * 151: 2})
@example(Prediction("t", "i", (0.0, 0.0)), "samples", {str(label): 1 for label in range(65)})
@example(Prediction("t", "i", (0.0, 0.0), samples={"a": 1, "b": 2}), "log_scores", None)
@example(Prediction("t", "i", (0.0, 0.0)), "log_scores", None)
@example(Prediction("t", "i", (0.0, 0.0)), "failures", -1)
@example(Prediction("t", "i", (0.0, 0.0)), "failures", None)
@example(Prediction("t", "i", (0.0, 0.0)), "failed", ["none of them"] * 4)
@example(Prediction("t", "i", (0.0, 0.0)), "failed", ["x" * 1001])
@example(Prediction("t", "i", (0.0, 0.0)), "failed", [])
@example(Prediction("t", "i", (0.0, 0.0)), "failed", [1])
@example(Prediction("t", "i", (0.0, 0.0)), "failed", None)
def test_a_row_is_accepted_exactly_where_the_schema_accepts_it(row, field, value):
    changed = {**json.loads(to_line(row)), field: value}
    try:
        document = parse(json.dumps(changed, allow_nan=False).encode())
    except (JsonFault, ValueError):
        return  # infinities and halves of surrogates end before there is a row
    whole = [value] if isinstance(value, float) else [*value.values()] if isinstance(value, dict) else value
    if field in COUNTS and isinstance(whole, list) and any(isinstance(one, float) for one in whole):
        return  # JSON Schema calls 1.0 an integer, and we do not
    if SCHEMA.is_valid(document):
        assert to_line(from_row(document))
    else:
        with pytest.raises(ValueError, match=re.escape(field) or "unknown field"):
            from_row(document)


GOOD = {"task": "t", "item_id": "i", "log_scores": [0.0, -1.0]}


def but(**changes):
    return json.dumps({**GOOD, **changes}).encode()


MALFORMED = {
    b"": "Expecting value",
    b"{": "Expecting",
    b"null": "found null",
    b"[]": "found a list of 0",
    b'"text"': 'found "text"',
    b"{} {}": "Extra data",
    b"{}": "'task' is missing",
    b'{"task": "t"}': "'item_id' is missing",
    b'{"task": "t", "item_id": "i"}': "'log_scores' is missing",
    b"\xff": "not UTF-8",
    b"\xef\xbb\xbf" + but(): "byte-order mark",
    but(task="t")[:-1] + b', "task": "u"}': "key given twice",
    but(log_score=[1, 2]): "unknown field 'log_score'",
    but(task=""): "1 to 150",
    but(task=None): "a value is needed",
    but(item_id=7): "non-empty string",
    but(log_scores=None): "a value is needed",
    but(log_scores="0"): "list of finite numbers",
    but(log_scores=[]): "list of finite numbers",
    but(log_scores=[0]): "list of finite numbers",
    but(log_scores=[0, None]): "list of finite numbers",
    but(log_scores=[0, True]): "list of finite numbers",
    but(log_scores=[[0], [1]]): "list of finite numbers",
    but(log_scores=[0, math.nan]): "NaN is not a JSON number",
    but(log_scores=[0, -math.inf]): "-Infinity is not a JSON number",
    but(log_scores=[0, -1])[:-2] + b"e999]}": "overflows",
    but(log_scores=[0, -3.4e38]): "within ±1,000,000 are needed, one is -3.4e+38",
    but(order=-1): "whole number",
    but(order=1.5): "whole number",
    but(order=None): "a value is needed",
    but(truncated=1): "true or false",
    but(truncated=None): "a value is needed",
    but(answer_mass=1.2): "a probability",
    but(answer_mass=-0.1): "a probability",
    but(concentration=0): "a number between",
    but(concentration=1e300): "a number between",
    but(prompt_tokens=-1): "whole number",
    but(token_counts=[1, -1]): "list of counts",
    but(token_counts=3): "list of counts",
    b'{"task": "\\ud800", "item_id": "i", "log_scores": [0, 0]}': "half a surrogate pair",
    b"[" * 100_000: "levels deep",
    b'{"a":' * 100: "levels deep",
    b'{"task": ' + b"9" * 5000 + b"}": "beyond 2^53",
    but(item_id="x" * (1 << 20)): "bytes",
}


@pytest.mark.parametrize(("line", "words"), MALFORMED.items(), ids=range(len(MALFORMED)))
def test_a_malformed_row_is_told_with_its_line(tmp_path, line, words):
    path = tmp_path / "p.jsonl"
    path.write_bytes(but() + b"\n" + line + b"\n" + but() + b"\n")
    with pytest.raises(InvalidInput) as caught:
        list(read(path))
    (fault,) = caught.value.faults
    assert (fault.code, fault.file, fault.line) == ("PREDICTION_ROW", str(path), 2)
    assert words in fault.message
    assert len(fault.message) < 400


def test_all_faults_at_once_up_to_twenty(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(b"{}\n" + but() + b"\n" + b"[]\n")
    with pytest.raises(InvalidInput) as caught:
        list(read(path))
    assert [fault.line for fault in caught.value.faults] == [1, 3]
    path.write_bytes(b"{}\n" * 500)
    with pytest.raises(InvalidInput) as caught:
        list(read(path))
    assert [fault.line for fault in caught.value.faults] == list(range(1, 21))


def test_a_file_of_another_kind_is_one_fault(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("# Title\n\nSome words.\n" * 20, encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        list(read(path))
    (fault,) = caught.value.faults
    assert (fault.code, fault.line) == ("PREDICTION_ROW", 1)
    assert "log_scores" in fault.hint
    path.write_text("x\n" * 4 + "{}\n", encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        list(read(path))
    assert [fault.line for fault in caught.value.faults] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir])
def test_a_file_that_cannot_be_read(tmp_path, make):
    path = tmp_path / "p.jsonl"
    make(path)
    with pytest.raises(InvalidInput) as caught:
        list(read(path))
    assert caught.value.faults[0].code == "FILE_MISSING"


@pytest.mark.slow
@given(st.binary(max_size=60) | st.lists(predictions.map(to_line), max_size=3).map("".join).map(str.encode), st.data())
def test_no_bytes_lead_to_a_traceback(tmp_path_factory, data, choose):
    path = tmp_path_factory.mktemp("rows") / "p.jsonl"
    if data:
        place = choose.draw(st.integers(0, len(data) - 1))
        data = data[:place] + bytes([choose.draw(st.integers(0, 255))]) + data[place + 1 :]
    path.write_bytes(data)
    found, faults = [], ()
    try:
        found = list(read(path))
    except InvalidInput as error:
        faults = error.faults
    assert all(isinstance(row, Prediction) for row in found)
    assert all(fault.line and fault.code == "PREDICTION_ROW" for fault in faults)


# --- rows and items -----------------------------------------------------------------------------------------------

ITEMS = factories.items([[3, 2], [5, 0], [1, 4]])


def faults_of(rows, items=ITEMS, labels=LABELS):
    with pytest.raises(InvalidInput) as caught:
        align(items, labels, rows, "p.jsonl")
    assert {fault.code for fault in caught.value.faults} == {"RUN_INCONSISTENT"}
    assert {fault.file for fault in caught.value.faults} == {"p.jsonl"}
    return [fault.message for fault in caught.value.faults]


def whole(orders=2, **more):
    return factories.rows("t", ITEMS, np.zeros((3, orders, 2)), **more)


def test_rows_in_any_order_are_put_in_the_order_of_the_items():
    rows = factories.rows("t", ITEMS, np.arange(12.0).reshape(3, 2, 2) ** 2)
    expected = align(ITEMS, LABELS, rows)
    shuffled = align(ITEMS, LABELS, [rows[n] for n in (0, 5, 3, 1, 4, 2)])
    assert shuffled.views == expected.views == (("p", 0), ("p", 1))
    assert (shuffled.log_probs == expected.log_probs).all()
    assert expected.log_probs[1, 1] == pytest.approx([-13 - math.log1p(math.exp(-13)), -math.log1p(math.exp(-13))])


def test_an_item_without_an_answer():
    assert faults_of(whole()[:-1]) == ["Item 'i2' has no answer for prompt 'p', order 1."]
    assert faults_of(factories.rows("t", ITEMS[:2], np.zeros((2, 1, 2)), None)) == ["Item 'i2' has no answer."]
    assert len(faults_of([])) == 3


def test_an_item_answered_twice():
    assert faults_of([*whole(), whole()[3]]) == ["Item 'i1' is answered twice for prompt 'p', order 1."]


def test_an_item_that_is_not_among_those_scored():
    assert faults_of([*whole(), Prediction("t", "elsewhere", (0, 0), prompt_id="p")]) == [
        "Item 'elsewhere' is not an item of the task's split."
    ]


def test_views_that_not_every_item_has():
    extra = factories.rows("t", ITEMS[:1], np.zeros((1, 1, 2)), "other")
    assert faults_of([*whole(), *extra]) == [
        f"Item '{name}' has no answer for prompt 'other', order 0." for name in ("i1", "i2")
    ]


def test_a_wrong_number_of_labels():
    rows = whole(1)
    rows[1] = Prediction("t", "i1", (0.0, 0.0, 0.0), prompt_id="p")
    assert faults_of(rows) == [
        "Item 'i1' has 3 scores, the task has 2 labels.",
        "Item 'i1' has no answer for prompt 'p', order 0.",
    ]


def test_rows_with_and_without_a_prompt_or_a_concentration():
    assert any(
        "some rows name a prompt ('p')" in one.lower() for one in faults_of([*whole(1), *whole(1, prompt_id=None)])
    )
    mixed = [*whole(2)[::2], *whole(2, concentration=3.0)[1::2]]
    assert faults_of(mixed) == ["3 of 6 rows have a concentration, all or none were expected."]


def test_many_faults_are_counted():
    messages = faults_of([], factories.items(np.ones((50, 2))))
    assert len(messages) == 21
    assert messages[-1] == "… and 30 more."


shaped = hnp.arrays(
    float, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5), elements=st.floats(-80, 80)
)


@given(shaped.filter(lambda array: array.shape[2] > 1))
def test_views_are_averaged_as_probabilities(array):
    labels = tuple("abcde"[: array.shape[2]])
    members = factories.items(np.ones((len(array), len(labels))))
    found = align(members, labels, factories.rows("t", members, array)).averaged()
    for item, views in zip(found, array.tolist(), strict=True):
        each = []
        for view in views:
            masses = [math.exp(score - max(view)) for score in view]
            each.append([mass / math.fsum(masses) for mass in masses])
        mean = [math.fsum(view[label] for view in each) / len(each) for label in range(len(labels))]
        assert np.exp(item) == pytest.approx(mean, rel=1e-11, abs=1e-300)


@given(hnp.arrays(float, (4, 2, 3), elements=st.floats(-1e6, 1e6)))
def test_the_largest_scores_are_normalised(array):
    members = factories.items(np.ones((4, 3)))
    found = align(members, tuple("abc"), factories.rows("t", members, array))
    assert np.isfinite(found.log_probs).all()
    assert np.exp(found.log_probs).sum(axis=2) == pytest.approx(np.ones((4, 2)))


@given(st.floats(-1e5, 1e5))
def test_a_constant_added_to_all_scores_of_a_row_changes_nothing(shift):
    array = np.random.default_rng(0).normal(size=(3, 2, 2))
    one, other = (align(ITEMS, LABELS, factories.rows("t", ITEMS, scores)) for scores in (array, array + shift))
    assert other.log_probs == pytest.approx(one.log_probs, abs=1e-9)


def test_mass_concentration_and_truncation_go_with_their_items():
    rows = [
        Prediction("t", "i2", (0, 0), answer_mass=0.5, concentration=4.0, truncated=True),
        Prediction("t", "i0", (0, 0), concentration=2.0),
        Prediction("t", "i1", (0, 0), answer_mass=0.25, concentration=1.0),
    ]
    found = align(ITEMS, LABELS, rows)
    assert found.concentration.tolist() == [2.0, 1.0, 4.0]
    assert np.isnan(found.answer_mass[0, 0])
    assert found.answer_mass[1:, 0].tolist() == [0.25, 0.5]
    assert found.truncated == ("i2",)


# --- rows and splits ----------------------------------------------------------------------------------------------

WANTED = {
    ("t", "test"): factories.items([[1, 1]] * 2),
    ("t", "dev"): factories.items([[1, 1]] * 2, "f"),
    ("u", "test"): ITEMS,
}


def test_rows_without_a_split_find_theirs():
    rows = [Prediction("t", "f1", (0, 0)), Prediction("t", "i0", (0, 0)), Prediction("u", "i0", (0, 0), split="test")]
    found = by_task_and_split(rows, WANTED)
    assert {key: [row.item_id for row in group] for key, group in found.items()} == {
        ("t", "dev"): ["f1"],
        ("t", "test"): ["i0"],
        ("u", "test"): ["i0"],
    }


def test_an_item_in_two_splits_belongs_to_the_scored_one_unless_it_says():
    both = {("t", "test"): ITEMS, ("t", "dev"): ITEMS}
    rows = [Prediction("t", "i0", (0, 0)), Prediction("t", "i0", (0, 0), split="dev")]
    assert [key for key, group in by_task_and_split(rows, both).items() if group == rows[:1]] == [("t", "test")]


def test_rows_of_another_task_split_or_item_are_told_with_their_line():
    rows = [
        Prediction("t", "i0", (0, 0)),
        Prediction("v", "i0", (0, 0)),
        Prediction("t", "i0", (0, 0), split="train"),
        Prediction("t", "elsewhere", (0, 0)),
    ]
    with pytest.raises(InvalidInput) as caught:
        by_task_and_split(rows, WANTED, "p.jsonl")
    assert [(fault.line, fault.code) for fault in caught.value.faults] == [(n, "RUN_INCONSISTENT") for n in (2, 3, 4)]
    assert "t (dev), t (test), u (test)" in caught.value.faults[0].message


def test_a_file_that_is_one_endless_line_is_refused_by_its_beginning(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"")
    os.truncate(path, 4 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidInput) as caught:
        list(read(path))
    assert {fault.code for fault in caught.value.faults} == {"PREDICTION_ROW"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # KiB


def rows_of(tmp_path, *scores, **more):
    path = tmp_path / "scores.jsonl"
    path.write_text(
        "".join(
            json.dumps({"task": "t", "item_id": str(n), "log_scores": row, **more}) + "\n"
            for n, row in enumerate(scores)
        )
        + "\n \n",
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize(
    ("scores", "word", "scale"),
    [
        ([0.25, 0.75], "probabilities", "probabilities"),
        ([25, 75], "percentages", "probabilities"),
        ([2.0, -1.0], "logits", "logits"),
        ([-0.1, -0.2], "logits", "logits"),
    ],
)
def test_scores_that_are_no_log_probabilities_are_refused_unless_told(tmp_path, scores, word, scale):
    path = rows_of(tmp_path, [-0.5, -1.2], scores, index=7)
    with pytest.raises(InvalidInput) as refused:
        read_scores(path)
    (fault,) = refused.value.faults
    assert (fault.code, fault.line) == ("PREDICTION_SCALE", 2)
    assert f"1 of 2 rows are {word}" in fault.message
    assert f"--scale {scale}" in fault.hint
    (told,) = read_scores(rows_of(tmp_path, scores), scale)
    (flagged,) = read_scores(rows_of(tmp_path, scores, **{scale: True}))
    assert told == flagged
    assert sum(map(math.exp, told.log_scores)) == pytest.approx(1)
    assert told.log_scores[1] - told.log_scores[0] == pytest.approx(
        math.log(scores[1] / scores[0]) if scale == "probabilities" else scores[1] - scores[0]
    )


@pytest.mark.parametrize("scores", [[0.5, 0.2], [1.0, 0.0], [-1.0, 2.0]])
def test_what_is_called_probabilities_must_be_some(tmp_path, scores):
    with pytest.raises(InvalidInput, match="PREDICTION_ROW"):
        read_scores(rows_of(tmp_path, scores), "probabilities")
