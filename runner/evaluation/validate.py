"""Every fault of a submission, recipe or benchmark that can be found without running it."""

from pathlib import Path

from runner.artifacts import check_submission_files, list_ignored
from runner.config.detect import check_file, kind_of
from runner.config.recipe import base_of, load_recipe
from runner.config.source import BENCHMARK_BYTES, read
from runner.config.submission import load_submission
from runner.core.errors import Fault
from runner.core.text import printable

_SHOWN = 6


def check(path: Path) -> tuple[Fault, ...]:
    """The faults of a benchmark.yaml, a submission.yaml or a recipe.yaml, and of the folders that it names."""
    if path.is_dir():
        path = path / "submission.yaml"
    faults = check_file(path)
    if faults:
        return faults
    match kind_of(read(path, BENCHMARK_BYTES)):
        case "submission":
            return check_submission_files(load_submission(path))
        case "recipe":
            return check_submission_files(base_of(load_recipe(path)))
        case "benchmark":
            return ()


def ignored(path: Path, *, all_names: bool) -> list[str]:
    """What a faultless submission or recipe brings that is not read, one line for each kind, cut unless `all_names`."""
    if path.is_dir():
        path = path / "submission.yaml"
    match kind_of(read(path, BENCHMARK_BYTES)):
        case "submission":
            found = list_ignored(load_submission(path))
        case "recipe":
            found = list_ignored(base_of(load_recipe(path)))
        case _:
            found = []
    lines = []
    for place, what, names in found:
        listed = names if all_names else names[:_SHOWN]
        more = f" and {len(names) - len(listed):,} more" if len(names) > len(listed) else ""
        lines.append(f"{place}: {what}: {', '.join(map(printable, listed))}{more}")
    return lines
