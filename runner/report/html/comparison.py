"""Two submissions on the same items as a page: what differs, by how much, and whether that is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.report.html import words
from runner.report.html.plots import Scale, Strip, strip
from runner.report.html.render import Site, page

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A metric's paired difference on a scale of its own, zero in the middle, better for B to the right."""

    name: str
    """Name of the metric."""
    words: words.Words
    """Title and meaning."""
    strip: Strip | None
    """The difference and its interval; None where there is no value."""
    row: Json
    """The metric's part of the comparison."""


@dataclass(frozen=True, slots=True)
class ChangedItem:
    """An item on which only one of two models has people's most frequent answer as its most probable one."""

    id: str
    """Id of the item."""
    words: str
    """Beginning of its text; empty where it is not shown."""
    people: str
    """People's most frequent answer."""
    a: float
    """A's share of that answer."""
    b: float
    """B's share of that answer."""
    href: str
    """Address of the item."""


@dataclass(frozen=True, slots=True)
class ChangedItems:
    """The first of some changed items."""

    total: int
    """How many there are."""
    shown: tuple[ChangedItem, ...]
    """The first of them."""


@dataclass(frozen=True, slots=True)
class TaskChanges:
    """What B fixed and broke of a task."""

    task: str
    """Name of the task."""
    items: int
    """Items that were looked at."""
    fixed: ChangedItems
    """Items that B has and A has not."""
    broke: ChangedItems
    """Items that A has and B has not."""
    strata: tuple[tuple[str, str, int, int, int], ...]
    """(title of the kind, stratum, items, fixed, broke)."""


def comparison_page(result: Json, changes: Sequence[TaskChanges] = (), site: Site | None = None) -> str:
    """The page of a result of `runner.scorecard.compare.compare`, as one HTML document.

    `changes` are the items that B fixed and broke, where there are pages to show them; `site` is that of the page.
    """
    return page(
        "comparison.html.j2",
        {"comparison": result},
        title=f"{result['b']['name']} against {result['a']['name']}",
        result=result,
        tasks=[(name, task, _groups(task)) for name, task in result["tasks"].items()],
        changes=changes,
        site=site,
    )


def _groups(task: Json) -> tuple[tuple[str, tuple[Row, ...]], ...]:
    rows = [Row(name, words.words(name), _strip(row), row) for name, row in _ordered(task["metrics"])]
    by_heading = {heading: tuple(row for row in rows if row.words.heading == heading) for heading in words.HEADINGS}
    return tuple((heading, own) for heading, own in by_heading.items() if own)


def _ordered(metrics: Json) -> list[tuple[str, Json]]:
    return [(name, metrics[name]) for name in words.in_order(metrics)]


_MIN_REACH = 0.25
"""A plot reaches at least this share of the way from baseline to ceiling, or of A's value where there is none."""


def _strip(row: Json) -> Strip | None:
    """The difference on a scale on which one too small to matter is drawn small."""
    if row["difference"] is None:
        return None
    matters = row["way"] if row.get("way") is not None else abs(row.get("a") or 0.0)
    reach = max(*(abs(row[end]) for end in ("difference", "lower", "upper")), _MIN_REACH * matters) or 1.0
    scale = Scale(reach, -reach) if row["lower_is_better"] else Scale(-reach, reach)
    return strip(scale, row["difference"], row["lower"], row["upper"])
