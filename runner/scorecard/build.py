"""Predictions and items to the numbers of a scorecard: pure, so that anyone can redo it without a model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from runner.core.benchmark_types import Benchmark, PromptSpec, ScoringSpec, Task
from runner.core.canonical import digest
from runner.scorecard import diagnostics, parse_failures
from runner.scorecard.estimates import baseline_means, sampling, skills, summarise
from runner.scorecard.panel import panel_block
from runner.scorecard.references import References, ceilings, references_of
from runner.scorecard.strata import by_stratum
from runner.scorecard.task_metrics import (
    PARAMETERS,
    TaskMetrics,
    counts_of,
    measure,
)
from runner.scorecard.warn import warnings
from runner.scoring import rules
from runner.scoring.ceiling import has_ceiling
from runner.scoring.dirichlet import DirichletFit, fit_dirichlet
from runner.tasks import api_usage
from runner.tasks.answers import View
from runner.tasks.selection import Selection, TaskAnswers, drop_unparsed

SCHEMA_VERSION = "1"

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
    reasons = [*selection.not_comparable, *_other_ways_of_asking(benchmark, tasks), *parse_failures.reasons(tasks)]
    reasons += api_usage.reasons(task["service"] for task in tasks.values() if "service" in task)
    if self_check is not None and self_check["passed"] is False:
        reasons.append("the self-check failed: scores depend on the batch")
    warned = {"warnings": warnings(tasks, benchmark.scoring)} if benchmark.scoring.inference > 1 else {}
    return {
        **warned,
        "benchmark": {"name": benchmark.name, "version": benchmark.version, "digest": benchmark.digest},
        "suite": selection.suite,
        "comparable": not reasons,
        "not_comparable": reasons,
        "missing_tasks": [name for name in benchmark.suites[selection.suite].datasets if name not in tasks],
        "data": selection.data,
    }


def _other_ways_of_asking(benchmark: Benchmark, tasks: Json) -> list[str]:
    """Tasks whose rows name other prompts or orders than the benchmark's; rows that name none are taken as they are."""
    reasons = []
    for name, task in sorted(tasks.items()):
        used_views = {(view["prompt_id"], view["order"]) for view in task["views"]}
        own = [
            {(prompt, order) for prompt in prompts for order in range(len(benchmark.prompts[prompt].orders))}
            for prompts in (
                benchmark.tasks[name].prompts,
                benchmark.tasks[name].verbalized,
                benchmark.tasks[name].sampled,
            )
        ]
        if used_views not in own and any(prompt is not None for prompt, _ in used_views):
            listing = ", ".join(f"{prompt}/{order}" for prompt, order in sorted(used_views))
            reasons.append(f"{name} was asked as {listing[:300]}, not in the benchmark's own prompts and orders")
    return reasons


def build_tasks(selection: Selection, answers: Mapping[str, TaskAnswers]) -> Json:
    """The `tasks` block of a card: every number that predictions and data determine, and nothing else.

    Deterministic: the same rows, data and benchmark give the same numbers, bit for bit on one machine.
    """
    return {part.task.name: _task(answers[part.task.name], selection.benchmark) for part in selection.tasks}


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
                **_drawing(specs[name]),
            }
        )
        for name in names
    }


def _drawing(spec: PromptSpec) -> Json:
    """How answers are drawn and which examples are shown; nothing for prompts with neither: their digests stay."""
    shown = {"few_shot": spec.few_shot} if spec.few_shot else {}
    if spec.samples is None:
        return shown
    return {**shown, "samples": spec.samples, "temperature": spec.temperature, "top_p": spec.top_p}


