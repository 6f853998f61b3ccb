"""The shapes in which label distributions are published: each is read to the right counts, its neighbours are not."""

import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.own_benchmark import own_benchmark

from runner.config import load_benchmark
from runner.config.detect import check_file
from runner.core.errors import Fault, InvalidInput
from runner.tasks.data import find_file, load_items
from runner.tasks.data.forms import count_rows
from runner.tasks.data.load import LoadedSplit
from runner.tasks.data.pin import pin_benchmark
from runner.tasks.data.propose import propose

LABELS = {
    "nli": ["entailment", "neutral", "contradiction"],
    "hate": ["hateful", "fine"],
    "scale": ["low", "middle", "high"],
    "tone": ["rude", "not-rude", "minus"],
}
KEYS = {"entailment": "e", "neutral": "n", "contradiction": "c"}


def jsonl(*rows: Any) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def table(*rows: str) -> bytes:
    return ("\n".join(rows) + "\n").encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    import io

    import pyarrow
    from pyarrow import parquet as writer

    stream = io.BytesIO()
    writer.write_table(pyarrow.Table.from_pylist(rows), stream)
    return stream.getvalue()


def counted(path: Path) -> int:
    """The rows that are pinned; 1 where the file cannot be read to its end."""
    try:
        return max(count_rows(path), 1)
    except InvalidInput:
        return 1


