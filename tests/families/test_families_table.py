"""docs/families.md says what the command finds, and no family in it is refused without a reason."""

import os
import sys
from pathlib import Path

import pytest
from support import real_models
from support.paths import ROOT

# Libraries warn of their own next versions.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

HERE = Path(__file__).parent
PAGE = ROOT / "docs" / "families.md"
PEER = Path(os.environ.get("TRANSFORMERS4", ROOT / "results" / "transformers4")) / "bin" / "python"
# Each of another architecture, vocabulary and way; the command itself measures them all.
SOME = ("Llama-3.1-8B-Instruct", "zephyr-7b-beta", "Mistral-7B-Instruct-v0.3", "bert-large-uncased", "gemma-2-2b-it")


@pytest.mark.parametrize("name", SOME)
def test_the_page_says_what_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "agreement"))
    import table

    real_models.templates()
    if not PEER.exists():
        pytest.skip("transformers 4.57 is not here: make families")
    (row,) = table.rows(name, str(PEER))
    if row.cells["validates"].startswith("not tried"):
        pytest.skip(row.cells["validates"])
    assert table.line_of(row) in PAGE.read_text(encoding="utf-8").splitlines()
    assert "families" in sys.modules


@pytest.mark.skipif(not PAGE.exists(), reason="make families writes it")
def test_the_page_has_the_families_of_the_seed_paper_and_twenty_more() -> None:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ") and "/" in line]
    assert len(lines) >= 20
    for name in ("Llama-3.1-8B-Instruct", "zephyr-7b-beta", "Mistral-7B-Instruct-v0.3", "bert-", "roberta-"):
        assert any(name in line for line in lines)
    assert not [line for line in lines if " apart" in line or " differ" in line or "not tried" in line]
