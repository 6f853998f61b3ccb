"""One scorecard as a page: who, on what, how good, how sure, and how to check it."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.report.html import words
from runner.report.html.plots import Scale, Strip, scale_over, strip
from runner.report.html.render import Site, page
from runner.scorecard import filenames, isolation
from runner.scorecard.disagreements import Difference, Histogram
from runner.scorecard.load import OpenCard

Json = Mapping[str, Any]

_SHORT_TEXT = 400
"""Characters of an item's text that are shown at first."""


@dataclass(frozen=True, slots=True)
class SkillBar:
    """The primary metric between prior and ceiling; positions are percent of the plot's width, worse to the left."""

    metric: str
    """Name of the metric."""
    strip: Strip
    """The value and its interval."""
    prior: float
    """Position of the prior."""
    ceiling: float
    """Position of the ceiling."""
    finding: str
    """What the skill shows: `none`, `worse`, `unclear`, `between` or `beyond`."""

    @property
    def crowded(self) -> bool:
        """Whether the two ends are so close that their labels would meet."""
        return abs(self.ceiling - self.prior) < 36


@dataclass(frozen=True, slots=True)
class Row:
    """A metric in the table."""

    name: str
    """Name of the metric."""
    words: words.Words
    """Title and meaning."""
    block: str
    """Block of the card that holds it: `metrics` or `ablations`."""
    base: str
    """Name under which the card holds its ceiling."""
    lower_is_better: bool | None
    """Whether a lower value is better; None where neither is."""
    reason: str | None
    """Why there is no value; None where there is one."""
    primary: bool
    """Whether it is the primary metric."""


@dataclass(frozen=True, slots=True)
class Strata:
    """One kind of strata as rows on a common scale."""

    kind: str
    """Name of the kind in the card."""
    title: str
    """Title of the plot."""
    metric: str
    """Name of the metric."""
    ticks: tuple[tuple[float, str], ...]
    """(position in percent, label) of every tick."""
    rows: tuple[tuple[str, Strip | None], ...]
    """(stratum, strip) of every row; no strip where there is no value."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Predicted against observed share of one label."""

    label: str
    """The label."""
    points: tuple[tuple[float, float], ...]
    """(x, y) in a square of 100 whose y axis points down."""
    bars: tuple[tuple[float, float, float, float], ...]
    """(left end, width, height for people, height for the model) of every bar of the histogram; none without items."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item with its bars."""

    difference: Difference
    """The item's shares, texts and loss."""
    bars: tuple[tuple[str, float, float], ...]
    """(label, people's share, model's share), as positions in percent on a scale from 0 to 1."""
    short: bool
    """Whether its texts are short enough to stand unfolded."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The skill of every task on one scale that holds prior and ceiling."""

    prior: float
    """Position of the prior, in percent."""
    ceiling: float
    """Position of the ceiling, in percent."""
    rows: tuple[tuple[str, Strip | None], ...]
    """(task, strip) of every row; no strip where there is no skill."""


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task of the card with all its plots."""

    name: str
    """Name of the task."""
    task: Json
    """The task's part of the card."""
    way: SkillBar | None
    """The primary metric between prior and ceiling; None where one of them is missing."""
    groups: tuple[tuple[str, tuple[Row, ...]], ...]
    """(heading, rows) of the table of metrics."""
    strata: tuple[Strata, ...]
    """Plots of the strata."""
    curves: tuple[Curve, ...]
    """Reliability curves, one per label."""
    items: tuple[Item, ...]
    """Items with their bars."""


