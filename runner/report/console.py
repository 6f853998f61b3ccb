"""The console that people watch, and the progress of long work on it: a bar on a terminal, else lines or nothing."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

_BAR = 24
_STAGES = {
    "load": "Loading the model",
    "read": "Reading and checking every prompt",
    "predict": "Predicting",
    "self-check": "Asking some prompts again",
    "score": "Scoring",
    "archive": "Reading the archive",
    "rebuild": "Rebuilding numbers from predictions",
    "cards": "Checking cards and writing their pages",
    "items": "Writing items",
    "comparisons": "Comparing",
}


UNWRAPPED = 100_000
"""The width of what is no terminal: nothing is wrapped or cut for a program, a file or a log."""


def screen(stderr: bool = False) -> Console:
    """Rich decides on colour (a terminal, NO_COLOR) and width; piped output stays plain and is not wrapped."""
    console = Console(stderr=stderr, highlight=False)
    if console.is_terminal:
        return console
    return Console(stderr=stderr, highlight=False, width=UNWRAPPED, color_system=None)


def steps(console: Console, field: str) -> Progress:
    """A bar with the steps made and to make, the time left and a task's `field` of text, which goes when it is done."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=_BAR),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[{field}]}}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)


class Pace:
    """When the next line about long work is due where nobody watches a bar, and what it says.

    A line is due at each twentieth of the whole, or thirty seconds after the last, but never within a second of it: a
    job that takes seconds needs no twenty lines.
    """

    def __init__(self, done: int, now: float) -> None:
        self._first, self._since, self._last, self._part = done, now, now, 0

    def is_due(self, done: int, total: int, now: float) -> bool:
        """Whether to say where the work is; the answer yes counts as said. `now` is in seconds."""
        part = _PARTS * done // total if total else 0
        waited = now - self._last
        due = done > self._first and (waited >= _LONGEST or (waited >= _SHORTEST and part > self._part))
        if due:
            self._last, self._part = now, part
        return due

    def line(self, done: int, total: int, now: float, unit: str = "prompts") -> str:
        """`1,240/4,680 prompts, 5.1/s, 11 min left`: the rate is that since the first call of this run."""
        rate = (done - self._first) / (now - self._since) if now > self._since else 0.0
        left = f", {duration((total - done) / rate)} left" if rate > 0 and total else ""
        return f"{done:,}/{total:,} {unit}, {rate:,.1f}/s{left}"


_PARTS = 20
_SHORTEST, _LONGEST = 1.0, 30.0


def duration(seconds: float) -> str:
    """`40 s`, `11 min` or `2 h 5 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """An observer of a run's stages: a bar with rate and time left on a terminal, else one line per stage."""
    console = screen(stderr=True)
    if quiet:
        yield lambda stage, done, total: None
    elif not console.is_terminal:
        lines: dict[str, Pace] = {}

        def line(stage: str, done: int, total: int) -> None:
            if stage not in lines:
                lines[stage] = Pace(done, time.monotonic())
                resumed = f"; {done:,} were answered before" if done else ""
                of = f" ({total - done:,} prompts{resumed})" if stage == "predict" else ""
                _tell(f"{_STAGES[stage]}{of} …")
            elif lines[stage].is_due(done, total, now := time.monotonic()):
                _tell(f"  {lines[stage].line(done, total, now)}")

        yield line
    else:
        with steps(console, "rate") as bar:
            current: dict[str, Any] = {"stage": None, "task": None, "since": 0.0, "from": 0}

            def step(stage: str, done: int, total: int) -> None:
                if stage != current["stage"]:
                    if current["task"] is not None:
                        bar.remove_task(current["task"])
                    current.update(stage=stage, since=time.monotonic(), **{"from": done})
                    current["task"] = bar.add_task(_STAGES[stage], total=total or None, completed=done, rate="")
                else:
                    seconds = time.monotonic() - current["since"]
                    rate = f"{(done - current['from']) / seconds:.1f}/s" if seconds > 0 else ""
                    bar.update(current["task"], completed=done, rate=rate)

            yield step


@contextlib.contextmanager
def download_progress(quiet: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """An observer of downloads: name, bytes so far, bytes in all (None while unknown)."""
    console = screen(stderr=True)
    if quiet:
        yield lambda name, done, total: None
        return
    if not console.is_terminal:
        paces: dict[str, Pace] = {}

        def line(name: str, done: int, total: int | None) -> None:
            pace = paces.setdefault(name, Pace(done, time.monotonic()))
            if total and pace.is_due(done, total, now := time.monotonic()):
                _tell(f"  {name}: {pace.line(done // 1000, total // 1000, now, 'kB')}")

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        tasks: dict[str, Any] = {}

        def step(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield step
