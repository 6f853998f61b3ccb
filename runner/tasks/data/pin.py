"""Write rows and digests into a benchmark.yaml: the one thing in it that nobody writes by hand."""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runner.config.benchmark import benchmark_faults, benchmark_of
from runner.config.source import BENCHMARK_BYTES, Document, parse, read
from runner.core import canonical
from runner.core.benchmark_types import Benchmark, DataFile, VoteSpec
from runner.core.errors import Fault, InvalidInput, raise_faults
from runner.core.files import write_whole
from runner.tasks.data.fetch import fetch
from runner.tasks.data.folds import apart_values, taken_of
from runner.tasks.data.forms import count_rows, read_rows
from runner.tasks.data.load import file_items, find_file
from runner.tasks.data.parse_row import columns_of

_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\']|\'\')*\'|[^\s,}#][^\n,}#]*')
_PLACEHOLDER = "0" * 64


@dataclass(frozen=True, slots=True)
class Pinned:
    """What was written for one split."""

    dataset: str
    """Name of the dataset."""
    split: str
    """Name of the split."""
    rows: int
    """Rows of its file."""
    sha256: str
    """Hex sha256 of its file."""
    fold_rows: int | None
    """Rows in its folds, or items where a row is one person's answer; None without folds."""
    counts_items: bool
    """Whether `fold_rows` counts items."""


def pin_benchmark(path: Path, data_dir: Path | None) -> list[Pinned]:
    """Write `rows`, `sha256` and the rows of folds into the benchmark at `path`, of every dataset that is not embedded.

    What is there is replaced, whatever else the file says stays as it is, comments too. Files that are not there are
    fetched first. Raises `InvalidInput` for every fault of the benchmark but missing pins, and for data that cannot be
    read; then nothing is written.
    """
    document = read(path, BENCHMARK_BYTES)
    draft = replace(document, value=_with_placeholders(document.value))
    raise_faults(_faults(draft))
    benchmark = benchmark_of(draft)
    own = [name for name, dataset in benchmark.datasets.items() if dataset.embedded is None]
    if own:
        fetch(benchmark, data_dir, own, pinned=False)
    pins: list[Pinned] = []
    faults: list[Fault] = []
    for name in own:
        for data in benchmark.datasets[name].splits.values():
            try:
                pins.append(_pin(benchmark, data, find_file(benchmark.datasets[name], data, data_dir)))
            except InvalidInput as error:
                faults.extend(fault for fault in error.faults if fault not in faults)
    raise_faults(faults)
    text = document.data.decode()
    for edit in sorted((edit for pin in pins for edit in _edits(document, text, pin)), reverse=True):
        at, end, new = edit
        text = text[:at] + new + text[end:]
    written = parse(text.encode(), str(path), BENCHMARK_BYTES)
    raise_faults(_faults(written))
    if text.encode() != document.data:
        write_whole(path, text.encode())
    return pins


def _faults(document: Document) -> tuple[Fault, ...]:
    """The faults that keep data from being located; texts that are still to be written do not."""
    return tuple(fault for fault in benchmark_faults(document) if fault.code != "GAP")


def _with_placeholders(value: Any) -> Any:
    """The benchmark with a pin where there is none, so that all the rest of it can be checked."""
    draft = copy.deepcopy(value)
    datasets = draft.get("datasets") if isinstance(draft, dict) else None
    for dataset in datasets.values() if isinstance(datasets, dict) else ():
        splits = dataset.get("splits") if isinstance(dataset, dict) else None
        source = dataset.get("source") if isinstance(dataset, dict) else None
        if not isinstance(splits, dict) or (isinstance(source, dict) and "embedded" in source):
            continue
        for split in splits.values():
            if isinstance(split, dict):
                split.pop("git_blob", None)
                split.update(rows=1 << 40, sha256=_PLACEHOLDER)
                if isinstance(split.get("folds"), dict):
                    split["folds"]["rows"] = 1
    return draft


