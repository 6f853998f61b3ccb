"""One way from a value to bytes, and from bytes, a file or a folder to a digest."""

import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from io import FileIO
from pathlib import Path
from typing import IO, Any

import rfc8785

from runner.core.files import open_regular, read_exactly

_BLOCK = 1 << 20


def to_bytes(value: Any) -> bytes:
    """The RFC 8785 (JCS) form of a JSON value, UTF-8.

    Raises `ValueError` (from `rfc8785`) for NaN, infinity, and integers beyond 2^53 − 1.
    """
    return rfc8785.dumps(value)


def sha256_bytes(data: bytes) -> str:
    """Lower-case hex sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:
    """`sha256:` and the hex sha256 of the canonical form of a JSON value."""
    return f"sha256:{sha256_bytes(to_bytes(value))}"


def sha256_file(path: Path) -> str:
    """Lower-case hex sha256 of a regular file, read once in blocks. Raises `OSError` as `open_regular` does."""
    sha256 = hashlib.sha256()
    with open_regular(path) as stream:
        while block := read_exactly(stream, _BLOCK):
            sha256.update(block)
    return sha256.hexdigest()


def git_blob_file(path: Path) -> str:
    """The id git gives to a file's content: sha1 over `blob <size>\\0` and the bytes (`git hash-object`)."""
    with open_regular(path) as stream:
        return _git_blob(stream, os.fstat(stream.fileno()).st_size)


def git_blob_bytes(data: bytes) -> str:
    """The id git gives to the content `data` (`git hash-object`), as `git_blob_file` does for a file."""
    return _git_blob(io.BytesIO(data), len(data))


def _git_blob(stream: IO[bytes] | FileIO, size: int) -> str:
    sha1 = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    while block := stream.read(_BLOCK):
        sha1.update(block)
    return sha1.hexdigest()


def manifest(files: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Name, size and sha256 of each file, sorted by name in UTF-8 byte order, so that names are bound as well."""
    return [
        {"name": name, "size": files[name].stat().st_size, "sha256": sha256_file(files[name])}
        for name in sorted(files, key=lambda name: name.encode())
    ]


def manifest_digest(entries: Iterable[Mapping[str, Any]]) -> str:
    """Digest of a manifest as reference signing section 3 defines it: JCS of `{"files": […]}`."""
    return digest({"files": [dict(entry) for entry in entries]})
