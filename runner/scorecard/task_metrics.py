"""One task's answers to per-item losses, with no value fitted on the rows that it scores."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from runner.core.benchmark_types import ScoringSpec
from runner.core.types import Array, Item
from runner.scoring import calibration, rules
from runner.scoring.dependence import Dependence, dependence
from runner.scoring.entropy_correlation import EntropyCorrelation, entropy_columns
from runner.scoring.metrics import METRICS
from runner.tasks.answers import Answers
from runner.tasks.sampled import log_posterior_mean
from runner.tasks.selection import TaskAnswers, TaskData

CALIBRATED = "_calibrated"
REDRAWS = 20
"""How often the answers of each item are drawn again, to know what drawing them adds to the error."""
PMI = "_pmi"
ORDINAL = ("wasserstein",)
"""Metrics that have a meaning only where the labels have an order."""
_SEED = ("seed_cross_entropy", "seed_dirichlet")

PARAMETERS = ("temperature", "concentration", "concentration_calibrated")


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was fitted for a model, where, and its value for each scored item."""

    method: str | None
    """`held-out` (one value, from the fitting split), `cross-fitted` (an item's value comes from the folds that do not
    hold it) or None."""
    split: str | None
    """That was fitted on; None where nothing was."""
    items: int
    """How many items were fitted on."""
    by_fit: tuple[Mapping[str, float | None], ...]
    """One entry per fit: its values by name."""
    values: Mapping[str, Array]
    """Maps each of `PARAMETERS` to (items,) and `marginal` to (items, labels), the model's own mean share of each label
    on the items that were fitted on, as a logarithm."""
    reasons: Mapping[str, str]
    """Why a name of `PARAMETERS` could not be fitted; it is then not in `values`."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """Says of a name in `values` that some fit lies at a limit, and why."""


@dataclass(frozen=True, slots=True)
class TaskMetrics:
    """Per-item values of each metric of a task, and why a metric is missing."""

    log_probs: Array
    """`(items, labels)` the model's shares as logarithms."""
    counts: Array
    """`(items, labels)` people's votes."""
    predicted: NDArray[np.intp]
    """`(items,)` the label index of the model's answer, ties to the first label."""
    majority: NDArray[np.intp]
    """`(items,)` the label index of the people's answer, ties to the first label."""
    values: Mapping[str, Array]
    """`(items,)` by metric."""
    unavailable: Mapping[str, str]
    """Why a metric is missing, by metric."""
    fitted: Fitted
    """What was fitted for the calibrated metrics."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Says of a metric that is there that it is scored at the limit of what was fitted for it."""
    entropies: EntropyCorrelation | None = None
    """What the correlation of entropies is computed from; None where the benchmark does not request it."""
    shared: Dependence | None = None
    """Which items are not independent; None that all are."""
    redrawn: tuple["TaskMetrics", ...] = ()
    """The same with each item's answers drawn again from those that were drawn; empty unless answers were drawn."""


def counts_of(items: tuple[Item, ...]) -> Array:
    """(items, labels) human counts."""
    return np.array([item.counts for item in items], dtype=np.float64)


def measure(answers: TaskAnswers, scoring: ScoringSpec) -> TaskMetrics:
    """The model's per-item values on the scored items of a task, of which there is at least one."""
    part, scored = answers.task, answers.scored
    counts = counts_of(part.scored)
    held_out = answers.fitting if part.answered_fitting else None
    log_probs = scored.averaged()
    fitted = fit(
        log_probs,
        counts,
        scoring,
        split=part.split,
        held_out=(held_out.averaged(), counts_of(part.answered_fitting), part.fitting_split) if held_out else None,
        own_concentration=scored.concentration,
    )
    unknown = np.isnan(scored.answer_mass)
    # A model that never gives its answer mass is one whose distribution is over the labels alone: it is all on them.
    mass = np.where(unknown, 1.0, scored.answer_mass)
    masses = (np.exp(scored.log_probs) * mass[:, :, None]).mean(axis=1)
    in_part = "some rows do not say how much probability was on the options" if 0 < unknown.mean() < 1 else None
    metrics = _values(log_probs, counts, masses, fitted, scoring, ordinal=part.task.ordinal, unknown_masses=in_part)
    redrawn = []
    for again in redraw(scored, REDRAWS, scoring.intervals.seed):
        other = _values(again, counts, np.exp(again), fitted, scoring, ordinal=part.task.ordinal)
        redrawn.append(replace(other, entropies=_entropies(part, again, counts, scoring)))
    return replace(
        metrics,
        entropies=_entropies(part, log_probs, counts, scoring),
        shared=shared_by(part, scoring),
        redrawn=tuple(redrawn),
    )


