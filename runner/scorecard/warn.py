"""What a reader should know before reading a card's numbers: computed with the card, by thresholds of the benchmark."""

from collections.abc import Callable, Iterator, Mapping
from operator import gt, lt
from typing import Any

from runner.core.benchmark_types import ScoringSpec

Json = dict[str, Any]

CODES: Mapping[str, str] = {
    "order_gap": "{value:.2f} of the probability moves with the order of the options, more than {threshold:g}",
    "position_bias": "a place in the list is preferred by {value:+.2f} of probability, more than {threshold:g}",
    "answer_mass": "of the model's probability {value:.0%} was on the options, less than {threshold:.0%}",
    "prompt_spread": "the prompts differ by {value:.3f} in the primary metric, more than {threshold:g}",
    "worse_than_uniform": "the primary metric is {value:.4f} worse than that of equal probabilities",
    "prior_worse_than_uniform": "label shares are {value:.4f} worse than equal probabilities: skill is 0 at those",
    "at_a_limit": "{value:.0f} metrics are scored at the limit of a fitted value; see their reasons",
    "items": "{value:.0f} items, fewer than {threshold:.0f}: intervals are rough",
    "units": "{value:.0f} groups or blocks of items that are nearly independent, fewer than {threshold:.0f}",
    "votes_per_item": "{value:.1f} votes an item, fewer than {threshold:g}: the ceiling rests on its prior",
    "ceiling_prior": "the ceiling's prior is at a limit or not determined",
    "panels_differ": "two groups of people give ceilings {value:.1f} standard errors apart, more than {threshold:g}",
    "truncated": "{value:.0%} of the items were cut, more than {threshold:.0%}",
    "unread": "{value:.1%} of the written answers could not be read, more than {threshold:.1%}",
}
"""Code → what it says. The codes are the keys of `scoring.warnings` in a benchmark; a code that is not there is off."""


def warnings(tasks: Json, scoring: ScoringSpec) -> list[Json]:
    """The warnings of a card with these `tasks`, task by task: `{code, task, value, threshold, message}`."""
    warned = []
    # By name: the tasks of a signed card are sorted, and its warnings have to come out again.
    for name, task in sorted(tasks.items()):
        for code, value, beyond in _of_task(task, scoring.primary):
            threshold = scoring.warnings.get(code)
            if threshold is not None and beyond(value, threshold):
                message = CODES[code].format(value=value, threshold=threshold)
                warned.append(
                    {"code": code, "task": name, "value": float(value), "threshold": threshold, "message": message}
                )
    return warned


def _of_task(task: Json, primary: str) -> Iterator[tuple[str, float, Callable[[float, float], bool]]]:
    """Code, value and the comparison that warns, of everything that this task has a value of."""
    if (gap := task["order"]["gap"]) is not None:
        yield "order_gap", gap, gt
    if bias := task["order"].get("position_bias"):
        yield "position_bias", max(bias, key=abs), lambda value, threshold: abs(value) > threshold
    if (mass := task["answer_mass"]["mean"]) is not None:
        yield "answer_mass", mass, lt
    if (spread := task["prompt_spread"]["range"]) is not None:
        yield "prompt_spread", spread, gt
    metric = task["metrics"].get(primary, {})
    value = metric.get("value")
    uniform, prior = (task["baselines"][name].get(primary, {}).get("value") for name in ("uniform", "prior"))
    sign = -1.0 if metric.get("lower_is_better") is False else 1.0
    if value is not None and uniform is not None:
        yield "worse_than_uniform", sign * (value - uniform), gt
    if prior is not None and uniform is not None:
        yield "prior_worse_than_uniform", sign * (prior - uniform), gt
    yield "at_a_limit", sum(_at_limit(metric_block) for metric_block in task["metrics"].values()), gt
    yield "items", task["items"], lt
    if task["dependence"] is not None:
        yield "units", task["dependence"]["units"], lt
    yield "votes_per_item", task["votes_per_item"], lt
    yield "ceiling_prior", len(task["ceiling_prior"]["notes"]), gt
    if task["panel"] is not None and (error := task["panel"]["ceiling"]["difference"]["standard_error"]):
        yield "panels_differ", abs(task["panel"]["ceiling"]["difference"]["value"]) / error, gt
    yield "truncated", task["truncated"] / task["items"], gt
    if task["failures"]:
        yield "unread", task["failures"]["rate"], gt


def _at_limit(metric: Json) -> bool:
    return metric["value"] is not None and metric["confidence_interval"] is not None and "reason" in metric
