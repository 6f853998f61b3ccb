"""The rows of a data file, one at a time, in any form: JSON lines, JSON, CSV, TSV and Parquet, gzipped or not."""

import csv
import gzip
import math
import tempfile
import zlib
from collections.abc import Collection, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from io import BufferedReader, BytesIO
from pathlib import Path
from shutil import copyfileobj
from typing import Any, BinaryIO, Literal, NamedTuple, cast

from runner.core import strict_json
from runner.core.errors import Fault, InvalidInput
from runner.core.files import open_regular

Form = Literal["jsonl", "json", "csv", "tsv", "parquet"]

_ENDINGS: dict[str, Form] = {".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
_MAX_ROW = 8 << 20
"""Bytes of one row at most."""
_MAX_DOCUMENT = 1 << 30
"""Bytes of one JSON document, or of a gzipped Parquet file: the two that are not read row by row."""
_BATCH = 4096
_ROWS_NOT_LINES = "It holds one JSON document, and a .jsonl file holds one row on each line."
BLANK = "The line is blank, a row was expected."
"""What is said of a blank line of a .jsonl file; those at its end count only where the benchmark counts them."""
_LINES_NOT_DOCUMENT = "It holds one JSON document on each line, and a .json file holds one in all."


class Row(NamedTuple):
    """One row, or what is wrong with it."""

    number: int
    """Number of the row, from 1; 0 where the rest of the file cannot be read."""
    line: int
    """Line on which the row begins; in a Parquet file its number."""
    value: Any
    """The row as a JSON value; None where there is a fault."""
    key: str | None = None
    """Name of the row in an object of rows."""
    fault: tuple[str, str, str | None] | None = None
    """Code, sentence and hint of a fault."""


def form_of(file: str) -> Form:
    """The form that a file's name says; any other ending than .json, .csv, .tsv and .parquet is JSON lines."""
    return _ENDINGS.get(Path(file.removesuffix(".gz")).suffix.lower(), "jsonl")


def read_rows(path: Path, columns: Collection[str] | None = None, content: bytes | None = None) -> Iterator[Row]:
    """The rows of a file, in its order; memory does not grow with it, except for a JSON document.

    `content` is what is in the file, where that is known. Of a Parquet file only the `columns` are read (None: all).
    What is wrong with one row is told in that row; what makes the rest unreadable ends the file with a row that says
    so. Raises `OSError`, and `InvalidInput` (PARQUET_EXTRA) where pyarrow is not installed.
    """
    form = form_of(path.name)
    with BufferedReader(open_regular(path)) if content is None else BytesIO(content) as file:
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if path.name.endswith(".gz") else file
        last = 0
        try:
            match form:
                case "jsonl":
                    rows = _json_lines(stream, path)
                case "json":
                    rows = _json_document(stream)
                case "csv":
                    rows = _csv(stream)
                case "tsv":
                    rows = _tsv(stream)
                case "parquet":
                    rows = _parquet(stream, path, columns)
            for row in rows:
                last = row.number
                yield row
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            yield Row(0, last + 1, None, None, ("DATA_ENCODING", f"The gzip file is damaged: {error}.", None))


def textual(path: Path) -> bool:
    """Whether every value of the file is a text, so that numbers and lists in it are read from their text."""
    return form_of(path.name) in ("csv", "tsv")


def count_rows(path: Path) -> int:
    """How many rows a file has, as they are counted for `rows` in a benchmark. Raises as `read_rows`."""
    if form_of(path.name) == "parquet" and not path.name.endswith(".gz"):
        with BufferedReader(open_regular(path)) as file:
            return int(_parquet_file(file, path).metadata.num_rows)
    if form_of(path.name) == "jsonl":
        with _opened(path) as stream:
            last = 0
            for number, line in _lines(stream):
                last = number if line else last
            return last
    return sum(1 for row in read_rows(path, ()) if row.number)


def _opened(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path)) if path.name.endswith(".gz") else BufferedReader(open_regular(path))


