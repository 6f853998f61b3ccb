"""Lists and checks of an archive as words for a terminal, within 80 columns; computes nothing."""

from collections.abc import Sequence

from rich.cells import set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.archive.check import Checked
from runner.archive.index import Leaf
from runner.core.text import printable

_WIDTH = 80
_NAME = 22


def console() -> Console:
    """Rich decides on colour (a terminal, NO_COLOR); piped output stays plain and 80 columns wide."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_WIDTH, color_system=None)


def plain(text: str, width: int | None = None) -> str:
    """`text` with what could steer a terminal written as escapes, cut to `width` columns."""
    shown = printable(text)
    if width is None or Text(shown).cell_len <= width:
        return shown
    return f"{set_cell_size(shown, width - 1).rstrip()}…"


def print_entries(entries: Sequence[Leaf]) -> None:
    """One line per entry and task, as the index says; nothing of it is verified here."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("no.", justify="right", no_wrap=True)
    for name in ("added", "submission", "task"):
        table.add_column(name, no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("card", no_wrap=True)
    for entry in entries:
        tasks = entry.summary["tasks"] or {"–": {"split": "", "value": None}}
        for place, (task, found) in enumerate(tasks.items()):
            first = place == 0
            mark = "" if entry.summary["comparable"] else "*"
            value = "–" if found["value"] is None else f"{found['value']:.4f}{mark}"
            table.add_row(
                str(entry.sequence) if first else "",
                entry.added_at[:10] if first else "",
                Text(plain(entry.summary["name"], _NAME)) if first else "",
                Text(plain(f"{task} {found['split']}", 20)),
                value,
                entry.card[:12] if first else "",
            )
    shown = console()
    shown.print(table)
    if any(not entry.summary["comparable"] for entry in entries):
        shown.print(Text("* says of itself that it may not be compared", "dim"))


def print_checked(found: Checked) -> None:
    """What was looked at, what is wrong, and the head to write down."""
    shown = console()
    rate = f", {found.cards / found.seconds:,.0f} cards/s" if found.cards and found.seconds > 0 else ""
    counted = f"{found.entries:,} entries, {found.cards:,} cards, {found.objects:,} objects"
    shown.print(Text(f"{counted} in {found.seconds:.1f} s{rate}"))
    if found.head is not None:
        shown.print(Text.assemble("head ", (found.head, "bold")), soft_wrap=True)
    if found.signed is not None:
        shown.print(Text(f"signed up to entry {found.signed.sequence} by key {found.signed.keyid[:16]}…"))
    for note in found.notes:
        shown.print(Text(f"! {plain(note)}", "yellow"))
    if not found.faults:
        shown.print(Text("✓ whole: nothing was removed or altered up to the head", "green"))
