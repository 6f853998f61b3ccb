"""Predictions and items to the numbers of a scorecard: pure, so that anyone can redo it without a model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner import served, unread
from runner.canonical import digest
from runner.measure import Measured, baseline_prior, baseline_uniform, counts_of, measure
from runner.predictions import Answers, View
from runner.records import Array, Benchmark, Item, ScoringSpec, Task
from runner.scoring import calibration, f1, intervals, rules
from runner.scoring.ceiling import Ceiling, ceiling, fit_dirichlet
from runner.scoring.distances import entropy
from runner.scoring.metrics import METRICS, gap_to_ceiling, skill, skill_draws
from runner.selection import Selection, TaskData, readable

SCHEMA_VERSION = "1"
_RELIABILITY_BINS = 10

Json = dict[str, Any]


def assemble(
    selection: Selection,
    *,
    submission: Json,
    run: Json,
    machine: Mapping[str, Any],
    predictions: Json,
    environment: Json,
    tasks: Json,
) -> Json:
    """The whole scorecard; what of it may not be compared is said in `not_comparable`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "submission": submission,
        **scope(selection, tasks, run["self_check"]),
        "run": {
            **run,
            "runner_version": machine["versions"]["runner"],
            "image_digest": machine["image_digest"],
            "source_revision": machine["source_revision"],
        },
        "predictions": predictions,
        "environment": environment,
        "tasks": tasks,
    }


def scope(selection: Selection, tasks: Json, self_check: Mapping[str, Any] | None) -> Json:
    """What a card says of what was measured, and whether it may be compared: it follows from selection and tasks."""
    benchmark = selection.benchmark
    reasons = [*selection.not_comparable, *_other_ways_of_asking(benchmark, tasks), *unread.reasons(tasks)]
    reasons += served.reasons(task["service"] for task in tasks.values() if "service" in task)
    if self_check is not None and self_check["passed"] is False:
        reasons.append("the self-check failed: scores depend on the batch")
    return {
        "benchmark": {"name": benchmark.name, "version": benchmark.version, "digest": benchmark.digest},
        "suite": selection.suite,
        "comparable": not reasons,
        "not_comparable": reasons,
        "missing_tasks": [name for name in benchmark.suites[selection.suite].datasets if name not in tasks],
        "data": selection.data,
    }


def _other_ways_of_asking(benchmark: Benchmark, tasks: Json) -> list[str]:
    """Tasks whose rows name other prompts or orders than the benchmark's; rows that name none are taken as they are."""
    found = []
    for name, task in sorted(tasks.items()):
        asked = {(view["prompt_id"], view["order"]) for view in task["views"]}
        own = [
            {(prompt, order) for prompt in prompts for order in range(len(benchmark.prompts[prompt].orders))}
            for prompts in (benchmark.tasks[name].prompts, benchmark.tasks[name].verbalized)
        ]
        if asked not in own and any(prompt is not None for prompt, _ in asked):
            shown = ", ".join(f"{prompt}/{order}" for prompt, order in sorted(asked))
            found.append(f"{name} was asked as {shown[:300]}, not in the benchmark's own prompts and orders")
    return found


def build_tasks(selection: Selection, answers: Mapping[tuple[str, str], Answers]) -> Json:
    """The `tasks` block of a card: every number that predictions and data determine, and nothing else.

    Deterministic: the same rows, data and benchmark give the same numbers, bit for bit on one machine.
    """
    return {part.task.name: _task(part, answers, selection.benchmark) for part in selection.tasks}


def _prompt_digests(benchmark: Benchmark, task: Task, views: Sequence[View]) -> Json | None:
    """Prompt → digest of what it asks, of the prompts that the rows name; None where they name none that is known."""
    specs = benchmark.prompts
    names = list(dict.fromkeys(prompt_id for prompt_id, _ in views if prompt_id is not None))
    if not names or not all(name in specs and specs[name].task == task.name for name in names):
        return None
    return {
        name: digest(
            {
                "template": specs[name].template,
                "shows": dict(specs[name].shows),
                "orders": [list(order) for order in specs[name].orders],
                "options": [list(forms) for forms in specs[name].options],
                "cue": [specs[name].cue_plain, specs[name].cue_chat],
                "shorten": specs[name].shorten,
                "max_tokens": specs[name].max_tokens,
                "elicitation": specs[name].elicitation,
                "max_new_tokens": specs[name].max_new_tokens,
                "zero_percent": specs[name].zero_percent,
            }
        )
        for name in names
    }


