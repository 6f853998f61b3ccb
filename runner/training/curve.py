"""The loss of each step and the evaluations, as JSON lines that a killed training goes on with."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from runner.core.files import write_whole

NAME = "loss.jsonl"


class Curve:
    """An open curve: `rows` are those on disk, one for each step (`loss`) or evaluation (`evaluation`)."""

    def __init__(self, stream: IO[bytes], rows: list[dict[str, Any]]) -> None:
        self._stream = stream
        self.rows = rows

    @classmethod
    def open(cls, folder: Path, step: int) -> Self:
        """The curve in `folder` up to `step`, the rest of it cut off; times are not in it, so that it is repeatable."""
        path = folder / NAME
        history: list[dict[str, Any]] = []
        if path.exists():
            history = [row for row in rows_of(path) if row["step"] <= step]
        write_whole(path, b"".join(map(line, history)))
        return cls(path.open("ab"), history)

    def add(self, row: Mapping[str, Any]) -> None:
        """One more row."""
        self.rows.append(dict(row))
        self._stream.write(line(row))
        self._stream.flush()

    def close(self) -> None:
        """Let the file go."""
        self._stream.close()

    def sync(self) -> None:
        """What was added is on disk when this returns."""
        os.fsync(self._stream.fileno())


def line(row: Mapping[str, Any]) -> bytes:
    """A row as it stands in the file."""
    return (json.dumps(row, allow_nan=False) + "\n").encode()


def rows_of(path: Path) -> Sequence[dict[str, Any]]:
    """The whole rows of a curve's file; a last one that was cut off by a kill is left out."""
    lines = path.read_bytes().split(b"\n")
    return [json.loads(row) for row in lines[:-1]]
