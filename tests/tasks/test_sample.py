"""The sample's files are what its generator makes of its texts, agree with themselves, and share no text by split."""

import json
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from runner.core.canonical import sha256_file
from runner.core.resources import benchmark_file, embedded_data

SPLITS = ("train", "dev", "test")
LABELS = ("AUTHOR", "OTHER", "EVERYBODY", "NOBODY", "INFO")
FILES = [f"{split}.sample-{kind}.jsonl" for split in SPLITS for kind in ("dilemmas", "anecdotes")]


def rows(split: str, kind: str) -> list[dict[str, Any]]:
    path = embedded_data("sample") / f"{split}.sample-{kind}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def texts(name: str) -> dict[str, Any]:
    return yaml.safe_load((embedded_data("sample") / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_generator_reproduces_every_file_byte_for_byte(tmp_path: Path) -> None:
    script = embedded_data("sample") / "make_votes.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, env={"PYTHONHASHSEED": "7"})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (embedded_data("sample") / name).read_bytes(), name


def test_benchmark_yaml_pins_the_files() -> None:
    datasets = yaml.safe_load(benchmark_file().read_text(encoding="utf-8"))["datasets"]
    for dataset in ("sample-dilemmas", "sample-anecdotes"):
        for split in SPLITS:
            pinned = datasets[dataset]["splits"][split]
            path = embedded_data("sample") / pinned["file"]
            assert pinned["sha256"] == sha256_file(path)
            assert pinned["rows"] == path.read_bytes().count(b"\n")


def test_the_splits_are_large_enough() -> None:
    assert [len(rows(split, "dilemmas")) for split in SPLITS] == [600, 80, 80]
    assert [len(rows(split, "anecdotes")) for split in SPLITS] == [69, 36, 36]
    actions = texts("actions")
    assert [len(actions[split]) for split in SPLITS] == [143, 48, 52]
    assert all(-2 <= severity <= 2 for split in SPLITS for severity in actions[split].values())


@pytest.mark.parametrize("split", SPLITS)
def test_dilemmas_agree_with_themselves(split: str) -> None:
    pairs = set()
    for row in rows(split, "dilemmas"):
        gold, panel = row["gold_annotations"], row["human_perf_annotations"]
        assert sum(gold) == 5
        assert row["gold_label"] == int(gold[1] > gold[0])
        assert row["controversial"] == (min(gold) > 0)
        if split == "train":
            assert (panel, row["human_perf_label"]) == ([0, 0], None)
        else:
            assert sum(panel) == 5
            assert row["human_perf_label"] == int(panel[1] > panel[0])
        first, second = row["actions"]
        assert first["description"] != second["description"]
        pairs.add(frozenset((first["id"], second["id"])))
    assert len(pairs) == len(rows(split, "dilemmas"))


@pytest.mark.parametrize("split", SPLITS)
def test_anecdotes_agree_with_themselves(split: str) -> None:
    found = rows(split, "anecdotes")
    for row in found:
        votes = row["label_scores"]
        assert tuple(votes) == LABELS
        assert 5 <= sum(votes.values()) <= 60
        assert votes[row["label"]] == max(votes.values())
        right, wrong = votes["OTHER"] + votes["NOBODY"], votes["AUTHOR"] + votes["EVERYBODY"]
        assert right + wrong > 0
        assert row["binarized_label_scores"] == {"RIGHT": right, "WRONG": wrong}
        assert row["binarized_label"] == ("WRONG" if wrong > right else "RIGHT")
        assert (row["action"]["pronormative_score"], row["action"]["contranormative_score"]) == (right, wrong)
        assert row["action"]["description"] in row["title"]
        assert 60 <= len(row["text"].split()) <= 150
    assert {row["post_type"] for row in found} == {"HISTORICAL", "HYPOTHETICAL"}
    assert len({row["text"] for row in found}) == len(found)


def test_ids_are_unique_and_begin_with_sample() -> None:
    for kind in ("dilemmas", "anecdotes"):
        ids = [row["id"] for split in SPLITS for row in rows(split, kind)]
        assert len(set(ids)) == len(ids)
        assert all(name.startswith("sample-") for name in ids)


def test_no_text_is_in_two_splits() -> None:
    actions, document = texts("actions"), texts("stories")

    def pieces(split: str) -> set[str]:
        found = set(actions[split])
        for story in document["stories"][split]:
            found.add(story["opening"])
            for turn in story["turns"]:
                found |= {turn["action"], turn["text"]}
        for closings in document["closings"][split].values():
            found |= set(closings)
        return {piece.casefold() for piece in found}

    for one, other in combinations(SPLITS, 2):
        assert not pieces(one) & pieces(other), (one, other)


def test_dilemma_votes_follow_the_ratings() -> None:
    """A wide gap in rating gives few votes the other way, a narrow one many: shares near the logistic curve."""
    ratings = texts("actions")
    votes: Counter[tuple[str, str]] = Counter()
    for split in SPLITS:
        for row in rows(split, "dilemmas"):
            gap = ratings[split][row["actions"][0]["description"]] - ratings[split][row["actions"][1]["description"]]
            kind = "far" if abs(gap) > 2 else "near" if abs(gap) < 0.5 else "between"
            votes[kind, "all"] += 5
            votes[kind, "worse"] += row["gold_annotations"][0 if gap > 0 else 1]
    assert 0.85 < votes["far", "worse"] / votes["far", "all"] < 0.99
    assert 0.45 < votes["near", "worse"] / votes["near", "all"] < 0.62


def test_both_groups_of_people_vote_alike() -> None:
    """Gold and panel votes are two draws of one chance: their shares correlate strongly but are not copies."""
    found = rows("dev", "dilemmas") + rows("test", "dilemmas")
    gold = [row["gold_annotations"][0] for row in found]
    panel = [row["human_perf_annotations"][0] for row in found]
    assert sum(a != b for a, b in zip(gold, panel, strict=True)) > 40
    assert abs(sum(gold) - sum(panel)) < 60
    assert sum(abs(a - b) for a, b in zip(gold, panel, strict=True)) / len(found) < 1.5


def test_files_can_be_read_by_everybody() -> None:
    for path in embedded_data("sample").glob("*.*"):
        assert path.stat().st_mode & 0o777 == 0o644, path.name
