"""sweep.json: what a sweep has done, written whole after each change, so that the same command goes on from it."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runner.core import resources, strict_json
from runner.core.canonical import sha256_file
from runner.core.errors import Fault, InvalidInput, OutputError
from runner.core.files import read_regular, write_whole
from runner.core.json_schema import mismatches
from runner.evaluation.run_dir import unwritable
from runner.scorecard import filenames
from runner.sweep.plan import Entry

NAME = "sweep.json"
_LOCK = ".sweep.lock"


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one entry; the fields of `entries` in sweep.json (schemas/sweep-state.schema.json)."""

    name: str
    """Name of the entry."""
    submission: str
    """Path of its submission.yaml."""
    key: str
    """The entry's key."""
    weights_bytes: int | None
    """Bytes of its weights."""
    state: str = "waiting"
    """waiting, running, done, failed or interrupted."""
    exit_code: int | None = None
    """That of `benchmark evaluate`; None before the end."""
    seconds: float | None = None
    """From the start of its process to its end."""
    run: str | None = None
    """Folder of its run, relative to the sweep's."""
    card_sha256: str | None = None
    """Hex sha256 of its signed card."""
    cache: str | None = None
    """used, stored or not stored; None without a cache or a card."""
    faults: tuple[Mapping[str, Any], ...] = ()
    """Why there is no card, or what was wrong with an entry of the cache."""


def new_record(entry: Entry) -> Record:
    """An entry that nothing was done for."""
    return Record(entry.name, str(entry.path), entry.key, entry.weights_bytes)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the sweep's folder, and hold it; `OutputError` while another process does, or if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as problem:
        raise unwritable(folder, problem) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        message = "Another sweep is running in this folder."
        raise OutputError(
            Fault("SWEEP_RUNNING", message, str(folder), hint="Wait for it, or give another --output-dir.")
        ) from None
    try:
        yield
    finally:
        os.close(handle)


def read_finished(folder: Path) -> dict[str, Record]:
    """By key, the entries of the sweep in `folder` that are done and whose signed card is still what it was.

    Raises `InvalidInput` (SWEEP_DAMAGED) for a sweep.json that this program did not write.
    """
    file = folder / NAME
    if not file.exists():
        return {}
    try:
        value: Any = strict_json.parse(read_regular(file, strict_json.MAX_BYTES))
        schema = json.loads((resources.schema_folder() / "sweep-state.schema.json").read_text(encoding="utf-8"))
        problems = [mismatch.message for mismatch in mismatches(schema, value, 1)]
    except (OSError, strict_json.JsonFault) as problem:
        problems = [f"cannot be read: {problem}"]
    if problems:
        hint = "Remove it: finished runs stay, and equal ones are taken from the cache."
        raise InvalidInput(Fault("SWEEP_DAMAGED", f"This is no sweep.json: it {problems[0]}", str(file), hint=hint))
    records = [Record(**{**entry, "faults": tuple(entry["faults"])}) for entry in value["entries"]]
    return {record.key: record for record in records if record.state == "done" and _has_card(folder, record)}


def write_state(folder: Path, records: Sequence[Record], baseline: str | None, started_at: str, now: str) -> None:
    """Write sweep.json whole; `OutputError` where that cannot be done."""
    entries = [{**asdict(record), "faults": list(record.faults)} for record in records]
    state = {"schema_version": "1", "started_at": started_at, "updated_at": now, "baseline": baseline}
    try:
        write_whole(
            folder / NAME, (json.dumps({**state, "entries": entries}, indent=2, allow_nan=False) + "\n").encode()
        )
    except OSError as problem:
        raise unwritable(folder / NAME, problem) from None


def _has_card(folder: Path, record: Record) -> bool:
    if record.run is None:
        return False
    try:
        return sha256_file(folder / record.run / filenames.BUNDLE) == record.card_sha256
    except OSError:
        return False
