"""Two submissions on the same items: paired differences that say whether B is better than A."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runner.core.benchmark_types import ScoringSpec
from runner.core.errors import Fault, InvalidInput, NotComparable
from runner.scorecard.references import references_of
from runner.scorecard.signed_run import open_signed_run
from runner.scorecard.skill_gain import skill_differences
from runner.scorecard.task_metrics import TaskMetrics, measure
from runner.scorecard.verdict import locate, verdict, way
from runner.scorecard.verify import Report, verify
from runner.scoring import comparison
from runner.scoring.dirichlet import fit_dirichlet
from runner.scoring.entropy_correlation import entropy_correlation
from runner.scoring.f1 import macro_f1_score
from runner.scoring.metrics import METRICS, is_tested
from runner.scoring.verdicts import DESCRIPTIVE, PRIMARY, SECONDARY, SIGNED, decide
from runner.signing.keyring import Keyring
from runner.tasks.selection import TaskData, drop_unparsed

Json = dict[str, Any]

_PERMUTATIONS = 10_000

RULE = (
    "interval: paired bootstrap; p: sign-flip permutation. The primary metric is tested alone, the others "
    "together (Holm); doubles and legacy losses are shown, not tested. detect: the true difference that this "
    "verdict would find four times in five."
)
"""How a verdict is reached; the first of a comparison's notes."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit on how much worse B may be."""

    metric: str
    """Its name."""
    margin: float
    """B must be shown to be worse than A by no more than this."""


def compare(
    a: Path,
    b: Path,
    keyring: Keyring,
    benchmark_file: Path | None = None,
    data_dir: Path | None = None,
    gates: Sequence[Gate] = (),
    only: Sequence[str] = (),
) -> Json:
    """Paired differences B − A per task and metric, with intervals, Holm-adjusted p-values and verdicts about B.

    Tasks come in the benchmark's own order; `only` those, where some are named. Each has a `verdict`: one sentence as
    `text`, and its `parts`. A gate's margin for the primary metric is also what counts as equal in that sentence.
    Both cards must verify, and the predictions must lie beside them. Raises `NotComparable` naming every difference
    that stands in the way, and `InvalidInput` (UNKNOWN_TASK) for a name in `only` that is no task of both cards.
    """
    cards = verify(a, keyring), verify(b, keyring)
    tasks = _comparable(cards[0], cards[1])
    if unknown := [name for name in only if name not in tasks]:
        message = f"No task of both cards: {', '.join(unknown)}."
        raise InvalidInput(Fault("UNKNOWN_TASK", message, hint=f"Both have: {', '.join(tasks)}."))
    scoring, sides = _measure_same_items(cards, only or tasks, benchmark_file, data_dir)
    names = list(sides)
    result: Json = {
        "a": _name(cards[0]),
        "b": _name(cards[1]),
        "tasks": {},
        "notes": _notes(cards, tasks),
        "gates": [],
        "warnings": _warnings(cards, names),
    }
    margins = {gate.metric: gate.margin for gate in gates}
    for name in names:
        result["tasks"][name] = _task(name, scoring, *sides[name], margins.get(scoring.primary))
    result["gates"] = [_judge(gate, name, result["tasks"][name]) for gate in gates for name in names]
    return result


def _warnings(cards: tuple[Report, Report], tasks: Sequence[str]) -> list[Json]:
    """The warnings of both cards about these tasks, each with the `card` it stands on: `A` or `B`."""
    return [
        {"card": label, **warning}
        for name in tasks
        for label, report in zip("AB", cards, strict=True)
        for warning in report.card.get("warnings", ())
        if warning["task"] == name
    ]


def _name(report: Report) -> Json:
    return {name: report.card["submission"][name] for name in ("name", "digest")}


