"""What lies in a folder, and what the items look like."""

import math
import sys
from dataclasses import replace

import pytest

from runner.core.errors import InvalidInput
from runner.core.types import Item
from runner.tasks.data import Spread, check, find_file, load_items, stats


def item(*counts: int, text: str = "one two", group: str | None = None, panel=None) -> Item:
    return Item(f"{counts}{text}{group}", {"text": text}, counts, panel, group)


# --- check ----------------------------------------------------------------------------------------------------------


def test_every_state(released, benchmark_of, pinned, tmp_path):
    good, folder = b"{}\n{}\n", tmp_path / "dilemmas"
    folder.mkdir()
    splits = {name: pinned(good, split=name, name="scruples-dilemmas") for name in ("a", "b", "c", "d")}
    splits["c"] = replace(splits["c"], rows=3)
    (tmp_path / "a.jsonl").write_bytes(good)
    (folder / "b.jsonl").write_bytes(b"{}\n")
    (folder / "c.jsonl").write_bytes(good)
    dataset = replace(released.datasets["scruples-dilemmas"], splits=splits)
    a, b, c, d = check(benchmark_of(dataset), tmp_path)
    assert [(s.split, s.state, s.rows) for s in (a, b, c, d)] == [
        ("a", "ok", 2),
        ("b", "digest differs", 1),
        ("c", "rows differ", 2),
        ("d", "missing", None),
    ]
    assert [s.path for s in (a, b, c)] == [tmp_path / "a.jsonl", folder / "b.jsonl", folder / "c.jsonl"]
    assert a.message == ""
    assert a.digest == a.expected_digest == splits["a"].sha256
    assert b.digest != b.expected_digest
    assert b.digest in b.message
    assert "2 rows, 3 declared" in c.message
    assert str(tmp_path / "d.jsonl") in d.message
    assert str(folder / "d.jsonl") in d.message


def test_a_file_that_cannot_be_read(released, benchmark_of, pinned, tmp_path, monkeypatch):
    (tmp_path / "dev.jsonl").write_bytes(b"{}\n")
    dataset = replace(released.datasets["scruples-dilemmas"], splits={"dev": pinned(b"{}\n")})

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(sys.modules["runner.tasks.data.check"], "count_rows", refuse)
    (status,) = check(benchmark_of(dataset), tmp_path)
    assert (status.state, status.message) == ("unreadable", "cannot be read: Permission denied")


def test_the_sample_is_always_there_and_choice_is_kept(released, tmp_path):
    found = check(released, tmp_path, datasets=["sample-dilemmas", "sample-anecdotes"])
    assert [(s.dataset, s.split, s.state) for s in found] == [
        (name, split, "ok") for name in ("sample-dilemmas", "sample-anecdotes") for split in ("train", "dev", "test")
    ]


@pytest.mark.slow
def test_the_real_folder(released, scruples):
    states = {(s.dataset, s.split): s.state for s in check(released, scruples)}
    assert states["scruples-dilemmas", "dev"] == "ok"
    assert len(states) == 12


# --- stats ----------------------------------------------------------------------------------------------------------


def test_by_hand():
    items = [
        item(5, 0, text="", group="x", panel=(1, 4)),
        item(1, 4, text="a b  c", group="y"),
        item(2, 3, text="a", group="y"),
        item(4, 1, text="a b", group="x"),
    ]
    found = stats(items, ("first", "second"))
    assert found.items == 4
    assert found.groups == {"x": 2, "y": 2}
    assert found.with_panel == 1
    assert found.votes == Spread(5, 5.0, 5)
    assert found.label_shares == pytest.approx({"first": 12 / 20, "second": 8 / 20})
    assert found.plurality == {"first": 2, "second": 2}
    assert (found.ties, found.unanimous) == (0, 1)
    assert found.patterns == {"5-0": 1, "4-1": 2, "3-2": 1}
    assert found.agreement == pytest.approx((1 + 0.8 + 0.6 + 0.8) / 4)
    h = {p: -p * math.log(p) - (1 - p) * math.log(1 - p) for p in (0.8, 0.6)}
    assert found.entropy == pytest.approx((2 * h[0.8] + h[0.6]) / 4)
    assert found.words == {"text": Spread(0, 1.5, 3)}
    assert found.empty == {"text": 1}


def test_ties_belong_to_no_label_and_patterns_need_equal_numbers():
    found = stats([item(2, 2, 0), item(1, 1, 1), item(0, 0, 7)], "abc")
    assert found.plurality == {"a": 0, "b": 0, "c": 1}
    assert found.ties == 2
    assert found.patterns is None
    assert found.votes == Spread(3, 4.0, 7)


def test_patterns_fall_by_number_and_not_by_letter():
    found = stats([item(9, 3), item(2, 10), item(12, 0)], "ab")
    assert list(found.patterns) == ["12-0", "10-2", "9-3"]


def test_agreement_has_no_entropy_and_no_sign():
    assert math.copysign(1, stats([item(3, 0)], "ab").entropy) == 1.0


def test_one_group():
    items = [item(5, 0, group="x"), item(0, 5, group="y")]
    assert stats(items, "ab", group="y").plurality == {"a": 0, "b": 1}
    with pytest.raises(InvalidInput, match="group 'z'; the groups are: x, y"):
        stats(items, "ab", group="z")
    with pytest.raises(InvalidInput, match="the groups are: none"):
        stats([item(5, 0)], "ab", group="z")


def test_nothing_is_not_described():
    with pytest.raises(ValueError, match="no items"):
        stats([], "ab")
    with pytest.raises(ValueError, match="without votes"):
        stats([item(0, 0)], "ab")


def test_dilemmas_dev(released, scruples):
    """Agreement counts, entropy floor and majority labels of the dev split, computed before by other code."""
    dataset = released.datasets["scruples-dilemmas"]
    task = released.tasks["dilemmas"]
    loaded = load_items(task, dataset.splits["dev"], find_file(dataset, dataset.splits["dev"], scruples))
    found = stats(loaded.items, task.labels)
    assert found.patterns == {"5-0": 794, "4-1": 794, "3-2": 752}
    assert found.entropy == pytest.approx(0.3861, abs=5e-5)
    assert found.plurality == {"first": 1211, "second": 1129}
    assert (found.ties, found.unanimous, found.with_panel) == (0, 794, 2340)
