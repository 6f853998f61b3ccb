"""What a part of a run is, and how parts are told apart."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.errors import InvalidInput
from runner.evaluation.merge import unite_self_checks
from runner.evaluation.shards import NAME, Shard, find_shards, parse_shard, read_shard, write_shard


@pytest.mark.slow
@given(st.integers(1, 9), st.lists(st.lists(st.integers(), min_size=1), max_size=40))
def test_every_step_is_in_exactly_one_shard(count: int, steps: list[list[int]]) -> None:
    taken = [step for index in range(count) for step in Shard(index, count).steps(steps)]
    assert sorted(map(str, taken)) == sorted(map(str, steps))
    sizes = [len(Shard(index, count).steps(steps)) for index in range(count)]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("text", ["", "1", "4/4", "-1/4", "0/0", "a/b", "1/2/3", "0/1000000", "١/٢ "])
def test_what_is_no_part(text: str) -> None:
    with pytest.raises(ValueError, match=r"I/N|auto"):
        parse_shard(text, {})


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "0"}, Shard(3, 4)),
        ({"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "1"}, Shard(0, 4)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "5",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_STEP": "2",
            },
            Shard(2, 3),
        ),
        ({"JOB_COMPLETION_INDEX": "2", "JOB_COMPLETIONS": "3"}, Shard(2, 3)),
    ],
)
def test_auto_reads_the_scheduler(environment: dict[str, str], shard: Shard) -> None:
    assert parse_shard("auto", environment) == shard


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"JOB_COMPLETION_INDEX": "2"},
        {"JOB_COMPLETION_INDEX": "3", "JOB_COMPLETIONS": "3"},
        {"SLURM_ARRAY_TASK_ID": "x"},
    ],
)
def test_auto_without_what_it_needs_says_so(environment: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="auto"):
        parse_shard("auto", environment)


def check(**more: object) -> dict[str, object]:
    return {
        "prompts": 8,
        "largest_difference": {"alone": 1e-6, "shuffled": 0.0},
        "tolerance": 1e-4,
        "passed": True,
        "adapter_effect": None,
        **more,
    }


def test_a_self_check_passes_only_where_every_part_passed() -> None:
    parts = [check(), check(largest_difference={"alone": 0.0, "shuffled": 3e-3}, passed=False)]
    united = unite_self_checks(parts)  # type: ignore[arg-type]
    assert united["passed"] is False
    assert united["prompts"] == 16
    assert united["largest_difference"] == {"alone": 1e-6, "shuffled": 3e-3}
    assert unite_self_checks([check(), check()])["passed"] is True  # type: ignore[list-item]


def finished(folder: Path, shard: Shard) -> Path:
    folder.mkdir(parents=True)
    (folder / "predictions.jsonl").write_text("{}\n", encoding="utf-8")
    blocks = {name: {} for name in ("content", "config", "submission", "run", "environment")}
    sha256 = "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
    write_shard(folder, shard, **blocks, predictions={"sha256": sha256, "rows": 1})
    return folder


def test_a_shard_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = finished(tmp_path / "a", Shard(1, 3))
    assert read_shard(folder).shard == Shard(1, 3)
    assert find_shards(folder) == [folder]
    assert find_shards(tmp_path) == [folder]
    assert find_shards(tmp_path / "nowhere") == []


def test_a_damaged_shard_is_refused(tmp_path: Path) -> None:
    folder = finished(tmp_path / "a", Shard(1, 3))
    (folder / "predictions.jsonl").write_text("{} \n", encoding="utf-8")
    with pytest.raises(InvalidInput, match="SHARD_DAMAGED"):
        read_shard(folder)
    value = json.loads((folder / NAME).read_text(encoding="utf-8"))
    for broken in ("no JSON", "[]", json.dumps({**value, "more": 1}), json.dumps({**value, "shard": 1})):
        (folder / NAME).write_text(broken, encoding="utf-8")
        with pytest.raises(InvalidInput, match="SHARD_DAMAGED"):
            read_shard(folder)
