"""The notebook of the documentation runs from its first cell to its last, and carries no outputs."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from runner.public_api import Card, Comparison


@pytest.fixture
def cells(root: Path) -> list[dict[str, Any]]:
    book = json.loads((root / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    return list(book["cells"])


def shown(source: str, names: dict[str, Any]) -> Any:
    """Run a cell and give what its last line shows, as a notebook does."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "<cell>", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)


@pytest.mark.slow
def test_the_notebook_runs(
    cells: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pandas")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    values = [shown("".join(cell["source"]), names) for cell in cells if cell["cell_type"] == "code"]
    pages = [value._repr_html_() for value in values if hasattr(value, "_repr_html_")]
    assert [type(value) for value in values if isinstance(value, Card | Comparison)] == [Card, Comparison]
    assert len(pages) == 4  # a card, a comparison and two frames
    assert all("<script" not in page for page in pages)
    printed = capsys.readouterr().out
    for task, block in names["comparison"]["tasks"].items():
        assert f"{task}: " in printed
        assert block["verdict"]["text"] in printed
    assert values[-1][-1][1] == "ok"


def test_no_outputs_are_kept(cells: list[dict[str, Any]]) -> None:
    for cell in cells:
        assert cell["cell_type"] in ("code", "markdown")
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