def card_page(
    opened: OpenCard,
    differences: Mapping[str, Sequence[Difference]] | None,
    without: str | None = None,
    histograms: Mapping[str, Mapping[str, Histogram]] | None = None,
    site: Site | None = None,
) -> str:
    """The page of a card as one HTML document, the same bytes for the same input.

    `differences` are the items to show per task; None if there are none to show, and `without` says why. `histograms`
    are those of each label of a task, where the items are known. `site` is that of which the page is a part.
    """
    card = opened.card
    items_by_task = differences or {}
    source = {
        "card": card,
        "environment": opened.environment,
        "items": {name: [item.to_json() for item in items] for name, items in items_by_task.items()},
        "histograms": {
            name: {label: histogram.to_json() for label, histogram in labels.items()}
            for name, labels in (histograms or {}).items()
        },
    }
    return page(
        "card.html.j2",
        source,
        title=f"{card['submission']['name']} on {card['benchmark']['name']}",
        opened=opened,
        card=card,
        report=opened.report,
        tasks=[
            _task(name, task, opened.primary, items_by_task.get(name, ()), (histograms or {}).get(name, {}))
            for name, task in card["tasks"].items()
        ],
        level=_level(card),
        glance=_glance(card["tasks"]),
        environment=list(_leaves(opened.environment or {}, "")),
        command=verify_command(card),
        differences=bool(items_by_task),
        without=without,
        unprotected=isolation.missing(card),
        site=site,
    )


def verify_command(card: Json) -> str:
    """The command with which a reader checks the card, its files and every number; capital words are the reader's."""
    words = ["benchmark", "verify", filenames.BUNDLE, "--keyring", "KEYRING", "--recompute"]
    if not all(task["synthetic"] for task in card["tasks"].values()):
        words += ["--data-dir", "DATA"]
    words += ["--expect-submission", card["submission"]["digest"], "--expect-benchmark", card["benchmark"]["digest"]]
    if card["run"]["nonce"] is not None:
        words += ["--nonce", card["run"]["nonce"]]
    return shlex.join(words)


def _level(card: Json) -> tuple[str | int, ...] | None:
    """Where the card says its confidence level; it is the same for all its intervals."""
    for name, task in card["tasks"].items():
        for metric, estimate in task["metrics"].items():
            if estimate["confidence_interval"] is not None:
                return ("card", "tasks", name, "metrics", metric, "confidence_interval", "level")
    return None


def _task(
    name: str,
    task: Json,
    primary: str | None,
    differences: Sequence[Difference],
    histograms: Mapping[str, Histogram],
) -> TaskView:
    return TaskView(
        name=name,
        task=task,
        way=_way(task, primary),
        groups=_groups(task, primary),
        strata=tuple(_strata(kind, strata, primary) for kind, strata in task["strata"].items()) if primary else (),
        curves=tuple(
            _curve(label, task["reliability"][label], histograms.get(label))
            for label in task["labels"]
            if label in task["reliability"]
        ),
        items=tuple(_item(item, task["labels"]) for item in differences),
    )


def _glance(tasks: Json) -> Overview:
    skills = {
        name: task["metrics"].get("skill", {"value": None, "confidence_interval": None}) for name, task in tasks.items()
    }
    known = [value for skill in skills.values() for value in (skill["value"], *_ends(skill))]
    scale = scale_over((0.0, 1.0, *known), lower_is_better=False)
    return Overview(
        prior=scale.at(0.0),
        ceiling=scale.at(1.0),
        rows=tuple(
            (name, None if skill["value"] is None else strip(scale, skill["value"], *_ends(skill)))
            for name, skill in skills.items()
        ),
    )


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every leaf of a JSON value with its dotted path, as text."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    elif value is not None:
        yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _ends(estimate: Json) -> tuple[float | None, float | None]:
    interval = estimate["confidence_interval"]
    return (None, None) if interval is None else (interval["lower"], interval["upper"])


def _way(task: Json, primary: str | None) -> SkillBar | None:
    if primary is None or task["metrics"].get(primary, {}).get("value") is None:
        return None
    estimate = task["metrics"][primary]
    prior = task["baselines"]["prior"].get(primary, {}).get("value")
    ceiling = task["ceiling"].get(primary, {}).get("value")
    if prior is None or ceiling is None:
        return None
    lower, upper = _ends(estimate)
    scale = scale_over((estimate["value"], prior, ceiling, lower, upper), lower_is_better=estimate["lower_is_better"])
    return SkillBar(
        metric=primary,
        strip=strip(scale, estimate["value"], lower, upper),
        prior=scale.at(prior),
        ceiling=scale.at(ceiling),
        finding=_finding(task["metrics"].get("skill")),
    )


