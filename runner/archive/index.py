"""The index of an archive: one small file per entry, each naming the digest of the one before it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runner.archive.objects import CARD, FILES
from runner.archive.store import Store
from runner.core import strict_json
from runner.core.canonical import sha256_bytes, to_bytes
from runner.core.clock import now
from runner.core.errors import Fault, InvalidInput, OutputError
from runner.core.json_schema import shown
from runner.signing.keyring import instant

MARKER = "archive.json"
_MARKER_BYTES = to_bytes({"format": "moral-ambiguity-archive", "version": "1"}) + b"\n"
_MOST_CONFLICTS = 10_000
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"index/([0-9]{4})/([0-9]{8})\.json")


@dataclass(frozen=True, slots=True)
class Leaf:
    """An entry of the index: one card was added."""

    sequence: int
    """Number of the entry."""
    previous: str | None
    """Hex sha256 of the entry before; None for the first."""
    added_at: str
    """Time of adding, ISO 8601 in UTC."""
    card: str
    """Hex sha256 of the card's bundle."""
    recomputed: bool
    """Whether every number of the card was recomputed when it was added."""
    files: Mapping[str, str | None]
    """Kind of file to the hex sha256 of its content; None where the archive does not hold it."""
    summary: Mapping[str, Any]
    """Summary of the card."""
    sha256: str
    """Hex sha256 of the entry's own bytes."""


@dataclass(frozen=True, slots=True)
class Index:
    """The entries of an archive."""

    entries: tuple[Leaf, ...]
    """Entries that could be read, in order."""
    faults: tuple[Fault, ...]
    """What is wrong with the others."""
    digests: Mapping[int, str]
    """Sequence number to the hex sha256 of the entry's bytes."""

    @property
    def head(self) -> str | None:
        """The digest of the last entry, which through the chain binds all before it."""
        return self.digests[max(self.digests)] if self.digests else None

    def by_card(self) -> dict[str, list[Leaf]]:
        """Card digest → its entries; more than one where files were added later."""
        entries_by_card: dict[str, list[Leaf]] = {}
        for entry in self.entries:
            entries_by_card.setdefault(entry.card, []).append(entry)
        return entries_by_card


def name_of(sequence: int) -> str:
    """Where the entry lies: at most ten thousand in a folder."""
    return f"index/{sequence // 10_000:04d}/{sequence:08d}.json"


def sequence_of(name: str) -> int | None:
    """The sequence number in an entry's name, or None for a name that is not one."""
    match = _NAME.fullmatch(name)
    return int(match[2]) if match and name == name_of(int(match[2])) and int(match[2]) > 0 else None


def opened(store: Store) -> Store:
    """`store`, or `InvalidInput` (ARCHIVE_MISSING, ARCHIVE_FORMAT) if there is no archive there."""
    marker = store.read(MARKER)
    if marker is None:
        hint = "`benchmark archive add` makes one."
        raise InvalidInput(Fault("ARCHIVE_MISSING", f"There is no archive here ({MARKER}).", store.address, hint=hint))
    if marker != _MARKER_BYTES:
        raise InvalidInput(Fault("ARCHIVE_FORMAT", "is not of a format that is known here.", store.address_of(MARKER)))
    return store


def begun(store: Store) -> Store:
    """`store` as an archive, made if there is none, and sure to refuse to overwrite."""
    if store.create(MARKER, _MARKER_BYTES) and store.create(MARKER, _MARKER_BYTES):
        message = "The store overwrites what it was told to leave alone, so two writers could lose a card."
        raise InvalidInput(Fault("ARCHIVE_READ_ONLY", message, store.address))
    return opened(store)


def read_index(store: Store) -> Index:
    """Every entry, with each break of the chain as a fault: ARCHIVE_ENTRY, ARCHIVE_GAP, ARCHIVE_CHAIN."""
    names = store.names("index")
    numbered = {number: name for name in names if (number := sequence_of(name)) is not None}
    faults = [
        Fault("ARCHIVE_ENTRY", "is not the name of an index entry.", store.address_of(name))
        for name in names
        if sequence_of(name) is None
    ]
    entries: list[Leaf] = []
    digests: dict[int, str] = {}
    expected = 1
    for number, (name, data) in zip(
        sorted(numbered), store.read_many(numbered[number] for number in sorted(numbered)), strict=True
    ):
        file = store.address_of(name)
        if number != expected:
            gone = f"{expected}" if number == expected + 1 else f"{expected} to {number - 1}"
            faults.append(Fault("ARCHIVE_GAP", f"Before this entry, {gone} is missing: it was removed.", file))
        expected = number + 1
        data = data or b""
        digests[number] = sha256_bytes(data)
        try:
            entry = parse(data, number)
        except ValueError as problem:
            faults.append(Fault("ARCHIVE_ENTRY", f"{problem}.", file))
            continue
        entries.append(entry)
        if number == 1 or number - 1 in digests:
            before = digests.get(number - 1)
            if entry.previous != before:
                message = f"names {_short(entry.previous)} as the entry before, which is {_short(before)}: one of the "
                faults.append(Fault("ARCHIVE_CHAIN", f"{message}two was changed.", file))
    return Index(tuple(entries), tuple(faults), digests)


