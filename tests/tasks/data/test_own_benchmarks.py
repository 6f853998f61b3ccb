"""The three own benchmarks in published shapes: read to what the files say, proposed by `init`, pinned as they are."""

import csv
import json
import runpy
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.paths import TESTS

from runner.config import load_benchmark
from runner.core.benchmark_types import Benchmark, VoteSpec
from runner.tasks.data import find_file, load_items
from runner.tasks.data.look import look_at
from runner.tasks.data.pin import pin_benchmark

FOLDER = TESTS / "benchmarks"
Counts = dict[str, tuple[int, ...]]


def table(name: str) -> list[dict[str, str]]:
    with (FOLDER / "data" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def dishes() -> Counts:
    columns = ("mild", "warm", "hot", "very hot")
    return {row[""]: tuple(int(row[column]) for column in columns) for row in table("dishes.csv")}


def pairs() -> Counts:
    rows = map(json.loads, (FOLDER / "data" / "pairs.jsonl").read_text(encoding="utf-8").splitlines())
    return {row["uid"]: tuple(row["label_counter"].get(label, 0) for label in "enc") for row in rows}


def coats() -> Counts:
    votes = Counter((row["day"], row["coat"]) for row in table("coats.csv"))
    return {day: (votes[day, "Yes"], votes[day, "No"]) for day, _ in votes}


EXPECTED: dict[str, Callable[[], Counts]] = {"dishes": dishes, "pairs": pairs, "coats": coats}


def whole(benchmark: Benchmark) -> Counts:
    """The counts of every item of a benchmark's file, whatever its folds are."""
    (dataset,), (task,) = benchmark.datasets.values(), benchmark.tasks.values()
    data = replace(dataset.splits["test"], folds=None)
    return {item.id: item.counts for item in load_items(task, data, find_file(dataset, data, None)).items}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_counts_are_those_of_the_file(name: str) -> None:
    benchmark = load_benchmark(FOLDER / f"{name}.yaml")
    expected = EXPECTED[name]()
    assert whole(benchmark) == expected
    (dataset,), (task,) = benchmark.datasets.values(), benchmark.tasks.values()
    assert dataset.synthetic
    split = [
        {item.id for item in load_items(task, data, find_file(dataset, data, None)).items}
        for data in dataset.splits.values()
    ]
    assert set.union(*split) == set(expected)
    assert not set.intersection(*split)


@pytest.mark.parametrize("name", EXPECTED)
def test_pins_are_those_that_pin_writes(name: str, tmp_path: Path) -> None:
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    (tmp_path / "data").symlink_to(FOLDER / "data")
    (tmp_path / "benchmark.yaml").write_text(text, encoding="utf-8")
    pin_benchmark(tmp_path / "benchmark.yaml", None)
    assert (tmp_path / "benchmark.yaml").read_text(encoding="utf-8") == text


def test_the_rows_are_those_that_their_script_writes(tmp_path: Path) -> None:
    runpy.run_path(str(FOLDER / "make_rows.py"))["main"](tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_bytes() for path in (FOLDER / "data").iterdir()}


@pytest.mark.parametrize("name", EXPECTED)
def test_what_init_can_tell_is_what_the_benchmark_says(name: str) -> None:
    """Of the votes all but what only a person knows: an order, better names, and answers to leave out."""
    benchmark = load_benchmark(FOLDER / f"{name}.yaml")
    (dataset,), (task,) = benchmark.datasets.values(), benchmark.tasks.values()
    guess = look_at(find_file(dataset, dataset.splits["test"], None))
    votes = task.item.votes
    assert isinstance(votes, VoteSpec)
    assert guess.votes is not None
    assert guess.doubts == ()
    assert (guess.id, guess.fields) == (task.item.id, task.item.fields)
    assert guess.votes.get(votes.kind) == (votes.path or votes.columns)
    assert guess.votes.get("missing", "refuse") == votes.missing
    theirs = {votes.keys.get(label, label) for label in task.labels} | set(votes.ignore)
    assert theirs == {found or label for label, found in guess.labels.items()} or votes.kind == "columns"
