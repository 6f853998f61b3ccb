"""Lists and checks of an archive as words for a terminal; computes nothing."""

from collections.abc import Sequence

from rich.cells import set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.archive.check import Checked
from runner.archive.index import Leaf
from runner.core.text import printable

_UNWRAPPED = 100_000
_NAME = 22


def console() -> Console:
    """Rich decides on colour (a terminal, NO_COLOR) and width; piped output stays plain and is not wrapped."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=_UNWRAPPED, color_system=None)


def plain(text: str, width: int | None = None) -> str:
    """`text` with what could steer a terminal written as escapes, cut to `width` columns."""
    safe_text = printable(text)
    if width is None or Text(safe_text).cell_len <= width:
        return safe_text
    return f"{set_cell_size(safe_text, width - 1).rstrip()}…"


def print_entries(entries: Sequence[Leaf]) -> None:
    """One line per entry and task, as the index says; nothing of it is verified here."""
    terminal = console()
    widths = (_NAME, 20) if terminal.is_terminal else (None, None)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("no.", justify="right", no_wrap=True)
    for name in ("added", "submission", "task"):
        table.add_column(name, no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("card", no_wrap=True)
    for entry in entries:
        tasks = entry.summary["tasks"] or {"–": {"split": "", "value": None}}
        for position, (task, result) in enumerate(tasks.items()):
            first = position == 0
            mark = "" if entry.summary["comparable"] else "*"
            value = "–" if result["value"] is None else f"{result['value']:.4f}{mark}"
            table.add_row(
                str(entry.sequence) if first else "",
                entry.added_at[:10] if first else "",
                Text(plain(entry.summary["name"], widths[0])) if first else "",
                Text(plain(f"{task} {result['split']}", widths[1])),
                value,
                entry.card[:12] if first else "",
            )
    terminal.print(table)
    if any(not entry.summary["comparable"] for entry in entries):
        terminal.print(Text("* says of itself that it may not be compared", "dim"))


def print_checked(result: Checked) -> None:
    """What was looked at, what is wrong, and the head to write down."""
    terminal = console()
    rate = f", {result.cards / result.seconds:,.0f} cards/s" if result.cards and result.seconds > 0 else ""
    counted = f"{result.entries:,} entries, {result.cards:,} cards, {result.objects:,} objects"
    terminal.print(Text(f"{counted} in {result.seconds:.1f} s{rate}"))
    if result.head is not None:
        terminal.print(Text.assemble("head ", (result.head, "bold")), soft_wrap=True)
    if result.signed is not None:
        terminal.print(Text(f"signed up to entry {result.signed.sequence} by key {result.signed.keyid[:16]}…"))
    for note in result.notes:
        terminal.print(Text(f"! {plain(note)}", "yellow"))
    if not result.faults:
        terminal.print(Text("✓ whole: nothing was removed or altered up to the head", "green"))
