"""From YAML to a frozen benchmark, submission or recipe, or every fault with its place."""

from runner.spec.benchmark import load_benchmark
from runner.spec.files import check_file
from runner.spec.recipe import load_recipe
from runner.spec.released import RELEASED, is_released
from runner.spec.submission import load_submission

__all__ = ["RELEASED", "check_file", "is_released", "load_benchmark", "load_recipe", "load_submission"]
