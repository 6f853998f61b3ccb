"""What is said of a sweep: one line a submission for people, JSON lines for programs."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from runner.report import sweep
from runner.sweep.board import Compared
from runner.sweep.state import Record

PREDICT = {"event": "progress", "name": "tiny", "stage": "predict", "total": 100}
RESULT = {
    "event": "result", "name": "tiny", "submission": "s", "key": "k", "weights_bytes": 1, "state": "done",
    "exit_code": 0,
    "seconds": 3725.0, "run": "tiny/1", "card_sha256": "0", "cache": "stored", "faults": (),
    "metric": "cross_entropy",
    "values": {"dilemmas": 0.69312, "anecdotes": None}, "prompts": 1200, "prompts_per_second": 34.56, "again": False,
}  # fmt: skip
ANEW = {"code": "CACHE", "message": "Computed anew: torn."}
FAILED = {"code": "OUT_OF_MEMORY", "message": "Not enough \x1b[31mmemory."}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {},
            "tiny                         done        1:02:05  "
            "cross_entropy: dilemmas 0.6931, anecdotes not measured · 1,200 prompts, 34.6/s",
        ),
        (
            {"cache": "used", "seconds": 9.6, "values": {"dilemmas": 0.5}, "prompts": 0, "prompts_per_second": None},
            "tiny                         done           0:10  cross_entropy: dilemmas 0.5000 · answers from the cache",
        ),
        (
            {"again": True, "seconds": 1, "values": {}, "faults": (ANEW,)},
            "tiny                         done           0:01  cross_entropy:  · done before · Computed anew: torn.",
        ),
        (
            {"state": "failed", "seconds": 0, "faults": (FAILED, FAILED)},
            "tiny                         failed         0:00  "
            "OUT_OF_MEMORY: Not enough \\x1b[31mmemory. (and 1 more)",
        ),
        ({"state": "waiting", "seconds": None}, "tiny                         waiting        0:00"),
    ],
)  # fmt: skip
def test_a_submission_is_one_line(changes: Any, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    sweep.observer("rich", quiet=False)(RESULT | changes)
    assert capsys.readouterr().out == f"{line}\n"
    sweep.observer("rich", quiet=True)(RESULT | changes)
    assert capsys.readouterr().out == ""


def test_a_terminal_shows_prompts_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([10.0, 12.0])
    monkeypatch.setattr(sweep.time, "monotonic", lambda: next(clock))
    shown = io.StringIO()
    tell = sweep._lines(Console(file=shown, force_terminal=True, width=90))
    tell({"event": "start", "name": "tiny", "number": 2, "of": 8})
    tell({"event": "progress", "name": "tiny", "stage": "load", "done": 0, "total": 0})
    tell({**PREDICT, "done": 0})
    tell({**PREDICT, "done": 40})
    tell(RESULT)
    lines = shown.getvalue().split("\r\x1b[2K")
    assert lines[1] == "2/8 tiny                         loading the model"
    assert lines[3] == "2/8 tiny                         40/100 prompts · 20.0/s · 0:03 left"
    assert lines[-1] == ""  # the line is gone before the result is there
    assert capsys.readouterr().out.startswith("tiny  ")


def test_programs_get_json_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([10.0, 11.0, 11.0, 11.0, 11.1, 11.1, 12.0, 12.0])
    monkeypatch.setattr(sweep.time, "monotonic", lambda: next(clock))
    tell = sweep.observer("json", quiet=True)
    for done in (0, 10, 20, 100):
        tell({**PREDICT, "done": done})
    tell(RESULT)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event.get("done") for event in events] == [0, 10, 100, None]  # once a second within a stage
    assert (events[1]["prompts_per_second"], events[1]["seconds_left"]) == (10.0, 9.0)
    assert events[-1]["values"] == {"dilemmas": 0.69312, "anecdotes": None}


def test_comparisons_tell_the_primary_metric_or_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"family": "primary", "difference": -0.1, "lower": -0.2, "upper": 0.01, "verdict": "undecided"}
    result = {"a": {"name": "base"}, "tasks": {"dilemmas": {"metrics": {"cross_entropy": row, "kl": {"family": "x"}}}}}
    compared = [Compared("one", result), Compared("two", None, ("The suite differs.", "And more."))]
    record = Record("one", "s", "k", 1, "done")
    sweep.print_end([record, Record("two", "s", "k", 1)], None, compared, "rich")
    assert capsys.readouterr().out.splitlines() == [
        "one                          dilemmas: cross_entropy -0.1000 [-0.2000, +0.0100] against base: undecided",
        "two                          not compared: The suite differs.",
        "1 of 2 submissions have a card.",
    ]
    sweep.print_end([record], None, compared, "json")
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(event["event"], event["name"]) for event in events] == [("comparison", "one"), ("comparison", "two")]
