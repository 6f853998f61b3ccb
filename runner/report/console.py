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


def screen(stderr: bool = False) -> Console:
    """Rich decides on colour (a terminal, NO_COLOR); piped output stays plain and 80 columns wide."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=80, color_system=None)


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


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """An observer of a run's stages: a bar with rate and time left on a terminal, else one line per stage."""
    console = screen(stderr=True)
    if quiet:
        yield lambda stage, done, total: None
    elif not console.is_terminal:
        seen: set[str] = set()

        def line(stage: str, done: int, total: int) -> None:
            if stage not in seen:
                seen.add(stage)
                resumed = f"; {done:,} were answered before" if done else ""
                of = f" ({total - done:,} prompts{resumed})" if stage == "predict" else ""
                print(f"{_STAGES[stage]}{of} …", file=sys.stderr, flush=True)

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
    if quiet or not console.is_terminal:
        yield lambda name, done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        tasks: dict[str, Any] = {}

        def step(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield step