def _short(sha256: str | None) -> str:
    return "none" if sha256 is None else f"{sha256[:16]}…"


def write(entry: Mapping[str, Any]) -> bytes:
    """The bytes of an entry: canonical JSON and a newline."""
    return to_bytes(entry) + b"\n"


def parse(data: bytes, sequence: int) -> Leaf:
    """The entry in the bytes of an index file; `ValueError` says why it is not one."""
    document = strict_json.parse(data, max_bytes=1 << 20)
    _check(document, _SHAPE, "$")
    if write(document) != data:
        raise ValueError("is not in canonical form")
    if document["sequence"] != sequence:
        raise ValueError(f"says that it is entry {document['sequence']}")
    fields = {name: value for name, value in document.items() if name != "schema_version"}
    return Leaf(**fields, sha256=sha256_bytes(data))


def _check(value: Any, shape: Any, path: str) -> None:
    """Refuse what does not have `shape`: an object with exactly its names, or a value that its function takes."""
    if not isinstance(shape, Mapping):
        if not shape(value):
            raise ValueError(f"{path} is {shown(value)}, which does not fit")
    elif not isinstance(value, dict) or value.keys() != shape.keys():
        raise ValueError(f"{path} is not an object with exactly {', '.join(shape)}")
    else:
        for name, inner in shape.items():
            _check(value[name], inner, f"{path}.{name}")


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _digest(value: Any) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _digest_or_none(value: Any) -> bool:
    return value is None or _digest(value)


def _tasks(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    for name, task in value.items():
        _check(task, {"split": _text, "metric": _text, "value": _number_or_none}, f"$.summary.tasks.{name[:80]}")
    return True


def _number_or_none(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


# By hand, since a leaderboard reads tens of thousands of entries: a JSON Schema takes as long as all the rest.
_SHAPE = {
    "schema_version": lambda value: value == "1",
    "sequence": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "previous": _digest_or_none,
    "added_at": lambda value: isinstance(value, str) and value.endswith("Z") and instant(value) is not None,
    "card": _digest,
    "recomputed": lambda value: isinstance(value, bool),
    "files": dict.fromkeys(FILES, _digest_or_none),
    "summary": {
        "name": _text,
        "submission": _text,
        "benchmark": {"name": _text, "version": _text, "digest": _text},
        "suite": _text,
        "comparable": lambda value: isinstance(value, bool),
        "finished_at": _text,
        "run": _text,
        "keyid": _text,
        "tasks": _tasks,
    },
}


class Appender:
    """The end of an index, at which entries are added; held, since finding it takes a listing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        numbers = [number for name in store.names("index") if (number := sequence_of(name)) is not None]
        self._last = max(numbers, default=0)
        self._before: str | None = None
        if self._last:
            self._before = sha256_bytes(store.read(name_of(self._last)) or b"")
        self._known: dict[str, dict[str, str]] = {}
        self._all_known = False

    @property
    def end(self) -> tuple[int, str | None]:
        """Sequence and digest of the last entry known here; 0 and None while there is none."""
        return self._last, self._before

    def files_of(self, card: str) -> Mapping[str, str] | None:
        """The files stored with a card that is in the index, or None for a card that is not.

        Ask before the card's own object is written: a card whose object is not there cannot have been in the index
        when its end was read, so that the whole index need not be read; what others add since is seen by `append`.
        """
        if not self._all_known and self._store.exists(CARD.name(card)):
            for entry in read_index(self._store).entries:
                self._learn(entry)
                if entry.sequence >= self._last:
                    self._last, self._before = entry.sequence, entry.sha256
            self._all_known = True
        return self._known.get(card)

    def append(
        self, card: str, files: Mapping[str, str | None], summary: Mapping[str, Any], *, recomputed: bool
    ) -> Leaf | None:
        """Add an entry behind the last, however many others add at the same time; None if one of them added it."""
        for _ in range(_MOST_CONFLICTS):
            document = {
                "schema_version": "1",
                "sequence": self._last + 1,
                "previous": self._before,
                "added_at": now(),
                "card": card,
                "recomputed": recomputed,
                "files": dict(files),
                "summary": dict(summary),
            }
            data = write(document)
            name = name_of(self._last + 1)
            # If somebody was first, theirs is there. (Or it is ours: a service may take an entry and lose its answer.)
            there = data if self._store.create(name, data) else self._store.read(name) or b""
            self._last, self._before = self._last + 1, sha256_bytes(there)
            try:
                entry = parse(there, self._last)
            except ValueError:
                continue  # somebody else's and damaged, which `check` names; the chain goes on behind it
            self._learn(entry)
            if there == data:
                return entry
            if is_duplicate(self._known.get(card), files):
                return None
        message = f"{_MOST_CONFLICTS:,} others were first in a row."
        raise OutputError(Fault("ARCHIVE_UNWRITABLE", message, self._store.address))

    def _learn(self, entry: Leaf) -> None:
        digests = {name: sha256 for name, sha256 in entry.files.items() if sha256 is not None}
        self._known.setdefault(entry.card, {}).update(digests)


def is_duplicate(known: Mapping[str, str] | None, files: Mapping[str, str | None]) -> bool:
    """Whether a card that is in the index with the files `known` gains nothing from `files`."""
    return known is not None and all(sha256 is None or name in known for name, sha256 in files.items())
