"""A leaderboard as a page: ranks with their bounds, references, and what is not ranked and why."""

from dataclasses import dataclass

from runner.archive.leaderboard.values import Group, Leaderboard, Row, Section
from runner.report.html import words
from runner.report.html.plots import Scale, Strip, scale_over, strip
from runner.report.html.render import page


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
    marks: tuple[tuple[str, float], ...]
    """(name, position in percent) of every reference."""
    sections: tuple[tuple[Section, tuple[tuple[Row, Strip], ...]], ...]
    """Every section with its rows and their strips."""


def leaderboard_page(board: Leaderboard) -> str:
    """The page of a leaderboard as one HTML document; 10,000 rows stay below five megabytes."""
    return page(
        "leaderboard.html.j2",
        {},
        title="Leaderboard",
        board=board,
        groups=[_group(number, group) for number, group in enumerate(board.groups, start=1)],
    )


def _group(number: int, group: Group) -> GroupView:
    scale = _scale(group)
    return GroupView(
        number=number,
        group=group,
        words=words.words(group.metric),
        ticks=tuple((scale.at(value), label) for value, label in scale.ticks()),
        marks=tuple(
            (reference.name, scale.at(reference.value)) for reference in group.references if reference.kind != "file"
        ),
        sections=tuple(
            (section, tuple((row, strip(scale, row.value, row.lower, row.upper)) for row in section.rows))
            for section in group.sections
        ),
    )


def _scale(group: Group) -> Scale:
    """From the baselines to the ceiling, so that a row far worse than them does not squeeze the others together.

    Without references, over all rows.
    """
    ends = [reference.value for reference in group.references if reference.kind != "file"]
    if len(set(ends)) < 2:
        ends += [row.value for section in group.sections for row in section.rows]
    return scale_over(ends, lower_is_better=group.lower_is_better)
