"""Faults in words, as JSON and as annotations; the goldens are what people and programs see."""

import io
import json
from pathlib import Path
from typing import get_args

import pytest
from rich.console import Console

from runner.config import check_file
from runner.core.errors import Fault
from runner.report.faults import Format, render

HOSTILE = (
    Fault(
        "X", "Percent 100%, colon: and a\nline\r\x1b[31m break.", "a,b:c%.yaml", 3, 4, "$['\x9b']", "Use 50%, not 5."
    ),
    Fault("FILE_MISSING", "There is no such file.", "nowhere.yaml"),
    Fault("BARE", f"A long sentence without a place {'that goes on ' * 12}and ends."),
)


@pytest.fixture
def faults(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Fault, ...]:
    monkeypatch.chdir(root)
    examples = Path("tests/examples/invalid")
    files = (examples / "yaml" / "faults-of-both-kinds.yaml", examples / "benchmark" / "several.yaml")
    return (*(fault for file in files for fault in check_file(file)), *HOSTILE)


@pytest.mark.parametrize(("format", "suffix"), [("rich", "txt"), ("json", "json"), ("github", "txt")])
def test_golden(
    format: Format, suffix: str, faults: tuple[Fault, ...], root: Path, request: pytest.FixtureRequest
) -> None:
    path = root / "tests" / "golden" / f"faults-{format}.{suffix}"
    console = Console(width=80, color_system=None, file=io.StringIO())
    text = render(faults, format, console if format == "rich" else None)
    if request.config.getoption("--update-golden"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_rich_keeps_to_eighty_columns_but_never_breaks_a_place(faults: tuple[Fault, ...]) -> None:
    text = render(faults, "rich", Console(width=80, color_system=None, file=io.StringIO()))
    places = {f"{fault.place()} {fault.code}" for fault in faults}
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines if line not in places)
    assert sum(line in places for line in lines) >= len(faults) - 2
    assert lines[-1] == f"{len(faults)} faults"
    assert render(faults[:1], "rich").splitlines()[-1] == "1 fault"


def test_rich_respects_no_color(faults: tuple[Fault, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    def colours() -> bool:
        console = Console(width=80, force_terminal=True, color_system="standard", file=io.StringIO())
        return "\x1b[31m" in render(faults[:1], "rich", console)

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colours()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours()


def test_json_gives_every_field_of_every_fault(faults: tuple[Fault, ...]) -> None:
    found = json.loads(render(faults, "json"))
    assert [Fault(**one) for one in found] == list(faults)
    assert found[-1]["line"] is None


def test_github_escapes_as_the_runner_unescapes() -> None:
    """The reverse of the escapes in the runner's command parser gives back what was meant, one line each."""
    lines = render(HOSTILE, "github").splitlines()
    assert len(lines) == len(HOSTILE)
    assert lines[1:] == [
        "::error file=nowhere.yaml,title=FILE_MISSING::There is no such file.",
        f"::error title=BARE::{HOSTILE[2].message}",
    ]
    head, properties, message = lines[0].split("::", maxsplit=1)[0], *lines[0][2:].split("::", maxsplit=1)
    assert head == ""
    found = dict(part.split("=", maxsplit=1) for part in properties.removeprefix("error ").split(","))
    for name, value in found.items():
        for escaped, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            value = value.replace(escaped, character)
        found[name] = value
    assert found == {"file": "a,b:c%.yaml", "line": "3", "col": "4", "title": "X"}
    assert message.endswith("Use 50%25, not 5.")
    assert "\\x1b[31m" in message


@pytest.mark.parametrize("format", get_args(Format))
def test_control_characters_never_reach_the_reader(format: Format) -> None:
    text = render(HOSTILE, format, Console(width=80, color_system=None, file=io.StringIO()))
    assert all(character.isprintable() or character == "\n" for character in text)


def test_no_faults() -> None:
    assert render((), "rich") == ""
    assert render((), "github") == ""
    assert json.loads(render((), "json")) == []
