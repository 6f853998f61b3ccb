"""One run in parts: whatever computed them, merged they are the run of one machine."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

STEPS = ("--suite", "sample", "--task", "dilemmas", "--limit", "24", "--batch-tokens", "600")
COUNT = 3


def predictions(folder: Path) -> bytes:
    return (folder / "predictions.jsonl").read_bytes()


@pytest.fixture(scope="module")
def whole(command: Any, submissions: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = command("evaluate", submissions.base, *STEPS, "-q", "-o", tmp_path_factory.mktemp("whole"))
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def shards(command: Any, submissions: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    output = tmp_path_factory.mktemp("shards")
    runs = [
        command("evaluate", submissions.base, *STEPS, "-q", "--shard", f"{index}/{COUNT}", "-o", output / str(index))
        for index in range(COUNT)
    ]
    return [Path(run.stdout.splitlines()[-1]) for run in runs]


def test_merged_in_any_order_they_equal_the_run_of_one_machine(
    command: Any, shards: list[Path], whole: Path, tmp_path: Path
) -> None:
    merged = Path(command("merge", *reversed(shards), "-q", "-o", tmp_path).stdout.splitlines()[-1])
    assert predictions(merged) == predictions(whole)
    one, other = (json.loads((folder / "scorecard.json").read_text(encoding="utf-8")) for folder in (whole, merged))
    assert one["tasks"] == other["tasks"]
    assert one["submission"] == other["submission"]
    assert other["run"]["shards"] == COUNT
    assert "recompute" in command("verify", merged, "--recompute").stdout


def test_a_folder_of_shards_is_all_of_them(command: Any, shards: list[Path], whole: Path, tmp_path: Path) -> None:
    for index, shard in enumerate(shards):
        shutil.copytree(shard, tmp_path / "all" / str(index))
    shutil.copytree(shards[0], tmp_path / "all" / "again")  # computed twice with equal answers
    merged = Path(command("merge", tmp_path / "all", "-q", "-o", tmp_path / "out").stdout.splitlines()[-1])
    assert predictions(merged) == predictions(whole)


def test_a_missing_part_is_named(command: Any, shards: list[Path], tmp_path: Path) -> None:
    done = command("merge", shards[0], shards[2], "-o", tmp_path, code=1)
    assert f"1/{COUNT}" in done.stderr
    assert "SHARD_MISSING" in done.stderr
    assert "SHARD_MISSING" in command("merge", tmp_path, "-o", tmp_path / "out", code=1).stderr


def test_parts_of_two_runs_are_refused_with_what_differs(
    command: Any, submissions: Any, shards: list[Path], tmp_path: Path
) -> None:
    options = (*STEPS[:-1], "500")
    done = command("evaluate", submissions.base, *options, "-q", "--shard", f"1/{COUNT}", "-o", tmp_path)
    other = Path(done.stdout.splitlines()[-1])
    refused = command("merge", shards[0], other, shards[2], "-o", tmp_path / "out", code=1).stderr
    assert "SHARD_MISMATCH" in refused
    assert "batch_tokens" in refused
    assert not (tmp_path / "out").exists()


def test_a_part_with_other_answers_is_refused(command: Any, shards: list[Path], tmp_path: Path) -> None:
    from runner.core.canonical import sha256_bytes

    shutil.copytree(shards[1], tmp_path / "other")
    lines = predictions(shards[1]).decode().splitlines(keepends=True)
    row = json.loads(lines[0])
    row["log_scores"][0] -= 0.5
    changed = (json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n" + "".join(lines[1:])).encode()
    (tmp_path / "other" / "predictions.jsonl").write_bytes(changed)
    assert "SHARD_DAMAGED" in command("merge", tmp_path / "other", "-o", tmp_path / "out", code=1).stderr
    shard = json.loads((tmp_path / "other" / "shard.json").read_text(encoding="utf-8"))
    shard["predictions"]["sha256"] = sha256_bytes(changed)
    (tmp_path / "other" / "shard.json").write_text(json.dumps(shard), encoding="utf-8")
    assert "SHARD_DIFFERS" in command("merge", *shards, tmp_path / "other", "-o", tmp_path / "out", code=1).stderr


def test_more_parts_than_steps_are_refused(command: Any, submissions: Any, tmp_path: Path) -> None:
    done = command("evaluate", submissions.base, *STEPS, "--shard", "999/1000", "-o", tmp_path, code=1)
    assert "parts at most" in " ".join(done.stderr.split())


def test_what_is_no_part_is_a_usage_error(command: Any, submissions: Any, tmp_path: Path) -> None:
    for text in ("4/4", "auto", "x"):
        done = command("evaluate", submissions.base, *STEPS, "--shard", text, "-o", tmp_path, code=2)
        assert "--shard" in done.stderr
        assert not any(tmp_path.iterdir())
