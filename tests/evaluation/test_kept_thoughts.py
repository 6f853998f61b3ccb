"""thoughts.jsonl: a line for each drawn answer in the order of the predictions, whatever was kept, lost or altered."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from runner.core.errors import InvalidInput
from runner.core.types import Prediction, Thought
from runner.evaluation.journal import NAME, Journal
from runner.evaluation.thoughts import NOT_KEPT, read_thoughts, write_thoughts
from runner.scorecard.filenames import THOUGHTS

HEADER = {"key": "sha256:0", "nonce": None, "id": "1", "started_at": "2026-01-01T00:00:00Z"}


def row(item: str, thoughts: list[str] | None, answers: int = 2) -> Prediction:
    """Answers that all count for the first label."""
    return Prediction(
        task="t",
        item_id=item,
        log_scores=(-0.1, -2.0),
        split="dev",
        prompt_id="p",
        samples={"first": len(thoughts) if thoughts else answers, "second": 0},
        failures=0,
        thoughts=None if thoughts is None else tuple(Thought("first", text, len(text)) for text in thoughts),
    )


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / THOUGHTS).read_text(encoding="utf-8").splitlines()]


def test_lines_stand_in_the_order_of_the_predictions_and_parts_are_numbered_on(tmp_path: Path) -> None:
    rows = [row("b", ["b0"]), row("a", ["a0", "a1"]), row("b", ["b1", "b2"])]
    write_thoughts(tmp_path, [rows[1].key, rows[0].key], rows)
    assert [(line["item_id"], line["draw"], line["thought"]) for line in lines(tmp_path)] == [
        ("a", 0, "a0"),
        ("a", 1, "a1"),
        ("b", 0, "b0"),
        ("b", 1, "b1"),
        ("b", 2, "b2"),
    ]
    assert lines(tmp_path)[0] == {
        **rows[1].key._asdict(),
        "draw": 0,
        "label": "first",
        "thought": "a0",
        "characters": 2,
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == [THOUGHTS]


def test_what_was_not_kept_is_said(tmp_path: Path) -> None:
    rows = [row("a", None), row("a", ["", "y"])]
    write_thoughts(tmp_path, [rows[0].key], rows)
    found = lines(tmp_path)
    assert [line["thought"] for line in found] == [None, None, "", "y"]
    assert [line.get("reason") for line in found] == [NOT_KEPT, NOT_KEPT, None, None]
    assert [line["draw"] for line in found] == [0, 1, 2, 3]


def test_no_character_of_a_thought_steers_a_terminal(tmp_path: Path) -> None:
    text = "é漢 \x1b[2J\x9b31m\x7f\r\n\u202e\u200b\u2028\U000e0041\ud800"
    write_thoughts(tmp_path, [row("a", None).key], [row("a", [text.encode("utf-8", "replace").decode(), text])])
    data = (tmp_path / THOUGHTS).read_bytes()
    assert all(line.decode("utf-8").isprintable() for line in data.splitlines())
    assert "é漢" in data.decode("utf-8")
    assert [line["thought"] for line in lines(tmp_path)][1] == text


def test_a_journal_keeps_thoughts_on_disk_and_not_in_memory(tmp_path: Path) -> None:
    rows = [row("a", ["x", "y"]), row("b", None), row("b", ["z"])]
    with Journal.create(tmp_path, HEADER) as journal:
        journal.append(rows[1:2])
        assert not journal.has_thoughts
        plain = (tmp_path / NAME).read_bytes()
        assert b"thoughts" not in plain
        journal.append([rows[0], rows[2]])
        journal.append([row("c", None)])
        assert journal.has_thoughts
        written = [rows[1], rows[0], rows[2], row("c", None)]
        assert journal.done == [replace(one, thoughts=None) for one in written]
        assert list(journal.read_rows()) == written
    with (tmp_path / NAME).open("ab") as stream:
        stream.write(b"torn")
    with Journal.resume(tmp_path) as again:  # type: ignore[union-attr]
        assert again.has_thoughts
        assert again.done == journal.done
        assert list(again.read_rows()) == written


# --- of shards ------------------------------------------------------------------------------------------------------

ROWS = [row("a", ["x", "y\x1b"]), row("b", None), row("c", ["z", ""])]
PLAIN = [replace(one, thoughts=None) for one in ROWS]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    write_thoughts(tmp_path, [one.key for one in ROWS], ROWS)
    return tmp_path


def test_thoughts_are_read_again_beside_their_rows(shard: Path) -> None:
    assert list(read_thoughts(shard, PLAIN)) == ROWS
    (shard / THOUGHTS).unlink()
    assert list(read_thoughts(shard, PLAIN)) == PLAIN


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("\n", "", "Extra data"),
        ('"thought":"x"', '"thought":1', "a text"),
        ('"draw":1', '"draw":0', "answer 1 to item a"),
        ('"item_id":"c"', '"item_id":"d"', "item c"),
        ('"label":"first","thought":"x"', '"label":"second","thought":"x"', "other answers"),
        ('"label":"first","thought":"x","characters":1', '"label":null,"thought":null,"characters":null', "1 thoughts"),
        ('"characters":1', '"characters":0', "no fewer"),
        ('"draw":0,', "", "fields"),
    ],
)
def test_an_altered_file_of_a_shard_is_refused_with_its_line(shard: Path, old: str, new: str, words: str) -> None:
    text = (shard / THOUGHTS).read_text(encoding="utf-8")
    assert old in text
    (shard / THOUGHTS).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InvalidInput, match=words) as refused:
        list(read_thoughts(shard, PLAIN))
    [fault] = refused.value.faults
    assert (fault.code, fault.file) == ("SHARD_DAMAGED", str(shard / THOUGHTS))
    assert fault.line is not None


def test_too_many_or_too_few_lines_are_refused(shard: Path) -> None:
    text = (shard / THOUGHTS).read_text(encoding="utf-8")
    for altered in (text + text.splitlines()[0] + "\n", "".join(text.splitlines(keepends=True)[:-1])):
        (shard / THOUGHTS).write_text(altered, encoding="utf-8")
        with pytest.raises(InvalidInput):
            list(read_thoughts(shard, PLAIN))