def _comparable(a: Report, b: Report) -> list[str]:
    """The tasks that both cards have, or every reason why they cannot be compared."""
    faults = []

    def differ(what: str, first: object, second: object, hint: str | None = None) -> None:
        faults.append(Fault("NOT_COMPARABLE", f"{what} differs: {first} against {second}.", str(b.folder), hint=hint))

    for report in (a, b):
        if (limit := report.card["run"]["limit"]) is not None:
            message = f"This run was limited to {limit} items."
            faults.append(Fault("NOT_COMPARABLE", message, str(report.folder), hint="Run it without --limit."))
    for key in ("name", "version", "digest"):
        first, second = a.card["benchmark"][key], b.card["benchmark"][key]
        if first != second:
            differ(
                f"benchmark {key}",
                first,
                second,
                "Score both with the same benchmark file." if key == "digest" else None,
            )
    if a.card["suite"] != b.card["suite"]:
        differ("suite", a.card["suite"], b.card["suite"])
    for name in sorted(a.card["data"].keys() & b.card["data"].keys()):
        first, second = a.card["data"][name]["sha256"], b.card["data"][name]["sha256"]
        if first != second:
            differ(f"data {name} sha256", first, second)
    tasks = [name for name in a.card["tasks"] if name in b.card["tasks"]]
    if not tasks:
        differ("the list of tasks", ", ".join(a.card["tasks"]), ", ".join(b.card["tasks"]), "No task is in both.")
    for name in tasks:
        first, second = a.card["tasks"][name], b.card["tasks"][name]
        for key in ("split", "dataset", "items", "labels"):
            if first[key] != second[key]:
                differ(f"{key} of {name}", first[key], second[key])
        if first["items"] < 2:
            message = f"Task {name} has one item, and a paired comparison needs two."
            faults.append(Fault("NOT_COMPARABLE", message, str(b.folder)))
        tracks = [task.get("elicitation", "logprob") for task in (first, second)]
        if None not in tracks and tracks[0] != tracks[1]:
            hint = "Log-probabilities, written distributions and drawn answers are tracks; give both one --elicitation."
            differ(f"elicitation of {name}", tracks[0], tracks[1], hint)
            continue
        views = [_describe_views(task) for task in (first, second)]
        if None not in views and views[0] != views[1]:
            differ(f"prompts of {name}", *views)
    if faults:
        raise NotComparable(*faults)
    return tasks


def _describe_views(task: Mapping[str, Any]) -> str | None:
    """Prompts, orders and digests behind the answers to a task; None where its rows do not name them."""
    views = [f"{view['prompt_id']}/{view['order']}" for view in task["views"] if view["prompt_id"] is not None]
    digests = [f"{name} = {digest[:23]}…" for name, digest in sorted((task["prompts"] or {}).items())]
    return ", ".join(sorted(views) + digests) or None


def _measure_same_items(
    reports: tuple[Report, Report], tasks: Sequence[str], benchmark_file: Path | None, data_dir: Path | None
) -> tuple[ScoringSpec, dict[str, tuple[TaskData, TaskMetrics, TaskMetrics]]]:
    """Task by task, the items whose answers could be parsed on both sides, and what A and B measured on them."""
    runs = [open_signed_run(report.card, report.folder, benchmark_file, data_dir) for report in reports]
    answers = [run.answers() for run in runs]
    scoring = runs[0].benchmark.scoring
    sides: dict[str, tuple[TaskData, TaskMetrics, TaskMetrics]] = {}
    for name in (name for name in runs[0].benchmark.tasks if name in tasks):
        both = np.logical_and(*(side[name].scored.read() for side in answers))
        if both.sum() < 2:
            message = f"Only {both.sum()} items of {name} have answers that can be read on both sides, two are needed."
            raise NotComparable(Fault("NOT_COMPARABLE", message, str(reports[1].folder)))
        a, b = (drop_unparsed(side[name], both) for side in answers)
        sides[name] = a.task, measure(a, scoring), measure(b, scoring)
    return scoring, sides


def _task(
    task: str, scoring: ScoringSpec, part: TaskData, a: TaskMetrics, b: TaskMetrics, margin: float | None
) -> Json:
    spec = scoring.intervals
    settings: Json = {
        "draws": spec.draws,
        "permutations": _PERMUTATIONS,
        "seed": spec.seed,
        "level": spec.level,
        "shared": b.shared,
    }
    names = [name for name in scoring.metrics if name in a.values and name in b.values]
    values_of = {name: {"a": float(a.values[name].mean()), "b": float(b.values[name].mean())} for name in names}
    separate = b.shared is None or b.shared.units > 1
    rows: dict[str, list[float]] = {}
    if separate:
        paired = comparison.compare(
            np.column_stack([b.values[name] for name in names]),
            np.column_stack([a.values[name] for name in names]),
            **settings,
        )
        rows = {name: [float(getattr(paired, key)[at]) for key in _COLUMNS] for at, name in enumerate(names)}
        for name, statistic, own in _statistics(a, b, settings):
            if name in scoring.metrics and np.isfinite([statistic.lower, statistic.upper]).all():
                rows[name] = [getattr(statistic, key) for key in _COLUMNS]
                values_of[name] = own
    labels = a.counts.shape[1]
    values = np.array(list(rows.values())).reshape(-1, len(_COLUMNS)).T
    verdicts = decide(
        values[0],
        values[1],
        values[4],
        [_family(name, scoring.primary, labels) for name in rows],
        [METRICS[name].lower_is_better for name in rows],
        spec.level,
        None if b.shared is None else b.shared.units,
    )
    references, _ = references_of(part, fit_dirichlet(a.counts), scoring)
    metrics: Json = {}
    for name in scoring.metrics:
        ends = way(name, references)
        direction = {
            "lower_is_better": METRICS[name].lower_is_better,
            **values_of.get(name, {"a": None, "b": None}),
            "way": None if ends is None else abs(ends[1] - ends[2]),
        }
        if name in rows:
            decision = verdicts[list(rows).index(name)]
            metrics[name] = {
                **dict(zip(_COLUMNS, rows[name], strict=True)),
                "family": decision.family,
                "p_adjusted": decision.p_adjusted,
                "adjusted": None if decision.lower is None else {"lower": decision.lower, "upper": decision.upper},
                "minimum_detectable": decision.minimum_detectable,
                "verdict": decision.verdict,
                **(
                    {"same_as": METRICS[name].same_as}
                    if decision.family == DESCRIPTIVE and METRICS[name].same_as
                    else {}
                ),
                **direction,
            }
        elif METRICS[name].kind != "derived":
            reason = a.unavailable.get(name) or b.unavailable.get(name)
            reason = reason or (_no_entropies(a, b) if separate else "all items depend on each other")
            metrics[name] = {"difference": None, "reason": reason, "verdict": "not measured", **direction}
    places = locate(part, a, b, references, scoring)
    return {
        "verdict": verdict(task, scoring.primary, metrics[scoring.primary], spec.level, places, margin),
        "items": len(a.counts),
        "level": spec.level,
        "permutations": _PERMUTATIONS,
        "metrics": metrics,
        "skills": skill_differences(b, a, references, scoring) if separate else {},
    }


