"""The first page and the board of each group, with its parts, comparisons and items."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runner.archive.index import Leaf
from runner.archive.leaderboard.values import Group, Leaderboard, Row
from runner.core.errors import UserError
from runner.report.html import comparison_page, words
from runner.report.html.comparison import TaskChanges
from runner.report.html.leaderboard import group_view
from runner.report.html.render import Site, page
from runner.report.site import addresses
from runner.report.site.items import ItemPages, task_changes, write_items
from runner.report.site.small import latest
from runner.report.site.values import Settings, Shown
from runner.scorecard.compare import compare
from runner.signing.keyring import Keyring

_FIRST = 10
_LATEST = 10

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StrataTable:
    """The primary metric of the shown submissions in each part of the items."""

    title: str
    """Title of the kind of parts."""
    names: tuple[str, ...]
    """Names of the parts."""
    rows: tuple[tuple[str, str | None, tuple[float | None, ...]], ...]
    """(name, digest of the card, value in each part); the ceiling has no card."""


@dataclass(frozen=True, slots=True)
class Pair:
    """B against A in the primary metric."""

    a: str
    """Name of A."""
    b: str
    """Name of B."""
    href: str | None
    """Address of the comparison; None where there is none."""
    difference: float | None
    """B − A; None where it cannot be had."""
    lower: float | None
    """The lower end of its interval."""
    upper: float | None
    """The upper end."""
    verdict: str | None
    """Of `compare`."""
    reason: str | None
    """Why there is no difference."""


def write_boards(
    folder: Path,
    board: Leaderboard,
    shown: Mapping[str, Shown],
    entries: Sequence[Leaf],
    keyring: Keyring,
    settings: Settings,
    observe: Callable[[str, int, int], None],
) -> None:
    """Write the first page, and a page of each group with what belongs to it, into `folder`.

    `shown` are the cards with items and comparisons, `entries` those of the index that have a page.
    """
    for name in ("boards", "comparisons"):
        (folder / name).mkdir(exist_ok=True)
    board = _without_refused(board, {entry.card for entry in entries})
    names = [addresses.group(group.measures) for group in board.groups]
    items: list[ItemPages | None] = []
    pages: dict[tuple[str, str], ItemPages] = {}
    compared: dict[tuple[str, str], Json | str] = {}
    for done, (name, group) in enumerate(zip(names, board.groups, strict=True), start=1):
        observe("items", done, len(names))
        own = write_items(folder, group, name, shown, settings)
        items.append(own)
        if own is not None:
            pages |= {(row.card, group.measures.task): own for row in _top(group, settings)}
    wanted = dict.fromkeys(pair for group in board.groups for pair in _pairs(group, settings))
    for done, pair in enumerate(wanted, start=1):
        observe("comparisons", done, len(wanted))
        result = compared[pair] = _compare(pair, shown, keyring, settings)
        if not isinstance(result, str):
            text = comparison_page(result, _changes(pair, shown, pages), Site("../"))
            (folder / addresses.comparison(*pair)).write_text(text, encoding="utf-8")
    for name, group, own in zip(names, board.groups, items, strict=True):
        text = _board_page(group, shown, own, compared, settings)
        (folder / addresses.board(name)).write_text(text, encoding="utf-8")
    text = page(
        "site.html.j2",
        {},
        site=Site(""),
        title="Leaderboards",
        board=board,
        pages=len(entries),
        groups=[
            group_view(group, number, limit=_FIRST, more=addresses.board(name))
            for number, (name, group) in enumerate(zip(names, board.groups, strict=True), start=1)
        ],
        link=addresses.card,
        latest=latest(entries, _LATEST),
    )
    (folder / "index.html").write_text(text, encoding="utf-8")


def _without_refused(board: Leaderboard, cards: set[str]) -> Leaderboard:
    """The board whose references name only `cards`: a file that was refused is none, a baseline is one without it."""
    groups = []
    for group in board.groups:
        references = [
            reference for reference in group.references if reference.kind != "file" or reference.card in cards
        ]
        named = tuple(
            reference if reference.card in cards else replace(reference, card=None) for reference in references
        )
        groups.append(replace(group, references=named))
    return replace(board, groups=tuple(groups))


def _top(group: Group, settings: Settings) -> list[Row]:
    return [row for section in group.sections for row in section.rows[: settings.top]]


def _pairs(group: Group, settings: Settings) -> list[tuple[str, str]]:
    """(A, B): each of the first rows against the first of its section, and against the best baseline with a card."""
    baselines = [reference.card for reference in group.references if reference.kind == "baseline" and reference.card][
        :1
    ]
    pairs = []
    for section in group.sections:
        rows = section.rows[: settings.top]
        pairs += [(rows[0].card, row.card) for row in rows[1:]]
        pairs += [(baseline, row.card) for baseline in baselines for row in rows]
    return pairs


def _compare(pair: tuple[str, str], shown: Mapping[str, Shown], keyring: Keyring, settings: Settings) -> Json | str:
    """The comparison, or why there is none."""
    sides = [shown[card] for card in pair]
    for side in sides:
        if not side.shares:
            return side.without or "the items are not known."
    try:
        return compare(sides[0].opened.folder, sides[1].opened.folder, keyring, None, settings.data_dir)
    except UserError as problem:
        return problem.faults[0].message


def _changes(
    pair: tuple[str, str], shown: Mapping[str, Shown], pages: Mapping[tuple[str, str], ItemPages]
) -> list[TaskChanges]:
    a, b = (shown[card].shares for card in pair)
    return [
        task_changes(task, a[task], b[task], pages[pair[1], task])
        for task in a
        if task in b and (pair[1], task) in pages
    ]


def _board_page(
    group: Group,
    shown: Mapping[str, Shown],
    items: ItemPages | None,
    compared: Mapping[tuple[str, str], Json | str],
    settings: Settings,
) -> str:
    top = _top(group, settings)
    pairs = _pairs(group, settings)
    without = next((shown[row.card].without for row in top if shown[row.card].without), None) if items is None else None
    named = {row.card: row.name for row in top} | {
        reference.card: reference.name for reference in group.references if reference.card
    }
    return page(
        "board.html.j2",
        {},
        site=Site("../"),
        script="table.js.j2",
        title=f"{group.measures.task}, {group.measures.split}: leaderboard",
        view=group_view(group, 1, sortable=True),
        link=lambda card: f"../{addresses.card(card)}",
        items=None if items is None else f"../{items.folder}/index.html",
        without=without,
        strata_tables=_strata_tables(group, top, shown),
        comparisons=[] if items is None else [_pair(pair, named, compared[pair], group) for pair in pairs],
        with_baseline=any(reference.kind == "baseline" and reference.card for reference in group.references),
        top_words=f"the first {settings.top:,} of each section",
    )


def _pair(pair: tuple[str, str], named: Mapping[str, str], result: Json | str, group: Group) -> Pair:
    a, b = (named[card] for card in pair)
    if isinstance(result, str):
        return Pair(a, b, None, None, None, None, None, result)
    row = result["tasks"].get(group.measures.task, {"metrics": {}})["metrics"].get(group.metric, {"difference": None})
    href = f"../{addresses.comparison(*pair)}"
    if row["difference"] is None:
        return Pair(a, b, href, None, None, None, None, "not measured")
    return Pair(a, b, href, row["difference"], row["lower"], row["upper"], row["verdict"], None)


def _strata_tables(group: Group, top: Sequence[Row], shown: Mapping[str, Shown]) -> list[StrataTable]:
    """The shown submissions in each part of the items, as their cards have it."""
    cards = [(row, shown[row.card].opened.card["tasks"][group.measures.task]["strata"]) for row in top]
    tables = []
    for kind in dict.fromkeys(kind for _, strata in cards for kind in strata):
        parts = dict.fromkeys(name for _, strata in cards for name in strata.get(kind, {}))
        names = words.strata_in_order(parts)
        rows: list[tuple[str, str | None, tuple[float | None, ...]]] = [
            (row.name, row.card, tuple(_value(strata.get(kind, {}).get(name), group.metric) for name in names))
            for row, strata in cards
        ]
        ceilings = tuple(cards[0][1].get(kind, {}).get(name, {}).get("ceiling") for name in names)
        if any(value is not None for value in ceilings):
            rows.append(("Human ceiling", None, ceilings))
        tables.append(StrataTable(words.STRATA.get(kind, kind), tuple(names), tuple(rows)))
    return tables


def _value(stratum: Json | None, metric: str) -> float | None:
    value = None if stratum is None else stratum["metrics"].get(metric, {}).get("value")
    return None if value is None else float(value)
