"""The wanted files out of what an address gives that is no tar file: a zip archive, or one file, gzipped or not."""

import gzip
import os
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.tasks.data.extract import BadArchive, Limits

_BLOCK = 1 << 17


def extract_zip(archive: Path, wanted: Mapping[str, Path], limits: Limits | None = None) -> dict[str, str]:
    """As `extract`, for a zip file: write each wanted member to its path; say why, for those not written.

    Sizes that the archive states are not relied on. Raises `BadArchive`; an `OSError` that leaves is about the disk.
    """
    limits = limits or Limits()
    refused = dict.fromkeys(wanted, "it is not in the archive")
    try:
        with zipfile.ZipFile(archive) as opened:
            if len(opened.infolist()) > limits.members:
                raise BadArchive(f"it has more than {limits.members:,} entries")
            for member in opened.infolist():
                name = member.filename.removeprefix("./")
                kind = stat.S_IFMT(member.external_attr >> 16)
                if name not in refused:
                    continue
                if kind not in (0, stat.S_IFREG) or member.is_dir():
                    refused[name] = "it is not a regular file there"
                    continue
                with opened.open(member) as source:
                    _copy(source, wanted[name], limits.member)
                del refused[name]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError) as error:
        raise BadArchive(f"it cannot be read as a zip file: {error or type(error).__name__}") from None
    return refused


def take_file(part: Path, target: Path, *, gzipped: bool, limits: Limits | None = None) -> None:
    """Write what lies at `part` to `target`, unpacked where it is `gzipped`. Raises as `extract_zip`."""
    limits = limits or Limits()
    try:
        with gzip.open(part) if gzipped else part.open("rb") as source:
            _copy(source, target, limits.member if gzipped else limits.total)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise BadArchive(f"it cannot be read as a gzip file: {error}") from None


def _copy(source: Any, path: Path, limit: int) -> None:
    with path.open("xb") as target:
        while block := source.read(_BLOCK):
            if target.tell() + len(block) > limit:
                raise BadArchive(f"a file in it unpacks to more than {limit:,} bytes")
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
