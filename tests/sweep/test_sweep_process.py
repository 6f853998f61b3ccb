"""A submission's own process: its answer, its faults, its bugs and its end, and how a stop reaches it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.core.errors import BackendError, Fault, Interrupted
from runner.evaluation.evaluate import Settings
from runner.sweep import process
from runner.sweep.plan import Entry
from runner.sweep.process import Outcome, evaluate_in_process
from runner.tasks.selection import RunConfig

ENTRY = Entry("tiny", Path("submission.yaml"), RunConfig(Path("benchmark.yaml")), 1, False, "sha256:" + "0" * 64)
# A sweep of one submission that says when it runs and does not end by itself.
SWEEP = """\
import os, time
from pathlib import Path
from runner.core.errors import Fault, Interrupted
from runner.evaluation.evaluate import Settings
from runner.sweep import process
def evaluate(path, config, settings, key, progress):
    progress("predict", 1, 2)
    print(os.getpid(), flush=True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        raise Interrupted(Fault("INTERRUPTED", "Stopped after 1 of 2 prompts; they are kept.")) from None
process.walk.evaluate = evaluate
from runner.sweep.plan import Entry
from runner.tasks.selection import RunConfig
entry = Entry("tiny", Path("s"), RunConfig(Path("b")), 1, False, "sha256:" + "0" * 64)
done = process.evaluate_in_process(entry, Settings(Path(".")), lambda: None, lambda *_: None)
print(done.exit_code, done.stopped, done.faults[0].code, flush=True)
"""


def outcome(evaluate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Outcome, list[Any]]:
    told: list[Any] = []
    monkeypatch.setattr(process.walk, "evaluate", evaluate)
    done = evaluate_in_process(ENTRY, Settings(tmp_path), lambda: None, lambda *step: told.append(step))  # type: ignore[arg-type,return-value]
    return done, told


def test_a_card_comes_back_with_its_timing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def evaluate(path: Path, config: Any, settings: Settings, key: Any, progress: Any) -> tuple[Path, Any]:
        progress("load", 0, 0)
        for done in range(1000):
            progress("predict", done, 1000)
        (tmp_path / "environment.json").write_text('{"timing": {"prompts": 1000}}', encoding="utf-8")
        return tmp_path, {"pid": os.getpid()}

    done, told = outcome(evaluate, monkeypatch, tmp_path)
    assert (done.exit_code, done.folder, done.timing) == (0, tmp_path, {"prompts": 1000})
    assert done.card is not None
    assert done.card["pid"] != os.getpid()
    assert done.seconds > 0
    assert told[:2] == [("load", 0, 0), ("predict", 0, 1000)]
    assert len(told) < 50


def test_faults_come_back_with_their_exit_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def evaluate(*_: Any) -> None:
        raise BackendError(Fault("WORKER_MEMORY", "It had not enough memory.", line=7))

    done, _ = outcome(evaluate, monkeypatch, tmp_path)
    assert (done.exit_code, done.folder, done.stopped) == (3, None, False)
    assert done.faults == (Fault("WORKER_MEMORY", "It had not enough memory.", line=7),)


@pytest.mark.slow
def test_a_bug_and_a_killed_process_end_their_own_submission(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def bug(*_: Any) -> None:
        raise RuntimeError("one bug")

    done, _ = outcome(bug, monkeypatch, tmp_path)
    assert (done.exit_code, done.faults[0].code) == (3, "RUN_CRASHED")
    assert "one bug" in done.faults[0].message
    assert "Traceback" in capfd.readouterr().err  # a bug of ours is told in full

    done, _ = outcome(lambda *_: os.kill(os.getpid(), signal.SIGKILL), monkeypatch, tmp_path)
    assert (done.exit_code, done.faults[0].code) == (3, "RUN_CRASHED")
    assert "signal 9" in done.faults[0].message


def test_a_stop_before_anything_is_kept_is_a_stop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def evaluate(*_: Any) -> None:
        raise KeyboardInterrupt

    done, _ = outcome(evaluate, monkeypatch, tmp_path)
    assert (done.exit_code, done.faults[0].code) == (Interrupted.exit_code, "INTERRUPTED")


def _minds_interrupts() -> None:
    """As a shell starts it; tests that run in the background would let it inherit that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def sweep() -> Any:
    started = subprocess.Popen(
        [sys.executable, "-c", SWEEP],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=_minds_interrupts,
    )
    with started:
        assert started.stdout is not None
        yield started, int(started.stdout.readline())
        started.kill()


def is_gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return True


@pytest.mark.slow
def test_an_interrupt_is_passed_on_and_waited_for(sweep: Any) -> None:
    started, child = sweep
    assert os.getpgid(child) != os.getpgid(started.pid)  # a terminal interrupts the sweep alone
    started.send_signal(signal.SIGINT)
    assert started.stdout.readline() == "5 True INTERRUPTED\n"
    assert started.wait(30) == 0
    assert is_gone(child)


@pytest.mark.slow
def test_an_interrupt_within_a_message_loses_none_of_it() -> None:
    """The first four bytes of a message are its length; the sweep interrupts itself when it has read them."""
    torn = """\
import os, signal
from multiprocessing.connection import Connection
receive = Connection._recv
def interrupted(self, size, *rest):
    got = receive(self, size, *rest)
    Connection._recv = receive
    os.kill(os.getpid(), signal.SIGINT)
    return got
Connection._recv = interrupted
"""
    done = subprocess.run(
        [sys.executable, "-c", torn + SWEEP], capture_output=True, text=True, preexec_fn=_minds_interrupts, timeout=60
    )
    assert done.stdout.splitlines()[-1:] == ["5 True INTERRUPTED"], done.stderr


@pytest.mark.slow
def test_a_sweep_that_is_killed_takes_its_submission_with_it(sweep: Any) -> None:
    started, child = sweep
    started.kill()
    started.wait(30)
    until = time.monotonic() + 30
    while not is_gone(child):
        assert time.monotonic() < until
        time.sleep(0.01)