def read(
    folder: Path,
    content: bytes,
    item: dict[str, Any],
    labels: str,
    file: str = "data.jsonl",
    rows: int | None = None,
    **task: Any,
) -> LoadedSplit:
    """What a benchmark whose task says `item` reads from one file, through its schema and all its checks."""
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(content)
    pin = {
        "file": file,
        "rows": rows or counted(folder / file),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    value = own_benchmark(LABELS[labels], item, {"path": "."}, {"test": pin}, **task)
    (folder / "benchmark.yaml").write_text(json.dumps(value), encoding="utf-8")
    benchmark = load_benchmark(folder / "benchmark.yaml")
    dataset = benchmark.datasets["rows"]
    data = dataset.splits["test"]
    return load_items(benchmark.tasks["question"], data, find_file(dataset, data, None))


# Each: file, content, labels, item, and the counts by id.
COUNTER = jsonl({"id": "a", "text": "t", "n": {"e": 3, "n": 2}}, {"id": "b", "text": "t", "n": {"c": 5}})
MEASURED_ON = {"votes": {"answers": "who", "keys": {"hateful": 1, "fine": 0}}}
SHAPES: dict[str, tuple[str, bytes, str, dict[str, Any], dict[str, tuple[int, ...]]]] = {
    "counter without zero labels": (
        "data.jsonl",
        COUNTER,
        "nli",
        {"votes": {"counts": "n", "keys": KEYS, "missing": "zero"}},
        {"a": (3, 2, 0), "b": (0, 0, 5)},
    ),
    "keys 0 and 1": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "n": {"0": 3, "1": 2}}),
        "hate",
        {"votes": {"counts": "n", "keys": {"hateful": 1, "fine": 0}}},
        {"a": (2, 3)},
    ),
    "labels with spaces, accents, minus": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "n": {"häme": 1, "not rude": 4, "-5": 2}}),
        "tone",
        {"votes": {"counts": "n", "keys": {"rude": "häme", "not-rude": "not rude", "minus": -5}}},
        {"a": (1, 4, 2)},
    ),
    "counts in columns": (
        "data.csv",
        table(",count,hate_speech,neither,text", '0,3,1,2,"one, two"', "1,3,3,0,t"),
        "hate",
        {"id": '""', "votes": {"columns": {"hateful": "hate_speech", "fine": "neither"}}},
        {"0": (1, 2), "1": (3, 0)},
    ),
    "further answers to ignore": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "n": {"hateful": 3, "fine": 1, "skip": 1}}),
        "hate",
        {"votes": {"counts": "n", "ignore": ["skip"]}},
        {"a": (3, 1)},
    ),
    "shares and total": (
        "data.jsonl",
        jsonl(
            {"id": "a", "text": "t", "soft_label": {"0": 0.3333333333, "1": 0.6666666667}, "number of annotations": 3}
        ),
        "hate",
        {"votes": {"shares": "soft_label", "total": "number of annotations", "keys": {"hateful": "1", "fine": "0"}}},
        {"a": (2, 1)},
    ),
    "shares of a number of people that is the same everywhere": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "p": [0.2, 0.8]}),
        "hate",
        {"votes": {"shares": "p", "total": 5}},
        {"a": (1, 4)},
    ),
    "counts as 3.0": (
        "data.jsonl",
        b'{"id": "a", "text": "t", "n": [3.0, 2.0]}\n',
        "hate",
        {"votes": "n"},
        {"a": (3, 2)},
    ),
    "a list of answers": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "who": [1, 0, 1, 1]}, {"id": "b", "text": "t", "who": [0, 0]}),
        "hate",
        MEASURED_ON,
        {"a": (3, 1), "b": (0, 2)},
    ),
    "a list as long as the label list, said to be answers": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "who": [1, 0]}, {"id": "b", "text": "t", "who": [0, 0]}),
        "hate",
        MEASURED_ON,
        {"a": (1, 1), "b": (0, 2)},
    ),
    "a list as long as the label list, said to be counts": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "who": [1, 0]}, {"id": "b", "text": "t", "who": [1, 1]}),
        "hate",
        {"votes": {"counts": "who"}},
        {"a": (1, 0), "b": (1, 1)},
    ),
    "a mapping from person to answer": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "who": {"ann1": "yes", "ann2": "no", "ann7": "yes", "ann9": None}}),
        "hate",
        {"votes": {"answers": "who", "keys": {"hateful": "yes", "fine": "no"}, "ignore": [None]}},
        {"a": (2, 1)},
    ),
    "one row a person": (
        "data.csv",
        table("item,text,worker,answer", "a,t,1,yes", "b,u,1,no", "a,t,2,no", "a,t,3,yes", "b,u,3,dunno"),
        "hate",
        {
            "id": "item",
            "votes": {"rows": "answer", "keys": {"hateful": "yes", "fine": "no"}, "ignore": ["dunno"]},
        },
        {"a": (2, 1), "b": (0, 1)},
    ),
    "whole-number ids": (
        "data.jsonl",
        jsonl({"id": 7, "text": "t", "n": [4, 1]}, {"id": 1234567890123, "text": "t", "n": [0, 2]}),
        "hate",
        {"votes": "n"},
        {"7": (4, 1), "1234567890123": (0, 2)},
    ),
    "no id": (
        "data.jsonl",
        jsonl({"text": "t", "n": [4, 1]}, {"text": "t", "n": [0, 2]}),
        "hate",
        {"id": "$line", "votes": "n"},
        {"1": (4, 1), "2": (0, 2)},
    ),
    "group as number or null": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "n": [4, 1], "g": 3}, {"id": "b", "text": "t", "n": [0, 2], "g": None}),
        "hate",
        {"votes": "n", "group": "g"},
        {"a": (4, 1), "b": (0, 2)},
    ),
    "key with a space": (
        "data.jsonl",
        jsonl({"id": "a", "ex": {"the text": "t"}, "n": [4, 1]}),
        "hate",
        {"fields": {"text": "ex.the text"}, "votes": "n"},
        {"a": (4, 1)},
    ),
    "key with a dot": (
        "data.jsonl",
        jsonl({"id": "a", "ex": {"a . dot": "t"}, "n.of": [4, 1]}),
        "hate",
        {"fields": {"text": 'ex."a . dot"'}, "votes": '"n.of"'},
        {"a": (4, 1)},
    ),
    "null text": (
        "data.jsonl",
        jsonl({"id": "a", "text": None, "n": [4, 1]}, {"id": "b", "text": "t", "n": [0, 2]}),
        "hate",
        {"votes": "n", "missing_text": "skip"},
        {"b": (0, 2)},
    ),
    "one JSON document, an array": (
        "data.json",
        json.dumps([{"id": "a", "text": "t", "n": [4, 1]}, {"id": "b", "text": "t", "n": [0, 2]}], indent=2).encode(),
        "hate",
        {"votes": "n"},
        {"a": (4, 1), "b": (0, 2)},
    ),
    "one JSON document, an object of rows": (
        "data.json",
        json.dumps({"x1": {"text": "t", "n": [4, 1]}, "x2": {"text": "t", "n": [0, 2]}}, indent=2).encode(),
        "hate",
        {"id": "$key", "votes": "n"},
        {"x1": (4, 1), "x2": (0, 2)},
    ),
    "CSV of a spreadsheet": (
        "data.csv",
        '\ufeffid;text;no;yes\r\na;"one;\nline";1;4.0\r\n\r\nb;häme;2;0\r\n'.encode(),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        {"a": (4, 1), "b": (0, 2)},
    ),
    "CSV with JSON in its cells": (
        "data.csv",
        table("id,text,n", 'a,t,"{""yes"": 4, ""no"": 1}"'),
        "hate",
        {"votes": {"counts": "n", "keys": {"hateful": "yes", "fine": "no"}}},
        {"a": (4, 1)},
    ),
    "TSV": (
        "data.tsv",
        table("id\ttext\tyes\tno", 'a\t"said "so\t4\t1', 'b\t"a ""b"""\t0\t2'),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        {"a": (4, 1), "b": (0, 2)},
    ),
    "Parquet": (
        "data.parquet",
        parquet(
            [
                {"id": 1, "text": "t", "n": {"e": 3, "n": 2, "c": None}, "unused": b"x"},
                {"id": 2, "text": "t", "n": {"e": None, "n": None, "c": 5}, "unused": b"x"},
            ]
        ),
        "nli",
        {"votes": {"counts": "n", "keys": KEYS, "missing": "zero"}},
        {"1": (3, 2, 0), "2": (0, 0, 5)},
    ),
    "TSV whose cells go over lines, as a .csv": (
        "data.csv",
        table("id\ttext\tyes\tno", 'a\t"one, \ntwo"\t4\t1'),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        {"a": (4, 1)},
    ),
    "CSV whose header has its separator in quotes": (
        "data.csv",
        table('id;"text, long";yes;no', 'a;"one; two";4;1'),
        "hate",
        {"fields": {"text": "text, long"}, "votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        {"a": (4, 1)},
    ),
    "CSV as a spreadsheet leaves it, with blank rows and columns": (
        "data.csv",
        table("id,text,yes,no,,", "a,t,4,1,,", ",,,,,", "  ", "b,t,0,2,,x", ",,,,,"),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        {"a": (4, 1), "b": (0, 2)},
    ),
    "CSV of a data frame with numbers that are missing": (
        "data.csv",
        table("id,text,yes,no", "a,t,4.0,", "b,t,NaN,2.0", "c,t,NA,1"),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}, "missing": "zero"}},
        {"a": (4, 0), "b": (0, 2), "c": (0, 1)},
    ),
    "CSV with what Python writes in its cells": (
        "data.csv",
        table("id,text,n", "a,t,\"{'yes': 4, 'no': 1}\"", "b,t,{'no': 2}"),
        "hate",
        {"votes": {"counts": "n", "keys": {"hateful": "yes", "fine": "no"}, "missing": "zero"}},
        {"a": (4, 1), "b": (0, 2)},
    ),
    "CSV with lists of answers in its cells": (
        "data.csv",
        table("id,text,who", "a,t,\"['yes', 'no', 'yes']\"", 'b,t,"[""no""]"'),
        "hate",
        {"votes": {"answers": "who", "keys": {"hateful": "yes", "fine": "no"}}},
        {"a": (2, 1), "b": (0, 1)},
    ),
    "one row a person, with whole numbers as floats": (
        "data.csv",
        table("id,text,answer", "a,t,1.0", "a,t,0.0", "b,t,1", "b,t,"),
        "hate",
        {"votes": {"rows": "answer", "keys": {"hateful": 1, "fine": 0}, "ignore": [""]}},
        {"a": (1, 1), "b": (1, 0)},
    ),
    "one row a person, with truth values of pandas": (
        "data.csv",
        table("id,text,answer", "a,t,True", "a,t,False", "a,t,True"),
        "hate",
        {"votes": {"rows": "answer", "keys": {"hateful": True, "fine": False}}},
        {"a": (2, 1)},
    ),
    "truth values in a list": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "who": [True, False, True]}),
        "hate",
        {"votes": {"answers": "who", "keys": {"hateful": "true", "fine": "false"}}},
        {"a": (2, 1)},
    ),
    "answers within objects": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "by": [{"who": 7, "label": "fine"}, {"who": 8, "label": "hateful"}]}),
        "hate",
        {"votes": {"answers": "by.*.label"}},
        {"a": (1, 1)},
    ),
    "answers within objects by person": (
        "data.json",
        json.dumps({"a": {"text": "t", "by": {"p1": {"label": "fine"}, "p2": {"label": "fine"}}}}).encode(),
        "hate",
        {"id": "$key", "votes": {"answers": "by.*.label"}},
        {"a": (0, 2)},
    ),
    "counts as text in JSON": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "n": {"hateful": "4", "fine": "1"}}),
        "hate",
        {"votes": {"counts": "n"}},
        {"a": (4, 1)},
    ),
    "gzipped CSV in capitals": (
        "DATA.CSV.GZ",
        gzip.compress(table("id,text,yes,no", "a,t,4,1"), mtime=0),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        {"a": (4, 1)},
    ),
    "gzipped CSV in a folder below": (
        "raw/data.csv.gz",
        gzip.compress(table("id,text,yes,no", "a,t,4,1"), mtime=0),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        {"a": (4, 1)},
    ),
    "gzipped Parquet": (
        "data.parquet.gz",
        gzip.compress(parquet([{"id": 1, "text": "t", "n": [4.0, 1.0]}]), mtime=0),
        "hate",
        {"votes": "n"},
        {"1": (4, 1)},
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_is_read_to_the_right_counts(name: str, tmp_path: Path) -> None:
    file, content, labels, item, expected = SHAPES[name]
    loaded = read(tmp_path, content, item, labels, file)
    assert {item.id: item.counts for item in loaded.items} == expected
    assert all(item.fields["text"] for item in loaded.items)


@pytest.mark.parametrize("name", SHAPES)
def test_init_makes_a_benchmark_of_each_shape_that_only_has_gaps(name: str, tmp_path: Path) -> None:
    """Whatever it could tell: the file is valid but for what a person has to say, and `pin` can read the data."""
    file, content, *_ = SHAPES[name]
    (tmp_path / Path(file).name).write_bytes(content)
    path, _ = propose(tmp_path / "own", tmp_path / Path(file).name)
    # One fold of one instead of five: most of these files have a row or two.
    text = path.read_text(encoding="utf-8").replace("number: 5, take: [1, 2, 3, 4]", "number: 2, take: [1, 2]")
    text = re.sub(r"      dev:\n.*\n.*take: \[5\].*\n", "", text)
    path.write_text(text, encoding="utf-8")
    if len(SHAPES[name][4]) == 1:
        path.write_text(re.sub(r"        folds: .*\n", "", text), encoding="utf-8")
    pin_benchmark(path, None)
    assert {fault.code for fault in check_file(path)} == {"GAP"}


def test_group_texts_and_skipped_rows(tmp_path: Path) -> None:
    loaded = read(tmp_path, SHAPES["group as number or null"][1], {"votes": "n", "group": "g"}, "hate")
    assert [item.group for item in loaded.items] == ["3", None]
    loaded = read(tmp_path, SHAPES["null text"][1], {"votes": "n", "missing_text": "skip"}, "hate")
    assert [(one.id, one.line, one.reason) for one in loaded.skipped] == [("a", 1, "a text is missing")]
    loaded = read(tmp_path, SHAPES["CSV of a spreadsheet"][1], SHAPES["CSV of a spreadsheet"][3], "hate", "data.csv")
    assert [item.fields["text"] for item in loaded.items] == ["one;\nline", "häme"]
    loaded = read(tmp_path, SHAPES["TSV"][1], SHAPES["TSV"][3], "hate", "data.tsv")
    assert [item.fields["text"] for item in loaded.items] == ['"said "so', 'a "b"']


def test_clusters_are_values_that_items_share(tmp_path: Path) -> None:
    rows = [{"id": str(n), "text": "t", "n": [4, 1], "who": [{"id": n // 2}, {"id": "x"}]} for n in range(3)]
    loaded = read(tmp_path, jsonl(*rows), {"votes": "n", "clusters": ["who.0.id", "who.1.id", "who.2.id"]}, "hate")
    assert [item.clusters for item in loaded.items] == [("0", '"x"'), ("0", '"x"'), ("1", '"x"')]


# Each: file, content, labels, item; and code, line, what is said, the key that would help, and the item with that key.
WRONG: dict[str, tuple[str, bytes, str, dict[str, Any], tuple[str, int, str, str], dict[str, Any] | None]] = {
    "counter without zero labels": (
        "data.jsonl",
        COUNTER,
        "nli",
        {"votes": {"counts": "n", "keys": KEYS}},
        ("DATA_LABEL", 1, "no count for the label 'c'", "missing: zero"),
        {"votes": {"counts": "n", "keys": KEYS, "missing": "zero"}},
    ),
    "counter in the short form": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "n": {"hateful": 3}}),
        "hate",
        {"votes": "n"},
        ("DATA_LABEL", 1, "no count for the label 'fine'", "votes: {counts: n, missing: zero}"),
        {"votes": {"counts": "n", "missing": "zero"}},
    ),
    "names that are not the labels": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "n": {"0": 3, "1": 2}}),
        "hate",
        {"votes": "n"},
        ("DATA_LABEL", 1, "'0' is not a label", 'votes: {counts: n, keys: {hateful: "0", fine: "1"}}'),
        {"votes": {"counts": "n", "keys": {"hateful": "0", "fine": "1"}}},
    ),
    "further answers": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "n": {"hateful": 3, "fine": 1, "skip": 1}}),
        "hate",
        {"votes": {"counts": "n"}},
        ("DATA_LABEL", 1, "'skip' is not a label", "ignore: [skip]"),
        {"votes": {"counts": "n", "ignore": ["skip"]}},
    ),
    "an empty cell of a column": (
        "data.csv",
        table("id,text,yes,no", "a,t,4,"),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        ("DATA_LABEL", 2, "no count for the label 'fine'", "missing: zero"),
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}, "missing": "zero"}},
    ),
    "shares taken for counts": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "n": [0.2, 0.8]}),
        "hate",
        {"votes": "n"},
        ("DATA_VOTES", 1, "A whole number of votes, 0 or more, was expected; the number 0.2", "votes: {shares:"),
        {"votes": {"shares": "n", "total": 5}},
    ),
    "counts taken for shares": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "n": [2, 8]}),
        "hate",
        {"votes": {"shares": "n", "total": 10}},
        ("DATA_VOTES", 1, "A share from 0 to 1 was expected; the number 2", "votes: {counts:"),
        {"votes": {"counts": "n"}},
    ),
    "shares that are rounded": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "n": [0.33, 0.67]}),
        "hate",
        {"votes": {"shares": "n", "total": 3}},
        ("DATA_VOTES", 1, "0.33 × 3 people is 0.99", "Rounded shares"),
        None,
    ),
    "a list of answers taken for counts": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "who": [1, 0, 1, 1]}),
        "hate",
        {"votes": "who"},
        ("DATA_VOTES", 1, "4 counts were found, 2 were expected", "votes: {answers: who}"),
        MEASURED_ON,
    ),
    "a list as long as the label list": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "who": [1, 0]}, {"id": "b", "text": "t", "who": [0, 0]}),
        "hate",
        {"votes": "who"},
        ("DATA_VOTES", 1, "two ways", "votes: {answers: who, keys: {hateful: 0, fine: 1}}"),
        {"votes": {"answers": "who", "keys": {"hateful": 0, "fine": 1}}},
    ),
    "answers with another name": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "who": ["yes", "no"]}),
        "hate",
        {"votes": {"answers": "who", "keys": {"hateful": "yes"}}},
        ("DATA_LABEL", 1, "'no' is none of the answers 'yes', 'fine'", "`keys`"),
        {"votes": {"answers": "who", "keys": {"hateful": "yes", "fine": "no"}}},
    ),
    "a mapping from person to answer taken for counts": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "who": {"ann1": "fine", "ann2": "hateful"}}),
        "hate",
        {"votes": "who"},
        ("DATA_LABEL", 1, "'ann1' is not a label", "votes: {answers: who}"),
        {"votes": {"answers": "who"}},
    ),
    "one row a person taken for one an item": (
        "data.csv",
        table("id,text,answer", "a,t,hateful", "a,t,fine"),
        "hate",
        {"votes": "answer"},
        ("DATA_VOTES", 2, "the text 'hateful' was found", "votes: {rows: answer}"),
        {"votes": {"rows": "answer"}},
    ),
    "rows of one id that differ": (
        "data.csv",
        table("id,text,answer", "a,t,hateful", "a,u,fine"),
        "hate",
        {"votes": {"rows": "answer"}},
        ("DATA_FIELD", 3, "differ in text (see line 2)", ""),
        None,
    ),
    "no id": (
        "data.jsonl",
        jsonl({"text": "t", "n": [4, 1]}),
        "hate",
        {"votes": "n"},
        ("DATA_FIELD", 1, "`id` leads to nothing", "id: $line"),
        {"id": "$line", "votes": "n"},
    ),
    "a key where there is none": (
        "data.jsonl",
        jsonl({"text": "t", "n": [4, 1]}),
        "hate",
        {"id": "$key", "votes": "n"},
        ("DATA_FIELD", 1, "has no key", "id: $line"),
        {"id": "$line", "votes": "n"},
    ),
    "a group that is a list": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "n": [4, 1], "g": [1]}),
        "hate",
        {"votes": "n", "group": "g"},
        ("DATA_FIELD", 1, "Text, a number or null was expected, an array of 1", ""),
        None,
    ),
    "a key with a dot": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "n.of": [4, 1]}),
        "hate",
        {"votes": "n.of"},
        ("DATA_VOTES", 1, "there is no 'n' here, but 'n.of'", """`'"n.of"'`"""),
        {"votes": '"n.of"'},
    ),
    "null text": (
        "data.jsonl",
        jsonl({"id": "a", "text": None, "n": [4, 1]}, {"id": "b", "text": "t", "n": [0, 2]}),
        "hate",
        {"votes": "n"},
        ("DATA_FIELD", 1, "Text was expected, null was found", "missing_text: skip"),
        {"votes": "n", "missing_text": "skip"},
    ),
    "one JSON document in JSON lines": (
        "data.jsonl",
        json.dumps([{"id": "a", "text": "t", "n": [4, 1]}], indent=1).encode(),
        "hate",
        {"votes": "n"},
        ("DATA_JSON", 1, "one JSON document", "data.json"),
        None,
    ),
    "one JSON document on one line": (
        "data.jsonl",
        jsonl([{"id": "a", "text": "t", "n": [4, 1]}]),
        "hate",
        {"votes": "n"},
        ("DATA_JSON", 1, "one JSON document", "data.json"),
        None,
    ),
    "JSON lines in one document": (
        "data.json",
        jsonl({"id": "a", "text": "t", "n": [4, 1]}, {"id": "b", "text": "t", "n": [4, 1]}),
        "hate",
        {"votes": "n"},
        ("DATA_JSON", 1, "on each line", ".jsonl"),
        None,
    ),
    "a CSV row with another number of cells": (
        "data.csv",
        table("id,text,yes,no", "a,t,4,1", "b,one, two,4,1"),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        ("DATA_TABLE", 3, "5 cells, the first line names 4", ""),
        None,
    ),
    "a CSV in another encoding": (
        "data.csv",
        "id,text,yes,no\na,häme,4,1\n".encode("latin-1"),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        ("DATA_ENCODING", 2, "not UTF-8", "UTF-8"),
        None,
    ),
    "two columns of one name": (
        "data.csv",
        table("id,text,yes,yes", "a,t,4,1"),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        ("DATA_TABLE", 1, "Two columns have the name 'yes'", "Rename"),
        None,
    ),
    "what is no Parquet": (
        "data.parquet",
        b"PAR1, or not",
        "hate",
        {"votes": "n"},
        ("DATA_TABLE", 1, "The Parquet file cannot be read", ""),
        None,
    ),
    "a key that is nearly there": (
        "data.csv",
        table("id, text,yes,no", "a,t,4,1"),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        ("DATA_FIELD", 2, "`text` leads to nothing", """`'" text"'`"""),
        {"fields": {"text": '" text"'}, "votes": {"columns": {"hateful": "yes", "fine": "no"}}},
    ),
    "a key that is not there": (
        "data.csv",
        table("id,text,yes,no", "a,t,4,1"),
        "hate",
        {"fields": {"text": "comment"}, "votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        ("DATA_FIELD", 2, "`comment` leads to nothing", "the keys 'id', 'text', 'yes', 'no'"),
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
    ),
    "objects taken for answers": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "by": [{"label": "fine", "who": 7}, {"label": "hateful", "who": 8}]}),
        "hate",
        {"votes": {"answers": "by"}},
        ("DATA_LABEL", 1, "An object of 2 is none of the answers", "`by.*.label`"),
        {"votes": {"answers": "by.*.label"}},
    ),
    "a list of objects gone into": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "by": [{"label": "fine"}, {"label": "hateful"}]}),
        "hate",
        {"votes": {"answers": "by.label"}},
        ("DATA_VOTES", 1, "'label' is no index", "`*`"),
        {"votes": {"answers": "by.*.label"}},
    ),
    "several labels from one annotator": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "who": [["fine"], ["fine", "hateful"]]}),
        "hate",
        {"votes": {"answers": "who"}},
        ("DATA_LABEL", 1, "An array of 1 is none of the answers", "out of scope"),
        None,
    ),
    "counts as text in the short form": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "n": ["4", "1"]}),
        "hate",
        {"votes": "n"},
        ("DATA_VOTES", 1, "the text '4' was found", "`votes: {counts: n}`"),
        {"votes": {"counts": "n"}},
    ),
    "a column that is not there": (
        "data.csv",
        table("id,text,Yes,no", "a,t,4,1"),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        ("DATA_VOTES", 2, "`yes` leads to no count of 'hateful'", '`"Yes"`'),
        {"votes": {"columns": {"hateful": "Yes", "fine": "no"}}},
    ),
    "an id that is a fraction": (
        "data.jsonl",
        jsonl({"id": 1.5, "text": "t", "n": [4, 1]}),
        "hate",
        {"votes": "n"},
        ("DATA_FIELD", 1, "Text or a whole number was expected, the number 1.5", "id: $line"),
        {"id": "$line", "votes": "n"},
    ),
    "a count that is a fraction": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "n": [3.5, 2.0]}),
        "hate",
        {"votes": "n"},
        ("DATA_VOTES", 1, "the number 3.5 was found", ""),
        None,
    ),
    "a person whose answer is another": (
        "data.jsonl",
        jsonl({"id": "a", "text": "t", "who": {"ann1": "fine", "ann2": "unsure"}}),
        "hate",
        {"votes": {"answers": "who"}},
        ("DATA_LABEL", 1, "'unsure' is none of the answers", "ignore: [unsure]"),
        {"votes": {"answers": "who", "ignore": ["unsure"]}},
    ),
    "thousands with a comma": (
        "data.csv",
        table("id,text,yes,no", 'a,t,"1,234",1'),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        ("DATA_VOTES", 2, "the text '1,234'", "without a separator of thousands"),
        None,
    ),
    "NaN in a column of counts": (
        "data.csv",
        table("id,text,yes,no", "a,t,NaN,1"),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        ("DATA_LABEL", 2, "no count for the label 'hateful'", "missing: zero"),
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}, "missing": "zero"}},
    ),
    "NaN in JSON lines": (
        "data.jsonl",
        b'{"id": "a", "text": "t", "n": [NaN, 1]}\n',
        "hate",
        {"votes": "n"},
        ("DATA_JSON", 1, "NaN is not a JSON number", "Write null"),
        None,
    ),
    "JSON lines with commas between them": (
        "data.jsonl",
        b'{"id": "a", "text": "t", "n": [4, 1]},\n{"id": "b", "text": "t", "n": [4, 1]}\n',
        "hate",
        {"votes": "n"},
        ("DATA_JSON", 1, "Extra data", "without a comma"),
        None,
    ),
    "a blank line between JSON lines": (
        "data.jsonl",
        b'{"id": "a", "text": "t", "n": [4, 1]}\n\n{"id": "b", "text": "t", "n": [4, 1]}\n',
        "hate",
        {"votes": "n"},
        ("DATA_JSON", 2, "blank", "Take it out"),
        None,
    ),
    "a table of another ending": (
        "data.txt",
        table("id,text,yes,no", "a,t,4,1"),
        "hate",
        {"votes": "n"},
        ("DATA_JSON", 1, "cannot be read", "The ending says the form: .json, .csv"),
        None,
    ),
    "rows within a document": (
        "data.json",
        json.dumps({"data": [{"id": "a", "text": "t", "n": [4, 1]}]}).encode(),
        "hate",
        {"votes": "n"},
        ("DATA_FIELD", 1, "A row is an object, an array of 1", "put that list alone"),
        None,
    ),
    "a quote that does not end": (
        "data.csv",
        table("id,text,yes,no", 'a,"t,4,1', "b,t,4,1"),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        ("DATA_TABLE", 2, "begins here and does not end", "written twice"),
        None,
    ),
    "a quote within quotes": (
        "data.csv",
        table("id,text,yes,no", 'a,"one "two" three",4,1', "b,t,4,1"),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        ("DATA_TABLE", 2, "behind the end of a cell in quotes", "written twice"),
        None,
    ),
    "lines that end in carriage returns": (
        "data.csv",
        b"id,text,yes,no\ra,t,4,1\r",
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        ("DATA_TABLE", 1, "carriage returns alone", "Unix or Windows"),
        None,
    ),
    "a TSV whose cells go over lines": (
        "data.tsv",
        table("id\ttext\tyes\tno", 'a\t"one\ntwo"\t4\t1'),
        "hate",
        {"votes": {"columns": {"hateful": "yes", "fine": "no"}}},
        ("DATA_TABLE", 2, "2 cells, the first line names 4", ".csv"),
        None,
    ),
    "what is no gzip": (
        "data.csv.gz",
        b"id,text",
        "hate",
        {"votes": "n"},
        ("DATA_ENCODING", 1, "gzip", ""),
        None,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_neighbour_is_refused_and_the_hint_leads_to_a_right_result(name: str, tmp_path: Path) -> None:
    file, content, labels, item, (code, line, says, hint), right = WRONG[name]
    fault = faults(tmp_path, content, item, labels, file)[0]
    assert (fault.code, fault.line) == (code, line)
    assert says in fault.message
    assert hint in (fault.hint or "")
    if right is not None:
        assert read(tmp_path, content, right, labels, file).items


def faults(*arguments: Any, **more: Any) -> tuple[Fault, ...]:
    with pytest.raises(InvalidInput) as refused:
        read(*arguments, **more)
    return refused.value.faults


def test_a_name_that_fits_is_a_file_that_is_read(tmp_path: Path) -> None:
    """The hint of one JSON document in a .jsonl: under the other ending it is read."""
    rows = [{"id": "a", "text": "t", "n": [4, 1]}]
    assert read(tmp_path, json.dumps(rows, indent=1).encode(), {"votes": "n"}, "hate", "data.json").items
    assert read(tmp_path, jsonl(*rows), {"votes": "n"}, "hate", "data.jsonl").items


def test_equal_faults_are_grouped_with_the_key_that_would_help(tmp_path: Path) -> None:
    rows = [{"id": n, "text": "t", "n": {"e": 3, "n": 1, "c": 1} if n % 5 else {"n": 1, "c": 1}} for n in range(20)]
    (fault,) = faults(tmp_path, jsonl(*rows), {"votes": {"counts": "n", "keys": KEYS}}, "nli")
    assert fault.message == "4 of 20 rows have no count for 'e': `missing: zero`? (lines 1, 6, 11, 16)"


VOTES_FAULTS = {
    "two kinds": ({"counts": "n", "answers": "n"}, "Exactly one of counts, columns, answers, shares, rows"),
    "no kind": ({"keys": {"fine": 0}}, "Exactly one of"),
    "a key of another kind": ({"rows": "n", "missing": "zero"}, "'missing' has no meaning beside 'rows'"),
    "shares without a total": ({"shares": "n"}, "Shares need 'total'"),
    "a column for one label only": ({"columns": {"fine": "n", "hatefull": "m"}}, "no column for the label 'hateful'"),
    "an unknown label": ({"counts": "n", "keys": {"hatefull": 1}}, "There is no label 'hatefull'"),
    "two labels of one name": ({"counts": "n", "keys": {"hateful": 1, "fine": "1"}}, "both called '1'"),
    "a label that is ignored": ({"counts": "n", "ignore": ["fine"]}, "stands for the label 'fine'"),
}


@pytest.mark.parametrize("name", VOTES_FAULTS)
def test_what_is_said_of_votes_must_make_sense(name: str, tmp_path: Path) -> None:
    votes, says = VOTES_FAULTS[name]
    told = faults(tmp_path, jsonl({"id": "a"}), {"votes": votes}, "hate")
    assert any(says in fault.message for fault in told)
    assert all(fault.line and fault.path for fault in told)


@pytest.mark.parametrize("path", ["", ".", "a..b", "a.", '"a', 'a"b', "$line.x", "a\nb"])
def test_paths_that_are_none(path: str, tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, jsonl({"id": "a"}), {"fields": {"text": path}, "votes": "n"}, "hate")
    assert fault.code == "SCHEMA"
