"""The rows of a table of text: comma-separated, tab-separated, and what spreadsheets make of either."""

import csv
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from runner.tasks.data.rows import MAX_ROW, Row

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_TWICE = "A quote within quotes is written twice."
_CSV_ERRORS = (
    ("expected after", "something stands behind the end of a cell in quotes", _TWICE),
    ("unexpected end", "a cell in quotes begins here and does not end", _TWICE),
    ("field limit", f"a cell has more than {MAX_ROW:,} characters", "Is there a quote that does not end?"),
    ("new-line", "its lines end in carriage returns alone", "Save the file with line ends of Unix or Windows."),
)
"""A part of what Python's reader says, what is said here, and a hint."""


class _NotText(Exception):
    """A line is not UTF-8, or too long; the arguments are its number and why."""


def read_csv(stream: BinaryIO) -> Iterator[Row]:
    """Rows of a file with RFC 4180 quotes, separated by the first of , ; tab | that its first line has outside them."""
    lines = _text_lines(stream)
    try:
        first = next(lines, None)
        if first is None:
            return
        csv.field_size_limit(MAX_ROW)
        delimiter = _delimiter(first)
        reader = csv.reader(_before(first, lines), delimiter=delimiter, strict=True)
        quoted = f"A cell that has a {_DELIMITERS[delimiter]} in it stands in quotes, without a blank before them."
        yield from _table(_cells(reader), quoted)
    except _NotText as problem:
        yield _unreadable(problem)


def read_tsv(stream: BinaryIO) -> Iterator[Row]:
    """Tab-separated: a line is a row; double quotes around a whole cell are taken off, others stand for themselves."""

    def cells() -> Iterator[tuple[int, list[str] | Row]]:
        for number, line in enumerate(_text_lines(stream), start=1):
            text = line.rstrip("\r\n")
            yield number, [_unquoted(cell) for cell in text.split("\t")]

    hint = "If cells in quotes go over several lines, give the file the ending .csv: there they may, with tabs as well."
    try:
        yield from _table(cells(), hint)
    except _NotText as problem:
        yield _unreadable(problem)


def _text_lines(stream: BinaryIO) -> Iterator[str]:
    for number, line in enumerate(iter(lambda: stream.readline(MAX_ROW + 1), b""), start=1):
        if len(line) > MAX_ROW:
            raise _NotText(number, f"it has more than {MAX_ROW:,} bytes")
        try:
            # A byte-order mark at the beginning is how spreadsheets say UTF-8.
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _NotText(number, f"it is not UTF-8: {error.reason} at byte {error.start}") from None


def _unreadable(problem: _NotText) -> Row:
    line, why = problem.args
    hint = "Save the file as UTF-8." if "UTF-8" in why else None
    return Row(0, line, None, None, ("DATA_ENCODING", f"The line cannot be read: {why}.", hint))


def _delimiter(first: str) -> str:
    bare = re.sub(r'"[^"]*"?', "", first)
    return next((mark for mark in _DELIMITERS if mark in bare), ",")


def _before(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _cells(reader: Any) -> Iterator[tuple[int, list[str] | Row]]:
    """Each row's first line and its cells, or why it has none; most faults leave no row behind them."""
    number = 0
    while True:
        line = reader.line_num + 1
        number += 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            said = ((why, hint) for part, why, hint in _CSV_ERRORS if part in str(error))
            why, hint = next(said, (str(error), None))
            last = why != _CSV_ERRORS[0][1]
            fault = ("DATA_TABLE", f"The row cannot be read: {why}.", hint)
            yield line, Row(0 if last else number, line, None, None, fault)
            if last:
                return


def _unquoted(cell: str) -> str:
    if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', ""):
        return cell[1:-1].replace('""', '"')
    return cell


def _table(rows: Iterator[tuple[int, list[str] | Row]], hint: str) -> Iterator[Row]:
    """Rows under the names of the first one; rows of blank cells are passed over, as are several nameless columns."""
    header: list[str] = []
    number = 0
    for line, cells in rows:
        if isinstance(cells, Row):
            number += 1
            yield cells._replace(number=cells.number and number)
            if not header:
                return
        elif not header:
            if not any(cell.strip() for cell in cells):
                message = "The first line is blank; the names of columns belong there."
                yield Row(0, line, None, None, ("DATA_TABLE", message, None))
                return
            header = cells
            if twice := [name for column, name in enumerate(header) if name and name in header[:column]]:
                message = f"Two columns have the name {twice[0]!r}, so a path to it has two meanings."
                yield Row(0, line, None, None, ("DATA_TABLE", message, "Rename one of them in the file."))
                return
            nameless = header.count("") > 1
        elif len(cells) == len(header) and any(cells):
            number += 1
            value = dict(zip(header, cells, strict=True))
            if nameless:
                del value[""]
            yield Row(number, line, value)
        elif any(cell.strip() for cell in cells):
            number += 1
            cell_count = f"{len(cells)} cell{'' if len(cells) == 1 else 's'}"
            message = f"The row has {cell_count}, the first line names {len(header)} columns."
            yield Row(number, line, None, None, ("DATA_TABLE", message, hint))
