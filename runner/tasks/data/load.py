"""One split, refused unless digest, row count and every row are as pinned."""

from dataclasses import dataclass, field, replace
from operator import add
from pathlib import Path

from runner.core.benchmark_types import DataFile, Dataset, Task, VoteSpec
from runner.core.errors import Fault, InvalidInput
from runner.core.files import read_whole
from runner.core.types import Item
from runner.tasks.data.fault_groups import FaultGroups
from runner.tasks.data.folds import apart_values, taken_of
from runner.tasks.data.forms import BLANK, read_rows, textual
from runner.tasks.data.locate import (
    candidate_paths,
    default_data_dir,
    digest_of_bytes,
    digest_of_file,
    is_file,
    pin,
    refuse_too_large,
)
from runner.tasks.data.parse_row import MissingText, columns_of, paths_of, read_item
from runner.tasks.data.paths import shorten
from runner.tasks.data.rows import Row
from runner.tasks.data.votes import short_form_hint, two_readings

_BLANK_HINT = "Take it out of the file: blank lines are passed over only at the end, and in tables."
_WHOLE_FILE = 64 << 20
"""Bytes up to which a file is held in memory while it is read."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that is not scored."""

    id: str
    """Its id."""
    line: int
    """Its line, counted from 1."""
    reason: str
    """Why it is not scored."""


@dataclass(frozen=True, slots=True)
class LoadedSplit:
    """The items of a split."""

    items: tuple[Item, ...]
    """Items, in file order."""
    sha256: str
    """Hex sha256 of the whole file."""
    rows: int
    """Rows of the whole file."""
    skipped: tuple[Skipped, ...]
    """Rows that are not scored."""


@dataclass(frozen=True, slots=True)
class FileItems:
    """The items of a file before its digest, rows and folds are compared with what is declared."""

    entries: tuple[Item | Skipped | None, ...]
    """Items and skipped rows in file order: one per row, or per id where a row is one person's answer."""
    apart: tuple[frozenset[str], ...]
    """Values of every entry at the paths `folds.apart`."""
    rows: int
    """Rows of the file, without blank lines at its end."""
    whole: bool
    """Whether the file could be read to its end."""
    blank: tuple[int, ...]
    """Line numbers of the blank lines at its end."""
    faults: FaultGroups
    """Its faults; with any, `entries` and `apart` are incomplete."""


def find_file(dataset: Dataset, data: DataFile, data_dir: Path | None) -> Path:
    """The path of a split's file: the first of `candidate_paths` that is one.

    Its content is not looked at; `load_items` does that. Raises `InvalidInput` (DATA_MISSING) naming every path.
    """
    looked_at = candidate_paths(dataset, data, data_dir)
    for path in looked_at:
        if is_file(path):
            return path
    message = f"The {data.split} split of {dataset.name} was not found; looked at {' and '.join(map(str, looked_at))}."
    if dataset.embedded is not None:
        hint = "It travels with the package: install the package again."
    elif dataset.path is not None:
        hint = "Put it there: nothing is fetched for a source with a `path`. Or name its folder with --data-dir."
        hint += " Beside a card lies a copy of its benchmark: name the original with --benchmark."
    else:
        folder = default_data_dir() if data_dir is None else data_dir
        hint = f"Run `benchmark data fetch --data-dir {folder}`, or name the folder that holds it with --data-dir."
    raise InvalidInput(Fault("DATA_MISSING", message, file=str(looked_at[0]), hint=hint))