def _task(part: TaskData, answers: Mapping[tuple[str, str], Answers], benchmark: Benchmark) -> Json:
    """A task's block. Everything that is compared with the model is over the items whose answers could be read."""
    scoring = benchmark.scoring
    asked = answers[part.task.name, part.split]
    elicitation = unread.elicitation(benchmark, part.task, asked)
    read, read_answers = readable(part, answers)
    used = read if read.scored else part
    splits = dict.fromkeys((part.split, part.fitting_split))
    service = served.merged(
        answers[part.task.name, split].served for split in splits if (part.task.name, split) in answers
    )
    counts = counts_of(used.scored)
    uniform = baseline_uniform(used, scoring)
    prior, prior_method = baseline_prior(used, scoring)
    best = fit_dirichlet(counts)
    limits = ceiling(
        counts,
        [name for name in scoring.metrics if METRICS[name].kind != "derived"],
        scoring.ceiling_draws,
        scoring.ceiling_seed,
        best.alpha,
    )
    measured = measure(read, read_answers, scoring) if read.scored else None
    if measured is None:
        results = unread.nothing_measured(scoring)
    else:
        scored = read_answers[part.task.name, part.split]
        results = {
            "metrics": summarise(measured, prior, limits, scoring, scoring.metrics),
            "ablations": summarise(measured, prior, limits, scoring, scoring.ablations),
            "strata": _strata(used, measured, limits, scoring),
            "fitted": _fitted(measured),
            "reliability": _reliability(part.task, measured),
            "answer_mass": _answer_mass(scored),
            "order": _order(scored, counts, scoring),
            "prompt_spread": _prompt_spread(scored, counts, scoring),
        }
    return {
        "split": part.split,
        "dataset": part.dataset,
        "synthetic": part.synthetic,
        "items": len(part.scored),
        "skipped": part.skipped,
        "labels": list(part.task.labels),
        "elicitation": elicitation,
        "prompts": _prompt_digests(benchmark, part.task, asked.views),
        "views": [{"prompt_id": prompt_id, "order": order} for prompt_id, order in asked.views],
        "failures": unread.failures(benchmark, part.task, asked) if elicitation == "verbalized" else None,
        "ties": {
            "human": int(rules.tied(counts).sum()),
            "model": 0 if measured is None else int(rules.tied(measured.log_probs).sum()),
        },
        "ceiling": {
            name: {"value": limit.value, "monte_carlo_error": limit.monte_carlo_error} for name, limit in limits.items()
        },
        "ceiling_prior": {"alpha": best.alpha.tolist(), "notes": list(best.notes)},
        "baselines": {
            "uniform": _values_only(uniform, scoring),
            "prior": _values_only(prior, scoring),
        },
        "prior_method": prior_method,
        "truncated": len(asked.truncated),
        **results,
        **({} if service is None else {"service": service.to_json()}),
    }


def summarise(
    measured: Measured,
    prior: Measured,
    limits: Mapping[str, Ceiling],
    scoring: ScoringSpec,
    names: tuple[str, ...],
    where: NDArray[np.bool_] | None = None,
) -> Json:
    """Each metric of `names` with its standard error and interval, over the items of `where` (all by default).

    All metrics share the same resampled items. What was not measured is null with its reason.
    """
    chosen = np.ones(len(measured.counts), dtype=bool) if where is None else where
    primary = scoring.primary
    columns = {name: measured.values[name][chosen] for name in names if name in measured.values}
    limit = limits.get(primary)
    if primary in measured.values and primary in prior.values and limit is not None:
        flat = np.full(len(chosen), limit.value)
        columns["/value"] = measured.values[primary][chosen]
        columns["/prior"] = prior.values[primary][chosen]
        columns["/ceiling"] = (flat if limit.per_item is None else limit.per_item)[chosen]
    labels = measured.counts.shape[1]
    confusion = f1.confusion_columns(measured.chosen[chosen], measured.plurality[chosen], labels)
    matrix = np.column_stack([*columns.values(), confusion])
    drawn = intervals.bootstrap_means(matrix, scoring.intervals.draws, scoring.intervals.seed)
    place = {name: number for number, name in enumerate(columns)}
    block = _Block(matrix, drawn, place, scoring)
    found: Json = {}
    for name in names:
        found[name] = _estimate(name, block, measured, len(columns))
    return found


