"""What `scoring` says where a benchmark leaves it out. A default never changes: published numbers stand on it."""

from collections.abc import Mapping
from typing import Any

_METRICS = (
    "cross_entropy",
    "total_variation",
    "jensen_shannon",
    "brier",
    "kl",
    "accuracy",
    "macro_f1",
    "cross_entropy_calibrated",
    "entropy_gap",
    "gap_to_ceiling",
    "skill",
)
_TOLERANCE = {"float32": 0.0001, "bfloat16": 0.25, "float16": 0.0625}

SCORING: Mapping[str, Any] = {
    "ablations": [],
    "fit": {"items": 500, "folds": 5, "seed": 1},
    "ceiling": {"draws": 1000, "seed": 2},
    "intervals": {"method": "percentile", "draws": 1000, "level": 0.95, "seed": 3},
    "self_check": {
        "prompts": 8,
        "tolerance": _TOLERANCE,
        "changed_texts": {"float32": 0, "bfloat16": 0.25, "float16": 0.125},
    },
    "recompute_tolerance": 0.000000001,
}
"""All but `metrics` and `fit.split`, which follow from the rest of the benchmark."""


WARNINGS: Mapping[str, float] = {
    "order_gap": 0.3,
    "position_bias": 0.1,
    "answer_mass": 0.8,
    "prompt_spread": 0.05,
    "worse_than_uniform": 0,
    "prior_worse_than_uniform": 0,
    "at_a_limit": 0,
    "items": 200,
    "units": 20,
    "votes_per_item": 3,
    "ceiling_prior": 0,
    "panels_differ": 2,
    "truncated": 0.05,
    "unread": 0,
}
"""What a card warns of under `inference` 2, as in the released benchmark."""


def scoring_of(benchmark: Mapping[str, Any]) -> dict[str, Any]:
    """The `scoring` of a benchmark's value with the defaults in it; parts of another form than the schema's stay.

    `metrics` are the usual ones, with the primary one and, where a task is ordinal, wasserstein. `fit.split` is `dev`
    where every dataset of a suite has it, else the split that the first suite scores. `changed_texts` stays as it is
    where `self_check` is given. `inference` is 2, but 1 where `metrics` are listed and nothing that needs 2 is said.
    """
    given = benchmark["scoring"]
    scoring = {**SCORING, **given}
    for name in ("fit", "ceiling", "intervals", "self_check"):
        if isinstance(given.get(name), Mapping):
            own = {key: value for key, value in SCORING[name].items() if key != "changed_texts"}
            scoring[name] = {**own, **given[name]}
    if isinstance(scoring["fit"], Mapping) and "split" not in scoring["fit"]:
        scoring["fit"] = {**scoring["fit"], "split": _fitting_split(benchmark)}
    clustered = any("clusters" in (task.get("item") or {}) for task in _mappings(benchmark.get("tasks")))
    if "inference" not in given:
        # Benchmarks of the first kind list their metrics and declare neither: their cards stay as they are.
        scoring["inference"] = 1 if "metrics" in given and "warnings" not in given and not clustered else 2
    if "warnings" not in given:
        scoring["warnings"] = WARNINGS if scoring["inference"] == 2 else {}
    if "metrics" not in given:
        tasks = _mappings(benchmark.get("tasks"))
        wanted = [*_METRICS, *(["wasserstein"] if any(task.get("ordinal") is True for task in tasks) else [])]
        scoring["metrics"] = list(dict.fromkeys([*([] if given["primary"] in wanted else [given["primary"]]), *wanted]))
    return scoring


def _fitting_split(benchmark: Mapping[str, Any]) -> str:
    datasets = benchmark.get("datasets")
    suites = _mappings(benchmark.get("suites"))
    used = {name for suite in suites for name in _values(suite.get("datasets"))}
    splits = [dataset["splits"] for name, dataset in _items(datasets) if name in used and "splits" in dataset]
    if all("dev" in names for names in splits if isinstance(names, Mapping)):
        return "dev"
    return next((str(suite["split"]) for suite in suites if "split" in suite), "dev")


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [part for _, part in _items(value)]


def _items(value: Any) -> list[tuple[str, Mapping[str, Any]]]:
    pairs = value.items() if isinstance(value, Mapping) else ()
    return [(name, part) for name, part in pairs if isinstance(part, Mapping)]


def _values(value: Any) -> list[str]:
    return [name for name in value.values() if isinstance(name, str)] if isinstance(value, Mapping) else []
