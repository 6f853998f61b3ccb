"""Copies of a model share the steps; one that fails ends all, and what any of them had finished is kept."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import tiny_submission
from support.paths import TESTS
from test_worker import PROMPTS, QUICK, fault, gone

from runner.core.errors import BackendError
from runner.models.base import LoadOptions
from runner.models.worker import ACTIVE, Replicas, Worker, device_names, open_replicas, process, threads_per_replica

Open = Callable[..., Replicas]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Open]:
    """Open two processes, the second of which knows that it is."""
    made: list[Replicas] = []

    def run(kind: str) -> Replicas:
        monkeypatch.setattr(process, "ENTRY", f"support.misbehaving_worker:{kind}")
        submission = tiny_submission.of(tmp_path)
        made.append(open_replicas(submission, tmp_path, None, LoadOptions(device="cpu,cpu:1"), QUICK))
        return made[-1]

    yield run
    for copies in made:
        copies.close()


def numbers(copies: Replicas) -> list[int]:
    """The numbers of the processes, which a `Sound` model gives as its memory."""
    return [worker.peak_memory_bytes() for worker in copies.workers]


def all_ended(processes: list[int]) -> bool:
    waiting = [thread.name for thread in threading.enumerate() if thread.name.startswith("copy on")]
    return waiting == [] and all(gone(number) for number in processes)


# --- which devices -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (None, [None]),
        ("cpu", ["cpu"]),
        ("cuda:3", ["cuda:3"]),
        ("cpu,cpu", ["cpu", "cpu"]),
        ("cuda:0, cuda:1", ["cuda:0", "cuda:1"]),
        ("cuda,cuda:1", ["cuda", "cuda:1"]),
    ],
)
def test_a_comma_list_is_a_copy_on_each(given: str | None, names: list[str | None]) -> None:
    assert device_names(given) == names


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("cpu,cuda:0", ["mixes kinds"]),
        ("cuda:1,cuda:1", ["names cuda:1 more than once"]),
        ("cuda,cuda:0", ["names cuda:0 more than once"]),
        ("cuda:0+cuda:1,cuda:1+cuda:2", ["names cuda:1 more than once"]),
        ("cpu,", ["an empty name"]),
        (",cuda:2,cuda:2,cpu", ["an empty name", "mixes kinds", "names cuda:2 more than once"]),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(given: str, told: list[str]) -> None:
    with pytest.raises(BackendError) as caught:
        device_names(given)
    faults = caught.value.faults
    assert [found.code for found in faults] == ["DEVICE"] * len(told)
    assert all(words in found.message for words, found in zip(told, faults, strict=True))


def test_each_copy_has_its_share_of_the_cores_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert [threads_per_replica(None, copies) for copies in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert threads_per_replica(5, 2) == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_per_replica(None, 2) is None


# --- sharing -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_step_is_answered_once_and_all_answer(opened: Open) -> None:
    copies = opened("copy")
    assert copies.plan(PROMPTS) == [[number] for number in range(len(PROMPTS))]
    steps = [PROMPTS[at : at + 3] for at in range(0, len(PROMPTS), 3)]
    shared = list(copies.share(steps))
    assert sorted(id(step) for step, _ in shared) == sorted(map(id, steps))
    for step, answers in shared:
        assert [answer.item_id for answer in answers] == [prompt.item_id for prompt in step]
        assert len({answer.prompt_tokens for answer in answers}) == 1
    assert {answers[0].prompt_tokens for _, answers in shared} == set(numbers(copies))
    assert all_ended([])
    # Nothing left to do is done; and the first goes on alone.
    assert list(copies.share([])) == []
    assert [answer.prompt_tokens for answer in copies.predict(PROMPTS[:2])] == numbers(copies)[:1] * 2
    assert copies.describe() == {"backend": "causal", "dtype": "float32"}
    assert copies.peak_memory_bytes() == max(numbers(copies))


@pytest.mark.slow
def test_whichever_is_free_takes_the_next(opened: Open) -> None:
    copies = opened("lame")
    first, second = numbers(copies)
    by = [answers[0].prompt_tokens for _, answers in copies.share([prompt] for prompt in PROMPTS[:40])]
    assert 1 <= by.count(second) <= 5
    assert by.count(first) + by.count(second) == 40


@pytest.mark.slow
def test_the_protections_are_those_that_all_have(opened: Open) -> None:
    copies = opened("copy")
    one = copies.workers[0].isolation
    assert copies.isolation == one
    copies.workers[1].isolation = {**one, "files": "unavailable: a test"}
    assert copies.isolation == {**one, "files": "unavailable: a test"}
    assert ACTIVE in copies.isolation.values()


# --- what differs --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_devices_that_differ_are_told_with_the_field(opened: Open) -> None:
    found = fault(lambda: opened("renamed").plan(PROMPTS))
    assert found.code == "DEVICES_DIFFER"
    assert 'differ in "device.name": "one" on cpu, "two\\n\\u001b[31m" on cpu:1.' in found.message


@pytest.mark.slow
def test_plans_that_differ_are_refused(opened: Open) -> None:
    assert fault(lambda: opened("cut").plan(PROMPTS)).code == "DEVICES_DIFFER"


@pytest.mark.slow
def test_what_one_plans_after_the_first_time_the_others_need_not(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = opened("copy")
    planned: list[object] = []
    plan = Worker.plan
    monkeypatch.setattr(Worker, "plan", lambda self, prompts: planned.append(self) or plan(self, prompts))
    for _ in range(3):
        assert copies.plan(PROMPTS[:5]) == [[number] for number in range(5)]
    assert sorted(map(copies.workers.index, planned)) == [0, 0, 0, 1]


# --- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_that_cannot_be_loaded_ends_all(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    start = process.Process.__init__

    def watched(self: process.Process, *arguments: Any) -> None:
        start(self, *arguments)
        started.append(self._child.pid)

    monkeypatch.setattr(process.Process, "__init__", watched)
    assert fault(lambda: opened("absent")).message == "There is no second device."
    assert len(started) == 2
    assert all_ended(started)


@pytest.mark.slow
@pytest.mark.parametrize(("bad", "code"), [(0, "WORKER_CRASH"), (2, "LOGITS_NON_FINITE")])
@pytest.mark.parametrize("beside", [1, 3], ids=["one that hangs", "one that answers"])
def test_the_first_failure_is_told_and_all_end(opened: Open, bad: int, code: str, beside: int) -> None:
    copies = opened("fragile")
    processes = numbers(copies)
    # What a copy that hangs had to read next, nobody answers: what fails comes some steps later.
    order = [*range(10, 30), beside, *range(30, 40), bad, *range(40, 400)]
    given: list[str] = []

    def run() -> None:
        for _, answers in copies.share([PROMPTS[number]] for number in order):
            given.extend(answer.item_id for answer in answers)

    started = time.monotonic()
    assert fault(run).code == code
    assert time.monotonic() - started < 30
    # The other may have been in the middle of one.
    assert len({str(number) for number in order[:20]} - set(given)) <= 1
    assert str(bad) not in given
    assert len(given) == len(set(given)) < len(order)
    assert all_ended(processes)


@pytest.mark.slow
def test_what_was_finished_after_a_failure_is_given_before_it_is_told(opened: Open) -> None:
    copies = opened("fragile")
    steps = [[10], [*range(50, 80), 0], *([number] for number in range(11, 40))]
    shared = copies.share([PROMPTS[number] for number in step] for step in steps)
    given = [next(shared)[1][0].item_id]
    time.sleep(3)  # long enough for all others to be answered, by the process that is left

    def run() -> None:
        for _, answers in shared:
            given.append(answers[0].item_id)

    assert fault(run).code == "WORKER_CRASH"
    # But for the one that the process had to read next which failed.
    assert len(given) == len(set(given)) == 29
    assert set(given) < {str(number) for number in range(10, 40)}


@pytest.mark.slow
def test_a_stop_ends_all_and_gives_what_was_finished(opened: Open) -> None:
    copies = opened("fragile")
    processes = numbers(copies)

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    given: list[str] = []

    def run() -> None:
        for _, answers in copies.share([PROMPTS[number]] for number in (10, 11, 1, 1)):
            given.append(answers[0].item_id)

    try:
        signal.setitimer(signal.ITIMER_REAL, 2)
        with pytest.raises(KeyboardInterrupt):
            run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert sorted(given) == ["10", "11"]
    assert all_ended(processes)


@pytest.mark.slow
def test_closing_in_the_middle_ends_all(opened: Open) -> None:
    copies = opened("fragile")
    processes = numbers(copies)
    shared = copies.share([PROMPTS[number]] for number in (10, 1, 1))
    next(shared)
    copies.close()
    assert all_ended(processes)
    copies.close()  # closing twice is closing


PARENT = """
import sys
from pathlib import Path
from typing import Any
from runner.models.base import LoadOptions
from runner.models.worker import open_replicas, process
import test_replicas, test_worker
from support import tiny_submission
process.ENTRY = "support.misbehaving_worker:fragile"
copies = open_replicas(tiny_submission.of(Path.cwd()), Path.cwd(), None, LoadOptions(device="cpu,cpu:1"))
print(*test_replicas.numbers(copies), flush=True)
for _ in copies.share([test_worker.PROMPTS[1]] for _ in range(4)):
    pass
"""


@pytest.mark.slow
def test_no_copy_outlives_the_process_that_started_them(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={**os.environ, "PYTHONPATH": f"{TESTS}:{Path(__file__).parent}"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        processes = [int(number) for number in parent.stdout.readline().split()]
        time.sleep(0.3)  # both are asked, and do not answer
        parent.kill()
        parent.communicate(timeout=30)
    assert len(processes) == 2
    assert all(gone(number) for number in processes)
