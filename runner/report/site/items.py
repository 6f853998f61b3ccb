"""The pages of a group's items: a table to search and sort, its parts, and what people and every model said."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runner.archive.leaderboard.values import Group, Row
from runner.core.types import Array, Item
from runner.report.html import words
from runner.report.html.comparison import ChangedItem, ChangedItems, TaskChanges
from runner.report.html.render import Site, page
from runner.report.site import addresses
from runner.report.site.values import Settings, Shown
from runner.scorecard.disagreements import ItemShares
from runner.scorecard.item_table import ItemTable, changes, item_table

_ON_A_PAGE = 60
_EXCERPT = 300
_LONG = 600
_PARTS = 12
_CHANGED = 10

Bars = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class ItemPages:
    """Where the pages of a group's items are."""

    folder: str
    """Folder of the pages, from that of the site."""
    hrefs: Mapping[str, str]
    """Id of an item → its address from that folder."""
    words: Mapping[str, str]
    """Id of an item → the beginning of its text; empty where no text is shown."""


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item in the table."""

    id: str
    """As in the data."""
    words: str
    """The first of its text; empty where texts are not shown."""
    href: str
    """Address of all that is said of it."""
    people: Bars
    """Their shares, (left end, width) in percent, one per label."""
    models: Bars
    """The mean of all models', likewise."""
    distance: float
    """Mean total variation between models and people."""
    spread: float
    """Entropy of people's votes, from 0 (all alike) to 1 (every label as often)."""
    apart: float
    """Mean total variation between the models and their average."""
    strata: tuple[str, ...]
    """That the item is in."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What somebody says of an item."""

    name: str
    """Of a submission, or words for people."""
    card: str | None
    """Digest of its card; None for people."""
    shares: tuple[float, ...] | None
    """Per label; None for an answer that was not read."""
    votes: tuple[int, ...] | None
    """Per label, for people; None for models."""
    bars: Bars
    """(left end, width) in percent, one per label."""


@dataclass(frozen=True, slots=True)
class ItemView:
    """An item with everything that is said of it."""

    number: int
    """In the data, from 1."""
    id: str
    """As in the data."""
    texts: Mapping[str, str] | None
    """Its fields; None where they may not be shown."""
    long: bool
    """Whether its texts are folded."""
    distance: float
    """Mean total variation between models and people."""
    strata: tuple[str, ...]
    """That the item is in."""
    rows: tuple[Opinion, ...]
    """People first, then the models."""


def write_items(
    folder: Path, group: Group, name: str, shown: Mapping[str, Shown], settings: Settings
) -> ItemPages | None:
    """Write the items of a group; None where what is said of them is not known of any row."""
    task = group.measures.task
    rows = [
        row
        for section in group.sections
        for row in section.rows[: settings.top]
        if task in shown[row.card].shares and shown[row.card].shares[task].items
    ]
    if not rows:
        return None
    table = item_table([shown[row.card].shares[task] for row in rows])
    order = np.argsort(-table.distance, kind="stable").tolist()
    positions = {row: position for position, row in enumerate(order)}
    hrefs = {
        item.id: f"part-{positions[row] // _ON_A_PAGE + 1}.html#item-{row + 1}" for row, item in enumerate(table.items)
    }
    excerpts = {item.id: _excerpt(item) if settings.data_dir is not None else "" for item in table.items}
    pages = ItemPages(addresses.items(name), hrefs, excerpts)
    (folder / pages.folder).mkdir(parents=True, exist_ok=True)
    strata = {kind: table.stratum(kind) for kind in table.strata}
    _write_tables(folder, group, name, rows, table, order, strata, pages, settings)
    _write_parts(folder, group, rows, table, order, strata, pages, settings)
    return pages


def _excerpt(item: Item) -> str:
    text = " / ".join(" ".join(field.split()) for field in item.fields.values())
    return text if len(text) <= _EXCERPT else f"{text[: _EXCERPT - 1]}…"


