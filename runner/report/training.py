"""A training for a terminal: a bar with loss and time left, and what it came to."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from runner.report.console import screen, steps
from runner.report.terminal import number, signed

_STAGES = {
    "prepare": "Reading the data, loading the model and checking every prompt",
    "before": "Asking the model as it is",
    "train": "Training",
    "evaluate": "Asking the trained model",
}


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[Callable[[str, int, int, float | None], None]]:
    """An observer of a training: a bar on a terminal, else a line at each stage and each tenth of the steps."""
    console = screen(stderr=True)
    if quiet:
        yield lambda stage, done, total, loss: None
    elif not console.is_terminal:
        reported: set[tuple[str, int]] = set()

        def line(stage: str, done: int, total: int, loss: float | None) -> None:
            part = (stage, 10 * done // total if total else 0)
            if part not in reported:
                reported.add(part)
                at = f": step {done:,} of {total:,}, loss {number(loss)}" if stage == "train" else " …"
                print(f"{_STAGES[stage]}{at}", file=sys.stderr, flush=True)

        yield line
    else:
        with steps(console, "loss") as bar:
            tasks: dict[str, Any] = {}

            def step(stage: str, done: int, total: int, loss: float | None) -> None:
                if stage not in tasks:
                    for old in tasks.values():
                        bar.update(old, visible=False)
                    tasks[stage] = bar.add_task(_STAGES[stage], total=total or None, completed=done, loss="")
                bar.update(tasks[stage], completed=done, loss="" if loss is None else f"loss {number(loss)}")

            yield step


def print_record(record: Mapping[str, Any], folder: Path) -> None:
    """The result of a training: cross-entropy of the base and of the selected state, and the next command."""
    console, training, evaluation = screen(), record["training"], record["evaluation"]
    summary = f"step {training['kept_step']:,} of {training['planned']:,} kept"
    early = ", stopped early" if training["stopped_early"] else ""
    console.print(Text.assemble((str(record["name"]), "bold"), f"  {summary}{early}, {training['seconds']:.0f} s"))
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("cross-entropy", overflow="fold")
    # The first three are of the items scored during training, the others of all.
    for column in ("before", "after", "difference", "all items", "prior", "ceiling"):
        table.add_column(column, justify="right", no_wrap=True)
    written = {f"{name}, written": task for name, task in (evaluation["verbalized"] or {}).items()}
    for name, task in {**evaluation["tasks"], **written}.items():
        before, after = record["before"].get(name), record["kept"].get(name)
        table.add_row(
            name,
            number(before),
            Text(number(after), style="bold"),
            "–" if before is None or after is None else signed(after - before),
            number(task["metrics"]["cross_entropy"]["value"]),
            number(task["baselines"]["prior"].get("cross_entropy", {}).get("value")),
            number(task["ceiling"].get("cross_entropy", {}).get("value")),
        )
    console.print(table)
    if (line := _warning(training)) is not None:
        console.print(Text(line, style="yellow"))
    for name in record["leaks"]["not_compared_since_absent"]:
        console.print(Text(f"Not compared with {name}, which is not here.", style="yellow"))
    for name, count in record["leaks"]["dropped"].items():
        if count:
            console.print(Text(f"{name}: {count:,} items left out that are scored.", style="yellow"))
    console.print(Text(f"Evaluate it with: benchmark evaluate {folder / 'submission.yaml'}", style="dim"))


def _warning(training: Mapping[str, Any]) -> str | None:
    """What is to be said of a training that made nothing better; by what the state is chosen."""
    if training["outcome"] == "better":
        return None
    if training["outcome"] == "worse":
        by = number(training["loss_kept"] - training["loss_before"])
        return f"The kept state is worse than the base, by {by} nats on the items asked during training."
    if training["kept_step"] == 0:
        return "No state was better than the base: the result is the base itself (step 0), without an adapter."
    return "The kept state is no better than the base."