def _pin(benchmark: Benchmark, data: DataFile, path: Path) -> Pinned:
    try:
        rows = count_rows(path)
        sha256 = canonical.sha256_file(path)
        fold_rows, counts_items = (None, False) if data.folds is None else _fold_rows(benchmark, data, path)
    except OSError as error:
        raise InvalidInput(Fault("DATA_MISSING", f"The file cannot be read: {error.strerror}.", str(path))) from None
    if rows == 0:
        raise InvalidInput(Fault("DATA_ROWS", "The file has no rows.", str(path)))
    if fold_rows == 0:
        message = f"The folds that {data.dataset}/{data.split} takes have none of the {rows:,} rows of the file."
        raise InvalidInput(Fault("DATA_FOLDS", message, str(path), hint="Take more folds, or deal into fewer."))
    return Pinned(data.dataset, data.split, rows, sha256, fold_rows, counts_items)


def _fold_rows(benchmark: Benchmark, data: DataFile, path: Path) -> tuple[int, bool]:
    """How many rows are in the folds that are taken; or items, where a task reads each row as one person's answer."""
    folds = data.folds
    if folds is None:
        raise ValueError(f"{data.dataset}/{data.split} has no folds")
    used_by = {
        task for suite in benchmark.suites.values() for task, name in suite.datasets.items() if name == data.dataset
    }
    tasks = [task for name, task in benchmark.tasks.items() if name in used_by]
    people = [task for task in tasks if isinstance(task.item.votes, VoteSpec) and task.item.votes.kind == "rows"]
    if people and len(people) < len(tasks):
        message = (
            f"Of the tasks of {data.dataset} some read a row as an item and some as a person: folds cannot be both."
        )
        raise InvalidInput(Fault("DATA_FOLDS", message, hint="Give each kind of task a dataset of its own."))
    if people:
        parts = file_items(people[0], path, folds.apart)
        if parts.faults:
            raise InvalidInput(*parts.faults.faults(parts.rows))
        return sum(taken_of(parts.apart, folds)), True
    rows = read_rows(path, columns_of(folds.apart))
    return sum(taken_of([apart_values(row.value, folds.apart) for row in rows if row.fault is None], folds)), False


def _edits(document: Document, text: str, pin: Pinned) -> list[tuple[int, int, str]]:
    """What to put where in the text: (from, to, new), none of them within another."""
    at = ("datasets", pin.dataset, "splits", pin.split)
    split: Mapping[str, Any] = document.value["datasets"][pin.dataset]["splits"][pin.split]
    values = {"rows": str(pin.rows), "sha256": f'"{pin.sha256}"'}
    edits = []
    new: dict[str, str] = {}
    for key, value in values.items():
        known = "git_blob" if key == "sha256" and "git_blob" in split else key
        if known in split:
            start, end = _extent(document, text, (*at, known))
            if known != key:
                edits.append((*_key_extent(document, text, (*at, known), known), key))
            edits.append((start, end, value))
        else:
            new[key] = value
    if new:
        edits.append(_insertion(document, text, (*at, "file"), new))
    if pin.fold_rows is not None:
        folds = (*at, "folds")
        if "rows" in split["folds"]:
            edits.append((*_extent(document, text, (*folds, "rows")), str(pin.fold_rows)))
        else:
            edits.append(_insertion(document, text, (*folds, "seed"), {"rows": str(pin.fold_rows)}))
    return edits


def _extent(document: Document, text: str, path: tuple[str | int, ...]) -> tuple[int, int]:
    """Where the scalar at a path begins and ends in the text."""
    start = _offset(text, document.positions[path])
    match = _SCALAR.match(text, start)
    end = start + len(match[0].rstrip()) if match else start
    return start, end


def _key_extent(document: Document, text: str, path: tuple[str | int, ...], key: str) -> tuple[int, int]:
    start = _offset(text, document.key_positions[path])
    return start, start + len(key)


def _insertion(
    document: Document, text: str, after: tuple[str | int, ...], new: Mapping[str, str]
) -> tuple[int, int, str]:
    """Further keys beside the scalar at `after`: on its line in a mapping in braces, else on lines of their own."""
    _, end = _extent(document, text, after)
    _, column = document.key_positions[after]
    in_braces = text[_offset(text, document.positions[after[:-1]])] == "{"
    if in_braces:
        return end, end, "".join(f", {key}: {value}" for key, value in new.items())
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end
    indent = " " * (column - 1)
    return line_end, line_end, "".join(f"\n{indent}{key}: {value}" for key, value in new.items())


def _offset(text: str, position: tuple[int, int]) -> int:
    line, column = position
    return sum(len(before) for before in text.splitlines(keepends=True)[: line - 1]) + column - 1
