"""What a machine lacked is told wherever its card is shown, and changes nothing about what was measured."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support import factories

from runner.report import terminal
from runner.report.html.card import card_page
from runner.scorecard import isolation
from runner.scorecard.load import open_card
from runner.scorecard.verify import verify

STATES = {"files": "unavailable: the kernel has no Landlock", "memory": "not with CUDA: …", "network": "active"}


def test_what_does_not_apply_is_not_missing() -> None:
    assert isolation.missing({"run": {"isolation": STATES}}) == ("files",)


@pytest.mark.parametrize("card", [{}, {"run": None}, {"run": {"isolation": None}}, {"run": {"isolation": []}}])
def test_without_a_model_nothing_is_missing(card: Any) -> None:
    assert isolation.missing(card) == ()


@pytest.mark.slow
def test_it_is_told_and_the_card_stays_as_comparable_as_it_was(tmp_path: Path, monkeypatch: Any) -> None:
    run = factories.scored(tmp_path, factories.sample_rows())
    card = factories.read_card(run)
    sound = card_page(open_card(run, factories.KEYRING), None, "not asked for")
    card["run"]["isolation"] = STATES
    factories.sign_again(run, card)
    report = verify(run, factories.KEYRING)
    (note,) = (check for check in report.checks if check.name == "isolation")
    assert (note.state, note.message) == ("note", "The model's process ran without these protections: files.")
    assert report.card["comparable"] is card["comparable"]
    page = card_page(open_card(run, factories.KEYRING), None, "not asked for")
    assert "ran without these protections" in page
    assert "ran without these protections" not in sound
    shown = io.StringIO()
    monkeypatch.setattr(terminal, "screen", lambda *_, **__: Console(file=shown, width=200))
    terminal.print_card(card, every_metric=False)
    assert note.message in shown.getvalue()
