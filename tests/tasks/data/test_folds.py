"""A split that is some folds of a file: the folds part the rows, stay the same, and can be kept apart."""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import TESTS

from runner.config import load_benchmark
from runner.core.benchmark_types import FoldSpec
from runner.core.errors import InvalidInput
from runner.tasks.data import load_items
from runner.tasks.data.folds import fold_of, taken

FIFTHS = TESTS / "benchmarks" / "dilemmas-folds.yaml"


@given(st.integers(2, 200), st.integers(2, 9), st.integers(0, 2**53 - 1))
def test_folds_part_the_rows_evenly(rows: int, number: int, seed: int) -> None:
    sizes = Counter(fold_of(rows, number, seed))
    assert sum(sizes.values()) == rows
    assert set(sizes) <= set(range(1, number + 1))
    assert max(sizes.values()) - (min(sizes.values()) if len(sizes) == number else 0) <= 1


def test_folds_are_those_of_the_documented_hash() -> None:
    found = fold_of(6, 3, 11)
    order = sorted(range(6), key=lambda row: hashlib.sha256(f"11:{row + 1}".encode()).hexdigest())
    assert [found[row] for row in order] == [1, 2, 3, 1, 2, 3]
    assert found == [1, 2, 3, 1, 2, 3] or found != fold_of(6, 3, 12)
    assert fold_of(1000, 5, 1) != fold_of(1000, 5, 2)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=5, max_size=40),
    st.integers(0, 1000),
    st.sets(st.integers(1, 5), min_size=1, max_size=4),
)
def test_rows_kept_apart_share_nothing_with_other_folds(
    pairs: list[tuple[int, int]], seed: int, take: set[int]
) -> None:
    rows = [{"of": [{"id": one}, {"id": other}]} for one, other in pairs]
    folds = FoldSpec(5, tuple(take), seed, 1, ("of.0.id", "of.1.id", "nowhere"))
    own, plain = taken(rows, folds), taken(rows, replace(folds, apart=()))
    fold = fold_of(len(rows), 5, seed)
    assert plain == [one in take for one in fold]
    elsewhere = {value for pair, mine in zip(pairs, plain, strict=True) if not mine for value in pair}
    assert own == [mine and not elsewhere & set(pair) for pair, mine in zip(pairs, plain, strict=True)]


def _rows(number: int) -> list[dict[str, object]]:
    return [
        {
            "id": f"p{row}",
            "actions": [{"description": f"to go {row}"}, {"description": "to stay"}],
            "gold_annotations": [row % 6, 5 - row % 6],
            "human_perf_annotations": [0, 0],
        }
        for row in range(number)
    ]


def test_the_folds_of_a_file_make_up_the_file(tasks, pinned, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in _rows(23)), encoding="utf-8")
    whole = load_items(tasks["dilemmas"], pinned(path), path)
    sizes = Counter(fold_of(23, 5, 3))
    parts = [
        load_items(tasks["dilemmas"], replace(pinned(path), folds=FoldSpec(5, (fold,), 3, sizes[fold], ())), path)
        for fold in range(1, 6)
    ]
    assert sorted(item.id for part in parts for item in part.items) == sorted(item.id for item in whole.items)
    for part in parts:
        assert (part.sha256, part.rows) == (whole.sha256, 23)  # of the file
        ids = [item.id for item in part.items]
        assert ids == [item.id for item in whole.items if item.id in ids]  # in its order
    with pytest.raises(InvalidInput) as refused:
        load_items(tasks["dilemmas"], replace(pinned(path), folds=FoldSpec(5, (1, 2), 3, 11, ())), path)
    assert [fault.code for fault in refused.value.faults] == ["DATA_ROWS"]
    assert "10 rows, 11 are declared" in refused.value.faults[0].message


def test_a_fault_anywhere_in_the_file_is_told(tasks, pinned, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    rows = _rows(10)
    del rows[4]["gold_annotations"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for fold in (1, 2):
        with pytest.raises(InvalidInput) as refused:
            load_items(tasks["dilemmas"], replace(pinned(path), folds=FoldSpec(2, (fold,), 3, 5, ())), path)
        assert [(fault.code, fault.line) for fault in refused.value.faults] == [("DATA_VOTES", 5)]


@pytest.mark.slow
def test_the_development_benchmark_parts_the_real_dilemmas(scruples: Path) -> None:
    benchmark = load_benchmark(FIFTHS)
    task = benchmark.tasks["dilemmas"]
    ids = {}
    for name, dataset in benchmark.datasets.items():
        for split, data in dataset.splits.items():
            ids[name, split] = {item.id for item in load_items(task, data, scruples / data.file).items}
            assert data.folds is not None
            assert len(ids[name, split]) == data.folds.rows
    rows = [json.loads(line) for line in (scruples / data.file).read_bytes().splitlines()]
    assert ids["outer", "train"] | ids["outer", "held-out"] == {row["id"] for row in rows}
    assert ids["inner", "train"] | ids["inner", "held-out"] == ids["outer", "train"]
    assert ids["apart", "held-out"] == ids["outer", "held-out"]
    assert ids["apart", "train"] < ids["outer", "train"]
    for name in benchmark.datasets:
        assert not ids[name, "train"] & ids[name, "held-out"]
    actions = {row["id"]: {action["id"] for action in row["actions"]} for row in rows}
    scored = set().union(*(actions[item] for item in ids["outer", "held-out"]))
    assert not any(actions[item] & scored for item in ids["apart", "train"])
    # What the suite is for: without it nearly every scored item has an action that was trained on.
    trained = set().union(*(actions[item] for item in ids["outer", "train"]))
    assert sum(bool(actions[item] & trained) for item in ids["outer", "held-out"]) > 400
