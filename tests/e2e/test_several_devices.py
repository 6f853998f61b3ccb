"""Runs whose steps several copies of the model share: the same bytes as with one, also after a crash or a stop."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.forked import Forked
from test_crashes import children, folders, is_gone, wait_for_rows

pytestmark = pytest.mark.slow

TWO = ("--device", "cpu,cpu", "--threads", "1")
ONE = ("--device", "cpu", "--threads", "1")
# Steps of several prompts, of which bfloat16 would show if they were cut otherwise.
STEPS = ("--suite", "sample", "--task", "dilemmas", "--dtype", "bfloat16", "--batch-tokens", "300")


def predictions(run: Path) -> bytes:
    return (run / "predictions.jsonl").read_bytes()


def timing(run: Path) -> dict[str, Any]:
    return json.loads((run / "environment.json").read_text(encoding="utf-8"))["timing"]


def journal_answers(run: Path) -> int:
    """Answers in whole lines of a journal."""
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)[1:]
    return sum(len(json.loads(line.partition(b" ")[2])) for line in lines if line.endswith(b"\n"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_two_copies_give_the_bytes_of_one(
    evaluate: Any, command: Command, submissions: Any, tmp_path: Path, dtype: str
) -> None:
    options = ("--dtype", dtype, "--batch-tokens", 1000, "--limit", 8)
    one, two = (evaluate(submissions.lora, tmp_path / devices[1], *options, *devices) for devices in (ONE, TWO))
    assert predictions(two) == predictions(one)
    assert [timing(run)["copies_of_the_model"] for run in (one, two)] == [1, 2]
    cards = [json.loads((run / "scorecard.json").read_text(encoding="utf-8")) for run in (one, two)]
    for name in ("submission", "data", "benchmark", "predictions", "tasks"):
        assert cards[0][name] == cards[1][name], name
    assert [card["run"]["self_check"]["passed"] for card in cards] == [True, True]
    assert cards[0]["run"]["isolation"] == cards[1]["run"]["isolation"]
    command("verify", two, "--recompute", "--quiet")


@pytest.fixture(scope="module")
def unbroken(evaluate: Any, submissions: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return predictions(evaluate(submissions.base, tmp_path_factory.mktemp("one"), *STEPS[2:], *ONE))


def test_a_copy_that_is_killed_ends_the_run_which_goes_on_with_one_device(
    command: Forked, evaluate: Any, submissions: Any, unbroken: bytes, tmp_path: Path
) -> None:
    with command.start_fork(["evaluate", submissions.base, *STEPS, *TWO, "-o", tmp_path]) as run:
        wait_for_rows(run, tmp_path, 10)
        workers = children(run.pid)
        os.kill(workers[-1], signal.SIGKILL)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 3, said
    assert len(workers) == 2
    assert all(map(is_gone, workers))
    assert "WORKER_MEMORY" in said
    assert "Traceback" not in said
    [left] = folders(tmp_path)
    kept = journal_answers(left)
    assert kept > 10  # several to a row
    assert evaluate(submissions.base, tmp_path, *STEPS[2:], *ONE) == left
    assert timing(left)["prompts_resumed"] == kept
    assert predictions(left) == unbroken


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["INT", "KILL"])
def test_a_stopped_run_leaves_no_copy_and_goes_on_with_two(
    command: Forked, evaluate: Any, submissions: Any, unbroken: bytes, tmp_path: Path, number: int
) -> None:
    with command.start_fork(["evaluate", submissions.base, *STEPS, *TWO, "-o", tmp_path]) as run:
        wait_for_rows(run, tmp_path, 10)
        workers = children(run.pid)
        run.send_signal(number)
        _, said = run.communicate(timeout=60)
    assert run.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 5), said
    assert ("of 960 prompts; they are kept." in " ".join(said.split())) is (number == signal.SIGINT)
    assert len(workers) == 2
    assert all(map(is_gone, workers))
    assert "Traceback" not in said
    [left] = folders(tmp_path)
    kept = journal_answers(left)
    assert evaluate(submissions.base, tmp_path, *STEPS[2:], *TWO) == left
    assert timing(left)["prompts_resumed"] == kept
    assert predictions(left) == unbroken


def test_lists_that_make_no_sense_are_told_before_any_work(command: Command, submissions: Any, tmp_path: Path) -> None:
    for devices, words in {"cpu,cuda": "mixes kinds", "cuda,cuda:0": "names cuda:0 more than once"}.items():
        done = command("evaluate", submissions.base, *STEPS, "--device", devices, "-o", tmp_path, code=3)
        assert words in " ".join(done.stderr.split())
        assert "Loading" not in done.stderr
    found = command("doctor", "--device", "cpu,cuda", "--format", "json", code=3)
    assert "mixes kinds" in found.stdout


def test_the_doctor_looks_at_each_device(command: Command) -> None:
    found = command("doctor", "--device", "cpu,cpu", "--format", "json", code=None, env={"OMP_NUM_THREADS": "3"})
    assert "2 processes, each with a copy of the model; threads as the environment says" in found.stdout
