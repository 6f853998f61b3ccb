"""A leaderboard as a page: ranks with their bounds, references, and what is not ranked and why."""

from collections.abc import Callable
from dataclasses import dataclass

from runner.archive.leaderboard.formats import rank_label
from runner.archive.leaderboard.values import Group, Leaderboard, Reference, Row, Section
from runner.report.html import words
from runner.report.html.plots import Scale, Strip, scale_over, strip
from runner.report.html.render import drawing, figure, page

Link = Callable[[str], str]
"""From the digest of a card to an address."""

_CHARTED = 12
_CHARTED_NAME = 34
_MARKED_FILES = 2


@dataclass(frozen=True, slots=True)
class Mark:
    """A reference as a line through a plot."""

    name: str
    """Words for it, with its value."""
    position: float
    """Position in percent."""
    kind: str
    """Kind of the reference."""


@dataclass(frozen=True, slots=True)
class ChartRow:
    """A submission in the chart."""

    name: str
    """Name, cut to what fits."""
    label: str
    """Its rank, and its skill or value."""
    strip: Strip
    """The value and its interval."""


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group of the leaderboard with its plot."""

    number: int
    """Number of the group on the page, from 1."""
    group: Group
    """The group."""
    words: words.Words
    """Title and meaning of its metric."""
    ticks: tuple[tuple[float, str], ...]
    """(position in percent, label) of every tick."""
    marks: tuple[Mark, ...]
    """Every reference that is drawn."""
    chart: tuple[ChartRow, ...]
    """The best submissions of every section, as far as the chart has room."""
    sections: tuple[tuple[Section, tuple[tuple[Row, Strip], ...]], ...]
    """Every section with those of its rows that are shown, and their strips."""
    more: str | None = None
    """Address of the whole board, where this is a part."""
    sortable: bool = False
    """Whether the page has the script that sorts and searches."""


def leaderboard_page(board: Leaderboard, link: Link | None = None) -> str:
    """The page of a leaderboard as one HTML document; 10,000 rows stay below five megabytes.

    `link` gives the address of a card by its digest; without it no row is a link.
    """
    return page(
        "leaderboard.html.j2",
        {},
        title="Leaderboard",
        board=board,
        groups=[group_view(group, number) for number, group in enumerate(board.groups, start=1)],
        link=link,
    )


def leaderboard_chart(group: Group) -> str:
    """The chart of a group as an SVG that stands alone; it follows the reader's light or dark setting."""
    return drawing("chart.svg.j2", view=group_view(group, 1))


def group_view(
    group: Group, number: int, *, limit: int | None = None, more: str | None = None, sortable: bool = False
) -> GroupView:
    """What a page shows of a group, the `number`th on it: of each section the first `most` rows, all by default."""
    scale = _scale(group)
    files = [reference for reference in group.references if reference.kind == "file"][:_MARKED_FILES]
    sections = tuple(
        (section, tuple((row, strip(scale, row.value, row.lower, row.upper)) for row in section.rows[:limit]))
        for section in group.sections
    )
    return GroupView(
        number=number,
        group=group,
        words=words.words(group.metric),
        ticks=tuple((scale.at(value), label) for value, label in scale.ticks()),
        marks=tuple(
            Mark(f"{_reference_name(reference)} {reference.value:.4f}", scale.at(reference.value), reference.kind)
            for reference in group.references
            if reference.kind != "file" or reference in files
        ),
        chart=tuple(
            ChartRow(
                _cut(row.name),
                f"{rank_label(row)}. {figure(row.value) if row.skill is None else figure(row.skill, '%')}",
                position,
            )
            for _, rows in sections
            for row, position in rows[: _CHARTED // len(sections)]
        ),
        sections=sections,
        more=more,
        sortable=sortable,
    )


def _reference_name(reference: Reference) -> str:
    return "human ceiling" if reference.kind == "ceiling" else _cut(reference.name)


def _cut(name: str) -> str:
    return name if len(name) <= _CHARTED_NAME else f"{name[: _CHARTED_NAME - 1]}…"


def _scale(group: Group) -> Scale:
    """From the baselines to the ceiling, so that a row far worse than them does not squeeze the others together.

    Without references, over all rows.
    """
    ends = [reference.value for reference in group.references if reference.kind != "file"]
    if len(set(ends)) < 2:
        ends += [row.value for section in group.sections for row in section.rows]
    return scale_over(ends, lower_is_better=group.lower_is_better)
