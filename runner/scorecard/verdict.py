"""A comparison in one sentence a task: is B better, by how much, and how near are both to people?"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from runner.core.benchmark_types import ScoringSpec
from runner.scorecard.panel import panel_skill
from runner.scorecard.references import References
from runner.scorecard.task_metrics import TaskMetrics
from runner.scoring.metrics import METRICS, skill
from runner.tasks.selection import TaskData

Json = dict[str, Any]

_NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def way(name: str, references: References) -> tuple[str, float, float] | None:
    """Which baseline is the better one of a metric, its mean, and the ceiling's; None where there is no such way."""
    base = METRICS[name].base or name
    limit = references.limits.get(name) or references.limits.get(base)
    if limit is None or METRICS[name].lower_is_better is None:
        return None
    means = {
        zero: float(baseline.values[base].mean())
        for zero, baseline in (("prior", references.prior), ("uniform", references.uniform))
        if base in baseline.values
    }
    if len(means) < 2:
        return None
    zero = (min if METRICS[name].lower_is_better else max)(means, key=lambda name_of_baseline: means[name_of_baseline])
    return zero, means[zero], limit.value


def locate(part: TaskData, a: TaskMetrics, b: TaskMetrics, references: References, scoring: ScoringSpec) -> Json:
    """Where A, B and a second group of people stand in the primary metric between a baseline (0) and the ceiling (1).

    `baseline` is the better of prior and uniform (of a benchmark with `inference: 1`, the prior), None with everything
    else where no ceiling is known or it is no better than the baseline.
    """
    primary = scoring.primary
    nowhere = {"baseline": None, "start": None, "ceiling": None, "a": None, "b": None, "people": None, "votes": None}
    ends = way(primary, references)
    if ends is None or primary not in a.values or primary not in b.values:
        return nowhere
    zero, start, limit = ends
    if scoring.inference == 1:
        zero, start = "prior", float(references.prior.values[primary].mean())
    sign = 1.0 if METRICS[primary].lower_is_better else -1.0
    shares = [skill(sign * float(metrics.values[primary].mean()), sign * start, sign * limit) for metrics in (a, b)]
    if shares[0] is None:
        return nowhere
    people, votes = (panel_skill(part, references, scoring) if scoring.inference > 1 else None) or (None, None)
    return {
        "baseline": zero,
        "start": start,
        "ceiling": limit,
        "a": shares[0],
        "b": shares[1],
        "people": people,
        "votes": votes,
    }


def verdict(task: str, primary: str, row: Mapping[str, Any], level: float, places: Json, margin: float | None) -> Json:
    """The sentence about a task (`text`) and what it is made of (`parts`).

    `row` is the primary metric's part of the comparison, `places` what `locate` says, `margin` the difference up to
    which A and B count as equal, where somebody states one. `verdict` is that of the row, or `equal`: undecided with
    the whole interval within the margin. `gain`, `lower` and `upper` are of B over A, above 0 where B is better.
    """
    known = row["difference"] is not None
    sign = -1.0 if row["lower_is_better"] else 1.0
    ends = sorted(sign * row[end] for end in ("lower", "upper")) if known else [None, None]
    word = row["verdict"]
    if known and word == "undecided" and (ends[0] == ends[1] == 0 or _within(ends, margin)):
        word = "equal"
    parts: Json = {
        "verdict": word,
        "metric": primary,
        "unit": METRICS[primary].unit,
        "gain": sign * row["difference"] if known else None,
        "lower": ends[0],
        "upper": ends[1],
        "level": level,
        "p_value": row["p_value"] if known else None,
        "minimum_detectable": row["minimum_detectable"] if known else None,
        "margin": margin,
        "places": places,
    }
    return {"text": f"{task}: {'; '.join(_clauses(parts, row))}.", "parts": parts}


def _within(ends: list[Any], margin: float | None) -> bool:
    return margin is not None and -margin <= ends[0] and ends[1] <= margin


def _clauses(parts: Mapping[str, Any], row: Mapping[str, Any]) -> Iterator[str]:
    if parts["gain"] is None:
        values = [row.get(side) for side in ("a", "b")]
        scored = f", A scores {values[0]:.3f} and B {values[1]:.3f}" if None not in values else ""
        yield f"no difference with an interval in {parts['metric']}{scored}: {row['reason']}"
    else:
        yield from _difference(parts)
    yield _standing(parts["places"])


def _difference(parts: Mapping[str, Any]) -> Iterator[str]:
    digits = _digits(parts["lower"], parts["upper"])
    ends = parts["lower"], parts["upper"]
    unit, margin = parts["unit"], parts["margin"]

    def interval(*bounds: float) -> str:
        return f"[{', '.join(_number(bound, digits) for bound in bounds)}]"

    word = parts["verdict"]
    if word == "equal" and ends == (0, 0):
        yield f"equal: A and B do not differ on any item in {parts['metric']}"
    elif word == "equal":
        yield f"equal within {margin:g} {unit}: B's gain is {_number(parts['gain'], digits)} {interval(*ends)}"
    elif word == "differs":
        yield f"A and B differ by {_number(parts['gain'], digits)} {unit} {interval(*ends)}, in no good direction"
    elif word == "undecided":
        yield f"undecided: B's gain is {_number(parts['gain'], digits)} {unit} {interval(*ends)}, {_p(parts)}"
        yield f"a true difference of {_number(parts['minimum_detectable'], digits)} would be found four times in five"
    else:
        bounds = ends if word == "better" else (-ends[1], -ends[0])
        amount = _number(abs(parts["gain"]), digits)
        small = f", within the margin of {margin:g}" if _within(list(ends), margin) else ""
        yield f"B is {word} by {amount} {unit} {interval(*bounds)}{small}"


def _digits(lower: float, upper: float) -> int:
    """Three digits after the point, or as many as show the width of a narrower interval."""
    width = (upper - lower) / 2
    return 3 if width <= 0 else min(max(3, -math.floor(math.log10(width))), 9)


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.4g}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def _p(parts: Mapping[str, Any]) -> str:
    return f"p = {parts['p_value']:.2f}" if parts["p_value"] >= 0.01 else "p < 0.01"


def percent(share: float) -> str:
    """A share of the way: `9 %`, and `−4 %` for less than none."""
    return f"{share * 100:.0f} %".replace("-0 %", "0 %").replace("-", "−")


def people(votes: float | None) -> str:
    """Whom a second group of people stands for: `five people` where each item has five votes of theirs."""
    if votes is None or votes != int(votes) or not 2 <= votes < len(_NUMBERS):
        return "other people"
    return f"{_NUMBERS[int(votes)]} people"


def _standing(places: Mapping[str, Any]) -> str:
    if places["baseline"] is None:
        return "how near they are to people is not known"
    start = "the prior" if places["baseline"] == "prior" else "equal probabilities"
    others = "" if places["people"] is None else f", {people(places['votes'])} {percent(places['people'])}"
    return f"B is {percent(places['b'])} of the way from {start} to the ceiling, A {percent(places['a'])}{others}"
