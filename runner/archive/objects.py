"""What an archive stores: five kinds of files, each under the sha256 of its content as it was in the run's folder."""

import hashlib
import lzma
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from runner.archive.store import Store
from runner.core.canonical import sha256_bytes
from runner.core.errors import Fault, VerificationError
from runner.scorecard import filenames

MOST_BYTES = 1 << 30
"""Largest size of a file in bytes: more is neither added nor unpacked."""

_BLOCK = 1 << 20
_MEMORY = 1 << 26  # preset 6, by which we compress, takes 9 MiB


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file in an archive."""

    folder: str
    """Folder in the archive."""
    suffix: str
    """Suffix of the names in it."""
    run_name: str
    """Name of such a file in a run's folder."""
    packed: bool = False
    """Whether the archive compresses it."""

    def name(self, sha256: str) -> str:
        """Where the object lies; the first two digits are a folder, so that no folder holds too many for a forge."""
        return f"{self.folder}/{sha256[:2]}/{sha256}{self.suffix}"

    def sha256_in(self, name: str) -> str | None:
        """The digest in the name of an object of this kind, or None for a name that is not one."""
        match = re.fullmatch(rf"{self.folder}/([0-9a-f]{{2}})/(\1[0-9a-f]{{62}}){re.escape(self.suffix)}", name)
        return match and match[2]


CARD = Kind("cards", ".sigstore.json", filenames.BUNDLE)
FILES: Mapping[str, Kind] = {
    "predictions": Kind("predictions", ".jsonl.xz", filenames.PREDICTIONS, packed=True),
    "environment": Kind("environments", ".json", filenames.ENVIRONMENT),
    "benchmark": Kind("benchmarks", ".yaml", filenames.BENCHMARK),
    "submission": Kind("submissions", ".yaml", filenames.SUBMISSION),
}


def put(store: Store, kind: Kind, content: bytes) -> bool:
    """Store `content` unless it is there; whether it was new. What is there must be the same: `VerificationError`."""
    sha256 = sha256_bytes(content)
    name = kind.name(sha256)
    if not store.exists(name) and store.create(name, _pack(content) if kind.packed else content):
        return True
    _, problem = unpack(kind, sha256, store.read(name))
    if problem is not None:
        hint = "Somebody changed it. Remove this file and add the card again."
        raise VerificationError(Fault("ARCHIVE_DAMAGED", f"{problem}.", store.address_of(name), hint=hint))
    return False


def read(store: Store, kind: Kind, sha256: str) -> bytes:
    """The content with this digest; `VerificationError` (ARCHIVE_MISSING, ARCHIVE_DAMAGED) if it is not there."""
    name = kind.name(sha256)
    content, problem = unpack(kind, sha256, store.read(name))
    if content is None:
        code = "ARCHIVE_MISSING" if problem == _ABSENT else "ARCHIVE_DAMAGED"
        raise VerificationError(Fault(code, f"{problem}.", store.address_of(name)))
    return content


def unpack(kind: Kind, sha256: str, data: bytes | None) -> tuple[bytes | None, str | None]:
    """The content of a stored object, or None and what is wrong with it."""
    if data is None:
        return None, _ABSENT
    if not data:
        return None, "is empty, or too large to be what the index names"
    try:
        # Twice, for a stranger's file: what is not the content of its name is never held in memory as a whole.
        actual = _sha256(_decompress(data)) if kind.packed else sha256_bytes(data)
        if actual != sha256:
            return None, f"holds content with sha256 {actual[:16]}…, not that of its name: it was changed or swapped"
        return (b"".join(_decompress(data)) if kind.packed else data), None
    except lzma.LZMAError:
        return None, f"is not an xz file of at most {MOST_BYTES:,} bytes, or is cut off"


_ABSENT = "is not there, though the index names it"


def wanted(cards: Iterable[tuple[str, Mapping[str, str | None]]]) -> Iterator[tuple[Kind, str]]:
    """Kind and digest of every object that entries (card digest, files) name; each once."""
    seen: set[tuple[str, str]] = set()
    for card, files in cards:
        pairs = [(CARD, card), *((FILES[name], sha256) for name, sha256 in files.items() if sha256 is not None)]
        for kind, sha256 in pairs:
            if (kind.folder, sha256) not in seen:
                seen.add((kind.folder, sha256))
                yield kind, sha256


def _pack(content: bytes) -> bytes:
    # Preset 6 without time or name in its header: the same content gives the same file.
    return lzma.compress(content, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, preset=6)


def _decompress(data: bytes) -> Iterator[bytes]:
    """The content of one whole xz stream with nothing behind it, block by block; never more than `MOST_BYTES`.

    Raises `LZMAError` for anything else, such as a stream whose dictionary takes more memory than ours do.
    """
    machine = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY)
    total, given = 0, data
    while not machine.eof and total <= MOST_BYTES:
        block = machine.decompress(given, max_length=_BLOCK)
        if not block and machine.needs_input:
            break
        total, given = total + len(block), b""
        yield block
    if not machine.eof or machine.unused_data or total > MOST_BYTES:
        raise lzma.LZMAError("not one whole stream within the limit")


def _sha256(blocks: Iterable[bytes]) -> str:
    sha256 = hashlib.sha256()
    for block in blocks:
        sha256.update(block)
    return sha256.hexdigest()
