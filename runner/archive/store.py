"""Where an archive lies: a local folder or an object store, read in bulk and written only where nothing is."""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
from filelock import FileLock

from runner.core.errors import BackendError, Fault, InvalidInput, OutputError
from runner.core.files import read_whole, sync_folder

# Stores that can "write this only if nothing is there" in one step. Others can be read, not added to: two
# writers at once could overwrite each other.
_CONDITIONAL = frozenset({"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES})
_BATCH = 256

MAX_BYTES = (1 << 30) + (1 << 26)
"""Largest size of an object in bytes; of a larger file nothing is read. What does not compress grows a little in xz."""


@dataclass(frozen=True, slots=True)
class Store:
    """The location of an archive: a local folder, or a folder of an fsspec file system.

    Names are relative, with `/` between their parts. Failures of a disk or a service raise `OutputError`
    (ARCHIVE_UNWRITABLE) or `BackendError` (ARCHIVE_UNREACHABLE).
    """

    address: str
    """The address as the user gave it."""
    folder: Path | None
    """The local folder; None for a remote archive."""
    fs: Any
    """The fsspec file system; None for a local archive."""
    root: str
    """Path of the archive inside `fs`."""

    def address_of(self, name: str) -> str:
        """The address of the object `name`, for people."""
        return f"{self.address.rstrip('/')}/{name}"

    def read(self, name: str) -> bytes | None:
        """The bytes of the object `name`, or None where there is none."""
        return dict(self.read_many([name]))[name]

    def read_many(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Name and bytes of each object, in order; from a service, many at a time.

        None where there is none, and no bytes for a file that is too large to be one.
        """
        all_names = list(names)
        if self.folder is not None:
            for name in all_names:
                yield name, _read_file(self.folder / name, self.address_of(name))
            return
        for start in range(0, len(all_names), _BATCH):
            part = all_names[start : start + _BATCH]
            with _service(self.address):
                contents = self.fs.cat([f"{self.root}/{name}" for name in part], on_error="return")
                if not isinstance(contents, Mapping):  # a single path gives bare bytes in some file systems
                    contents = {f"{self.root}/{part[0]}": contents}
                by_name = {path.removeprefix(f"{self.root}/"): data for path, data in contents.items()}
                for data in by_name.values():
                    if isinstance(data, Exception) and not isinstance(data, FileNotFoundError):
                        raise data
            for name in part:
                data = by_name.get(name)
                yield name, data if isinstance(data, bytes) else None

    def names(self, folder: str) -> list[str]:
        """The names of all objects under `folder`, sorted; names that begin with a dot are no objects."""
        if self.folder is not None:
            top = self.folder / folder
            relative_paths = [path.relative_to(self.folder).as_posix() for path in top.rglob("*") if path.is_file()]
        else:
            with _service(self.address):
                try:
                    paths = self.fs.find(f"{self.root}/{folder}")
                except FileNotFoundError:
                    paths = []
            relative_paths = [path.removeprefix(f"{self.root}/") for path in paths]
        return sorted(name for name in relative_paths if not name.rpartition("/")[2].startswith("."))

    def leftovers(self) -> list[str]:
        """The names of temporary files in a folder, as a writer that was killed leaves them; a service has none."""
        if self.folder is None:
            return []
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob(".*.part"))

    def exists(self, name: str) -> bool:
        """Whether there is an object `name`."""
        if self.folder is not None:
            return (self.folder / name).is_file()
        with _service(self.address):
            return bool(self.fs.exists(f"{self.root}/{name}"))

    def create(self, name: str, data: bytes) -> bool:
        """Write `data` as the new object `name`, whole or not at all; False if there is one already, left as it is.

        Of two writers at once exactly one gets True. Raises `InvalidInput` (ARCHIVE_READ_ONLY) for a store that
        cannot promise that.
        """
        if self.folder is not None:
            return _create_file(self.folder, name, data)
        if _protocol(self.fs) not in _CONDITIONAL:
            message = f"{_protocol(self.fs)} cannot write only where nothing is, so two writers could lose a card."
            hint = "Add to a local copy, and copy new files over; a git hub can be cloned, added to and pushed."
            raise InvalidInput(Fault("ARCHIVE_READ_ONLY", message, self.address, hint=hint))
        path = f"{self.root}/{name}"
        with _service(self.address):
            try:
                self.fs.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            except OSError:
                # A failed precondition comes back as one of several errors: what counts is whether something is there.
                if self.fs.exists(path):
                    return False
                raise
        return True


def open_store(address: str) -> Store:
    """The store at `address`: a local path, or a URL that fsspec knows (`s3://bucket/folder`).

    Raises `InvalidInput` (ARCHIVE_ADDRESS) for an unknown kind of address, or one whose library is not installed.
    """
    if "://" not in address and "::" not in address:
        return Store(address, Path(address), None, "")
    if "::" in address:
        raise InvalidInput(Fault("ARCHIVE_ADDRESS", "Chained addresses (a::b) are not known here.", address))
    try:
        # Listings are never cached: other writers add while we look.
        fs, root = fsspec.url_to_fs(address, use_listings_cache=False, skip_instance_cache=True)
    except ImportError as problem:
        kind = address.partition("://")[0]
        raise InvalidInput(
            Fault("ARCHIVE_ADDRESS", f"{kind}:// needs a library that is not installed: {problem}.", address)
        ) from None
    except ValueError as problem:
        raise InvalidInput(Fault("ARCHIVE_ADDRESS", f"is not an address: {problem}.", address)) from None
    if _protocol(fs) in ("file", "local"):
        return Store(address, Path(root), None, "")
    return Store(address, None, fs, root.rstrip("/"))


def _protocol(fs: Any) -> str:
    return str(fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0])


@contextlib.contextmanager
def _service(address: str) -> Iterator[None]:
    """Tell a service's failure in words. Its libraries have errors of their own beside `OSError`."""
    try:
        yield
    except Exception as problem:
        library = type(problem).__module__.partition(".")[0]
        if isinstance(problem, OSError) or library in ("botocore", "aiohttp", "google", "gcsfs", "azure"):
            reason = str(problem) or type(problem).__name__
            raise BackendError(
                Fault("ARCHIVE_UNREACHABLE", f"The store answers: {reason[:300]}.", address)
            ) from problem
        raise


def _read_file(path: Path, address: str) -> bytes | None:
    try:
        return read_whole(path, MAX_BYTES) if path.is_file() else None
    except OSError as problem:
        if problem.errno == errno.EFBIG:
            return b""
        message = f"cannot be read: {problem.strerror}."
        raise BackendError(Fault("ARCHIVE_UNREACHABLE", message, address)) from None


def _create_file(root: Path, name: str, data: bytes) -> bool:
    """Write under a temporary name, sync, and give it its name by a hard link, which fails where there is a file."""
    path = root / name
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            if not _link(root, part, path):
                return False
        finally:
            part.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as problem:
        message = f"cannot be written: {problem.strerror}."
        raise OutputError(Fault("ARCHIVE_UNWRITABLE", message, str(path))) from None
    return True


def _link(root: Path, part: Path, path: Path) -> bool:
    try:
        path.hardlink_to(part)
    except FileExistsError:
        return False
    except OSError as problem:
        if problem.errno not in _NO_LINKS:
            raise
        # A file system without hard links: take turns instead.
        with FileLock(root / ".lock"):
            if path.exists():
                return False
            part.rename(path)
    return True