def redraw(scored: Answers, times: int, seed: int) -> Iterator[Array]:
    """(items, labels) log-probabilities of as many answers again, drawn from those of each item; nothing unless drawn.

    The second stage of a bootstrap over items and their answers.
    """
    if scored.samples is None:
        return
    counts = scored.samples.sum(axis=1)
    generator = np.random.default_rng(seed)
    totals = counts.sum(axis=1).astype(np.int64)
    for _ in range(times):
        yield log_posterior_mean(generator.multinomial(totals, counts / totals[:, None]).astype(np.float64))


def shared_by(part: TaskData, scoring: ScoringSpec) -> Dependence | None:
    """Which scored items are not independent, None where all are."""
    return dependence([item.clusters for item in part.scored]) if scoring.inference > 1 else None


def panel_of(items: tuple[Item, ...], labels: int) -> Array | None:
    """(items, labels) votes of the second group of people, zeros where an item has none; None where none has any."""
    if all(item.panel is None for item in items):
        return None
    return np.array([item.panel or (0,) * labels for item in items], dtype=np.float64)


def _entropies(part: TaskData, log_probs: Array, counts: Array, scoring: ScoringSpec) -> EntropyCorrelation | None:
    if "entropy_correlation" not in scoring.metrics:
        return None
    panel = panel_of(part.scored, counts.shape[1])
    return entropy_columns(log_probs, counts, panel, scoring.ceiling_seed)


def baseline_uniform(part: TaskData, scoring: ScoringSpec) -> TaskMetrics:
    """The per-item values of equal probabilities on the scored items of `part`."""
    labels = len(part.task.labels)
    return _baseline(
        part, np.full((len(part.scored), labels), -np.log(labels)), np.full(labels, -np.log(labels)), scoring
    )


def baseline_prior(part: TaskData, scoring: ScoringSpec) -> tuple[TaskMetrics, str]:
    """The per-item values of the label shares on the scored items of `part`, and how they were had.

    The shares are the mean vote shares of the fitting split's items, or, without one, cross-fitted over the folds of
    the scored items.
    """
    log_probs, method = prior_log_probs(part, scoring)
    if log_probs is None:
        return baseline_uniform(part, scoring), method
    return _baseline(part, log_probs, log_probs[0] if part.fitting else None, scoring), method


def prior_log_probs(part: TaskData, scoring: ScoringSpec) -> tuple[Array | None, str]:
    """(items, labels) logarithms of the label shares for the scored items, and how they were had.

    The mean vote shares of the fitting split's items, or, without one, of the folds that do not hold the item; None
    with the reason where the items are too few for that.
    """
    counts = counts_of(part.scored)
    if part.fitting:
        return np.broadcast_to(calibration.prior(counts_of(part.fitting)), counts.shape).copy(), "held-out"
    fold = _folds(len(counts), scoring)
    if fold is None:
        return None, "none: too few items to fit label shares on, so every share is equal"
    log_probs = np.empty_like(counts)
    for number in range(scoring.fit.folds):
        log_probs[fold == number] = calibration.prior(counts[fold != number])
    return log_probs, "cross-fitted"


def _baseline(part: TaskData, log_probs: Array, constant: Array | None, scoring: ScoringSpec) -> TaskMetrics:
    """A baseline is fitted as a model is: where the items to fit on are given the `constant` (labels,), on those."""
    counts, held_out = counts_of(part.scored), None
    if part.answered_fitting and constant is not None:
        votes = counts_of(part.answered_fitting)
        held_out = np.broadcast_to(constant, votes.shape).copy(), votes, part.fitting_split
    fitted = fit(log_probs, counts, scoring, split=part.split, held_out=held_out, tempered=False)
    return _values(log_probs, counts, np.exp(log_probs), fitted, scoring, ordinal=part.task.ordinal)


