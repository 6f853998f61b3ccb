"""`benchmark ceiling`: of tasks, and of a table of votes that may be malformed in many ways."""

import json

import numpy as np
import pytest
from support import factories

from runner.core.errors import InvalidInput
from runner.evaluation.ceilings import of_counts_file, of_tasks
from runner.scoring.ceiling import ceiling
from runner.tasks.selection import select


def counts_file(folder, value):
    path = folder / "counts.json"
    path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return path


@pytest.mark.slow
def test_of_tasks_it_is_the_ceiling_of_the_card(tmp_path):
    found = of_tasks(factories.choice(tasks=("dilemmas", "anecdotes")), None, None)
    assert [one["name"] for one in found] == ["dilemmas (test)", "anecdotes (test)"]
    card = factories.read_card(factories.scored(tmp_path, factories.sample_rows()))["tasks"]["dilemmas"]
    for name, limit in found[0]["ceiling"].items():
        assert card["ceiling"][name] == {key: limit[key] for key in limit if key != "spread"}, name
    assert found[0]["alpha"] == card["ceiling_prior"]["alpha"]
    assert found[0]["items"] == 80
    json.dumps(found, allow_nan=False)


@pytest.mark.slow
def test_of_a_file_it_is_the_same_as_of_the_task(tmp_path):
    counts = [list(item.counts) for item in select(factories.choice()).tasks[0].scored]
    (found,) = of_counts_file(counts_file(tmp_path, counts), factories.choice(), None, None)
    (expected,) = of_tasks(factories.choice(), None, None)
    for name, limit in expected["ceiling"].items():  # a table of votes does not say what its items share
        assert {key: limit[key] for key in ("value", "spread")} == {
            key: found["ceiling"][name][key] for key in ("value", "spread")
        }
    assert (found["name"], found["labels"]) == ("counts.json", 2)


def test_published_counts(tmp_path):
    (found,) = of_counts_file(counts_file(tmp_path, [[1, 3], [4, 0]]), factories.choice(), 20_000, 3)
    assert found["ceiling"]["accuracy"]["value"] == pytest.approx(0.8878, abs=0.004)
    assert found["ceiling"]["macro_f1"]["value"] == pytest.approx(0.8486, abs=0.004)
    assert (found["draws"], found["seed"]) == (20_000, 3)


@pytest.mark.slow
def test_draws_and_seed_are_used(tmp_path):
    path = counts_file(tmp_path, factories.simulated(40, 3)[0].tolist())
    errors = []
    for draws, seed in ((100, 1), (100, 2), (10_000, 1), (100, 0)):
        (found,) = of_counts_file(path, factories.choice(), draws, seed)
        errors.append(found["ceiling"]["macro_f1"]["monte_carlo_error"])
        counts = np.array(json.loads(path.read_bytes()), dtype=float)
        again = ceiling(counts, ["macro_f1"], draws, seed)["macro_f1"]
        assert found["ceiling"]["macro_f1"]["value"] == again.value
    assert errors[0] != errors[1]
    assert errors[2] == pytest.approx(errors[0] / 10, rel=0.3)


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        (b"", "COUNTS_JSON", "Expecting value"),
        (b"[[1, 2], [3", "COUNTS_JSON", "delimiter"),
        (b"\xff\xfe", "COUNTS_JSON", "byte-order mark"),
        (b"[[1, NaN], [1, 1]]", "COUNTS_JSON", "NaN"),
        ({}, "COUNTS_SHAPE", "array of two or more items"),
        ([], "COUNTS_SHAPE", "array of two or more items"),
        ([[1, 2]], "COUNTS_SHAPE", "array of two or more items"),
        ([[1], [2]], "COUNTS_SHAPE", "two or more labels"),
        ([1, 2], "COUNTS_SHAPE", "array of two or more items"),
        ([[1, 2], [1, 2, 3]], "COUNTS_ROW", "2 counts from 0"),
        ([[1, 2], [0, 0]], "COUNTS_ROW", "at least one vote"),
        ([[1, 2], [-1, 3]], "COUNTS_ROW", "from 0"),
        ([[1, 2], [1.5, 3]], "COUNTS_ROW", "2 counts"),
        ([[1, 2], [True, 3]], "COUNTS_ROW", "2 counts"),
        ([[1, 2], "12"], "COUNTS_ROW", "2 counts"),
        ([[1, 2], None], "COUNTS_ROW", "2 counts"),
    ],
)
def test_a_malformed_file_is_told(tmp_path, value, code, words):
    path = counts_file(tmp_path, value)
    with pytest.raises(InvalidInput) as caught:
        of_counts_file(path, factories.choice(), None, None)
    (fault,) = caught.value.faults
    assert (fault.code, fault.file) == (code, str(path))
    assert words in fault.message
    if code == "COUNTS_ROW":
        assert fault.path == "$[1]"


def test_all_bad_rows_up_to_twenty(tmp_path):
    with pytest.raises(InvalidInput) as caught:
        of_counts_file(counts_file(tmp_path, [[1, 2], *[[0, 0]] * 50]), factories.choice(), None, None)
    assert [fault.path for fault in caught.value.faults] == [f"$[{number}]" for number in range(1, 21)]


def test_a_missing_file(tmp_path):
    with pytest.raises(InvalidInput) as caught:
        of_counts_file(tmp_path / "nowhere.json", factories.choice(), None, None)
    assert caught.value.faults[0].code == "FILE_MISSING"
