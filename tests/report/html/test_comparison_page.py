"""The page of a comparison: its numbers are the comparison's, its directions and verdicts too."""

import copy
from pathlib import Path
from typing import Any

import pytest
from support.html_reader import numbers, resolve, shows, tag, tree

from runner.report.html import comparison_page
from runner.report.html.comparison import _strip
from runner.scorecard.compare import compare
from runner.signing.keyring import Keyring


@pytest.fixture(scope="module")
def result(run: Path, other_run: Path, keyring: Keyring) -> dict[str, Any]:
    return compare(run, other_run, keyring)


@pytest.mark.slow
def test_every_number_is_the_comparisons(result: dict[str, Any]) -> None:
    found = numbers(tree(comparison_page(result)))
    pointers = {number.pointer for number in found}
    for number in found:
        assert number.pointer is not None
        assert resolve({"comparison": result}, number.pointer) == number.value
        assert shows(number.text.replace("+", ""), number.value)
    for name, task in result["tasks"].items():
        for metric, row in task["metrics"].items():
            if row["difference"] is not None:
                for column in ("difference", "lower", "upper"):
                    assert f"/comparison/tasks/{name}/metrics/{metric}/{column}" in pointers


def test_better_is_to_the_right_whichever_way_a_metric_runs() -> None:
    row = {"difference": -0.1, "lower": -0.15, "upper": -0.05, "lower_is_better": True, "way": 0.2, "a": 0.6}
    lower, higher = _strip(row), _strip({**row, "lower_is_better": False})
    assert lower is not None
    assert higher is not None
    assert lower.dot > 50
    assert lower.lower is not None
    assert lower.lower > 50
    assert higher.dot < 50
    even = _strip({"difference": 0.0, "lower": 0.0, "upper": 0.0, "lower_is_better": True, "way": None, "a": 0.0})
    assert even is not None
    assert even.dot == 50


def test_a_difference_too_small_to_matter_is_drawn_small() -> None:
    small = {"difference": -0.002, "lower": -0.003, "upper": -0.001, "lower_is_better": True, "way": 0.2, "a": 0.6}
    for row in (small, {**small, "way": None}):
        drawn = _strip(row)
        assert drawn is not None
        assert 50 < drawn.dot < 55
        assert drawn.width < 3


def test_the_page_says_the_sentence_of_the_terminal(result: dict[str, Any]) -> None:
    root = tree(comparison_page(result))
    leads = ["".join(element.itertext()) for element in root.iter("p") if element.get("class") == "lead"]
    sentences = [task["verdict"]["text"] for task in result["tasks"].values()]
    assert leads[1:] == sentences
    assert len(sentences) == 3
    for warning in result["warnings"]:
        assert warning["message"] in "".join(root.itertext())


def test_verdicts_and_names_are_text(result: dict[str, Any]) -> None:
    altered = copy.deepcopy(result)
    altered["a"]["name"] = "<script>alert(1)</script>"
    altered["gates"] = [{"gate": "<b>x</b>", "passed": False, "message": "failed"}]
    root = tree(comparison_page(altered))
    assert not [element for element in root.iter() if tag(element) == "script"]
    text = "".join(root.itertext())
    assert "<script>alert(1)</script>" in text
    assert "<b>x</b>" in text
    verdicts = [row["verdict"] for task in result["tasks"].values() for row in task["metrics"].values()]
    shown = ["".join(cell.itertext()) for cell in root.iter("td") if cell.get("class") == "verdict"]
    assert sorted(shown) == sorted(verdicts)
