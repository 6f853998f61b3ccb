"""Every form of a leaderboard says what the values say: on a board made by hand, without an archive."""

import csv
import io
import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from runner.archive.leaderboard.formats import percent, render
from runner.archive.leaderboard.values import (
    CardWarning,
    ComparisonKey,
    Group,
    Leaderboard,
    Reference,
    Row,
    Run,
    Section,
    Unranked,
)

SHARED, OWN = CardWarning("items", "few items"), CardWarning("order_gap", "the order counts")
MEASURES = ComparisonKey(
    benchmark="moral",
    version="1.2.0",
    benchmark_digest="sha256:0123456789abcdef",
    suite="full",
    task="dilemmas",
    split="test",
    dataset="scruples",
    data_sha256="fedcba9876543210",
    items=2340,
    labels=("first", "second"),
    prompts=(("letters", "sha256:aa"),),
    views=("letters/0", "letters/1"),
    limit=None,
    system_prompt="Answer honestly.",
)


def row(name: str, rank: int, value: float, **more: Any) -> Row:
    values: dict[str, Any] = {
        "rank": rank,
        "best": rank,
        "worst": rank,
        "tied": False,
        "paired": False,
        "name": name,
        "kind": "model",
        "model": f"someone/{name}",
        "submission": f"sha256:{name}",
        "card": f"{rank}" * 64,
        "value": value,
        "standard_error": 0.005,
        "lower": value - 0.01,
        "upper": value + 0.01,
        "finished_at": "2026-11-01T00:00:00Z",
        "added_at": "2026-11-02T00:00:00Z",
        "keyid": "ab" * 32,
        "signed_by": "A lab",
        "submissions_of_signer": 3,
        "runs": (Run(f"{rank}" * 64, rank, "2026-11-01T00:00:00Z", value),),
        "claimed": None,
        "skill": 0.421,
        "skill_lower": 0.4,
        "skill_upper": 0.44,
        "warnings": (SHARED,),
        "format": "chat",
    }
    return Row(**(values | more))


def group_of(*rows: Row, **more: Any) -> Group:
    references = (
        Reference("ceiling", "ceiling", 0.5),
        Reference("other people", "panel", 0.56, 0.55, 0.57, skill=0.68),
        Reference("theirs", "file", 0.6, 0.59, 0.61, card="9" * 64, skill=0.3),
    )
    values: dict[str, Any] = {
        "measures": MEASURES,
        "metric": "cross_entropy",
        "lower_is_better": True,
        "level": 0.95,
        "sections": (Section("self-reported", rows),),
        "references": references,
        "notes": ("A note to the reader.",),
        "warnings": (SHARED,),
    }
    return Group(**(values | more))


BEST = row("best", 1, 0.55)
SECOND = row(
    "second",
    2,
    0.6012,
    best=1,
    worst=3,
    tied=True,
    kind="file",
    signed_by=None,
    skill=None,
    claimed=0.58,
    lower=None,
    upper=None,
    warnings=(SHARED, OWN),
    runs=tuple(Run(f"{n}" * 64, n, "2026-11-01T00:00:00Z", value) for n, value in enumerate((0.64, 0.58, 0.6012))),
)
APART = Unranked("not comparable", "limited", "8" * 64, "sha256:limited", ("dilemmas", "anecdotes"), ("why", "also"))
BOARD = Leaderboard("here", "7" * 64, 4, (group_of(BEST, SECOND),), (APART,), ("entry 3 is gone",))


def test_json_is_every_value() -> None:
    assert json.loads(render(BOARD, "json")) == json.loads(json.dumps(asdict(BOARD)))
    assert render(BOARD, "json").endswith("}\n")


def test_csv_has_every_value_in_its_column() -> None:
    damage, first, second, *references, apart = csv.DictReader(io.StringIO(render(BOARD, "csv")))
    assert (damage["section"], damage["reasons"]) == ("damaged", "entry 3 is gone")
    for found, one in ((first, BEST), (second, SECOND)):
        for name in ("rank", "value", "standard_error", "lower", "upper", "skill", "skill_lower", "skill_upper"):
            expected = getattr(one, name)
            assert found[name] == ("" if expected is None else repr(expected)), name
        for name in ("name", "kind", "model", "submission", "card", "keyid", "finished_at", "added_at", "format"):
            assert found[name] == getattr(one, name), name
        for name in ("benchmark", "version", "benchmark_digest", "suite", "task", "split", "data_sha256"):
            assert found[name] == getattr(MEASURES, name), name
        assert (found["section"], found["items"], found["prompts"]) == ("self-reported", "2340", "letters/0 letters/1")
        assert (found["metric"], found["lower_is_better"], found["level"]) == ("cross_entropy", "true", "0.95")
        assert (found["trial"], found["limit"], found["paired"]) == ("false", "", "false")
        assert found["submissions_of_signer"] == "3"
    assert [second[name] for name in ("best_rank", "worst_rank", "tied")] == ["1", "3", "true"]
    assert [second[name] for name in ("runs", "lowest_run", "highest_run", "claimed")] == ["3", "0.58", "0.64", "0.58"]
    assert (first["signed_by"], second["signed_by"]) == ("A lab", "")
    assert (first["warnings"], second["warnings"]) == ("items", "items order_gap")
    assert [(one["section"], one["name"], one["kind"], one["value"]) for one in references] == [
        ("reference", "ceiling", "ceiling", "0.5"),
        ("reference", "other people", "panel", "0.56"),
        ("reference", "theirs", "file", "0.6"),
    ]
    assert [references[2][name] for name in ("lower", "upper", "card", "skill")] == ["0.59", "0.61", "9" * 64, "0.3"]
    assert [apart[name] for name in ("section", "kind", "task", "reasons", "name", "card", "submission")] == [
        "not ranked",
        "not comparable",
        "dilemmas anecdotes",
        "why; also",
        "limited",
        "8" * 64,
        "sha256:limited",
    ]


