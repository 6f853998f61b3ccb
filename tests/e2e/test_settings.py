"""What the machine's settings change: threads, folders named by variables, and what a container is told."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.forked import Forked

CHOSEN = ("--suite", "sample", "--task", "dilemmas", "--limit", 2, "--quiet")
CONTAINER = {"BENCHMARK_CONTAINER": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_asked_for_are_those_that_compute(
    command: Command, submissions: Any, tmp_path: Path, threads: int
) -> None:
    # Both variables say otherwise.
    env = {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3", "BENCHMARK_EVALUATE_OUTPUT_DIR": str(tmp_path / "results")}
    done = command("evaluate", submissions.base, *CHOSEN, "--device", "cpu", "--threads", threads, env=env)
    folder = Path(done.stdout.strip())
    assert folder.is_relative_to(tmp_path / "results")
    assert "container" not in done.stderr
    found = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    assert found["backend"]["device"]["threads"] == threads
    assert found["backend"]["device"]["deterministic_algorithms"] is True


def test_no_threads_are_refused(command: Command, submissions: Any) -> None:
    done = command("evaluate", submissions.base, "--threads", 0, code=2)
    assert "--threads" in done.stderr
    assert "Loading" not in done.stderr


def test_a_malformed_digest_of_the_image_is_told_before_any_work(command: Command, tmp_path: Path) -> None:
    done = command("evaluate", tmp_path / "missing.yaml", env={"BENCHMARK_IMAGE_DIGEST": "latest"}, code=1)
    assert "BENCHMARK_IMAGE_DIGEST" in done.stderr


def test_in_a_container_what_would_be_lost_is_told(tmp_path: Path) -> None:
    command = Forked(tmp_path)
    predictions = tmp_path / "uniform.jsonl"
    command("baseline", "uniform", "--suite", "sample", "--task", "dilemmas", "--limit", 2, "-o", predictions)
    chosen = ("score", predictions, *CHOSEN, "-o", "results")
    first = command(*chosen, env=CONTAINER).stderr
    assert "gone with this container" in first  # the key that was made
    assert '-v "$PWD/results:' in first
    assert "gone with this container" not in command(*chosen, env=CONTAINER).stderr
    assert command(*chosen).stderr == ""


def test_the_data_folder_of_the_variable(command: Command, tmp_path: Path) -> None:
    named = tmp_path / "named"
    done = command("evaluate", "missing.yaml", code=1, env={"BENCHMARK_DATA_DIR": str(named)})
    assert "missing.yaml" in done.stderr
    found = command("data", "check", "--format", "json", code=None, env={"BENCHMARK_DATA_DIR": str(named)})
    assert str(named) in found.stdout + found.stderr
