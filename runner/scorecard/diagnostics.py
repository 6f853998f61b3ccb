"""How a model answered, beside how well: its dependence on order and prompt, its answer mass, its reliability."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from runner.core.benchmark_types import Benchmark, ScoringSpec, Task
from runner.core.types import Array
from runner.scorecard.task_metrics import TaskMetrics
from runner.scoring import calibration, rules
from runner.tasks.answers import Answers

Json = dict[str, Any]

_RELIABILITY_BINS = 10


def reliability(task: Task, measured: TaskMetrics) -> Json:
    """For each label, mean predicted probability and mean human share in bins of about equal numbers of items."""
    curves = calibration.reliability(measured.log_probs, measured.counts, _RELIABILITY_BINS)
    return {
        label: {
            "predicted": curve.predicted.tolist(),
            "observed": curve.observed.tolist(),
            "items": curve.items.tolist(),
        }
        for label, curve in zip(task.labels, curves, strict=True)
    }


def answer_mass(scored: Answers) -> Json:
    """How much probability the options had before normalising, over items and views."""
    known = scored.answer_mass[~np.isnan(scored.answer_mass)]
    if not known.size:
        reason = "the predictions do not say how much probability was on the options"
        return {"mean": None, "minimum": None, "share_below_half": None, "rows": 0, "reason": reason}
    return {
        "mean": float(known.mean()),
        "minimum": float(known.min()),
        "share_below_half": float((known < 0.5).mean()),
        "rows": int(known.size),
    }


def _by_view(log_probs: Array, counts: Array, scoring: ScoringSpec) -> float | None:
    rule = rules.RULES.get(scoring.primary)
    return None if rule is None else float(rule(log_probs, counts).mean())


def order(scored: Answers, counts: Array, benchmark: Benchmark, labels: Sequence[str]) -> Json:
    """How much the answer depends on the order of presentation, within each prompt.

    `gap`: mean over items and pairs of orders of the total variation between the two answers; `consistency`: share of
    items with the same most probable label in every order; `primary_by_order`: the primary metric of each order alone.
    From `scoring.inference` 2 on also `single_order`, their mean, `gain_by_averaging`, that less the primary metric of
    the orders averaged, and `position_bias`: for each position among the options, how much more probable a label is
    there than over all orders. Two options, always the first: [.5, −.5].
    """
    scoring = benchmark.scoring
    groups: dict[str | None, list[int]] = {}
    for number, (prompt_id, _) in enumerate(scored.views):
        groups.setdefault(prompt_id, []).append(number)
    swapped = {prompt_id: views for prompt_id, views in groups.items() if len(views) > 1}
    if not swapped:
        reason = "every item was asked in one order only"
        nothing = {"gap": None, "consistency": None, "primary_by_order": None, "reason": reason}
        more = {"single_order": None, "gain_by_averaging": None, "position_bias": None}
        return {**nothing, **(more if scoring.inference > 1 else {})}
    gaps, consistent = [], []
    for views in swapped.values():
        shares = np.exp(scored.log_probs[:, views])
        for first in range(len(views)):
            for second in range(first + 1, len(views)):
                gaps.append(0.5 * np.abs(shares[:, first] - shares[:, second]).sum(axis=1))
        top = shares.argmax(axis=2)
        consistent.append((top == top[:, :1]).all(axis=1))
    by_order = {
        f"{prompt_id or 'prompt'}/{scored.views[view][1]}": _by_view(scored.log_probs[:, view], counts, scoring)
        for prompt_id, views in swapped.items()
        for view in views
    }
    dependence: Json = {
        "gap": float(np.mean(gaps)),
        "consistency": float(np.mean(consistent)),
        "primary_by_order": by_order,
    }
    if scoring.inference > 1:
        dependence |= _single_orders(scored, counts, scoring, swapped, list(by_order.values()))
        dependence["position_bias"] = _position_bias(scored, benchmark, labels, swapped)
    return dependence


def _single_orders(
    scored: Answers,
    counts: Array,
    scoring: ScoringSpec,
    swapped: Mapping[str | None, Sequence[int]],
    by_order: Sequence[float | None],
) -> Json:
    known = [value for value in by_order if value is not None]
    if not known:
        return {"single_order": None, "gain_by_averaging": None}
    averaged = [_by_view(_mean(scored.log_probs[:, views]), counts, scoring) for views in swapped.values()]
    weights = [len(views) for views in swapped.values()]
    single = float(np.mean(known))
    together = float(np.average([value for value in averaged if value is not None], weights=weights))
    return {"single_order": single, "gain_by_averaging": single - together}


def _mean(log_probs: Array) -> Array:
    """(items, labels): log of the mean over the views of (items, views, labels)."""
    return np.asarray(np.logaddexp.reduce(log_probs, axis=1) - np.log(log_probs.shape[1]))


def _position_bias(
    scored: Answers, benchmark: Benchmark, labels: Sequence[str], swapped: Mapping[str | None, Sequence[int]]
) -> list[float] | None:
    """(labels,) by position; None where rows name no prompt of the benchmark, so that positions are unknown."""
    place_of = {label: number for number, label in enumerate(labels)}
    gains = []
    for prompt_id, views in swapped.items():
        spec = benchmark.prompts.get(prompt_id or "")
        if spec is None or sorted(spec.orders[0]) != sorted(labels):
            return None
        if any(scored.views[view][1] >= len(spec.orders) for view in views):
            return None
        shares = np.exp(scored.log_probs[:, views])
        surplus = (shares - shares.mean(axis=1, keepdims=True)).mean(axis=0)
        for number, view in enumerate(views):
            shown = [place_of[label] for label in spec.orders[scored.views[view][1]]]
            gains.append(surplus[number][shown])
    bias: list[float] = np.mean(gains, axis=0).tolist()
    return bias


def prompt_spread(scored: Answers, counts: Array, scoring: ScoringSpec) -> Json:
    """The primary metric of each prompt alone (its orders averaged), and how far apart they are."""
    names = list(dict.fromkeys(prompt_id for prompt_id, _ in scored.views))
    if len(names) < 2:
        return {"range": None, "primary_by_prompt": None, "reason": "every item was asked with one prompt only"}
    by_prompt = {}
    for name in names:
        views = [number for number, (prompt_id, _) in enumerate(scored.views) if prompt_id == name]
        by_prompt[str(name)] = _by_view(_mean(scored.log_probs[:, views]), counts, scoring)
    known = [value for value in by_prompt.values() if value is not None]
    return {"range": max(known) - min(known) if known else None, "primary_by_prompt": by_prompt}