def _finding(skill: Json | None) -> str:
    if skill is None or skill["value"] is None:
        return "none"
    lower, upper = _ends(skill)
    low, high = (skill["value"], skill["value"]) if lower is None or upper is None else (lower, upper)
    if high < 0:
        return "worse"
    if low <= 0:
        return "unclear"
    return "beyond" if low >= 1 else "between"


def _groups(task: Json, primary: str | None) -> tuple[tuple[str, tuple[Row, ...]], ...]:
    rows = [
        Row(
            name=name,
            words=words.words(name),
            block=block,
            base=name.removesuffix("_calibrated").removesuffix("_pmi"),
            lower_is_better=estimate["lower_is_better"],
            reason=estimate.get("reason"),
            primary=name == primary,
        )
        for block in ("metrics", "ablations")
        for name in words.in_order(task[block])
        for estimate in (task[block][name],)
    ]
    by_heading = {heading: tuple(row for row in rows if row.words.heading == heading) for heading in words.HEADINGS}
    return tuple((heading, own) for heading, own in by_heading.items() if own)


def _strata(kind: str, strata: Json, primary: str) -> Strata:
    """The primary metric of each stratum with its ceiling, where it was measured."""
    values: list[float | None] = []
    lower_is_better = True
    for stratum in strata.values():
        estimate = stratum["metrics"].get(primary)
        if estimate is not None:
            values += [estimate["value"], *_ends(estimate), stratum["ceiling"]]
            lower_is_better = estimate["lower_is_better"]
    scale = scale_over(values, lower_is_better=lower_is_better) if any(value is not None for value in values) else None
    return Strata(
        kind=kind,
        title=words.STRATA.get(kind, kind),
        metric=primary,
        ticks=() if scale is None else tuple((scale.at(value), label) for value, label in scale.ticks()),
        rows=tuple((name, _stratum(scale, strata[name], primary)) for name in words.strata_in_order(strata)),
    )


def _stratum(scale: Scale | None, stratum: Json, primary: str) -> Strip | None:
    estimate = stratum["metrics"].get(primary)
    if scale is None or estimate is None or estimate["value"] is None:
        return None
    return strip(scale, estimate["value"], *_ends(estimate), stratum["ceiling"])


def _curve(label: str, curve: Json, histogram: Histogram | None) -> Curve:
    """The points whose position and number of items are known; a card that was not verified may lack some."""
    known = zip(curve["predicted"], curve["observed"], curve["items"], strict=False)
    points = tuple((round(100 * x, 2), round(100 - 100 * y, 2)) for x, y, _ in known)
    return Curve(label, points, () if histogram is None else _bars(histogram))


def _bars(histogram: Histogram) -> tuple[tuple[float, float, float, float], ...]:
    """Bars over the width of the reliability plot, the highest of all 30 high."""
    highest = max((*histogram.people, *histogram.model, 1))
    return tuple(
        (
            round(100 * left, 2),
            round(100 * (right - left), 2),
            round(30 * people / highest, 2),
            round(30 * model / highest, 2),
        )
        for left, right, people, model in zip(
            histogram.edges, histogram.edges[1:], histogram.people, histogram.model, strict=False
        )
    )


_SHARES = Scale(0.0, 1.0)


def _item(difference: Difference, labels: Sequence[str]) -> Item:
    return Item(
        difference=difference,
        bars=tuple(
            (label, _SHARES.at(people), _SHARES.at(model))
            for label, people, model in zip(labels, difference.people, difference.model, strict=True)
        ),
        short=difference.texts is not None and sum(map(len, difference.texts.values())) <= _SHORT_TEXT,
    )
