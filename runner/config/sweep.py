"""From the bytes of a `sweep.yaml` to the submissions of a sweep, or every fault in it."""

import glob
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runner.config.scalars import shown
from runner.config.schema import in_order, schema_faults, soundness
from runner.config.source import BENCHMARK_BYTES, Document, JsonPath, fault_at, read
from runner.core.errors import Fault, raise_faults


@dataclass(frozen=True, slots=True)
class SweepItem:
    """One submission of a sweep, and what is its own; None and () leave it to the sweep."""

    path: Path
    """Its submission.yaml."""
    suite: str | None = None
    """Name of the suite."""
    tasks: tuple[str, ...] = ()
    """Names of the only tasks of the suite that are run."""
    split: str | None = None
    """Name of the split that is scored."""
    limit: int | None = None
    """How many items are used."""


@dataclass(frozen=True, slots=True)
class SweepSpec:
    """A parsed sweep.yaml."""

    items: tuple[SweepItem, ...]
    """The submissions, globs expanded, in the order of the file."""
    baseline: str | None = None
    """Name of the submission that the others are compared with."""
    document: Document | None = None
    """The document, for the places of later faults; None where a command line named the submissions."""


def load_sweep(path: Path) -> SweepSpec:
    """The sweep in the file `path`; `InvalidInput` with every fault, FILE_MISSING for a path that leads nowhere too."""
    document = read(path, BENCHMARK_BYTES)
    raise_faults(sweep_faults(document))
    value = document.value
    common = SweepItem(Path(), **_given(value))
    items = [
        replace(common, path=file, **_given(entry))
        for entry in value["submissions"]
        for file in _files(document, _pattern(entry))
    ]
    return SweepSpec(tuple(dict.fromkeys(items)), value.get("baseline"), document)


def sweep_faults(document: Document) -> tuple[Fault, ...]:
    """Every fault of a document that is meant to be a sweep, in the order of the file."""
    faults, bad = schema_faults(document, "sweep")
    faults += document.faults
    sound = soundness(bad)
    if isinstance(document.value, dict) and isinstance(document.value.get("submissions"), list):
        for number, entry in enumerate(document.value["submissions"]):
            if sound(("submissions", number)):
                faults += _missing(document, ("submissions", number), entry)
    return in_order(faults)


def submission_file(path: Path) -> Path:
    """The submission.yaml in the folder `path`, or the file `path` itself."""
    return path / "submission.yaml" if path.is_dir() else path


def _missing(document: Document, at: JsonPath, entry: Any) -> Iterator[Fault]:
    pattern = _pattern(entry)
    path = at if isinstance(entry, str) else (*at, "path")
    files = _files(document, pattern)
    if not files:
        hint = "Paths are relative to this file; * stands for any name, ** for any folders."
        what = "Nothing matches" if glob.has_magic(pattern) else "There is no file or folder"
        yield fault_at(document, "FILE_MISSING", path, f"{what} {shown(pattern)}.", hint)
    for file in files:
        if not file.is_file():
            yield fault_at(document, "FILE_MISSING", path, f"There is no file {shown(str(file), 4096)}.")


def _files(document: Document, pattern: str) -> list[Path]:
    """The submission files that a pattern stands for, by name; of what it matches, folders without one are left out."""
    home = Path(document.file).parent
    if "\0" in pattern:
        return []
    if not glob.has_magic(pattern):
        return [submission_file(home / pattern)] if (home / pattern).exists() else []
    whole = str(Path(glob.escape(str(home))) / pattern)  # Path.glob takes no absolute pattern
    matches = [Path(name) for name in sorted(glob.glob(whole, recursive=True))]  # noqa: PTH207
    return [submission_file(path) for path in matches if path.is_file() or (path / "submission.yaml").is_file()]


def _pattern(entry: Any) -> str:
    return str(entry if isinstance(entry, str) else entry["path"])


def _given(entry: Any) -> dict[str, Any]:
    """The options that an entry has of its own."""
    if isinstance(entry, str):
        return {}
    own: dict[str, Any] = {name: entry[name] for name in ("suite", "split", "limit") if name in entry}
    return own | ({"tasks": tuple(entry["tasks"])} if "tasks" in entry else {})
