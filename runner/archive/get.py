"""Find a card in an archive and restore its run's folder."""

import json
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from runner.archive import objects
from runner.archive.index import Index, Leaf, read_index
from runner.archive.objects import CARD, FILES
from runner.archive.store import Store
from runner.core import strict_json
from runner.core.errors import Fault, InvalidInput, OutputError, VerificationError
from runner.core.files import write_whole
from runner.scorecard import filenames
from runner.signing import dsse

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{8,64})")
_SHOWN = 10


def find(index: Index, reference: str, address: str) -> str:
    """The digest of the card that `reference` names: by its own digest (eight digits or more) or its submission's name.

    Raises `InvalidInput`: ARCHIVE_UNKNOWN, or ARCHIVE_AMBIGUOUS with the digests to choose from.
    """
    by_digest = _DIGEST.fullmatch(reference)
    matches: dict[str, Leaf] = {}
    for entry in index.entries:
        if (by_digest and entry.card.startswith(by_digest[1])) or entry.summary["name"] == reference:
            matches[entry.card] = entry
    if not matches:
        hint = "`benchmark archive list` shows names and digests."
        raise InvalidInput(Fault("ARCHIVE_UNKNOWN", f"No card is called {reference[:80]!r}.", address, hint=hint))
    if len(matches) > 1:
        last = list(matches.values())[-_SHOWN:]
        cards = ", ".join(f"{entry.card[:16]} ({entry.summary['finished_at']})" for entry in last)
        message = (
            f"{len(matches):,} cards are called {reference[:80]!r}: {cards}{' …' if len(matches) > _SHOWN else ''}."
        )
        raise InvalidInput(Fault("ARCHIVE_AMBIGUOUS", message, address, hint="Give the digest of one."))
    return next(iter(matches))


def files_of(index: Index, card: str) -> dict[str, str]:
    """Kind → digest of every file stored with a card."""
    return {
        name: sha256
        for entry in index.entries
        if entry.card == card
        for name, sha256 in entry.files.items()
        if sha256 is not None
    }


def get(store: Store, reference: str, output_dir: Path) -> Path:
    """Restore the run's folder of a card as `output_dir`/<first 16 digits of its digest>; that folder.

    Every file is held against its digest before anything is written. The folder's name is the digest's, since the
    submission's name is a stranger's text. Raises as `find` does, `VerificationError` (ARCHIVE_DAMAGED,
    ARCHIVE_MISSING) with all damaged files, `InvalidInput` (OUTPUT_EXISTS), `OutputError` (OUTPUT_UNWRITABLE).
    """
    index = read_index(store)
    card = find(index, reference, store.address)
    return restore(store, card, files_of(index, card), output_dir)


def restore(store: Store, card: str, files: Mapping[str, str], output_dir: Path) -> Path:
    """Restore the run's folder of the card with this digest, of which the archive keeps `files` (kind → digest).

    Raises as `get` does.
    """
    folder = output_dir / card[:16]
    if folder.exists():
        raise InvalidInput(Fault("OUTPUT_EXISTS", "is there already, and is left as it is.", str(folder)))
    contents: dict[str, bytes] = {}
    faults: list[Fault] = []
    pairs = [(CARD, card), *((FILES[name], sha256) for name, sha256 in files.items())]
    for kind, sha256 in pairs:
        try:
            contents[kind.run_name] = objects.read(store, kind, sha256)
        except VerificationError as problem:
            faults.extend(problem.faults)
    if faults:
        raise VerificationError(*faults)
    contents[filenames.CARD] = _plain(contents[filenames.BUNDLE])
    _write(folder, contents)
    return folder


def _plain(bundle: bytes) -> bytes:
    """The plain copy for the eye, made anew from the signed card."""
    card = strict_json.parse(dsse.read(bundle).payload)["predicate"]
    return (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode()


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    """All files, then the folder's name: a folder that is there is whole."""
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.part")
    try:
        part.mkdir(parents=True)
        try:
            for name, content in contents.items():
                write_whole(part / name, content)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as problem:
        message = f"The run cannot be written here: {problem.strerror}."
        raise OutputError(Fault("OUTPUT_UNWRITABLE", message, str(folder.parent))) from None