def load_items(task: Task, data: DataFile, path: Path) -> LoadedSplit:
    """The items of `task` in one file, or in the folds of it that are taken, and those that are skipped.

    A file is read once, so that what is hashed is what is parsed; a large one is hashed and then read row by row, and
    refused if it changes in between. Raises `InvalidInput`: at once
    for a file that cannot be read (DATA_MISSING) or is not the pinned one (DATA_DIGEST), else with the first 20 faults,
    equal ones of several rows as one, and the number of the others: DATA_ROWS, DATA_JSON, DATA_TABLE, DATA_ENCODING,
    DATA_FIELD, DATA_VOTES, DATA_LABEL, DATA_NO_VOTES, DATA_DUPLICATE_ID.
    """
    try:
        before = refuse_too_large(path)
        kind, expected = pin(data)
        content = read_whole(path, _WHOLE_FILE) if before.st_size <= _WHOLE_FILE else None
        actual = digest_of_file(kind, path) if content is None else digest_of_bytes(kind, content)
        if actual != expected:
            raise InvalidInput(_other_file(data, path, kind, actual, expected, content))
        sha256 = actual
        if kind != "sha256":
            sha256 = digest_of_file("sha256", path) if content is None else digest_of_bytes("sha256", content)
        parts = file_items(task, path, data.folds.apart if data.folds else (), content)
        after = path.stat() if content is None else before
    except OSError as error:
        message = f"The file cannot be read: {error.strerror}."
        raise InvalidInput(Fault("DATA_MISSING", message, file=str(path))) from None
    if (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    ):
        raise InvalidInput(Fault("DATA_DIGEST", "The file was changed while it was read.", file=str(path)))

    faults = parts.faults
    if parts.blank and parts.rows + len(parts.blank) == data.rows:
        for line in parts.blank:
            faults.add("DATA_JSON", BLANK, line, hint="Leave them uncounted: `benchmark data pin` writes the rows.")
    elif parts.whole and (parts.rows != data.rows or not parts.rows):
        message = f"The file has {parts.rows:,} rows, {data.rows:,} are declared."
        hint = f"Its digest is the declared one: correct datasets.{data.dataset}.splits.{data.split} in the benchmark."
        if not parts.rows:
            message, hint = "The file has no rows.", "It needs one at least."
        faults.add("DATA_ROWS", message, hint=hint)
    chosen = parts.entries
    if data.folds is not None and not faults:
        own = taken_of(parts.apart, data.folds)
        chosen = tuple(entry for entry, mine in zip(chosen, own, strict=True) if mine)
        if sum(own) != data.folds.rows:
            unit = "items" if isinstance(task.item.votes, VoteSpec) and task.item.votes.kind == "rows" else "rows"
            message = f"The folds that are taken have {sum(own):,} {unit}, {data.folds.rows:,} are declared."
            hint = f"Correct datasets.{data.dataset}.splits.{data.split}.folds in the benchmark."
            faults.add("DATA_ROWS", message, hint=hint)
    items = tuple(entry for entry in chosen if isinstance(entry, Item))
    skipped = tuple(entry for entry in chosen if isinstance(entry, Skipped))
    if skipped and not items and not faults:
        reasons = " and ".join(sorted({entry.reason for entry in skipped}))
        message = f"None of the {parts.rows:,} rows has a vote, so there is nothing to score."
        if any("text" in entry.reason for entry in skipped):
            message = f"None of the {parts.rows:,} rows is left, so there is nothing to score: {reasons}."
        faults.add("DATA_NO_VOTES", message)
    if faults:
        raise InvalidInput(*faults.faults(parts.rows))
    return LoadedSplit(items, sha256, parts.rows, skipped)


@dataclass(slots=True)
class _Unit:
    """What becomes one item: a row, or the rows of one id."""

    line: int
    """Line of the first row."""
    item: Item | None
    """The item; None where a text is missing."""
    counts: tuple[int, ...]
    """Votes for every label, in label order."""
    apart: frozenset[str]
    """Values at the paths `folds.apart`."""


def file_items(task: Task, path: Path, apart: tuple[str, ...] = (), content: bytes | None = None) -> FileItems:
    """Read a file row by row, whatever it was declared to be; `content` is what is in it, if that is known.

    Raises `OSError`, and `InvalidInput` (PARQUET_EXTRA).
    """
    faults = FaultGroups(str(path))
    as_text = textual(path)
    by_person = isinstance(task.item.votes, VoteSpec) and task.item.votes.kind == "rows"
    readings = _Readings(task.item.votes, task.labels) if isinstance(task.item.votes, str) else None
    units: dict[str, _Unit] = {}
    rows, whole = 0, True
    blank: list[int] = []
    for row in read_rows(path, columns_of((*paths_of(task.item), *apart)), content):
        if row.fault is not None and row.fault[1] == BLANK:
            blank.append(row.line)
            continue
        rows, whole = (row.number, True) if row.number else (rows, False)
        for line in blank:
            faults.add("DATA_JSON", BLANK, line, hint=_BLANK_HINT)
        blank.clear()
        if row.fault is not None:
            code, message, hint = row.fault
            faults.add(code, message, row.line, hint=hint)
            continue
        if readings is not None:
            readings.look(row, as_text)

        def at_line(code: str, message: str, where: str, line: int = row.line, **more: str | None) -> None:
            faults.add(code, message, line, where, **more)

        try:
            item = read_item(row, task, at_line, textual=as_text)
            if item is None:
                continue
            name = item.id
        except MissingText as missing:
            item, name = None, str(missing)
        own = apart_values(row.value, apart)
        earlier = units.get(name)
        if earlier is None:
            units[name] = _Unit(row.line, item, item.counts if item else (), own)
        elif by_person:
            _unite(earlier, item, name, own, row.line, faults)
        else:
            message = f"The id {name!r} was given before, on line {earlier.line}."
            faults.add("DATA_DUPLICATE_ID", message, row.line, many="have the id of an earlier row")
    if readings is not None and not faults:
        readings.judge(faults)
    entries = tuple(_entry(task, name, unit, faults) for name, unit in units.items())
    return FileItems(entries, tuple(unit.apart for unit in units.values()), rows, whole, tuple(blank), faults)


