"""A second group of people on the same items: how well they forecast the first, and how far the two agree."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.core.benchmark_types import ScoringSpec
from runner.core.types import Array
from runner.scorecard.references import References
from runner.scorecard.task_metrics import TaskMetrics, panel_of
from runner.scoring import intervals, rules
from runner.scoring.ceiling import ceiling, fit_dirichlet
from runner.scoring.ceiling_error import prior_influence
from runner.scoring.entropy_correlation import entropy_columns
from runner.scoring.metrics import METRICS, has_skill, skill, skill_draws
from runner.tasks.selection import TaskData

Json = dict[str, Any]


def posterior_means(panel: Array) -> Array:
    """(items, labels) log shares of a group's votes, smoothed by a Dirichlet fitted to those same votes.

    Some smoothing is needed, since with five votes a label that nobody chose would cost an infinite cross-entropy.
    """
    strengths = panel + fit_dirichlet(panel).alpha
    return np.asarray(np.log(strengths / strengths.sum(axis=1, keepdims=True)))


def panel_skill(part: TaskData, references: References, scoring: ScoringSpec) -> tuple[float, float] | None:
    """The skill of the second group in the primary metric, and its mean votes an item; None where there is no `panel`.

    On the scale of a model's skill: 0 at the better of prior and uniform, 1 at the ceiling.
    """
    primary, counts = scoring.primary, references.prior.counts
    chosen = _panel(part, references, scoring)
    if isinstance(chosen, str):
        return None
    votes, where = chosen
    sign = 1.0 if METRICS[primary].lower_is_better else -1.0
    mean = float(rules.RULES[primary](posterior_means(votes), counts[where]).mean())
    zeros = [
        sign * float(reference.values[primary][where].mean()) for reference in (references.prior, references.uniform)
    ]
    limit = float(references.ceiling_column(primary, len(counts))[where].mean())
    share = skill(sign * mean, min(zeros), sign * limit)
    return None if share is None else (share, float(votes.sum(axis=1).mean()))


def _panel(part: TaskData, references: References, scoring: ScoringSpec) -> tuple[Array, NDArray[np.bool_]] | str:
    """The second group's votes, and the mask of the items that have some; or why they say nothing."""
    votes = panel_of(part.scored, references.prior.counts.shape[1])
    if votes is None:
        return "the data have no second group of people on these items"
    if scoring.primary not in rules.RULES:
        return f"the primary metric, {scoring.primary}, has no loss per item"
    if scoring.primary not in references.limits:
        return f"the primary metric, {scoring.primary}, has no ceiling on these votes"
    where = votes.sum(axis=1) > 0
    if where.sum() < 2:
        return f"a second group of people voted on {where.sum()} of the items; two are needed"
    best = fit_dirichlet(votes[where])
    if not best.determined:
        return f"the second group's votes say too little: {best.notes[-1]}"
    return votes[where], where


def panel_block(part: TaskData, references: References, measured: TaskMetrics | None, scoring: ScoringSpec) -> Json:
    """A task's `panel`, or null with `panel_reason`."""
    chosen = _panel(part, references, scoring)
    if isinstance(chosen, str):
        return {"panel": None, "panel_reason": chosen}
    return {"panel": _panel_row(*chosen, references, measured, scoring)}


