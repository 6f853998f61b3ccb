"""Faults as words for a terminal, as JSON for a program, or as annotations for a forge's continuous integration."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal, assert_never

from runner.core.errors import Fault
from runner.core.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.containers import Lines
    from rich.text import Text

Format = Literal["rich", "json", "github"]

_WIDTH = 80
_INDENT = 2


def render(faults: Sequence[Fault], format: Format, console: "Console | None" = None, *, stderr: bool = False) -> str:
    """`faults` as text that ends in a newline; empty for no faults, except in JSON, where it is an empty array.

    `rich` is coloured and 80 columns wide on a terminal (without colour where NO_COLOR is set), and neither coloured
    nor wrapped elsewhere; a path is never cut. `stderr` says where it goes, unless `console` is given. `json` is an
    array of objects with all fields of a fault, null where unknown; `github` is one workflow
    command `::error …` each (docs.github.com, "Workflow commands for GitHub Actions"). Control characters that a
    hostile file brings into a message are escaped everywhere.
    """
    match format:
        case "rich":
            return _rich(faults, console, stderr)
        case "json":
            return json.dumps([asdict(fault) for fault in faults], indent=2) + "\n"
        case "github":
            return "".join(f"{_annotation(fault)}\n" for fault in faults)
        case _:
            assert_never(format)


def _rich(faults: Sequence[Fault], console: "Console | None", stderr: bool) -> str:
    from rich.text import Text

    from runner.report.console import UNWRAPPED, screen

    if not faults:
        return ""
    if console is None:
        console = screen(stderr)
        console.width = _WIDTH if console.is_terminal else UNWRAPPED
    with console.capture() as capture:
        for fault in faults:
            head = Text.assemble((printable(fault.place()), "bold"), " " if fault.place() else "", (fault.code, "red"))
            console.print(head, soft_wrap=True)  # a location that a terminal can open is never broken
            where = Text(f"{printable(fault.path)}: " if fault.path else "", "cyan")
            paragraphs = [Text.assemble(where, printable(fault.message))]
            if fault.hint:
                paragraphs.append(Text(printable(fault.hint), "green"))
            for paragraph in paragraphs:
                for line in _lines(paragraph, console.width - _INDENT):
                    console.print(Text(" " * _INDENT).append_text(line), soft_wrap=True)  # nor one in a sentence
        console.print(f"{len(faults)} {'fault' if len(faults) == 1 else 'faults'}", style="bold")
    lines = capture.get().splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _lines(paragraph: "Text", width: int) -> "Lines":
    """`paragraph` broken between words; one that is wider than a line stays whole, since it may be a path."""
    from rich.cells import cell_len

    offsets, column = [], 0
    for word in re.finditer(r"\S+\s*", paragraph.plain):
        if column and column + cell_len(word[0].rstrip()) > width:
            offsets.append(word.start())
            column = 0
        column += cell_len(word[0])
    return paragraph.divide(offsets)


def _annotation(fault: Fault) -> str:
    places = {"file": fault.file, "line": fault.line, "col": fault.column, "title": fault.code}
    properties = ",".join(f"{name}={_property(str(value))}" for name, value in places.items() if value is not None)
    path = f"{fault.path}: " if fault.path else ""
    hint = f" {fault.hint}" if fault.hint else ""
    return f"::error {properties}::{_data(printable(f'{path}{fault.message}{hint}'))}"


def _data(text: str) -> str:
    """The escapes that the message of a workflow command needs."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """The escapes that a property of a workflow command needs."""
    return _data(printable(text)).replace(":", "%3A").replace(",", "%2C")
