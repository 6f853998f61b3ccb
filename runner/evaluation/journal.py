"""What a run has finished so far, on disk batch by batch, so that a killed run goes on where it stopped."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from runner.core import strict_json
from runner.core.files import sync_folder
from runner.core.types import Prediction
from runner.tasks.thoughts import from_record, to_record

NAME = "journal.jsonl"


def encode_record(payload: str) -> bytes:
    """A line that a torn or altered write cannot imitate: a checksum, the payload, a newline."""
    return f"{hashlib.sha256(payload.encode()).hexdigest()[:16]} {payload}\n".encode()


def decode_record(line: bytes) -> Any | None:
    """The payload of a whole line, or None for a torn one, or for one that is no journal's."""
    checksum, _, payload = line.partition(b" ")
    if not line.endswith(b"\n") or hashlib.sha256(payload[:-1]).hexdigest()[:16].encode() != checksum:
        return None
    try:
        return strict_json.parse(payload, max_bytes=len(payload))
    except strict_json.JsonFault:
        return None


def _is_header(value: Any) -> bool:
    return isinstance(value, dict) and {"key", "id", "nonce", "started_at"} <= set(value)


def _rows(value: Any) -> list[Prediction] | None:
    """The predictions of a line, or None if it holds something else."""
    try:
        return [from_record(row) for row in value] if isinstance(value, list) else None
    except ValueError:
        return None


def _encode(prediction: Prediction) -> str:
    return json.dumps(to_record(prediction), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@dataclass
class Journal:
    """An open journal, locked for this process.

    Use as a context manager. A journal that another process holds raises `BlockingIOError`.
    """

    path: Path
    """Path of the file."""
    header: Mapping[str, Any]
    """Its first record: what the run is."""
    done: list[Prediction] = field(default_factory=list)
    """Its finished rows, without their thoughts, which may be large: see `read_rows`."""
    has_thoughts: bool = False
    """Whether any row in the file has thoughts."""
    _stream: IO[bytes] | None = None
    """The locked file; None before it is opened and after it is closed."""

    @classmethod
    def create(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        """A new journal in `folder`; the header is on disk before this returns."""
        journal = cls(folder / NAME, header)
        # Waits: another process may look into the empty file at this moment, and lets it go at once.
        journal._stream = _locked(journal.path, "xb", fcntl.LOCK_EX)
        try:
            journal._write(encode_record(json.dumps(header, sort_keys=True)))
            sync_folder(folder)
        except OSError:
            journal.close()
            raise
        return journal

    @classmethod
    def resume(cls, folder: Path) -> Self | None:
        """The journal left in `folder`, cut before its first torn line; None if not even the header survived.

        Raises `FileNotFoundError` too when its run was finished between the opening and the locking.
        """
        path = folder / NAME
        stream = _locked(path, "r+b", fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(stream.fileno()).st_nlink == 0:
            stream.close()
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        header: Mapping[str, Any] | None = None
        predictions: list[Prediction] = []
        has_thoughts = False
        whole = 0
        for line in stream:
            payload = decode_record(line)
            if header is None and _is_header(payload):
                header = payload
            elif header is not None and (rows := _rows(payload)) is not None:
                predictions.extend(replace(row, thoughts=None) for row in rows)
                has_thoughts = has_thoughts or any(row.thoughts is not None for row in rows)
            else:
                break
            whole += len(line)
        if header is None:
            stream.close()
            return None
        stream.truncate(whole)
        stream.seek(whole)
        return cls(path, header, predictions, has_thoughts, stream)

    def append(self, predictions: Iterable[Prediction]) -> None:
        """A finished batch; on disk (fsync) when this returns."""
        batch = list(predictions)
        self._write(encode_record("[" + ",".join(map(_encode, batch)) + "]"))
        self.done.extend(replace(prediction, thoughts=None) for prediction in batch)
        self.has_thoughts = self.has_thoughts or any(prediction.thoughts is not None for prediction in batch)

    def read_rows(self) -> Iterator[Prediction]:
        """The finished rows once more, with their thoughts, from the file; one line of it in memory at a time."""
        with self.path.open("rb") as stream:
            for line in stream:
                yield from _rows(decode_record(line)) or ()

    def _write(self, line: bytes) -> None:
        assert self._stream is not None, "the journal is closed"
        self._stream.write(line)
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Let the lock go; the file stays."""
        if self._stream is not None:
            # What a full disk did not take is still in the buffer and fails again here; the file is closed even so,
            # and the torn line is cut off when the run goes on.
            with contextlib.suppress(OSError):
                self._stream.close()
            self._stream = None

    def discard(self) -> None:
        """Remove the file, and its folder if it holds nothing else: what is in it is not to be gone on with."""
        self.path.unlink()
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _locked(path: Path, mode: str, lock: int) -> IO[bytes]:
    stream: IO[bytes] = path.open(mode)
    try:
        fcntl.flock(stream, lock)
    except OSError:
        stream.close()
        raise
    return stream


def unfinished(parent: Path) -> list[Path]:
    """Folders under `parent` that hold a journal, newest name first; not those that were never begun (`begin`)."""
    folders = (path.parent for path in parent.glob(f"*/{NAME}"))
    return sorted((folder for folder in folders if not folder.name.startswith(".")), reverse=True)


_BEGUN = ".begun-"


def create_run_dir(parent: Path, name: str, header: Mapping[str, Any]) -> tuple[Path, Journal]:
    """A new folder `name` under `parent` (`name-2`, … where there is one), and the journal in it.

    The folder gets its name when the header is on disk: one that a crash left without a journal is never seen under
    a run's name. What such a crash left under another is removed by the next call. Raises `OSError`.
    """
    remove_stale(parent)
    while True:
        hidden = parent / f"{_BEGUN}{uuid.uuid4().hex}"
        hidden.mkdir()
        try:
            journal = Journal.create(hidden, header)
            try:
                for attempt in range(1, 1000):
                    folder = parent / (name if attempt == 1 else f"{name}-{attempt}")
                    if not folder.exists() and _renamed(hidden, folder):
                        sync_folder(parent)
                        journal.path = folder / NAME
                        return folder, journal
            except BaseException:
                journal.close()
                raise
            journal.close()
            raise FileExistsError(errno.EEXIST, "no free name is left", str(parent / name))
        except FileNotFoundError:
            # Another process took it for one that a crash had left, in the instant before it was locked.
            if not parent.is_dir():
                raise
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise


def _renamed(old: Path, new: Path) -> bool:
    """False where somebody else took the name meanwhile."""
    try:
        old.rename(new)
    except OSError as problem:
        if problem.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
        return False
    return True


def remove_stale(parent: Path) -> None:
    """Remove the folders that were never begun, unless a live process is about to."""
    for folder in parent.glob(f"{_BEGUN}*"):
        try:
            if (folder / NAME).exists():
                _locked(folder / NAME, "r+b", fcntl.LOCK_EX | fcntl.LOCK_NB).close()
        except OSError:
            continue
        shutil.rmtree(folder, ignore_errors=True)