def fit(
    log_probs: Array,
    counts: Array,
    scoring: ScoringSpec,
    *,
    split: str,
    held_out: tuple[Array, Array, str] | None = None,
    own_concentration: Array | None = None,
    tempered: bool = True,
) -> Fitted:
    """Fit on `held_out` (log-probabilities, counts, name of their split), or else on folds of the scored items.

    A model's own concentration (items,) is used instead of a fitted one; the tempered variant is fitted all the same,
    unless `tempered` is false: a baseline has no use for a temperature.
    """
    items = len(counts)
    if held_out is not None:
        fold = np.zeros(items, dtype=np.intp)
        parts = [(held_out[0], held_out[1])]
        method, source, used = "held-out", held_out[2], len(held_out[1])
    else:
        fold_numbers = _folds(items, scoring)
        if fold_numbers is None:
            reason = f"{items} items are too few for {scoring.fit.folds} folds, and there is no fitting split"
            own = {} if own_concentration is None else {"concentration": own_concentration}
            missing = {name: reason for name in (*PARAMETERS, "marginal") if name not in own}
            return Fitted(None, None, 0, (), own, missing)
        fold = fold_numbers
        parts = [(log_probs[fold != number], counts[fold != number]) for number in range(scoring.fit.folds)]
        method, source, used = "cross-fitted", split, items
    fit_one = _fit_one if scoring.inference > 1 else _fit_one_within
    fits = [fit_one(*part, tempered) for part in parts]
    if scoring.inference > 1 and (counts.sum(axis=1) <= 1).all():
        fits = [
            {name: _any_concentration(name, parameter) for name, parameter in parameters.items()} for parameters in fits
        ]
    reasons = {
        name: parameter.reason
        for parameters in fits
        for name, parameter in parameters.items()
        if parameter.value is None and parameter.reason
    }
    limits = {
        name: parameter.reason
        for parameters in fits
        for name, parameter in parameters.items()
        if parameter.value is not None and parameter.reason is not None and name not in reasons
    }
    values = {
        name: np.array([parameters[name].value for parameters in fits], dtype=np.float64)[fold]
        for name in PARAMETERS
        if name not in reasons
    }
    if own_concentration is not None:
        values["concentration"] = own_concentration
        reasons.pop("concentration", None)
        limits.pop("concentration", None)
    values["marginal"] = np.array([logsumexp(part, axis=0) - np.log(len(part)) for part, _ in parts])[fold]
    by_fit = tuple({name: parameters[name].value for name in PARAMETERS} for parameters in fits)
    return Fitted(method, source, used, by_fit, values, reasons, limits)


_UNTEMPERED = calibration.Fitted(None, "a baseline is not tempered")


def _fit_one(log_probs: Array, counts: Array, tempered: bool) -> dict[str, calibration.Fitted]:
    temperature = calibration.fit_temperature(log_probs, counts) if tempered else _UNTEMPERED
    return _with_concentrations(temperature, calibration.fit_concentration, log_probs, counts)


def _fit_one_within(log_probs: Array, counts: Array, tempered: bool) -> dict[str, calibration.Fitted]:
    """As `scoring.inference: 1` has it: what lies at a limit has no value."""
    temperature = calibration.fit_temperature_within(log_probs, counts) if tempered else _UNTEMPERED
    return _with_concentrations(temperature, calibration.fit_concentration_within, log_probs, counts)


def _with_concentrations(
    temperature: calibration.Fitted,
    fit_concentration: Callable[[Array, Array], calibration.Fitted],
    log_probs: Array,
    counts: Array,
) -> dict[str, calibration.Fitted]:
    if temperature.value is None:
        calibrated = calibration.Fitted(None, temperature.reason)
    else:
        calibrated = fit_concentration(calibration.temper(log_probs, temperature.value), counts)
    return {
        "temperature": temperature,
        "concentration": fit_concentration(log_probs, counts),
        "concentration_calibrated": calibrated,
    }