def _write_tables(
    folder: Path,
    group: Group,
    name: str,
    models: Sequence[Row],
    table: ItemTable,
    order: Sequence[int],
    strata: Mapping[str, list[str | None]],
    pages: ItemPages,
    settings: Settings,
) -> None:
    average = np.nanmean(table.models, axis=0)
    distance, spread, apart = table.distance, table.spread, table.apart
    rows = {
        row: ItemRow(
            id=table.items[row].id,
            words=pages.words[table.items[row].id],
            href=pages.hrefs[table.items[row].id],
            people=_bars(table.people[row]),
            models=_bars(average[row]),
            distance=round(float(distance[row]), 6),
            spread=round(float(spread[row]), 6),
            apart=round(float(apart[row]), 6),
            strata=_strata_of(strata, row),
        )
        for row in order
    }
    parts = [(kind, words.strata_in_order({name for name in own if name is not None})) for kind, own in strata.items()]
    parts = [(kind, names) for kind, names in parts if 1 < len(names) <= _PARTS]
    links = [
        (
            words.STRATA.get(kind, kind),
            [(part, f"{kind}-{number}.html", strata[kind].count(part)) for number, part in enumerate(names, start=1)],
        )
        for kind, names in parts
    ]
    files: list[tuple[str, str | None, list[ItemRow]]] = [("index.html", None, list(rows.values()))]
    for kind, names in parts:
        for number, stratum in enumerate(names, start=1):
            own = [view for row, view in rows.items() if strata[kind][row] == stratum]
            files.append((f"{kind}-{number}.html", stratum, own))
    for file, part, own in files:
        text = page(
            "items.html.j2",
            {},
            site=Site("../../"),
            script="table.js.j2",
            title=f"{group.measures.task}, {group.measures.split}: items",
            task=group.measures.task,
            split=group.measures.split,
            part=part,
            board=f"../../{addresses.board(name)}",
            texts=settings.data_dir is not None,
            strata=links,
            labels=table.labels,
            models=[model.name for model in models],
            rows=own,
            excerpt=_EXCERPT,
        )
        (folder / pages.folder / file).write_text(text, encoding="utf-8")


def _write_parts(
    folder: Path,
    group: Group,
    models: Sequence[Row],
    table: ItemTable,
    order: Sequence[int],
    strata: Mapping[str, list[str | None]],
    pages: ItemPages,
    settings: Settings,
) -> None:
    number = -(-len(order) // _ON_A_PAGE)
    distance = table.distance
    for part in range(number):
        views = [
            ItemView(
                number=row + 1,
                id=table.items[row].id,
                texts=dict(table.items[row].fields) if settings.data_dir is not None else None,
                long=sum(map(len, table.items[row].fields.values())) > _LONG,
                distance=float(distance[row]),
                strata=_strata_of(strata, row),
                rows=tuple(_opinions(table, row, models)),
            )
            for row in order[part * _ON_A_PAGE : (part + 1) * _ON_A_PAGE]
        ]
        text = page(
            "item_part.html.j2",
            {},
            site=Site("../../"),
            title=f"{group.measures.task}, {group.measures.split}: items, page {part + 1}",
            task=group.measures.task,
            split=group.measures.split,
            page_number=part + 1,
            pages=number,
            labels=table.labels,
            items=views,
            link=lambda card: f"../../{addresses.card(card)}",
        )
        (folder / pages.folder / f"part-{part + 1}.html").write_text(text, encoding="utf-8")


def _opinions(table: ItemTable, row: int, models: Sequence[Row]) -> Iterator[Opinion]:
    item = table.items[row]
    yield Opinion("People", None, tuple(table.people[row].tolist()), item.counts, _bars(table.people[row]))
    if item.panel is not None and any(item.panel):
        votes = np.array(item.panel, dtype=np.float64)
        panel = votes / votes.sum()
        yield Opinion("Other people", None, tuple(panel.tolist()), item.panel, _bars(panel))
    for number, model in enumerate(models):
        shares = table.models[number, row]
        if np.isnan(shares).any():
            yield Opinion(model.name, model.card, None, None, ())
        else:
            yield Opinion(model.name, model.card, tuple(shares.tolist()), None, _bars(shares))


def _bars(shares: Array) -> Bars:
    """Where the share of each label lies when they are put end to end."""
    ends = np.concatenate([[0.0], np.cumsum(shares)]) * 100
    return tuple((round(left, 1), round(right - left, 1)) for left, right in itertools.pairwise(ends.tolist()))


def _strata_of(strata: Mapping[str, list[str | None]], row: int) -> tuple[str, ...]:
    return tuple(name for own in strata.values() if (name := own[row]) is not None)


def task_changes(task: str, a: ItemShares, b: ItemShares, pages: ItemPages) -> TaskChanges:
    """What B fixed and broke of a task, with links to the items' pages from a page of a comparison."""
    table = item_table([a, b])
    changed = changes(a, b)

    def listed(rows: Sequence[int]) -> ChangedItems:
        shown = []
        for row in rows[:_CHANGED]:
            item_id, answer = table.items[row].id, int(table.people[row].argmax())
            shown.append(
                ChangedItem(
                    id=item_id,
                    words=pages.words.get(item_id, ""),
                    people=table.labels[answer],
                    a=float(table.models[0, row, answer]),
                    b=float(table.models[1, row, answer]),
                    href=f"../{pages.folder}/{pages.hrefs.get(item_id, 'index.html')}",
                )
            )
        return ChangedItems(len(rows), tuple(shown))

    return TaskChanges(
        task=task,
        items=changed.items,
        fixed=listed(changed.fixed),
        broke=listed(changed.broke),
        strata=tuple(
            (words.STRATA.get(kind, kind), name, items, fixed, broke)
            for kind, name, items, fixed, broke in changed.strata
        ),
    )