_COLUMNS = ("difference", "standard_error", "lower", "upper", "p_value")


def _family(name: str, primary: str, labels: int) -> str:
    if name == primary:
        return PRIMARY
    if is_tested(name, primary, labels):
        return SECONDARY
    return SIGNED if METRICS[name].lower_is_better is None else DESCRIPTIVE


def _statistics(
    a: TaskMetrics, b: TaskMetrics, settings: Json
) -> Iterator[tuple[str, comparison.PairedStatistic, dict[str, float]]]:
    """Differences of what is no mean over items, and the values of A and B."""
    labels = a.counts.shape[1]
    own = {side: macro_f1_score(each.predicted, a.majority, labels) for side, each in (("a", a), ("b", b))}
    yield "macro_f1", comparison.paired_macro_f1((b.predicted, a.predicted), a.majority, labels, **settings), own
    columns = {side: each.entropies.columns if each.entropies else None for side, each in (("a", a), ("b", b))}
    if columns["a"] is not None and columns["b"] is not None:
        own = {side: float(entropy_correlation(each.sum(axis=0))) for side, each in columns.items() if each is not None}
        paired = comparison.paired_statistic(columns["b"], columns["a"], entropy_correlation, **settings)
        yield "entropy_correlation", paired, own


def _no_entropies(a: TaskMetrics, b: TaskMetrics) -> str | None:
    return next((metrics.entropies.reason for metrics in (a, b) if metrics.entropies is not None), None)


def _judge(gate: Gate, task: str, result: Mapping[str, Any]) -> Json:
    """Passed when the whole interval of B − A lies on the good side of the margin: shown, not merely not refuted."""
    row = result["metrics"].get(gate.metric)
    name = f"{gate.metric}={gate.margin:g} on {task}"
    if row is None or row["difference"] is None:
        return {"gate": name, "passed": False, "message": "failed: the metric was not measured"}
    worst = row["upper"] if row["lower_is_better"] else -row["lower"]
    passed = worst <= gate.margin
    message = f"B may be worse by {max(worst, 0.0):.4f} at most, {gate.margin:g} is allowed"
    return {"gate": name, "passed": passed, "message": f"{'passed' if passed else 'failed'}: {message}"}


def _notes(reports: tuple[Report, Report], tasks: Sequence[str]) -> list[str]:
    notes = [RULE]
    for name in tasks:
        methods = [report.card["tasks"][name]["fitted"]["method"] for report in reports]
        if methods[0] != methods[1]:
            fitted = " and B's ".join(method or "not fitted" for method in methods)
            notes.append(f"Temperature and concentration of {name}: A's {fitted}.")
        unread = [(report.card["tasks"][name].get("failures") or {"rows": 0, "items": 0}) for report in reports]
        if any(failures["rows"] for failures in unread):
            a, b = (failures["items"] for failures in unread)
            notes.append(f"Only the items of {name} that both could be read on: A fails on {a:,}, B on {b:,}.")
    system_prompts = [(report.card["submission"]["model"] or {}).get("system_prompt") for report in reports]
    if system_prompts[0] != system_prompts[1]:
        notes.append("A and B have different system prompts (system_prompt).")
    for label, report in zip("AB", reports, strict=True):
        missing = [name for name in report.card["tasks"] if name not in tasks]
        if missing:
            notes.append(f"Only {label} has: {', '.join(missing)}.")
        if not report.card["comparable"]:
            notes.append(f"{label} may not be ranked: {'; '.join(report.card['not_comparable'])}.")
    return notes
