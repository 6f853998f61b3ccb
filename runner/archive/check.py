"""Look at everything an archive holds: what was removed, altered, cut off or put in beside the index is named."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runner.archive import benchmarks, heads, index, objects
from runner.archive.add import summary
from runner.archive.heads import Checkpoint
from runner.archive.index import Leaf
from runner.archive.objects import CARD, FILES
from runner.archive.store import Store
from runner.core import resources
from runner.core.benchmark_types import Benchmark
from runner.core.canonical import sha256_bytes
from runner.core.errors import Fault, UserError, VerificationError
from runner.signing.keyring import Keyring
from runner.signing.verifier import Verified, verify_bundle


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check of an archive."""

    entries: int
    """Entries that could be read."""
    cards: int
    """Cards that the entries name."""
    objects: int
    """Objects that the entries name."""
    head: str | None
    """Hex sha256 of the last entry: written down elsewhere, it exposes a later truncation. None without entries."""
    signed: Checkpoint | None
    """The newest checkpoint whose signature is trusted; None without one."""
    faults: tuple[Fault, ...]
    """What is damaged."""
    notes: tuple[str, ...]
    """What could not be checked, and why."""
    seconds: float
    """Duration of the check, in seconds."""

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON value."""
        return {
            "whole": not self.faults,
            "entries": self.entries,
            "cards": self.cards,
            "objects": self.objects,
            "head": self.head,
            "signed_head": heads.to_json(self.signed) if self.signed else None,
            "faults": [{"code": fault.code, "file": fault.file, "message": fault.message} for fault in self.faults],
            "notes": list(self.notes),
            "seconds": self.seconds,
            "cards_per_second": self.cards / self.seconds if self.seconds > 0 else None,
        }


def check(
    store: Store,
    keyring: Keyring,
    expect_head: str | None = None,
    observe: Callable[[int, int], None] = lambda done, total: None,
) -> Checked:
    """Every entry, object, card and signed head of an archive; all faults, none raised.

    Codes: those of `read_index`, `read_checkpoints` and `disagreements`; ARCHIVE_MISSING, ARCHIVE_DAMAGED (an object),
    ARCHIVE_SUMMARY (an entry says of its card what the card does not), ARCHIVE_FILES (a file is not the card's),
    ARCHIVE_UNLISTED (a card that no entry names), and the SIG_ codes of a card that no longer verifies.
    """
    started = time.perf_counter()
    store = index.opened(store)
    present = {kind.folder: store.names(kind.folder) for kind in (CARD, *FILES.values())}
    archive_index = index.read_index(store)
    signed, faults = heads.read_checkpoints(store, keyring)
    faults = [*archive_index.faults, *faults, *heads.disagreements(store, signed, archive_index.digests)]
    if expect_head is not None:
        faults.extend(heads.expected(archive_index, expect_head, store))
    by_card = archive_index.by_card()
    faults.extend(_cards(store, keyring, by_card, observe))
    expected_objects = list(objects.wanted((entry.card, entry.files) for entry in archive_index.entries))
    faults.extend(_objects(store, expected_objects))
    unlisted, notes = _unlisted(store, expected_objects, present)
    faults.extend(unlisted)
    if not signed:
        notes.append("No head is signed: entries cut off at the end are found only with --expect-head.")
    elif (last := max(head.sequence for head in signed)) < max(archive_index.digests, default=0):
        notes.append(f"Entries after {last} are under no signed head yet.")
    return Checked(
        entries=len(archive_index.entries),
        cards=len(by_card),
        objects=len(expected_objects),
        head=archive_index.head,
        signed=max(signed, key=lambda head: head.sequence, default=None),
        faults=tuple(faults),
        notes=tuple(notes),
        seconds=time.perf_counter() - started,
    )


def _cards(
    store: Store,
    keyring: Keyring,
    by_card: Mapping[str, list[Leaf]],
    observe: Callable[[int, int], None],
) -> Iterator[Fault]:
    """Cards whose bytes are those of their name: they must verify, and be what their entries say they are."""
    schema = json.loads((resources.schema_folder() / "scorecard.schema.json").read_text(encoding="utf-8"))
    loaded: dict[str, Benchmark | None] = {}
    for done, (name, data) in enumerate(store.read_many(CARD.name(card) for card in by_card), start=1):
        observe(done, len(by_card))
        card = CARD.sha256_in(name) or ""
        if data is None or sha256_bytes(data) != card:
            continue  # `_objects` names it
        try:
            verified = verify_bundle(data, keyring, schema=schema, file=store.address_of(name))
        except VerificationError as problem:
            yield from problem.faults
            continue
        for entry in by_card[card]:
            file, sha256 = store.address_of(index.name_of(entry.sequence)), entry.files["benchmark"]
            if sha256 is None:
                yield Fault("ARCHIVE_FILES", "names no benchmark.", file)
                continue
            if sha256 not in loaded:
                loaded[sha256] = _benchmark(store, sha256)
            yield from _entry(file, entry, verified, loaded[sha256])


def _benchmark(store: Store, sha256: str) -> Benchmark | None:
    """The benchmark stored under this digest; None where `_objects` names what is wrong with it."""
    try:
        return benchmarks.benchmark(store, sha256)
    except UserError:
        return None


def _entry(file: str, entry: Leaf, verified: Verified, benchmark: Benchmark | None) -> Iterator[Fault]:
    card = verified.predicate
    for name in ("predictions", "environment"):
        if entry.files[name] not in (None, card[name]["sha256"]):
            yield Fault("ARCHIVE_FILES", f"names other {name} than its card was made from.", file)
    if benchmark is None:
        return
    if benchmark.digest != card["benchmark"]["digest"]:
        yield Fault("ARCHIVE_FILES", "names another benchmark than its card was made with.", file)
    elif entry.summary != summary(card, verified.keyid, benchmark.scoring.primary):
        yield Fault("ARCHIVE_SUMMARY", "says of its card what the card does not say.", file)


def _objects(store: Store, expected_objects: Iterable[tuple[objects.Kind, str]]) -> Iterator[Fault]:
    names = {kind.name(sha256): (kind, sha256) for kind, sha256 in expected_objects}
    for name, data in store.read_many(names):
        kind, sha256 = names[name]
        _, problem = objects.unpack(kind, sha256, data)
        if problem is not None:
            code = "ARCHIVE_MISSING" if data is None else "ARCHIVE_DAMAGED"
            yield Fault(code, f"{problem}.", store.address_of(name))


def _unlisted(
    store: Store, expected_objects: Iterable[tuple[objects.Kind, str]], present: Mapping[str, list[str]]
) -> tuple[list[Fault], list[str]]:
    named = {kind.name(sha256) for kind, sha256 in expected_objects}
    faults = [
        Fault(
            "ARCHIVE_UNLISTED",
            "No entry names this card: its entry was removed, or its adding was broken off.",
            store.address_of(name),
            hint="If it belongs here, add it again.",
        )
        for name in present[CARD.folder]
        if name not in named
    ]
    others = [name for folder, names in present.items() if folder != CARD.folder for name in names if name not in named]
    notes = [f"{len(others):,} files that no entry names, the first {others[0]}."] if others else []
    if parts := store.leftovers():
        left = f"{len(parts):,} temporary files of an `archive add` that was killed, or is at work now"
        notes.append(f"{left}; if none is, delete them: {', '.join(parts[:3])}{', …' if len(parts) > 3 else ''}.")
    return faults, notes
