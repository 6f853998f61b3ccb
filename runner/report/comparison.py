"""A comparison as words for a terminal: a sentence and a bar a task, then the metrics side by side."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.report.console import screen
from runner.report.terminal import number, printable
from runner.scorecard.compare import RULE
from runner.scorecard.verdict import people

Json = Mapping[str, Any]

_BAR = 40
_A, _B, _BOTH, _PEOPLE = "○", "●", "◉", "┼"
_BESIDE = ("total_variation", "cross_entropy_calibrated", "accuracy")
"""What is shown beside the primary metric, as far as it is there; other tested metrics fill the three places."""
_STYLES = {"better": "green", "worse": "red", "differs": "yellow"}
_WIDE = 96
"""Columns from which on every column of the table fits."""
_ROUNDED = 0.005
"""Share of the way that a whole percentage does not show."""
_FEW = 1000
"""Items below which a fourth digit says nothing."""


def print_comparison(
    result: Json, console: Console | None = None, *, every_metric: bool = False, metrics: Sequence[str] = ()
) -> None:
    """Per task the verdict, where A and B stand between prior and ceiling, and paired differences, B − A.

    Shown are the primary metric and three others, `every_metric`, or those that `metrics` names.
    """
    console, result = console or screen(), printable(result)
    names = [(result[side]["name"], "bold") for side in ("a", "b")]
    console.print(Text.assemble(f"A {_A} ", names[0], f"   B {_B} ", names[1]))
    for name, task in result["tasks"].items():
        parts = task["verdict"]["parts"]
        console.print()
        console.print(Text(task["verdict"]["text"], style=f"bold {_STYLES.get(parts['verdict'], '')}".strip()))
        _print_bar(console, parts["places"])
        for line in _warnings(result["warnings"], name):
            console.print(Text(f"  ! {line}", style="yellow"))
        shown = metrics or (tuple(task["metrics"]) if every_metric else _shown(task, parts["metric"]))
        console.print(_table(task, [metric for metric in task["metrics"] if metric in shown], console.width >= _WIDE))
        if left := len(task["metrics"]) - len(shown):
            items = f"{task['items']:,} items"
            console.print(Text(f"{items}; {left} more metrics with -v" if not metrics else items, style="dim"))
    console.print()
    for gate in result["gates"]:
        console.print(Text(f"gate {gate['gate']}: {gate['message']}", style="green" if gate["passed"] else "red"))
    for note in result["notes"]:
        if note != RULE:
            console.print(Text(note, style="dim"))
    # The narrow table has no column `detect`, so its meaning is not said either.
    console.print(Text(RULE if console.width >= _WIDE else RULE.partition(" detect:")[0], style="dim"))


def _shown(task: Json, primary: str) -> tuple[str, ...]:
    metrics = task["metrics"]
    tested = [name for name, row in metrics.items() if row.get("p_adjusted") is not None and name != primary]
    beside = dict.fromkeys([*(name for name in _BESIDE if name in tested), *tested])
    return (primary, *list(beside)[:3])


def _print_bar(console: Console, places: Json) -> None:
    """One bar from the baseline (left) to the ceiling (right) with A, B and other people on it."""
    if places["baseline"] is None:
        return
    cells = ["─"] * _BAR
    marks = [("people", _PEOPLE), ("a", _A), ("b", _B)]
    drawn: dict[int, str] = {}
    for side, mark in marks:
        if places[side] is not None:
            at = min(max(round(places[side] * (_BAR - 1)), 0), _BAR - 1)
            drawn[at] = _BOTH if side == "b" and drawn.get(at) == _A else mark
    for at, mark in drawn.items():
        cells[at] = mark
    below = [side.upper() for side in ("a", "b") if places[side] < -_ROUNDED]
    above = [side.upper() for side in ("a", "b") if places[side] > 1 + _ROUNDED]
    line = Text(f"  {places['baseline']} {number(places['start'], 3)} ├{''.join(cells)}┤ ")
    line.append(f"{number(places['ceiling'], 3)} ceiling")
    console.print(line)
    legend = [f"{_BOTH} A and B"] if _BOTH in cells else []
    legend += [f"{_PEOPLE} {people(places['votes'])}"] if _PEOPLE in cells else []
    legend += [f"{' and '.join(below)} left of the {places['baseline']}"] if below else []
    legend += [f"{' and '.join(above)} right of the ceiling"] if above else []
    if legend:
        console.print(Text("  " + ", ".join(legend), style="dim"))


def _warnings(warnings: Sequence[Json], task: str) -> Iterator[str]:
    """Each message once, with the cards that carry it."""
    cards: dict[str, list[str]] = {}
    for warning in warnings:
        if warning["task"] == task:
            cards.setdefault(warning["message"], []).append(warning["card"])
    for message, own in cards.items():
        yield f"{' and '.join(own)}: {message}"


def _table(task: Json, names: Sequence[str], wide: bool) -> Table:
    digits = 3 if task["items"] < _FEW else 4
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("metric", overflow="fold")
    columns = ["A", "B", "B − A", f"{task['level'] * 100:g} % interval", "p", *(["detect"] if wide else []), "B is"]
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name in names:
        row = task["metrics"][name]
        arrow = {True: "↓", False: "↑", None: " "}[row["lower_is_better"]]
        cells = [number(row["a"], digits), number(row["b"], digits)]
        if row["difference"] is None:
            cells += ["–"] * (4 if wide else 3)
        else:
            cells += [
                _signed(row["difference"], digits),
                f"{_signed(row['lower'], digits)} … {_signed(row['upper'], digits)}",
                _chance(row["p_adjusted"]),
                *([number(row["minimum_detectable"], digits)] if wide else []),
            ]
        verdict = Text(row["verdict"], style=_STYLES.get(row["verdict"], "dim"))
        table.add_row(f"{arrow} {name.replace('_calibrated', ' (cal.)')}", *cells, verdict)
    return table


def _signed(value: float, digits: int) -> str:
    """A difference with its sign, none on what is rounded to nothing."""
    text = number(abs(value), digits)
    return text if float(text) == 0 else f"{'-' if value < 0 else '+'}{text}"


def _chance(p: float | None) -> str:
    if p is None:
        return "–"
    return "< 0.01" if p < 0.01 else f"{p:.2f}"
