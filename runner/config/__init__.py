"""From YAML to a frozen benchmark, submission or recipe, or every fault with its location."""

from runner.config.benchmark import load_benchmark
from runner.config.detect import check_file
from runner.config.recipe import load_recipe
from runner.config.released import RELEASED, is_released
from runner.config.submission import load_submission

__all__ = ["RELEASED", "check_file", "is_released", "load_benchmark", "load_recipe", "load_submission"]