class _Block:
    """Per-item columns with their bootstrap means: held together because they share their resampled items."""

    def __init__(self, matrix: Array, drawn: Array, place: Mapping[str, int], scoring: ScoringSpec) -> None:
        self.matrix, self.drawn, self.place = matrix, drawn, place
        self.level = scoring.intervals.level
        self.method = scoring.intervals.method
        errors = intervals.standard_error(matrix)
        self.errors = errors

    def mean(self, name: str) -> float:
        return float(self.matrix[:, self.place[name]].mean())

    def draws(self, name: str) -> Array:
        column: Array = self.drawn[:, self.place[name]]
        return column

    def of_mean(self, name: str) -> Json:
        column = self.place[name]
        if self.method == "bca":
            lower, upper = intervals.bca_interval(self.matrix[:, column], self.drawn[:, column], self.level)
        else:
            lower, upper = intervals.percentile_interval(self.drawn[:, column], self.level)
        error = None if self.errors is None else float(self.errors[column])
        return self.json(self.mean(name), error, float(lower), float(upper))

    def of_draws(self, value: float, draws: Array) -> Json:
        """For a number that is no mean over items: its draws' standard deviation is its standard error."""
        lower, upper = intervals.percentile_interval(draws, self.level)
        error = float(draws.std(ddof=1)) if len(self.matrix) > 1 else None
        return self.json(value, error, float(lower), float(upper))

    def json(self, value: float, error: float | None, lower: float, upper: float) -> Json:
        if error is None:
            reason = "one item says nothing of how items differ"
            return {"value": value, "standard_error": None, "confidence_interval": None, "reason": reason}
        interval = {"lower": lower, "upper": upper, "level": self.level}
        return {"value": value, "standard_error": error, "confidence_interval": interval}


def _estimate(name: str, block: _Block, measured: Measured, first_cell: int) -> Json:
    better = {"lower_is_better": METRICS[name].lower_is_better}
    if name in block.place:
        return {**block.of_mean(name), **better}
    if name == "macro_f1":
        value = float(f1.macro_f1(block.matrix[:, first_cell:].sum(axis=0)))
        return {**block.of_draws(value, f1.macro_f1(block.drawn[:, first_cell:])), **better}
    if name in measured.missing:
        return {**_missing(measured.missing[name]), **better}
    if "/ceiling" not in block.place:
        return {**_missing("the primary metric was not measured"), **better}
    value, prior, limit = (block.mean(column) for column in ("/value", "/prior", "/ceiling"))
    draws, prior_draws, limit_draws = (block.draws(column) for column in ("/value", "/prior", "/ceiling"))
    if name == "gap_to_ceiling":
        return {**block.of_draws(gap_to_ceiling(value, limit), draws - limit_draws), **better}
    share, share_draws = skill(value, prior, limit), skill_draws(draws, prior_draws, limit_draws)
    if share is None:
        return {**_missing("the prior is no worse than the ceiling, so there is no way to go"), **better}
    if share_draws is None:
        reason = "no interval: in some resamples the prior is no worse than the ceiling"
        return {"value": share, "standard_error": None, "confidence_interval": None, "reason": reason, **better}
    return {**block.of_draws(share, share_draws), **better}


def _missing(reason: str) -> Json:
    return {"value": None, "standard_error": None, "confidence_interval": None, "reason": reason}


def _values_only(measured: Measured, scoring: ScoringSpec) -> Json:
    """Means of a baseline on the metrics that make sense for it: none that is calibrated or derived."""
    found: Json = {}
    for name in scoring.metrics:
        if METRICS[name].base is not None:
            continue
        if name == "macro_f1":
            labels = measured.counts.shape[1]
            found[name] = {"value": f1.macro_f1_score(measured.chosen, measured.plurality, labels)}
        elif name in measured.values:
            found[name] = {"value": float(measured.values[name].mean())}
        else:
            found[name] = {"value": None, "reason": measured.missing[name]}
    return found