# --- lines ---------------------------------------------------------------------------------------------------------


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers; a blank one is empty. After one that is too long there is none.

    Only a line feed ends one, so that U+2028 or a lone carriage return inside a row does not cut it.
    """
    for number, line in enumerate(iter(lambda: stream.readline(_MAX_ROW + 1), b""), start=1):
        yield number, b"" if line.isspace() else line
        if len(line) > _MAX_ROW:
            return


def _json_lines(stream: BinaryIO, path: Path) -> Iterator[Row]:
    first_alone: Row | None = None
    for number, line in _lines(stream):
        if not line:
            row = Row(number, number, None, None, ("DATA_JSON", BLANK, None))
        else:
            try:
                row = Row(number, number, strict_json.parse(line.removesuffix(b"\n"), max_bytes=_MAX_ROW))
            except strict_json.JsonFault as error:
                code = "DATA_ENCODING" if error.code == "ENCODING" else "DATA_JSON"
                row = Row(number, number, None, None, (code, f"The row cannot be read: {error.message}.", None))
        if number == 1 and (row.fault or isinstance(row.value, list)):
            if _is_document(stream):
                hint = f"Give the file the ending .json, here and in the benchmark ({_renamed(path, '.json')})."
                yield Row(0, 1, None, None, ("DATA_JSON", _ROWS_NOT_LINES, hint))
                return
            first_alone = row
            continue
        if first_alone is not None:
            yield first_alone
            first_alone = None
        yield row
    if first_alone is not None:
        yield first_alone


def _is_document(stream: BinaryIO) -> bool:
    """Whether the whole file is one JSON array or object of objects, as a `.json` file is; read from its beginning."""
    here = stream.tell()
    stream.seek(0)
    try:
        value = strict_json.parse(stream.read(_MAX_DOCUMENT + 1), max_bytes=_MAX_DOCUMENT)
    except strict_json.JsonFault:
        return False
    finally:
        stream.seek(here)
    rows = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    return bool(rows) and all(isinstance(row, dict) for row in rows)


def _renamed(path: Path, ending: str) -> str:
    packed = ".gz" if path.name.endswith(".gz") else ""
    return Path(path.name.removesuffix(".gz")).with_suffix(ending).name + packed


def _json_document(stream: BinaryIO) -> Iterator[Row]:
    data = stream.read(_MAX_DOCUMENT + 1)
    number = 0
    try:
        head = data.lstrip()[:1]
        if head == b"{" and _is_lines(data):
            raise strict_json.JsonFault("JSON", _LINES_NOT_DOCUMENT)
        for number, (line, key, value) in enumerate(strict_json.elements(data, max_bytes=_MAX_DOCUMENT), start=1):
            yield Row(number, line, value, key)
    except strict_json.JsonFault as error:
        code = "DATA_ENCODING" if error.code == "ENCODING" else "DATA_JSON"
        if error.message == _LINES_NOT_DOCUMENT:
            hint = "Give the file the ending .jsonl, here and in the benchmark."
            fault: tuple[str, str, str | None] = (code, _LINES_NOT_DOCUMENT, hint)
        else:
            fault = (code, f"The document cannot be read: {error.message}.", None)
        yield Row(0, error.line or 1, None, None, fault)


def _is_lines(data: bytes) -> bool:
    """Whether the first line is a whole object and another begins after it."""
    first, _, rest = data.lstrip().partition(b"\n")
    if rest.lstrip()[:1] != b"{":
        return False
    try:
        return isinstance(strict_json.parse(first), dict)
    except strict_json.JsonFault:
        return False


# --- tables of text ------------------------------------------------------------------------------------------------


class _NotText(Exception):
    """A line is not UTF-8, or too long; the arguments are its number and why."""


def _text_lines(stream: BinaryIO) -> Iterator[str]:
    for number, line in enumerate(iter(lambda: stream.readline(_MAX_ROW + 1), b""), start=1):
        if len(line) > _MAX_ROW:
            raise _NotText(number, f"it has more than {_MAX_ROW:,} bytes")
        try:
            # A byte-order mark at the beginning is how spreadsheets say UTF-8.
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _NotText(number, f"it is not UTF-8: {error.reason} at byte {error.start}") from None


def _csv(stream: BinaryIO) -> Iterator[Row]:
    """Comma-separated, or where the first line has no comma but semicolons, semicolon-separated (RFC 4180 quotes)."""
    lines = _text_lines(stream)
    try:
        first = next(lines, "")
        delimiter = ";" if ";" in first and "," not in first else ","
        csv.field_size_limit(_MAX_ROW)
        reader = csv.reader(_before(first, lines), delimiter=delimiter, strict=True)
        yield from _table(_cells(reader))
    except _NotText as problem:
        line, why = problem.args
        hint = "Save the file as UTF-8." if "UTF-8" in why else None
        yield Row(0, line, None, None, ("DATA_ENCODING", f"The line cannot be read: {why}.", hint))


def _before(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _cells(reader: Any) -> Iterator[tuple[int, list[str] | str]]:
    """Each row's first line and its cells, or why it has none."""
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"The row cannot be read: {error}."


