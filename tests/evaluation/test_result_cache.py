"""Answers of finished runs: taken only for an equal run, as they were written, and if the model still gives them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import tiny_submission

from runner.core.canonical import sha256_bytes
from runner.core.types import Prediction, Prompt
from runner.evaluation import result_cache
from runner.evaluation.journal import encode_record
from runner.evaluation.result_cache import CachedAnswers, cache_key, checked_answers, finish, load_answers

PASSED, FAILED = {"passed": True}, {"passed": False}
SUBMISSION = tiny_submission.of(Path("model"))
CONTENT = {"benchmark": "sha256:1", "submission": "sha256:2", "plan": "sha256:3", "backend": {"batch_tokens": 64}}
KEY = cache_key(SUBMISSION, CONTENT)
PROMPTS = [
    Prompt("t", "test", name, "letters", 0, "", {}, "", "", (("A",), ("B",)), 100, None, ("a", "b")) for name in "xyz"
]
ANSWERS = [
    Prediction("t", prompt.item_id, (-0.1 / 3, -1e-300), split="test", prompt_id="letters", prompt_tokens=3)
    for prompt in PROMPTS
]


def entry(folder: Path) -> Path:
    [file] = folder.iterdir()
    return file


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    assert finish(tmp_path / "cache", KEY, CachedAnswers(None), "run-1", ANSWERS, PASSED) == {
        "state": "stored",
        "prompts": 0,
        "run": None,
        "reason": None,
    }
    return tmp_path / "cache"


def test_an_equal_run_takes_the_answers_after_a_self_check(stored: Path) -> None:
    asked: list[Any] = []

    def self_check(answers: Any) -> Any:
        asked.append(list(answers))
        return PASSED

    cached = checked_answers(stored, KEY, PROMPTS, self_check)
    assert cached.answers == ANSWERS  # to the last bit
    assert asked == [ANSWERS]
    before = entry(stored).read_bytes()
    assert finish(stored, KEY, cached, "run-2", ANSWERS, PASSED) == {
        "state": "used",
        "prompts": 3,
        "run": "run-1",
        "reason": None,
    }
    assert entry(stored).read_bytes() == before


def test_a_model_that_answers_otherwise_now_is_asked_everything(stored: Path) -> None:
    cached = checked_answers(stored, KEY, PROMPTS, lambda answers: FAILED)
    assert cached.answers is None
    noted = finish(stored, KEY, cached, "run-2", ANSWERS, PASSED)
    assert noted["state"] == "stored"
    assert "self-check" in noted["reason"]
    assert load_answers(stored, KEY, PROMPTS).run == "run-2"


def test_nothing_is_kept_of_a_run_whose_self_check_failed(tmp_path: Path) -> None:
    noted = finish(tmp_path / "cache", KEY, CachedAnswers(None), "run-1", ANSWERS, FAILED)
    assert noted["state"] == "not stored"
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_costs_no_run(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    noted = finish(tmp_path / "cache", KEY, CachedAnswers(None), "run-1", ANSWERS, PASSED)
    assert noted["state"] == "not stored"
    assert "cannot be written" in noted["reason"]


def other_answers(data: bytes) -> bytes:
    return data.replace(b"-0.03", b"-0.04")


def with_a_right_digest(data: bytes) -> bytes:
    """As somebody would who wants other answers to be taken: they are, unless the self-check tells them apart."""
    header, _, rows = other_answers(data).partition(b"\n")
    value = json.loads(header.partition(b" ")[2])
    value["predictions"]["sha256"] = sha256_bytes(rows)
    return encode_record(json.dumps(value)) + rows


def with_a_right_checksum(**changes: Any) -> Callable[[bytes], bytes]:
    """Another first line, with the checksum that belongs to it."""

    def change(data: bytes) -> bytes:
        header, _, rows = data.partition(b"\n")
        return encode_record(json.dumps(json.loads(header.partition(b" ")[2]) | changes)) + rows

    return change


@pytest.mark.parametrize(
    "damage",
    [
        other_answers,
        lambda data: data[:-20],
        lambda data: b"",
        lambda data: b"\xff" + data,
        lambda data: data + data.splitlines(keepends=True)[-1],
        with_a_right_checksum(schema_version="2"),
        with_a_right_checksum(key={}),
        with_a_right_checksum(key={"infinite": 2**60}),
        with_a_right_checksum(run=1),
        with_a_right_checksum(more=1),
        with_a_right_checksum(predictions=None),
    ],
)
def test_an_entry_that_is_not_as_it_was_written_is_not_used(damage: Callable[[bytes], bytes], stored: Path) -> None:
    entry(stored).write_bytes(damage(entry(stored).read_bytes()))
    cached = checked_answers(stored, KEY, PROMPTS, lambda answers: pytest.fail("nothing is to be checked"))
    assert cached.answers is None
    assert cached.damage
    noted = finish(stored, KEY, cached, "run-2", ANSWERS, PASSED)
    assert (noted["state"], noted["prompts"]) == ("stored", 0)
    assert "not used" in noted["reason"]
    assert load_answers(stored, KEY, PROMPTS).answers == ANSWERS


@given(st.data())
def test_a_changed_byte_is_seen(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("cache")
    finish(folder, KEY, CachedAnswers(None), "run-1", ANSWERS, PASSED)
    whole = entry(folder).read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    entry(folder).write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
    cached = load_answers(folder, KEY, PROMPTS)
    assert cached.answers is None
    assert cached.damage


def test_answers_with_a_right_digest_are_still_held_against_the_model(stored: Path) -> None:
    entry(stored).write_bytes(with_a_right_digest(entry(stored).read_bytes()))
    seen: list[Any] = []

    def self_check(answers: Any) -> Any:
        seen.extend(answers)
        return FAILED

    assert checked_answers(stored, KEY, PROMPTS, self_check).answers is None
    assert seen != ANSWERS


def test_answers_to_other_prompts_are_not_taken(stored: Path) -> None:
    assert load_answers(stored, KEY, PROMPTS[::-1]).damage
    assert load_answers(stored, KEY, PROMPTS[:2]).damage


def test_another_run_has_another_entry(stored: Path) -> None:
    model = SUBMISSION.model
    others = [
        cache_key(SUBMISSION, CONTENT | {"plan": "sha256:4"}),
        cache_key(SUBMISSION, CONTENT | {"backend": {"batch_tokens": 65}}),
        cache_key(tiny_submission.of(Path("model"), Path("adapter")), CONTENT),
        cache_key(replace(SUBMISSION, model=replace(model, dtype="bfloat16")), CONTENT),
        cache_key(replace(SUBMISSION, model=replace(model, format="chat")), CONTENT),
        cache_key(replace(SUBMISSION, model=replace(model, template_arguments={"thinking": True})), CONTENT),
    ]
    for key in others:
        assert load_answers(stored, key, PROMPTS) == CachedAnswers(None)
    assert len({result_cache._entry(stored, key) for key in [KEY, *others]}) == 7


def test_a_name_and_a_folder_are_no_part_of_it(stored: Path) -> None:
    other = replace(tiny_submission.of(Path("elsewhere")), name="other", description="of the same files")
    assert load_answers(stored, cache_key(other, CONTENT), PROMPTS).answers == ANSWERS
