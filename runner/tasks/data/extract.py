"""The few wanted files out of an archive that is not trusted, and nothing else of it."""

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 1 << 15
_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.DIRTYPE: "a folder",
    tarfile.FIFOTYPE: "a named pipe",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on what is extracted, whatever an archive says of itself."""

    member: int = 1 << 30
    """Bytes of one file."""
    total: int = 4 << 30
    """Bytes of the whole archive after decompression."""
    members: int = 10_000
    """Number of entries."""
    header: int = 1 << 16
    """Bytes of one extended header, which `tarfile` holds in memory and parses in superlinear time."""


class BadArchive(Exception):
    """The file is no archive that can be read to its end within the limits; the argument says why."""


def extract(archive: Path, destinations: Mapping[str, Path], limits: Limits | None = None) -> dict[str, str]:
    """Write each wanted member of a gzip-compressed tar file to the path given for it; say why, for those not written.

    `destinations` maps names inside the archive, such as `dilemmas/dev.scruples-dilemmas.jsonl`, to paths that must not
    exist. Only these paths are ever written, so no name in the archive can lead anywhere; only regular files count,
    so neither can links. The archive is read once from its beginning, and no further than the last wanted member.
    What was written is not checked: its digest is for the caller to compare. Raises `BadArchive` (what was written
    until then stays); an `OSError` that leaves is about the disk.
    """
    limits = limits or Limits()
    refused = dict.fromkeys(destinations, "it is not in the archive")
    with gzip.open(archive) as unzipped:
        stream = _Forward(unzipped, limits)
        with _translate_damage():
            # Mode "r:" leaves decompression to the stream; tarfile only reads it, and seeks past what nobody wants.
            tar = tarfile.TarFile(fileobj=stream, mode="r", encoding="utf-8")  # type: ignore[arg-type]
        for member in _members(tar, limits):
            name = member.name.removeprefix("./")
            if name not in refused:
                continue
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                refused[name] = f"it is {_KINDS.get(member.type, 'something else')} there, not a regular file"
            elif not 0 <= member.size <= limits.member:
                refused[name] = f"it has {member.size:,} bytes, at most {limits.member:,} are taken"
            else:
                _copy(stream, member, destinations[name])
                del refused[name]
            if not refused:
                break
    return refused


def _members(tar: tarfile.TarFile, limits: Limits) -> Iterator[tarfile.TarInfo]:
    for _ in range(limits.members):
        with _translate_damage():
            member = tar.next()
        if member is None:
            return
        yield member
    raise BadArchive(f"it has more than {limits.members:,} entries")


def _copy(stream: "_Forward", member: tarfile.TarInfo, path: Path) -> None:
    remaining = member.size
    with path.open("xb") as target:
        with _translate_damage():
            stream.seek(member.offset_data)
        while remaining:
            with _translate_damage():
                block = stream.read(min(remaining, _BLOCK))
            if not block:
                raise BadArchive("it ends within a file")
            target.write(block)
            remaining -= len(block)
        target.flush()
        os.fsync(target.fileno())


class _Forward:
    """Decompressed bytes, read forward only and within limits: the file that `tarfile` sees."""

    def __init__(self, unzipped: gzip.GzipFile, limits: Limits) -> None:
        self._unzipped = unzipped
        self._limits = limits

    def tell(self) -> int:
        return self._unzipped.tell()

    def seek(self, position: int) -> None:
        if position < self.tell():
            raise BadArchive("an entry declares a negative length")
        self._require_within(position)
        self._unzipped.seek(position)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._limits.header:
            raise BadArchive(f"it has a header of {size:,} bytes, at most {self._limits.header:,} are read")
        self._require_within(self.tell() + size)
        return self._unzipped.read(size)

    def _require_within(self, position: int) -> None:
        if position > self._limits.total:
            raise BadArchive(f"it unpacks to more than {self._limits.total:,} bytes")


@contextmanager
def _translate_damage() -> Iterator[None]:
    """Turn what `gzip`, `zlib` and `tarfile` raise over damaged or hostile bytes into `BadArchive`.

    `tarfile` lets two plain errors through: ValueError for what is no number in an extended header, RecursionError for
    a chain of such headers.
    """
    try:
        yield
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, RecursionError) as error:
        raise BadArchive(f"it cannot be read as a gzip-compressed tar file: {error or type(error).__name__}") from None