def _panel_row(
    votes: Array,
    where: NDArray[np.bool_],
    references: References,
    measured: TaskMetrics | None,
    scoring: ScoringSpec,
) -> Json:
    """What a second group of people says by its `votes` `(items, labels)` on the items in the mask `where`.

    `metrics` score the group's smoothed shares against the scored votes, with `skill` on the scale of the models.
    `reliability`: how the groups agree on an item: `plurality_agreement` (share of the items where neither is tied),
    `share_correlation` and `entropy_correlation` (Pearson, over items, of one label's shares with two labels, of all
    with more). `ceiling` is the primary metric's ceiling from this group's votes, and how far it is from the scored
    votes' ceiling: the error of whom one asks. `all_votes` scores the model on both groups' votes together.
    """
    counts = references.prior.counts
    logs = posterior_means(votes)
    shared = references.prior.shared if where.all() or references.prior.shared is None else None
    if references.prior.shared is not None and not where.all():
        shared = references.prior.shared.subset(where)
    columns: dict[str, Array] = {}
    for name in (name for name in scoring.metrics if name in rules.RULES and name in references.limits):
        columns[name] = rules.RULES[name](logs, counts[where])
        if has_skill(name, counts.shape[1]) and name in references.limits:
            for zero, baseline in (("prior", references.prior), ("uniform", references.uniform)):
                columns[f"{zero}/{name}"] = baseline.values[name][where]
            columns[f"ceiling/{name}"] = references.ceiling_column(name, len(counts))[where]
    other, other_column = _other_ceiling(votes, scoring)
    columns["/ceiling"] = other_column
    columns["/ceilings"] = other_column - references.ceiling_column(scoring.primary, len(counts))[where]
    if measured is not None:
        columns["/all"] = rules.RULES[scoring.primary](measured.log_probs[where], counts[where] + votes)
    matrix = np.column_stack(list(columns.values()))
    spec = scoring.intervals
    drawn = intervals.bootstrap_means(matrix, spec.draws, spec.seed, shared)
    errors = intervals.standard_error(matrix, shared)
    column_of = {name: number for number, name in enumerate(columns)}

    def estimate(value: float, draws: Array, error: float | None) -> Json:
        if error is None:
            reason = "all items depend on each other"
            return {"value": value, "standard_error": None, "confidence_interval": None, "reason": reason}
        lower, upper = intervals.percentile_interval(draws, spec.level, shared)
        interval = {"lower": float(lower), "upper": float(upper), "level": spec.level}
        return {"value": value, "standard_error": error, "confidence_interval": interval}

    def of_mean(name: str) -> Json:
        at = column_of[name]
        return estimate(float(matrix[:, at].mean()), drawn[:, at], None if errors is None else float(errors[at]))

    metrics = {
        name: {**of_mean(name), "lower_is_better": METRICS[name].lower_is_better} for name in columns if "/" not in name
    }
    return {
        "items": int(where.sum()),
        "votes": float(votes.sum(axis=1).mean()),
        "metrics": metrics,
        "skill": {
            name: _skill(name, {key: (matrix[:, at], drawn[:, at]) for key, at in column_of.items()}, estimate)
            for name in metrics
            if f"ceiling/{name}" in column_of
        },
        "reliability": _reliability(counts[where], votes, scoring),
        "ceiling": {
            scoring.primary: {**of_mean("/ceiling"), "value": other},
            "difference": of_mean("/ceilings"),
        },
        "all_votes": None if measured is None else {scoring.primary: of_mean("/all")},
    }


def _other_ceiling(votes: Array, scoring: ScoringSpec) -> tuple[float, Array]:
    best = fit_dirichlet(votes)
    limits = ceiling(votes, [scoring.primary], scoring.ceiling_draws, scoring.ceiling_seed, best.alpha)
    limit = limits[scoring.primary]
    per_item = np.full(len(votes), limit.value) if limit.per_item is None else limit.per_item
    influence = prior_influence(votes, limits, best, [scoring.primary]).get(scoring.primary, 0.0)
    return limit.value, np.asarray(per_item + influence)


def _skill(name: str, columns: dict[str, tuple[Array, Array]], estimate: Any) -> Json:
    sign = 1.0 if METRICS[name].lower_is_better else -1.0
    means = {key: sign * float(columns[f"{key}{name}"][0].mean()) for key in ("", "prior/", "uniform/", "ceiling/")}
    draws = {key: sign * columns[f"{key}{name}"][1] for key in means}
    zero = min(("prior/", "uniform/"), key=lambda key: means[key])
    share = skill(means[""], means[zero], means["ceiling/"])
    shares = skill_draws(draws[""], np.minimum(draws["prior/"], draws["uniform/"]), draws["ceiling/"])
    if share is None or shares is None:
        reason = f"the {zero[:-1]} is no worse than the ceiling, at least in some resamples"
        return {"value": share, "standard_error": None, "confidence_interval": None, "reason": reason}
    return dict(estimate(share, shares, float(shares.std(ddof=1))))


def _reliability(counts: Array, votes: Array, scoring: ScoringSpec) -> Json:
    clear = ~(rules.tied(counts) | rules.tied(votes))
    agree = rules.plurality(counts)[clear] == rules.plurality(votes)[clear]
    labels = counts.shape[1]
    own, other = (rules.shares(votes_of)[:, : labels - 1 if labels == 2 else labels] for votes_of in (counts, votes))
    varied = own.std() > 0 and other.std() > 0
    uniform = np.full(counts.shape, -np.log(labels))
    return {
        "plurality_agreement": float(agree.mean()) if agree.size else None,
        "plurality_items": int(clear.sum()),
        "share_correlation": float(np.corrcoef(own.ravel(), other.ravel())[0, 1]) if varied else None,
        "entropy_correlation": entropy_columns(uniform, counts, votes, scoring.ceiling_seed).reliability,
    }
