"""Every fault of a submission, recipe or benchmark that can be found without running it."""

from pathlib import Path

from runner.artifacts import check_submission_files
from runner.config.detect import check_file, kind_of
from runner.config.recipe import base_of, load_recipe
from runner.config.source import BENCHMARK_BYTES, read
from runner.config.submission import load_submission
from runner.core.errors import Fault


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