def _task(answers: TaskAnswers, benchmark: Benchmark) -> Json:
    """A task's block. Everything that is compared with the model is over the items whose answers could be read."""
    scoring = benchmark.scoring
    part, task_answers = answers.task, answers.scored
    elicitation = parse_failures.elicitation(benchmark, part.task, task_answers)
    parsed = drop_unparsed(answers)
    used = parsed.task if parsed.task.scored else part
    service = api_usage.merged(
        part_served.served for part_served in (task_answers, answers.fitting) if part_served is not None
    )
    counts = counts_of(used.scored)
    best = fit_dirichlet(counts)
    references, prior_method = references_of(used, best, scoring)
    measured = measure(parsed, scoring) if parsed.task.scored else None
    if measured is None:
        results = parse_failures.nothing_measured(scoring)
    else:
        scored = parsed.scored
        results = {
            "metrics": summarise(measured, references, scoring, scoring.metrics),
            "ablations": summarise(measured, references, scoring, scoring.ablations),
            "strata": by_stratum(used, measured, references.limits, scoring),
            "fitted": _fitted(measured),
            "reliability": diagnostics.reliability(part.task, measured),
            "answer_mass": diagnostics.answer_mass(scored),
            "order": diagnostics.order(scored, counts, benchmark, part.task.labels),
            "prompt_spread": diagnostics.prompt_spread(scored, counts, scoring),
        }
    if scoring.inference > 1:
        results |= {
            "skills": None if measured is None else skills(measured, references, scoring),
            **panel_block(used, references, measured, scoring),
            "votes_per_item": float(np.median(counts.sum(axis=1))),
            "dependence": _dependence(references.prior),
        }
    return {
        "split": part.split,
        "dataset": part.dataset,
        "synthetic": part.synthetic,
        "items": len(part.scored),
        "skipped": part.skipped,
        "labels": list(part.task.labels),
        "elicitation": elicitation,
        "prompts": _prompt_digests(benchmark, part.task, task_answers.views),
        "views": [{"prompt_id": prompt_id, "order": order} for prompt_id, order in task_answers.views],
        "failures": parse_failures.failures(benchmark, part.task, task_answers)
        if elicitation in ("verbalized", "sampled")
        else None,
        "ties": {
            "human": int(rules.tied(counts).sum()),
            "model": 0 if measured is None else int(rules.tied(measured.log_probs).sum()),
        },
        "ceiling": _ceilings(references, best, scoring),
        "ceiling_prior": {"alpha": best.alpha.tolist(), "notes": list(best.notes)},
        "baselines": {
            "uniform": baseline_means(references.uniform, scoring),
            "prior": baseline_means(references.prior, scoring),
        },
        "prior_method": prior_method,
        "truncated": len(task_answers.truncated),
        **results,
        **({"sampling": sampling(task_answers, measured, scoring)} if task_answers.samples is not None else {}),
        **({} if service is None else {"service": service.to_json()}),
    }


def _ceilings(references: References, best: DirichletFit, scoring: ScoringSpec) -> Json:
    if scoring.inference == 1:
        return {
            name: {"value": limit.value, "monte_carlo_error": limit.monte_carlo_error}
            for name, limit in references.limits.items()
        }
    if not references.limits:
        nothing = {"value": None, "monte_carlo_error": None, "standard_error": None, "confidence_interval": None}
        return {name: {**nothing, "reason": best.notes[-1]} for name in scoring.metrics if has_ceiling(name)}
    prior = references.prior
    return ceilings(len(prior.counts), references.limits, references.influence, prior.shared, scoring)


def _dependence(measured: TaskMetrics) -> Json | None:
    """Units that are nearly independent of each other: whole groups, or blocks of `length` items of a walk."""
    shared = measured.shared
    if shared is None:
        return None
    return {"units": shared.units, "kind": "blocks" if shared.length else "groups", "length": shared.length or None}


def _fitted(measured: TaskMetrics) -> Json:
    fitted = measured.fitted
    summary: Json = {"method": fitted.method, "split": fitted.split, "items": fitted.items}
    for name in PARAMETERS:
        per_item = fitted.values.get(name)
        summary[name] = None if per_item is None else _finite(float(per_item.mean()))
    by_fit = [{name: _finite(value) for name, value in fold.items()} for fold in fitted.by_fit]
    return {**summary, "by_fit": by_fit, "reasons": {**fitted.reasons, **fitted.limits}}


def _finite(value: float | None) -> float | None:
    """An infinite value is null on a card; its reason says that it is infinite."""
    return value if value is not None and np.isfinite(value) else None
