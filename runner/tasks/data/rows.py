"""One row of a data file, as it is read."""

from typing import Any, NamedTuple

MAX_ROW = 8 << 20
"""Bytes of one row at most."""


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