def _tsv(stream: BinaryIO) -> Iterator[Row]:
    """Tab-separated: a line is a row; double quotes around a whole cell are taken off, others stand for themselves."""

    def cells() -> Iterator[tuple[int, list[str] | str]]:
        for number, line in enumerate(_text_lines(stream), start=1):
            text = line.rstrip("\r\n")
            yield number, [_unquoted(cell) for cell in text.split("\t")] if text else []

    try:
        yield from _table(cells())
    except _NotText as problem:
        line, why = problem.args
        yield Row(0, line, None, None, ("DATA_ENCODING", f"The line cannot be read: {why}.", None))


def _unquoted(cell: str) -> str:
    if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', ""):
        return cell[1:-1].replace('""', '"')
    return cell


def _table(rows: Iterator[tuple[int, list[str] | str]]) -> Iterator[Row]:
    """Rows under the names of the first one; blank lines are passed over."""
    header: list[str] = []
    number = 0
    for line, cells in rows:
        if not header:
            if isinstance(cells, str) or not cells:
                message = (
                    cells if isinstance(cells, str) else "The first line is blank; the names of columns belong there."
                )
                yield Row(0, line, None, None, ("DATA_TABLE", message, None))
                return
            header = cells
            if twice := [name for place, name in enumerate(header) if name in header[:place]]:
                message = f"Two columns have the name {twice[0]!r}, so a path to it has two meanings."
                yield Row(0, line, None, None, ("DATA_TABLE", message, "Rename one of them in the file."))
                return
            continue
        if not cells:
            continue
        number += 1
        if isinstance(cells, str):
            yield Row(number, line, None, None, ("DATA_TABLE", cells, "A quote within quotes is written twice."))
        elif len(cells) != len(header):
            message = f"The row has {len(cells)} cells, the first line names {len(header)} columns."
            yield Row(number, line, None, None, ("DATA_TABLE", message, None))
        else:
            yield Row(number, line, dict(zip(header, cells, strict=True)))


# --- Parquet -------------------------------------------------------------------------------------------------------


def _parquet_file(stream: BinaryIO, path: Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        message = "Parquet files are read by pyarrow, which is not installed."
        hint = "pip install 'moral-ambiguity-benchmark[parquet]'"
        raise InvalidInput(Fault("PARQUET_EXTRA", message, str(path), hint=hint)) from None
    return parquet.ParquetFile(stream)


def _parquet(stream: BinaryIO, path: Path, columns: Collection[str] | None) -> Iterator[Row]:
    number = 0
    with tempfile.TemporaryFile() as unpacked:
        if path.name.endswith(".gz"):
            copyfileobj(stream, unpacked)
            stream = cast("BinaryIO", unpacked)
        try:
            file = _parquet_file(stream, path)
            names = [name for name in file.schema_arrow.names if columns is None or name in columns]
            plain = {name: _plain_of(file.schema_arrow.field(name).type) for name in names}
            changed = {name: convert for name, convert in plain.items() if convert is not None}
            for batch in file.iter_batches(batch_size=_BATCH, columns=names, use_threads=False):
                for value in batch.to_pylist() if names else [{}] * len(batch):
                    for name, convert in changed.items():
                        if value[name] is not None:
                            value[name] = convert(value[name])
                    number += 1
                    yield Row(number, number, value)
        except (ValueError, OSError, NotImplementedError) as error:  # ArrowInvalid is a ValueError
            reason = " ".join(str(error).split())[:200]
            yield Row(0, number + 1, None, None, ("DATA_TABLE", f"The Parquet file cannot be read: {reason}.", None))


def _plain_of(kind: Any) -> Any:
    """A function that turns a column's values into those of JSON, or None where they are."""
    from pyarrow import types

    if types.is_map(kind):
        inner = _plain_of(kind.item_type) or _same
        return lambda pairs: {str(key): None if value is None else inner(value) for key, value in pairs}
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        convert = _plain_of(kind.value_type)
        return convert and (lambda values: [None if value is None else convert(value) for value in values])
    if types.is_struct(kind):
        fields = {kind.field(at).name: _plain_of(kind.field(at).type) for at in range(kind.num_fields)}
        if not any(fields.values()):
            return None
        return lambda value: {
            name: value[name] if convert is None or value[name] is None else convert(value[name])
            for name, convert in fields.items()
        }
    if types.is_dictionary(kind):
        return _plain_of(kind.value_type)
    if types.is_floating(kind):
        return lambda value: None if math.isnan(value) else value
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind):
        return None
    return _scalar


def _same(value: Any) -> Any:
    return value


def _scalar(value: Any) -> Any:
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime() | date() | time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case _:
            return value
