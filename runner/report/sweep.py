"""A sweep for people and programs: a line a submission, the board and the comparisons, or all of it as JSON lines."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console

from runner.archive.leaderboard import Leaderboard
from runner.archive.leaderboard.formats import render
from runner.core.text import printable
from runner.report.console import screen
from runner.sweep.board import Compared
from runner.sweep.state import Record

_NAME = 28
_STAGES = {
    "load": "loading the model",
    "read": "reading the prompts",
    "self-check": "asking some prompts again",
    "score": "scoring",
}
_EVERY_SECONDS = 1.0


def observer(output_format: str, quiet: bool) -> Callable[[Mapping[str, Any]], None]:
    """What tells the events of `run_sweep`: JSON lines, or one line a submission, which lives on a terminal."""
    if output_format == "json":
        return _json_lines()
    return (lambda event: None) if quiet else _lines(screen(stderr=True))


def print_end(
    records: Sequence[Record], board: Leaderboard | None, compared: Sequence[Compared], output_format: str
) -> None:
    """The board and the comparisons, and how many submissions have a card."""
    if output_format == "json":
        if board is not None:
            _print_json({"event": "leaderboard", **board.to_json()})
        for comparison in compared:
            _print_json(
                {
                    "event": "comparison",
                    "name": comparison.name,
                    "result": comparison.result,
                    "reasons": list(comparison.reasons),
                }
            )
        return
    if board is not None:
        click.echo("\n" + render(board, "rich"), nl=False)
    for comparison in compared:
        for line in _comparison(comparison):
            click.echo(line)
    done = sum(record.state == "done" for record in records)
    click.echo(f"{done} of {len(records)} submissions have a card.")


def _json_lines() -> Callable[[Mapping[str, Any]], None]:
    rate = _Rate()
    last = 0.0

    def tell(event: Mapping[str, Any]) -> None:
        nonlocal last
        if event["event"] == "progress":
            known = rate.of(event)
            if event["stage"] == "predict" and 0 < event["done"] < event["total"]:
                if time.monotonic() - last < _EVERY_SECONDS:
                    return
                last = time.monotonic()
            event = {**event, **known}
        _print_json(event)

    return tell


def _print_json(event: Mapping[str, Any]) -> None:
    click.echo(json.dumps(event, allow_nan=False))
    sys.stdout.flush()


def _lines(console: Console) -> Callable[[Mapping[str, Any]], None]:
    rate = _Rate()
    position = ""

    def tell(event: Mapping[str, Any]) -> None:
        nonlocal position
        match event["event"]:
            case "start":
                position = f"{event['number']}/{event['of']}"
            case "progress" if console.is_terminal:
                # Drawn by hand: a live display of rich has a thread, and the next submission is a fork of this one.
                text = f"{position} {_short(event['name'])} {_words(event, rate.of(event))}"
                console.file.write(f"\r\x1b[2K{text[: console.width - 1]}")
                console.file.flush()
            case "result":
                if console.is_terminal:
                    console.file.write("\r\x1b[2K")
                    console.file.flush()
                click.echo(_result(event))

    return tell


class _Rate:
    """Prompts a second since the submission began to predict, and the seconds that are left at that rate."""

    def __init__(self) -> None:
        self._name: str | None = None
        self._since = (0.0, 0)

    def of(self, event: Mapping[str, Any]) -> dict[str, float | None]:
        if event["stage"] != "predict":
            return {}
        now = time.monotonic()
        if self._name != event["name"]:
            self._name, self._since = event["name"], (now, event["done"])
        seconds, done = now - self._since[0], event["done"] - self._since[1]
        rate = done / seconds if seconds > 0 and done else None
        return {
            "prompts_per_second": rate,
            "seconds_left": None if rate is None else (event["total"] - event["done"]) / rate,
        }


def _words(event: Mapping[str, Any], known: Mapping[str, float | None]) -> str:
    if event["stage"] != "predict":
        return _STAGES.get(event["stage"], str(event["stage"]))
    words = [f"{event['done']:,}/{event['total']:,} prompts"]
    if (rate := known.get("prompts_per_second")) is not None:
        words.append(f"{rate:.1f}/s")
    if (left := known.get("seconds_left")) is not None:
        words.append(f"{_clock(left)} left")
    return " · ".join(words)


def _result(event: Mapping[str, Any]) -> str:
    head = f"{_short(event['name'])} {event['state']:<11} {_clock(event['seconds'] or 0):>7}"
    if event["state"] != "done":
        faults = event["faults"]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return f"{head}  {faults[0]['code']}: {printable(faults[0]['message'])}{more}" if faults else head
    values = ", ".join(
        f"{name} {'not measured' if value is None else f'{value:.4f}'}" for name, value in event["values"].items()
    )
    words = [f"{event['metric']}: {values}"]
    if event["again"]:
        words.append("done before")
    elif event["cache"] == "used":
        words.append("answers from the cache")
    elif event["prompts_per_second"] is not None:
        words.append(f"{event['prompts']:,} prompts, {event['prompts_per_second']:.1f}/s")
    words += [printable(fault["message"]) for fault in event["faults"]]
    return f"{head}  {' · '.join(words)}"


def _comparison(compared: Compared) -> list[str]:
    if compared.result is None:
        return [f"{_short(compared.name)} not compared: {printable(compared.reasons[0])}"]
    against = printable(compared.result["a"]["name"])
    lines = []
    for task, block in compared.result["tasks"].items():
        for metric, row in block["metrics"].items():
            if row.get("family") == "primary":
                values = f"{row['difference']:+.4f} [{row['lower']:+.4f}, {row['upper']:+.4f}]"
                lines.append(f"{_short(compared.name)} {task}: {metric} {values} against {against}: {row['verdict']}")
    return lines


def _short(name: str) -> str:
    text = printable(name)
    return f"{text[: _NAME - 1]}…" if len(text) > _NAME else f"{text:<{_NAME}}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
