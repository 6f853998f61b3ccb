"""One split, refused unless digest, row count and every row are as pinned."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.core import canonical, strict_json
from runner.core.errors import Fault, InvalidInput
from runner.core.files import read_whole
from runner.core.types import DataFile, Dataset, Item, Task
from runner.tasks.data.folds import taken
from runner.tasks.data.locate import MAX_BYTES, default_data_dir, digest_of_bytes, is_file, pin, places, split_lines
from runner.tasks.data.parse_row import read_item

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that is not scored: its id, its line counted from 1, and why."""

    id: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class LoadedSplit:
    """The items of a split in file order; `sha256` (hex) and `rows` describe the file, whatever part of it this is."""

    items: tuple[Item, ...]
    sha256: str
    rows: int
    skipped: tuple[Skipped, ...]


def find_file(dataset: Dataset, data: DataFile, data_dir: Path | None) -> Path:
    """The path of a split's file: the first of `places` that is one.

    Its content is not looked at; `load_items` does that. Raises `InvalidInput` (DATA_MISSING) naming every place.
    """
    looked_at = places(dataset, data, data_dir)
    for path in looked_at:
        if is_file(path):
            return path
    message = f"The {data.split} split of {dataset.name} was not found; looked at {' and '.join(map(str, looked_at))}."
    if dataset.embedded is not None:
        hint = "It travels with the package: install the package again."
    else:
        folder = default_data_dir() if data_dir is None else data_dir
        hint = f"Run `benchmark data fetch --data-dir {folder}`, or name the folder that holds it with --data-dir."
    raise InvalidInput(Fault("DATA_MISSING", message, file=str(looked_at[0]), hint=hint))


def load_items(task: Task, data: DataFile, path: Path) -> LoadedSplit:
    """The items of `task` in one file of JSON lines, or in the folds of it that are taken, and those without votes.

    The file is read once; what is hashed is what is parsed, so a file that changes in between cannot slip through.
    Raises `InvalidInput`: at once for a file that cannot be read (DATA_MISSING) or is not the pinned one
    (DATA_DIGEST), else with the first 20 faults in file order and the number of the others: DATA_ROWS, DATA_JSON,
    DATA_ENCODING, DATA_FIELD, DATA_VOTES, DATA_LABEL, DATA_NO_VOTES, DATA_DUPLICATE_ID.
    """
    try:
        content = read_whole(path, MAX_BYTES)
    except OSError as error:
        message = f"The file cannot be read: {error.strerror}."
        raise InvalidInput(Fault("DATA_MISSING", message, file=str(path))) from None
    _require_pinned(data, path, content)

    lines = split_lines(content)
    faults: list[Fault] = []
    unshown = 0

    def report(code: str, message: str, line: int | None, where: str | None = None, hint: str | None = None) -> None:
        nonlocal unshown
        if len(faults) < _SHOWN:
            faults.append(Fault(code, message, file=str(path), line=line, path=where, hint=hint))
        else:
            unshown += 1

    if len(lines) != data.rows or not lines:
        message = f"The file has {len(lines):,} rows, {data.rows:,} are declared."
        if not lines:
            message = "The file has no rows."
        hint = f"Its digest is the declared one: correct datasets.{data.dataset}.splits.{data.split} in the benchmark."
        report("DATA_ROWS", message, None, hint=hint)

    parsed: list[Any] = []
    numbered: list[tuple[int, Item | Skipped]] = []
    line_of: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            report("DATA_JSON", "The line is blank, a row was expected.", number)
            continue
        try:
            row = strict_json.parse(line)
        except strict_json.JsonFault as error:
            code = "DATA_ENCODING" if error.code == "ENCODING" else "DATA_JSON"
            report(code, f"The row cannot be read: {error.message}.", number)
            continue

        parsed.append(row)

        def at_line(code: str, message: str, where: str, number: int = number) -> None:
            report(code, message, number, where)

        item = read_item(row, task, at_line)
        if item is None:
            continue
        first = line_of.setdefault(item.id, number)
        if first != number:
            report("DATA_DUPLICATE_ID", f"The id {item.id!r} was given before, on line {first}.", number)
        elif any(item.counts):
            numbered.append((number, item))
        elif task.without_votes == "skip":
            numbered.append((number, Skipped(item.id, number, f"nobody voted for any of {', '.join(task.labels)}")))
        else:
            report("DATA_NO_VOTES", f"Nobody voted for any of {', '.join(task.labels)}.", number)
    if data.folds is not None and not faults:
        own = taken(parsed, data.folds)
        numbered = [entry for entry in numbered if own[entry[0] - 1]]
        if sum(own) != data.folds.rows:
            message = f"The folds that are taken have {sum(own):,} rows, {data.folds.rows:,} are declared."
            hint = f"Correct datasets.{data.dataset}.splits.{data.split}.folds in the benchmark."
            report("DATA_ROWS", message, None, hint=hint)
    items = [entry for _, entry in numbered if isinstance(entry, Item)]
    skipped = [entry for _, entry in numbered if isinstance(entry, Skipped)]
    if skipped and not items and not faults:
        report("DATA_NO_VOTES", f"None of the {len(lines):,} rows has a vote, so there is nothing to score.", None)

    if faults:
        if unshown:
            faults.append(Fault("DATA_MORE", f"… and {unshown:,} more.", file=str(path)))
        raise InvalidInput(*faults)
    return LoadedSplit(tuple(items), canonical.sha256_bytes(content), len(lines), tuple(skipped))


def _require_pinned(data: DataFile, path: Path, content: bytes) -> None:
    kind, expected = pin(data)
    actual = digest_of_bytes(kind, content)
    if actual == expected:
        return
    hint = "Run `benchmark data check`, then `benchmark data fetch` to replace the file by the released one."
    if b"\r\n" in content and digest_of_bytes(kind, content.replace(b"\r\n", b"\n")) == expected:
        hint = "Its line ends were changed from LF to CRLF, as some tools do on the way: turn them back."
    message = f"This is not the declared {data.split} split of {data.dataset}: {kind} {actual}, expected {expected}."
    raise InvalidInput(Fault("DATA_DIGEST", message, file=str(path), hint=hint))
