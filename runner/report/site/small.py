"""The small files of a site: badges as SVG, and the feed of new cards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.archive.index import Leaf
from runner.archive.leaderboard.values import Row
from runner.report.html.render import drawing, figure
from runner.report.site import addresses

_ENTRIES = 50
_CHARACTER = 6.6
"""Width of a character of a badge, in pixels, about; the text is set to the width that is left for it."""


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """A card in the feed, as the index has it."""

    name: str
    """Of the submission."""
    card: str
    """Its digest."""
    added_at: str
    """When it was archived, UTC."""
    benchmark: str
    """Name and version."""
    assurance: str
    """`independently reproduced` or `self-reported`."""
    tasks: tuple[Mapping[str, Any], ...]
    """Each with its primary metric, as in the index."""
    href: str
    """Address of its page."""


def badge(benchmark: str, task: str, row: Row, rows: int, *, trial: bool) -> str:
    """The badge of a ranked card: how far it has come, and its rank among so many; a trial says that it is one."""
    far = figure(row.value) if row.skill is None else figure(row.skill, "%")
    value = f"{far}, rank {'=' if row.tied else ''}{row.rank} of {rows}"
    name = f"{benchmark} {task}"[:60]
    value = f"trial: {value}" if trial else value
    left, right = (round(len(text) * _CHARACTER + 12) for text in (name, value))
    return drawing(
        "badge.svg.j2",
        name=name,
        value=value,
        left=left,
        right=right,
        colour="#6b5a1e" if trial else "#1a5fc8",
    )


def latest(entries: Sequence[Leaf], number: int) -> list[Leaf]:
    """The last of some cards, the newest first."""
    return sorted(entries, key=lambda entry: -entry.sequence)[:number]


def feed(entries: Sequence[Leaf], assurances: Mapping[str, str], url: str | None) -> str:
    """The newest cards as an Atom feed (RFC 4287); addresses are relative unless it is known where the site will be."""
    newest = latest(entries, _ENTRIES)
    return drawing(
        "feed.xml.j2",
        base="" if url is None else f"{url.rstrip('/')}/",
        feed_id=url if url is not None else f"urn:sha256:{min((item.card for item in entries), default='0' * 64)}:feed",
        updated=newest[0].added_at if newest else "1970-01-01T00:00:00Z",
        entries=[
            FeedEntry(
                name=entry.summary["name"],
                card=entry.card,
                added_at=entry.added_at,
                benchmark=f"{entry.summary['benchmark']['name']} {entry.summary['benchmark']['version']}",
                assurance=assurances[entry.card],
                tasks=tuple({"name": name, **task} for name, task in entry.summary["tasks"].items()),
                href=addresses.card(entry.card),
            )
            for entry in newest
        ],
    )
