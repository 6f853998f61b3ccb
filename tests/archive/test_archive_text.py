"""An archive's list and the result of its check, as words: every value in its place, and no name steers a terminal."""

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from runner.archive import text
from runner.archive.check import Checked
from runner.archive.heads import Checkpoint
from runner.archive.index import Leaf
from runner.archive.text import plain, print_checked, print_entries
from runner.core.errors import Fault


def leaf(sequence: int, name: str, tasks: Mapping[str, Any], *, comparable: bool = True) -> Leaf:
    return Leaf(
        sequence=sequence,
        previous=None,
        added_at="2026-11-02T10:00:00Z",
        card="0123456789abcdef" * 4,
        recomputed=False,
        files={},
        summary={"name": name, "comparable": comparable, "tasks": tasks},
        sha256="0" * 64,
    )


def task(split: str, value: float | None) -> dict[str, Any]:
    return {"split": split, "metric": "cross_entropy", "value": value}


def test_each_task_of_a_card_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    two = {"dilemmas": task("test", 0.61237), "anecdotes": task("dev", None)}
    print_entries([leaf(1, "first", two), leaf(12, "second\x1b[2J", {}), leaf(13, "x" * 90, {"t": task("dev", 0.5)})])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["no.", "added", "submission", "task", "value", "card"],
        ["1", "2026-11-02", "first", "dilemmas", "test", "0.6124", "0123456789ab"],
        ["anecdotes", "dev", "–"],
        ["12", "2026-11-02", r"second\x1b[2J", "–", "–", "0123456789ab"],
        ["13", "2026-11-02", "x" * 90, "t", "dev", "0.5000", "0123456789ab"],
    ]


def test_what_may_not_be_compared_is_marked_and_the_mark_explained(capsys: pytest.CaptureFixture[str]) -> None:
    entries = [leaf(1, "a", {"t": task("dev", 0.5)}), leaf(2, "b", {"t": task("dev", 0.4)}, comparable=False)]
    print_entries(entries)
    *_, one, other, legend = capsys.readouterr().out.splitlines()
    assert ("0.5000*" in one, "0.4000*" in other) == (False, True)
    assert legend == "* says of itself that it may not be compared"
    print_entries(entries[:1])
    assert "*" not in capsys.readouterr().out


def test_a_terminal_has_so_many_columns_for_a_name_and_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = Console(force_terminal=True, color_system=None, width=200, file=io.StringIO())
    monkeypatch.setattr(text, "console", lambda: wide)
    print_entries([leaf(1, "n" * 22, {"t" * 15: task("test", 0.5)}), leaf(2, "n" * 23, {"t" * 16: task("test", 0.5)})])
    _, fits, cut = wide.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert fits.split()[2:5] == ["n" * 22, "t" * 15, "test"]
    assert cut.split()[2:5] == ["n" * 21 + "…", "t" * 16, "te…"]


def test_a_text_is_cut_to_columns_with_a_sign_of_it() -> None:
    assert plain("abcdef", 6) == "abcdef"
    assert plain("abcdefg", 6) == "abcde…"
    assert plain("abcd  g", 6) == "abcd…"
    assert plain("界界界界", 6) == "界界…"
    assert plain("abcdefg") == "abcdefg"


WHOLE = Checked(1200, 1100, 3400, "a" * 64, Checkpoint(1199, "b" * 64, "2026-11-02T10:00:00Z", "c" * 64), (), (), 2.0)


def test_a_check_says_what_it_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    print_checked(WHOLE)
    assert capsys.readouterr().out.splitlines() == [
        "1,200 entries, 1,100 cards, 3,400 objects in 2.0 s, 550 cards/s",
        f"head {'a' * 64}",
        f"signed up to entry 1199 by key {'c' * 16}…",
        "✓ whole: nothing was removed or altered up to the head",
    ]
    fault = Fault("ARCHIVE_GAP", "gone", "here")
    print_checked(replace(WHOLE, cards=0, head=None, signed=None, notes=("a\x07note",), faults=(fault,)))
    assert capsys.readouterr().out.splitlines() == ["1,200 entries, 0 cards, 3,400 objects in 2.0 s", r"! a\x07note"]


def test_a_check_as_json() -> None:
    assert WHOLE.to_json() == {
        "whole": True,
        "entries": 1200,
        "cards": 1100,
        "objects": 3400,
        "head": "a" * 64,
        "signed_head": {
            "sequence": 1199,
            "entry": "b" * 64,
            "signed_at": "2026-11-02T10:00:00Z",
            "keyid": "c" * 64,
        },
        "faults": [],
        "notes": [],
        "seconds": 2.0,
        "cards_per_second": 550.0,
    }
    damaged = replace(WHOLE, signed=None, seconds=0.0, faults=(Fault("ARCHIVE_GAP", "gone", "here"),), notes=("n",))
    assert damaged.to_json() | {"whole": False, "signed_head": None, "cards_per_second": None} == damaged.to_json()
    assert damaged.to_json()["faults"] == [{"code": "ARCHIVE_GAP", "file": "here", "message": "gone"}]
    assert damaged.to_json()["notes"] == ["n"]
