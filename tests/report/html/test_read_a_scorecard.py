"""The documentation's picture is what its command draws, and it explains what the page shows."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from runner.report.html.words import words
from runner.scoring.metrics import METRICS


def test_the_picture_is_the_one_that_the_command_draws(root: Path, drawing: Any) -> None:
    drawn = drawing.draw(drawing.example_task())
    assert (root / "docs" / "pictures" / "scorecard.svg").read_text(encoding="utf-8") == drawn
    assert "None" not in drawn
    tree = ElementTree.fromstring(drawn)
    assert tree.tag == "{http://www.w3.org/2000/svg}svg"
    assert not [element for element in tree.iter() if element.tag.endswith("script")]


def test_every_metric_of_the_page_is_explained(root: Path) -> None:
    text = (root / "docs" / "read-a-scorecard.md").read_text(encoding="utf-8")
    for name in METRICS:
        if METRICS[name].base is None or METRICS[name].kind == "derived":
            assert words(name).title in text, name
