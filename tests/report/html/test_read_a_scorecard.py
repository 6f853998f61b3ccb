"""The documentation's pictures are what their command draws, and the page explains what it shows."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from runner.report.html.words import words
from runner.scoring.metrics import METRICS


@pytest.mark.slow
def test_the_pictures_are_those_that_the_command_draws(root: Path, drawing: Any) -> None:
    drawn = drawing.pictures()
    assert drawn.keys() == {"scorecard.svg", "card.svg", "board.svg"}
    for name, text in drawn.items():
        assert (root / "docs" / "pictures" / name).read_text(encoding="utf-8") == text, name
        assert "None" not in text, name
        tree = ElementTree.fromstring(text)
        assert tree.tag == "{http://www.w3.org/2000/svg}svg"
        assert not [element for element in tree.iter() if element.tag.endswith("script")]


def test_every_metric_of_the_page_is_explained(root: Path) -> None:
    text = (root / "docs" / "read-a-scorecard.md").read_text(encoding="utf-8")
    for name in METRICS:
        if METRICS[name].base is None or METRICS[name].kind == "derived":
            assert words(name).title in text, name
