"""Files that are something else than their ending says, damaged, empty or too long: told once, and never counted."""

import bz2
import gzip
import json
import lzma
from dataclasses import replace
from pathlib import Path

import pytest

from runner.core.benchmark_types import Dataset
from runner.core.errors import InvalidInput
from runner.tasks.data import check
from runner.tasks.data.forms import count_rows, read_rows

TABLE = b"id,text,yes,no\n" + b"".join(b"%d,some text,4,1\n" % number for number in range(3000))
ROW = b'{"id": "a", "text": "t", "n": [4, 1]}\n'


def fault(path: Path) -> tuple[str, int, str, str | None]:
    """Code, line, sentence and hint of the one fault of a file, which cannot be read to its end."""
    (row,) = [row for row in read_rows(path) if row.fault is not None]
    assert row.number == 0
    with pytest.raises(InvalidInput) as refused:
        count_rows(path)
    assert refused.value.faults[0].message == row.fault[1]
    return (row.fault[0], row.line, *row.fault[1:])


@pytest.mark.parametrize(
    ("name", "content", "what", "hint"),
    [
        ("a.csv", gzip.compress(TABLE), "a gzip file", ".gz"),
        ("a.csv", bz2.compress(TABLE), "a bzip2 file", "gzip"),
        ("a.jsonl.xz", lzma.compress(ROW), "an xz file", "gzip"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfd" + bytes(20), "a zstd file", "gzip"),
        ("a.xlsx", b"PK\x03\x04" + bytes(20), "a spreadsheet", "CSV"),
        ("a.json", b"PAR1\x15" + bytes(20), "a Parquet file", ".parquet"),
        ("a.csv", TABLE.decode().encode("utf-16"), "UTF-16", "UTF-8"),
        ("a.tsv.gz", gzip.compress(TABLE.decode().encode("utf-16")), "UTF-16", "UTF-8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_file_is_instead_is_said_once(name: str, content: bytes, what: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    code, line, message, advice = fault(tmp_path / name)
    assert (code, line) == ("DATA_ENCODING", 1)
    assert what in message
    assert hint in (advice or "")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.jsonl.gz", "a.csv.gz"])
def test_an_empty_file_has_no_rows_and_no_other_fault(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"") if name.endswith(".gz") else b"")
    assert list(read_rows(tmp_path / name)) == []
    assert count_rows(tmp_path / name) == 0


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz"])
def test_a_gzip_file_that_is_cut_is_not_counted(name: str, tmp_path: Path) -> None:
    content = TABLE if "csv" in name else ROW * 3000
    (tmp_path / name).write_bytes(gzip.compress(content)[:-20])
    code, line, message, _ = fault(tmp_path / name)
    assert (code, line > 1) == ("DATA_ENCODING", True)
    assert "damaged" in message


def test_a_row_that_is_too_long_ends_the_file(tmp_path: Path) -> None:
    """What comes behind it was not read, so no number of rows is told."""
    (tmp_path / "a.jsonl").write_bytes(ROW + json.dumps({"id": "b", "text": "x" * (9 << 20)}).encode() + b"\n" + ROW)
    code, line, message, _ = fault(tmp_path / "a.jsonl")
    assert (code, line) == ("DATA_JSON", 2)
    assert "more than 8,388,608 bytes" in message


def test_a_cell_that_is_too_long_ends_the_file(tmp_path: Path) -> None:
    cell = (b"x" * 100_000 + b"\n") * 90
    (tmp_path / "a.csv").write_bytes(b'id,text,yes,no\na,"' + cell + b'",4,1\nb,t,4,1\n')
    code, line, message, hint = fault(tmp_path / "a.csv")
    assert (code, line) == ("DATA_TABLE", 2)
    assert "more than 8,388,608 characters" in message
    assert "quote" in (hint or "")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.parquet", b"PAR1, or not"), ("a.jsonl.gz", b"\x1f\x8b\x08broken"), ("a.csv", b"\xff\xfe")],
    ids=["parquet", "gzip", "UTF-16"],
)
def test_a_file_that_cannot_be_read_has_a_state(name, content, tmp_path, pinned, benchmark_of) -> None:
    (tmp_path / name).write_bytes(content)
    data = replace(pinned(content, rows=1), file=name)
    dataset = Dataset(
        name="data",
        description="",
        synthetic=True,
        url=None,
        folder=None,
        embedded=None,
        path=str(tmp_path),
        splits={"dev": data},
    )
    (status,) = check(benchmark_of(dataset), None)
    assert (status.state, status.rows) == ("unreadable", None)
    assert status.message
