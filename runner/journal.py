"""What a run has finished so far, on disk batch by batch, so that a killed run goes on where it stopped."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from runner.predictions import from_row, to_line
from runner.records import Prediction

NAME = "journal.jsonl"


def _seal(payload: str) -> bytes:
    """A line that a torn or altered write cannot imitate: a checksum, the payload, a newline."""
    return f"{hashlib.sha256(payload.encode()).hexdigest()[:16]} {payload}\n".encode()


def _unseal(line: bytes) -> Any | None:
    """The payload of a whole line, or None for a torn one."""
    checksum, _, payload = line.partition(b" ")
    if not line.endswith(b"\n") or hashlib.sha256(payload[:-1]).hexdigest()[:16].encode() != checksum:
        return None
    return json.loads(payload)


@dataclass
class Journal:
    """An open journal, locked for this process: `header` says what the run is, `done` holds its finished rows.

    Use as a context manager. A journal that another process holds raises `BlockingIOError`.
    """

    path: Path
    header: Mapping[str, Any]
    done: list[Prediction] = field(default_factory=list)
    _stream: IO[bytes] | None = None

    @classmethod
    def create(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        """A new journal in `folder`; the header is on disk before this returns."""
        journal = cls(folder / NAME, header)
        # Waits: another process may look into the empty file at this moment, and lets it go at once.
        journal._stream = _locked(journal.path, "xb", fcntl.LOCK_EX)
        journal._write(_seal(json.dumps(header, sort_keys=True)))
        _sync_folder(folder)
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
        done: list[Prediction] = []
        whole = 0
        for line in stream:
            payload = _unseal(line)
            if payload is None:
                break
            if header is None:
                header = payload
            else:
                done.extend(from_row(row) for row in payload)
            whole += len(line)
        if header is None:
            stream.close()
            return None
        stream.truncate(whole)
        stream.seek(whole)
        return cls(path, header, done, stream)

    def append(self, predictions: Iterable[Prediction]) -> None:
        """A finished batch; on disk (fsync) when this returns."""
        batch = list(predictions)
        self._write(_seal("[" + ",".join(to_line(prediction).rstrip("\n") for prediction in batch) + "]"))
        self.done.extend(batch)

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
    """Folders under `parent` that hold a journal, newest name first."""
    return sorted((path.parent for path in parent.glob(f"*/{NAME}")), reverse=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` under a temporary name, fsync, rename: a reader sees the old file or the new one, never a part."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