def _strata(part: TaskData, measured: Measured, limits: Mapping[str, Ceiling], scoring: ScoringSpec) -> Json:
    """The item-level metrics of each stratum, with the ceiling and the number of items it stands on."""
    item_level = tuple(name for name in scoring.metrics if METRICS[name].kind == "item" and METRICS[name].base is None)
    primary = limits.get(scoring.primary)
    found: Json = {}
    for kind in part.task.strata:
        found[kind] = {}
        for name, where in _masks(kind, part.scored, measured.counts).items():
            per_item = None if primary is None else primary.per_item
            found[kind][name] = {
                "items": int(where.sum()),
                "ceiling": None if per_item is None else float(per_item[where].mean()),
                "metrics": summarise(measured, measured, {}, scoring, item_level, where),
            }
    return found


def _masks(kind: str, items: tuple[Item, ...], counts: Array) -> dict[str, NDArray[np.bool_]]:
    """Stratum name → which items (items,) are in it; empty strata are left out."""
    if kind == "unanimity":
        names = np.array(["-".join(str(int(count)) for count in sorted(row, reverse=True)) for row in counts])
        return {name: names == name for name in sorted(set(names.tolist()), reverse=True)}
    if kind == "group":
        groups = np.array([item.group or "none" for item in items])
        return {name: groups == name for name in sorted(set(groups.tolist()))}
    # Rounded, so that equal shares in another order of the labels are equal here, on every machine.
    spread = entropy(rules.shares(counts).T).round(9)
    low, high = np.quantile(spread, [1 / 3, 2 / 3])
    masks = {"low": spread <= low, "middle": (spread > low) & (spread <= high), "high": spread > high}
    return {name: mask for name, mask in masks.items() if mask.any()}


def _fitted(measured: Measured) -> Json:
    fitted = measured.fitted
    found: Json = {"method": fitted.method, "split": fitted.split, "items": fitted.items}
    for name in ("temperature", "concentration", "concentration_calibrated"):
        per_item = fitted.values.get(name)
        found[name] = None if per_item is None else float(per_item.mean())
    return {**found, "by_fit": [dict(one) for one in fitted.by_fit], "reasons": dict(fitted.reasons)}


def _reliability(task: Task, measured: Measured) -> Json:
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


def _answer_mass(scored: Answers) -> Json:
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


def _order(scored: Answers, counts: Array, scoring: ScoringSpec) -> Json:
    """How much the answer depends on the order of presentation, within each prompt.

    `gap`: mean over items and pairs of orders of the total variation between the two answers; `consistency`: share of
    items with the same most probable label in every order; `primary_by_order`: the primary metric of each order alone.
    """
    groups: dict[str | None, list[int]] = {}
    for number, (prompt_id, _) in enumerate(scored.views):
        groups.setdefault(prompt_id, []).append(number)
    swapped = {prompt_id: views for prompt_id, views in groups.items() if len(views) > 1}
    if not swapped:
        reason = "every item was asked in one order only"
        return {"gap": None, "consistency": None, "primary_by_order": None, "reason": reason}
    gaps, consistent = [], []
    for views in swapped.values():
        shares = np.exp(scored.log_probs[:, views])
        for first in range(len(views)):
            for second in range(first + 1, len(views)):
                gaps.append(0.5 * np.abs(shares[:, first] - shares[:, second]).sum(axis=1))
        top = shares.argmax(axis=2)
        consistent.append((top == top[:, :1]).all(axis=1))
    return {
        "gap": float(np.mean(gaps)),
        "consistency": float(np.mean(consistent)),
        "primary_by_order": {
            f"{prompt_id or 'prompt'}/{scored.views[view][1]}": _by_view(scored.log_probs[:, view], counts, scoring)
            for prompt_id, views in swapped.items()
            for view in views
        },
    }


def _prompt_spread(scored: Answers, counts: Array, scoring: ScoringSpec) -> Json:
    """The primary metric of each prompt alone (its orders averaged), and how far apart they are."""
    names = list(dict.fromkeys(prompt_id for prompt_id, _ in scored.views))
    if len(names) < 2:
        return {"range": None, "primary_by_prompt": None, "reason": "every item was asked with one prompt only"}
    by_prompt = {}
    for name in names:
        views = [number for number, (prompt_id, _) in enumerate(scored.views) if prompt_id == name]
        mean = np.logaddexp.reduce(scored.log_probs[:, views], axis=1) - np.log(len(views))
        by_prompt[str(name)] = _by_view(mean, counts, scoring)
    known = [value for value in by_prompt.values() if value is not None]
    return {"range": max(known) - min(known) if known else None, "primary_by_prompt": by_prompt}
