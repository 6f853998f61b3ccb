"""Tell benchmark, submission, recipe and sweep from each other, and check a file as what it is."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from runner.config.benchmark import benchmark_faults
from runner.config.recipe import recipe_faults
from runner.config.scalars import shown
from runner.config.schema import nearest
from runner.config.source import BENCHMARK_BYTES, SUBMISSION_BYTES, Document, fault_at, parse, read_bytes
from runner.config.submission import submission_faults
from runner.config.sweep import sweep_faults
from runner.core.errors import Fault, InvalidInput

Kind = Literal["submission", "recipe", "benchmark", "sweep"]

# In this order: a key of an earlier kind decides.
_KEYS: Mapping[Kind, tuple[str, ...]] = {
    "submission": ("model", "adapter"),
    "recipe": ("base", "objective", "method", "training"),
    "sweep": ("submissions",),
    "benchmark": ("datasets", "tasks", "prompts", "scoring", "suites"),
}


def check_file(path: Path) -> tuple[Fault, ...]:
    """Every fault of the benchmark, submission, recipe or sweep in the file `path`; none where it is valid."""
    try:
        data = read_bytes(path, BENCHMARK_BYTES)
        document = parse(data, str(path), BENCHMARK_BYTES)
        kind = kind_of(document)
        if kind not in ("benchmark", "sweep") and len(data) > SUBMISSION_BYTES:
            parse(data, str(path), SUBMISSION_BYTES)
        if (stranger := _of_no_kind(document)) is not None:
            return (stranger,)
        return _FAULTS[kind](document)
    except InvalidInput as error:
        return error.faults


def kind_of(document: Document) -> Kind:
    """What a document is meant to be, by its top-level keys, exact or nearly so; otherwise a submission."""
    keys = document.value if isinstance(document.value, dict) else {}
    for kind, known in _KEYS.items():
        if any(key in keys for key in known):
            return kind
    nearly: tuple[Kind, ...] = ("benchmark", "recipe", "sweep")
    return next((kind for kind in nearly if any(nearest(key, _KEYS[kind]) for key in keys)), "submission")


def _of_no_kind(document: Document) -> Fault | None:
    """One fault for a file that was never meant as one of ours, instead of one for each of its keys."""
    keys = document.value if isinstance(document.value, dict) else {}
    known = [key for own in _KEYS.values() for key in own]
    if not keys or "schema_version" in keys or any(nearest(key, known) for key in keys):
        return None
    names = ", ".join(shown(key) for key in list(keys)[:3])
    message = (
        f"This is neither a submission, nor a recipe, nor a benchmark: its keys are {names}{' …' * (len(keys) > 3)}."
    )
    hint = (
        "A submission has `model`, a recipe `base` and `objective`, a benchmark `datasets` and `tasks`; "
        "docs/README.md leads to an example of each."
    )
    return fault_at(document, "UNKNOWN_KIND", (), message, hint)


_FAULTS: Mapping[Kind, Callable[[Document], tuple[Fault, ...]]] = {
    "submission": submission_faults,
    "recipe": recipe_faults,
    "benchmark": benchmark_faults,
    "sweep": sweep_faults,
}