def test_markdown_is_a_table_that_another_reader_takes_apart() -> None:
    text = render(BOARD, "markdown")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    titles = [tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open"]
    assert titles == ["Leaderboard", "dilemmas, test, 2,340 items", "self-reported", "Not ranked"]
    inline = [tokens[at + 1] for at, token in enumerate(tokens) if token.type in ("th_open", "td_open")]
    cells = ["".join(part.content for part in cell.children or ()) for cell in inline]
    head, first, second = (cells[at : at + 9] for at in (0, 9, 18))
    assert len(cells) == 27
    assert head[:6] == ["rank", "ranks", "submission", "skill", "cross_entropy ↓", "interval"]
    assert first == ["1", "1", "best", "42 %", "0.5500", "0.5400 … 0.5600", "1", "A lab", "1" * 16]
    remarks = "second; 3 runs 0.5800…0.6400; claimed 0.5800; scored from a file; ! order_gap"
    assert second == ["=2", "1–3", remarks, "", "0.6012", "–", "3", "key abababab", "2" * 16]
    lines = text.splitlines()
    assert "- a file: theirs 0.6000 (0.5900 … 0.6100), 30 % of the way" in lines
    assert "- ceiling: ceiling 0.5000" in lines
    assert "- every card: few items" in lines
    assert f"- limited ({'8' * 16}), not comparable: why; also" in lines
    assert "**Damaged:** entry 3 is gone" in lines
    assert text.endswith("\n")


def test_a_terminal_shows_the_columns_and_what_stands_beside_them() -> None:
    lines = render(BOARD, "rich").splitlines()
    assert lines[0] == "DAMAGED: entry 3 is gone"
    assert lines[1] == "dilemmas  2,340 items of test, cross_entropy ↓"
    assert lines[2].startswith("moral 1.2.0, suite full (sha256:01234567…), data fedcba98…, asked letters/0, letters/1")
    assert lines[2].endswith(", system prompt: Answer honestly.")
    columns = [line.split() for line in lines]
    assert ["1", "1", "best", "42", "%", "0.5500", "0.5400", "…", "0.5600", "1" * 8] in columns
    at = columns.index(["=2", "1–3", "second", "0.6012", "–", "2" * 8])
    assert [line.strip() for line in lines[at + 1 : at + 5]] == [
        "3 runs 0.5800…0.6400",
        "claimed 0.5800",
        "scored from a file",
        "! order_gap",
    ]
    assert ["theirs", "30", "%", "0.6000", "0.5900", "…", "0.6100", "a", "file"] in columns
    assert "! every card: few items" in lines
    assert "A note to the reader." in lines
    assert "  limited 88888888 (dilemmas, anecdotes)" in lines
    assert lines[-2:] == ["    not comparable: why", "    not comparable: also"]


def test_what_a_group_measures_is_said_where_it_is_unusual() -> None:
    trial = replace(MEASURES, limit=1000, trial=True, prompts=None, system_prompt="x" * 81)
    board = replace(BOARD, groups=(group_of(BEST, measures=trial, released=False, lower_is_better=False),))
    text = render(board, "rich")
    assert "first 1,000 items only, not a released benchmark" in text
    assert f"prompts not said, system prompt: {'x' * 80}…" in text
    assert "cross_entropy ↑" in text
    assert "TRIAL: NOT A RESULT" in text
    assert "TRIAL: NOT A RESULT" in render(board, "markdown")
    assert "cross_entropy ↑" in render(board, "markdown").replace("\\", "")
    usual = render(BOARD, "rich")
    assert "not a released" not in usual
    assert "items only" not in usual
    assert "TRIAL" not in usual


@pytest.mark.parametrize(
    ("paired", "expected", "not_said"),
    [
        ((True, True), "leaves out 0. runs", "own intervals"),
        ((True, False), "for the 1 rows without predictions, the cards' own intervals are apart", "--data-dir"),
        ((False, False), "the cards' own intervals are apart (with --data-dir", "leaves out 0"),
    ],
)
def test_the_legend_says_by_what_two_rows_are_told_apart(
    paired: tuple[bool, bool], expected: str, not_said: str
) -> None:
    rows = (replace(one, paired=each) for one, each in zip((BEST, SECOND), paired, strict=True))
    board = replace(BOARD, groups=(group_of(*rows),))
    for format in ("rich", "markdown"):
        text = render(board, format)  # type: ignore[arg-type]
        assert expected in text
        assert not_said not in text


def test_a_console_that_is_given_is_the_one_that_is_written_for() -> None:
    narrow = Console(width=40, color_system=None, force_terminal=False)
    assert max(map(len, render(BOARD, "rich", narrow).splitlines()[2:4])) <= 40
    assert "\x1b[" not in render(BOARD, "rich", narrow)
    coloured = Console(width=200, force_terminal=True, color_system="standard")
    lines = render(BOARD, "rich", coloured).splitlines()
    for heading in (BOARD.groups[0].sections[0].assurance, "for reference"):
        assert f"\x1b[1m{heading}\x1b[0m" in lines  # bold


@pytest.mark.parametrize(
    ("skill", "text"),
    [
        (None, ""),
        (0.421, "42 %"),
        (0.0994, "9.9 %"),
        (0.0996, "10 %"),
        (-0.05, "−5.0 %"),
        (-0.0004, "0.0 %"),
        (-0.3, "−30 %"),
        (1.0, "100 %"),
    ],
)
def test_a_skill_is_a_percentage_with_one_digit_where_it_is_small(skill: float | None, text: str) -> None:
    assert percent(skill) == text
