"""The rows of a data file, one at a time, in any form: JSON lines, JSON, CSV, TSV and Parquet, gzipped or not."""

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
from typing import Any, BinaryIO, Literal, cast

from runner.core import strict_json
from runner.core.errors import Fault, InvalidInput
from runner.core.files import open_regular
from runner.tasks.data.rows import MAX_ROW, Row
from runner.tasks.data.tables import read_csv, read_tsv

Form = Literal["jsonl", "json", "csv", "tsv", "parquet"]

_ENDINGS: dict[str, Form] = {".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
_MAX_DOCUMENT = 1 << 30
"""Bytes of one JSON document, or of a gzipped Parquet file: the two that are not read row by row."""
_BATCH = 4096
_ROWS_NOT_LINES = "It holds one JSON document, and a .jsonl file holds one row on each line."
BLANK = "The line is blank, a row was expected."
"""What is said of a blank line of a .jsonl file; those at its end count only where the benchmark counts them."""
_TOO_LONG = ("DATA_JSON", f"The row cannot be read: it has more than {MAX_ROW:,} bytes.", None)
_LINES_NOT_DOCUMENT = "It holds one JSON document on each line, and a .json file holds one in all."


def form_of(file: str) -> Form:
    """The form that a file's name says; any other ending than .json, .csv, .tsv and .parquet is JSON lines."""
    return _ENDINGS.get(Path(file.lower().removesuffix(".gz")).suffix, "jsonl")


def _gzipped(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def read_rows(path: Path, columns: Collection[str] | None = None, content: bytes | None = None) -> Iterator[Row]:
    """The rows of a file, in its order; memory does not grow with it, except for a JSON document.

    `content` is what is in the file, where that is known. Of a Parquet file only the `columns` are read (None: all).
    A fault of one row is reported in that row; what makes the rest unreadable ends the file with a row that says
    so. Raises `OSError`, and `InvalidInput` (PARQUET_EXTRA) where pyarrow is not installed.
    """
    form = form_of(path.name)
    with BufferedReader(open_regular(path)) if content is None else BytesIO(content) as file:
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if _gzipped(path) else file
        last = 0
        try:
            if (packed := _packed(stream, form)) is not None:
                yield packed
                return
            match form:
                case "jsonl":
                    rows = _json_lines(stream, path)
                case "json":
                    rows = _json_document(stream)
                case "csv":
                    rows = read_csv(stream)
                case "tsv":
                    rows = read_tsv(stream)
                case "parquet":
                    rows = _parquet(stream, path, columns)
            for row in rows:
                last = row.number
                yield row
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            yield _damaged(last, error)


def textual(path: Path) -> bool:
    """Whether every value of the file is a text, so that numbers and lists in it are read from their text."""
    return form_of(path.name) in ("csv", "tsv")


def count_rows(path: Path) -> int:
    """How many rows a file has, as they are counted for `rows` in a benchmark.

    Raises `OSError`, and `InvalidInput` for a file that cannot be read to its end.
    """
    rows = 0
    for row in _numbered_lines(path) if form_of(path.name) == "jsonl" else read_rows(path, ()):
        if row.fault is not None and not row.number:
            code, message, hint = row.fault
            raise InvalidInput(Fault(code, message, str(path), row.line, hint=hint))
        rows = row.number
    return rows


def _numbered_lines(path: Path) -> Iterator[Row]:
    """The lines that are not blank, without what is in them."""
    with BufferedReader(open_regular(path)) as file:
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if _gzipped(path) else file
        number = 0
        try:
            if (packed := _packed(stream, "jsonl")) is not None:
                yield packed
                return
            for number, line in _lines(stream):
                if len(line) > MAX_ROW:
                    yield Row(0, number, None, None, _TOO_LONG)
                elif line:
                    yield Row(number, number, None)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            yield _damaged(number, error)


def _damaged(last: int, error: Exception) -> Row:
    return Row(0, last + 1, None, None, ("DATA_ENCODING", f"The gzip file is damaged: {error}.", None))


_HEAD = 10
_UTF16 = ("UTF-16 text", "Save the file as UTF-8.")
_PACKED = {
    b"\x1f\x8b": ("a gzip file", "Give the file the ending .gz, here and in the benchmark."),
    b"\x28\xb5\x2f\xfd": ("a zstd file", "Unpack it, or pack it with gzip."),
    b"\xfd7zXZ": ("an xz file", "Unpack it, or pack it with gzip."),
    b"BZh91AY": ("a bzip2 file", "Unpack it, or pack it with gzip."),
    b"PK\x03\x04": ("a zip file or a spreadsheet", "Unpack it; a sheet of a spreadsheet can be saved as CSV in UTF-8."),
    b"PAR1\x15": ("a Parquet file", "Give the file the ending .parquet, here and in the benchmark."),
    b"\xff\xfe": _UTF16,
    b"\xfe\xff": _UTF16,
}
"""How files begin that are something else than their ending says."""


def _packed(stream: BinaryIO, form: Form) -> Row | None:
    """What a file is that begins as no text of rows does; a Parquet file's own reader says what is wrong with it."""
    if form == "parquet":
        return None
    head = stream.read(_HEAD)
    stream.seek(0)
    for beginning, (what, hint) in _PACKED.items():
        if head.startswith(beginning):
            return Row(0, 1, None, None, ("DATA_ENCODING", f"This is {what}, text in UTF-8 was expected.", hint))
    return None


# --- lines ---------------------------------------------------------------------------------------------------------


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers; a blank one is empty. After one that is too long there is none.

    Only a line feed ends one, so that U+2028 or a lone carriage return inside a row does not cut it.
    """
    for number, line in enumerate(iter(lambda: stream.readline(MAX_ROW + 1), b""), start=1):
        yield number, b"" if line.isspace() else line
        if len(line) > MAX_ROW:
            return


def _json_lines(stream: BinaryIO, path: Path) -> Iterator[Row]:
    first_alone: Row | None = None
    for number, line in _lines(stream):
        if not line:
            row = Row(number, number, None, None, ("DATA_JSON", BLANK, None))
        elif len(line) > MAX_ROW:
            row = Row(0, number, None, None, _TOO_LONG)
        else:
            try:
                row = Row(number, number, strict_json.parse(line.removesuffix(b"\n"), max_bytes=MAX_ROW))
            except strict_json.JsonFault as error:
                code = "DATA_ENCODING" if error.code == "ENCODING" else "DATA_JSON"
                hint = _json_hint(error.message, line, path)
                row = Row(number, number, None, None, (code, f"The row cannot be read: {error.message}.", hint))
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


def _json_hint(said: str, line: bytes, path: Path) -> str | None:
    """What to do about a line that is not JSON, where that is known."""
    if "byte-order mark" in said:
        return "Save the file as UTF-8 without one."
    if "is not a JSON number" in said:
        return "Write null in its place: `missing: zero` says that nobody chose a label whose count is null."
    if "is beyond 2^53" in said:
        return "Put it in quotes in the file: an id may be a text."
    if line.rstrip().endswith((b"},", b"],")):
        return "A line is one row, without a comma behind it."
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    if ending not in (".jsonl", ".ndjson") and line.lstrip()[:1] not in (b"{", b"["):
        return f"The ending says the form: {', '.join(_ENDINGS)}; any other, as {ending or 'none'}, is JSON lines."
    return None


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
    packed = path.name[-3:] if _gzipped(path) else ""
    return Path(path.name.removesuffix(packed)).with_suffix(ending).name + packed


def _json_document(stream: BinaryIO) -> Iterator[Row]:
    data = stream.read(_MAX_DOCUMENT + 1)
    if not data:
        return
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
            remedy = "Save the file as UTF-8 without one." if "byte-order mark" in error.message else None
            fault = (code, f"The document cannot be read: {error.message}.", remedy)
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
        if _gzipped(path):
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
