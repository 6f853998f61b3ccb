"""The walk from an archive to a site: boards, a page of each card that verifies, items and comparisons, a feed."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from runner.archive.get import restore
from runner.archive.index import Leaf, opened, read_index
from runner.archive.leaderboard import Leaderboard, Row, leaderboard
from runner.archive.store import Store
from runner.core.errors import UserError
from runner.report.html import card_page
from runner.report.html.render import Site
from runner.report.site import addresses
from runner.report.site.boards import write_boards
from runner.report.site.folder import site_folder
from runner.report.site.small import badge, feed
from runner.report.site.values import Built, Settings, Shown
from runner.scorecard.disagreements import Difference, ItemShares, furthest, histograms, item_shares
from runner.scorecard.load import OpenCard, open_card
from runner.signing.keyring import Keyring

Observe = Callable[[str, int, int], None]

_ITEMS = 6


def build_site(
    store: Store,
    keyring: Keyring,
    output_dir: Path,
    settings: Settings,
    observe: Observe = lambda stage, done, total: None,
) -> Built:
    """Write the site of an archive as `output_dir`, replacing an existing site; the same bytes every time.

    Every card is verified with all the files that the archive keeps of it. One that fails has no page and no rank.
    Raises as `leaderboard` and `site_folder` do.
    """
    index = read_index(opened(store)).by_card()
    refused: dict[str, str] = {}
    damage: list[str] = []
    with site_folder(output_dir) as folder:
        while True:
            board = leaderboard(
                store,
                keyring,
                data_dir=settings.data_dir,
                benchmark=settings.benchmark,
                include_trial=settings.include_trial,
                refused=refused,
                observe=lambda stage, done, total: observe("archive" if stage == "read" else stage, done, total),
            )
            with TemporaryDirectory() as scratch:
                built = _cards(store, keyring, index, board, Path(scratch), folder, settings, observe)
                entries = [index[card][0] for card in built.written]
                if not built.refused:
                    write_boards(folder, board, built.shown, entries, keyring, settings, observe)
                    break
            # What turned out not to verify must not take a rank either.
            refused |= built.refused
            damage += built.damage
        (folder / "feed.xml").write_text(feed(entries, built.assurances, settings.url), encoding="utf-8")
    number = len({row.card for row in board.apart if row.kind == "refused"})
    return Built(len(built.written), number, (*board.damage, *damage))


@dataclass(frozen=True, slots=True)
class _Cards:
    """What came of the cards."""

    written: tuple[str, ...]
    """Digests of those that have a page."""
    shown: Mapping[str, Shown]
    """By digest: what boards and comparisons need of a card."""
    assurances: Mapping[str, str]
    """By digest; empty for a card that nobody checked."""
    refused: Mapping[str, str]
    """By digest: why the card does not verify."""
    damage: tuple[str, ...]
    """What is wrong with the archive itself."""


def _cards(
    store: Store,
    keyring: Keyring,
    index: Mapping[str, list[Leaf]],
    board: Leaderboard,
    scratch: Path,
    folder: Path,
    settings: Settings,
    observe: Observe,
) -> _Cards:
    """A page of each card that verifies, and badges; the cards that are shown with their items stay in `scratch`."""
    apart = {row.card for row in board.apart if row.kind == "refused"}
    wanted = _shown_cards(board, settings.top)
    ranks = _ranks(board)
    for name in ("cards", "badges"):
        (folder / name).mkdir(exist_ok=True)
    written: list[str] = []
    shown: dict[str, Shown] = {}
    assurances: dict[str, str] = {}
    refused: dict[str, str] = {}
    damage: list[str] = []
    for done, (card, entries) in enumerate(index.items(), start=1):
        observe("cards", done, len(index))
        if card in apart:
            continue
        files = {name: sha256 for entry in entries for name, sha256 in entry.files.items() if sha256 is not None}
        try:
            opened_card = open_card(restore(store, card, files, scratch), keyring)
        except UserError as problem:
            refused[card] = "; ".join(f"{fault.message} [{fault.code}]" for fault in problem.faults)
            damage += [f"{fault.file} {fault.message}" for fault in problem.faults if fault.code.startswith("ARCHIVE_")]
            continue
        shares, without = (
            _shares(opened_card, settings) if card in wanted else ({}, "only those of the first of a board are.")
        )
        badges = _badges(folder, card, opened_card, ranks.get(card, []))
        page = card_page(
            opened_card,
            {task: _without_texts(furthest(own, _ITEMS, show_texts=True), settings) for task, own in shares.items()},
            without,
            {task: histograms(own) for task, own in shares.items()},
            Site("../", badges),
        )
        (folder / addresses.card(card)).write_text(page, encoding="utf-8")
        written.append(card)
        assurances[card] = "" if opened_card.report is None else opened_card.report.assurance
        if card in wanted:
            shown[card] = Shown(opened_card, shares, without)
        else:
            shutil.rmtree(opened_card.folder)
    return _Cards(tuple(written), shown, assurances, refused, tuple(damage))


def _shown_cards(board: Leaderboard, top: int) -> set[str]:
    """The first rows of each section, and baselines that were archived as cards."""
    rows = {row.card for group in board.groups for section in group.sections for row in section.rows[:top]}
    return rows | {
        reference.card
        for group in board.groups
        for reference in group.references
        if reference.kind == "baseline" and reference.card
    }


def _shares(opened: OpenCard, settings: Settings) -> tuple[Mapping[str, ItemShares], str | None]:
    """What people and the model say of the items; of data that nobody named only what travels with the package."""
    synthetic = all(task["synthetic"] for task in opened.card["tasks"].values())
    if settings.data_dir is None and not synthetic:
        return {}, "the site was made without --data-dir."
    try:
        shares = item_shares(opened, None, settings.data_dir)
    except UserError as problem:
        return {}, problem.faults[0].message
    if settings.data_dir is None and not all(own.synthetic for own in shares.values()):
        return {}, "the site was made without --data-dir."
    return shares, None


def _without_texts(items: list[Difference], settings: Settings) -> list[Difference]:
    return items if settings.data_dir is not None else [replace(item, texts=None) for item in items]


def _ranks(board: Leaderboard) -> dict[str, list[tuple[str, bool, int, Row]]]:
    """Card → (task, trial, rows of its section, row) of each of its ranks."""
    ranks: dict[str, list[tuple[str, bool, int, Row]]] = {}
    for group in board.groups:
        for section in group.sections:
            for row in section.rows:
                ranked = (group.measures.task, group.measures.trial, len(section.rows), row)
                ranks.setdefault(row.card, []).append(ranked)
    return ranks


def _badges(
    folder: Path, card: str, opened: OpenCard, ranks: list[tuple[str, bool, int, Row]]
) -> tuple[tuple[str, str], ...]:
    """Write the badges of a card; (task, address from its page) of each."""
    badges = []
    for task, trial, rows, row in ranks:
        address = addresses.badge(card, task)
        (folder / address).write_text(
            badge(opened.card["benchmark"]["name"], task, row, rows, trial=trial), encoding="utf-8"
        )
        badges.append((task, f"../{address}"))
    return tuple(badges)
