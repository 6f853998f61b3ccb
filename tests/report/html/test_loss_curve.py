"""The drawing of a loss curve: every value where it belongs, the same bytes each time."""

import re
from xml.etree import ElementTree

from runner.report.html import loss_curve

ROWS = [
    {"step": 0, "evaluation": {"dilemmas": 0.7, "anecdotes": 1.6, "selection": 1.15}},
    {"step": 1, "epoch": 0.5, "loss": 2.0, "learning_rate": 0.1, "gradient_norm": 1.0},
    {"step": 2, "epoch": 1.0, "loss": 1.0, "learning_rate": 0.1, "gradient_norm": 1.0},
    {"step": 2, "evaluation": {"dilemmas": 0.6, "anecdotes": 1.4, "selection": 1.0}},
]
SVG = "{http://www.w3.org/2000/svg}"


def test_lines_go_through_their_values() -> None:
    drawn = ElementTree.fromstring(loss_curve(ROWS))
    lines = [line.get("points", "").split() for line in drawn.iter(f"{SVG}polyline")]
    assert lines == [["50.0,2.0", "98.0,98.0"], ["2.0,2.0", "98.0,98.0"], ["2.0,2.0", "98.0,98.0"]]
    titles = [text.text for text in drawn.iter(f"{SVG}text") if text.get("class") == "big"]
    assert titles == ["Training loss", "Cross-entropy of dilemmas, evaluated", "Cross-entropy of anecdotes, evaluated"]
    assert len(list(drawn.iter(f"{SVG}circle"))) == 4


def test_same_bytes_and_nothing_from_elsewhere() -> None:
    assert loss_curve(ROWS) == loss_curve(ROWS)
    assert not re.search(rb"script|href|url\(", loss_curve(ROWS))


def test_one_step_is_enough() -> None:
    drawn = ElementTree.fromstring(loss_curve(ROWS[:2]))
    titles = [text.text for text in drawn.iter(f"{SVG}text") if text.get("class") == "big"]
    assert titles == ["Training loss", "Cross-entropy of dilemmas, evaluated", "Cross-entropy of anecdotes, evaluated"]
    assert "nan" not in ElementTree.tostring(drawn, encoding="unicode")


def test_names_are_escaped() -> None:
    drawn = ElementTree.fromstring(loss_curve([{"step": 0, "evaluation": {"<b>": 0.5}}, ROWS[1]]))
    assert "Cross-entropy of <b>, evaluated" in [text.text for text in drawn.iter(f"{SVG}text")]