def _unite(unit: _Unit, item: Item | None, name: str, apart: frozenset[str], line: int, faults: FaultGroups) -> None:
    """Add one person's row to those of the same id before it, which must say the same of the item."""
    unit.apart |= apart
    if item is None or unit.item is None:
        different = [] if item is unit.item else ["whether there is a text"]
    else:
        different = [field for field, text in item.fields.items() if text != unit.item.fields.get(field)]
        different += ["the group"] if item.group != unit.item.group else []
        unit.counts = tuple(map(add, unit.counts, item.counts))
    if different:
        message = (
            f"The rows of the item {shorten(repr(name))} differ in {' and '.join(different)} (see line {unit.line})."
        )
        faults.add("DATA_FIELD", message, line, many=f"differ from an earlier row of the same id in {different[0]}")


def _entry(task: Task, name: str, unit: _Unit, faults: FaultGroups) -> Item | Skipped | None:
    """What a unit is in the end; None after a fault."""
    if unit.item is None:
        return Skipped(name, unit.line, "a text is missing")
    if any(unit.counts):
        return unit.item if unit.counts == unit.item.counts else replace(unit.item, counts=unit.counts)
    if task.without_votes == "skip":
        return Skipped(name, unit.line, f"nobody voted for any of {', '.join(task.labels)}")
    hint = "To leave such items out, say `without_votes: skip`."
    faults.add("DATA_NO_VOTES", f"Nobody voted for any of {', '.join(task.labels)}.", unit.line, hint=hint)
    return None


@dataclass(slots=True)
class _Readings:
    """Whether the lists of votes of a whole file could be answers as well as counts: then the short form is refused.

    A number that is no label's index shows that they are counts, and so does an equal sum in every row, save in
    lists of two with nothing above 1: those are as likely two people's answers.
    """

    path: str
    """Dotted path to the votes."""
    labels: tuple[str, ...]
    """The labels, in order."""
    both: bool = True
    """Whether every row so far can be read in both ways."""
    line: int | None = None
    """Line of the first row; None before it."""
    sums: set[int] = field(default_factory=set)
    """Sums of the lists so far."""
    above_one: bool = False
    """Whether a list has a number above 1."""

    def look(self, row: Row, as_text: bool) -> None:
        if not self.both:
            return
        reading = two_readings(row.value, self.path, self.labels, as_text)
        if reading is None:
            self.both = False
            return
        self.line = self.line or row.line
        self.sums.add(reading[0])
        self.above_one |= reading[1]

    def judge(self, faults: FaultGroups) -> None:
        counted = len(self.sums) == 1 and (self.above_one or len(self.labels) > 2)
        if not self.both or self.line is None or counted:
            return
        message = (
            f"`{self.path}` can be read in two ways: as the counts of {', '.join(self.labels)}, "
            f"or as the answers of {len(self.labels)} people."
        )
        faults.add("DATA_VOTES", message, self.line, hint=short_form_hint(self.path, self.labels))


def _other_file(data: DataFile, path: Path, kind: str, actual: str, expected: str, content: bytes | None) -> Fault:
    """The fault of a file that is not the pinned one."""
    hint = "Run `benchmark data check`, then `benchmark data fetch` to replace the file by the released one."
    hint += " Where the file is your own and was meant to change, `benchmark data pin` writes its digest."
    content = content or b""
    if b"\r\n" in content and digest_of_bytes(kind, content.replace(b"\r\n", b"\n")) == expected:
        hint = "Its line ends were changed from LF to CRLF, as some tools do on the way: turn them back."
    message = f"This is not the declared {data.split} split of {data.dataset}: {kind} {actual}, expected {expected}."
    return Fault("DATA_DIGEST", message, file=str(path), hint=hint)