def _any_concentration(name: str, fitted: calibration.Fitted) -> calibration.Fitted:
    """Where every scored item has one vote, any concentration scores alike: 1 stands for one that is not known."""
    if fitted.value is None and name != "temperature" and fitted is not _UNTEMPERED:
        return calibration.Fitted(1.0, "every item has one vote, on which the concentration changes nothing")
    return fitted


def _folds(items: int, scoring: ScoringSpec) -> NDArray[np.intp] | None:
    """The fold of each item, or None when a fold would hold fewer than two."""
    if items < 2 * scoring.fit.folds:
        return None
    return calibration.folds(items, scoring.fit.folds, scoring.fit.seed)


def _values(
    log_probs: Array,
    counts: Array,
    masses: Array,
    fitted: Fitted,
    scoring: ScoringSpec,
    *,
    ordinal: bool,
    unknown_masses: str | None = None,
) -> TaskMetrics:
    """Per-item values; `unknown_masses` is why the metrics that need the option masses (items, labels) have none."""
    values: dict[str, Array] = {}
    missing: dict[str, str] = {}
    notes: dict[str, str] = {}
    for name in (*scoring.metrics, *scoring.ablations):
        if METRICS[name].kind != "item":
            continue
        needed, compute = _rule(name, log_probs, counts, masses, fitted)
        reason = next((fitted.reasons[parameter] for parameter in needed if parameter in fitted.reasons), None)
        if name in _SEED:
            reason = unknown_masses
        if name in ORDINAL and not ordinal:
            reason = "the task does not say that its labels have an order"
        if reason is not None:
            missing[name] = reason
            continue
        scores = compute()
        if np.isfinite(scores).all():
            values[name] = scores
            if at_limit := [fitted.limits[parameter] for parameter in needed if parameter in fitted.limits]:
                notes[name] = "; ".join(dict.fromkeys(at_limit))
        else:
            missing[name] = f"infinite on {int((~np.isfinite(scores)).sum())} items: a chosen label has no mass"
    return TaskMetrics(
        log_probs=log_probs,
        counts=counts,
        predicted=rules.predicted_label(log_probs),
        majority=rules.plurality(counts),
        values=values,
        unavailable=missing,
        fitted=fitted,
        notes=notes,
    )


def _rule(
    name: str, log_probs: Array, counts: Array, masses: Array, fitted: Fitted
) -> tuple[tuple[str, ...], Callable[[], Array]]:
    """What a metric needs fitted, and how it is computed once that is there."""
    if name in _SEED:
        legacy = rules.seed_cross_entropy if name == "seed_cross_entropy" else rules.seed_dirichlet
        return (), lambda: legacy(np.minimum(masses, 1.0), counts)
    if name in ("dirichlet_multinomial", "dirichlet_multinomial_per_vote"):
        votes = counts.sum(axis=1) if name.endswith("_per_vote") else 1.0
        return (
            "concentration",
        ), lambda: rules.dirichlet_multinomial(log_probs, counts, fitted.values["concentration"]) / votes
    if name.endswith(PMI):
        base = rules.RULES[name.removesuffix(PMI)]
        return ("marginal",), lambda: base(log_softmax(log_probs - fitted.values["marginal"], axis=1), counts)
    if name.endswith(CALIBRATED):
        if name == f"dirichlet_multinomial{CALIBRATED}":
            return ("temperature", "concentration_calibrated"), lambda: rules.dirichlet_multinomial(
                _tempered(log_probs, fitted), counts, fitted.values["concentration_calibrated"]
            )
        base = rules.RULES[name.removesuffix(CALIBRATED)]
        return ("temperature",), lambda: base(_tempered(log_probs, fitted), counts)
    return (), lambda: rules.RULES[name](log_probs, counts)


def _tempered(log_probs: Array, fitted: Fitted) -> Array:
    tempered: Array = log_softmax(log_probs / fitted.values["temperature"][:, None], axis=1)
    return tempered
