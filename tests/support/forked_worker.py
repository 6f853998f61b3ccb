"""The process of a model as a fork of this one, which has its libraries already.

All of `runner.models.worker.process` but the start: the same pipes, folder, environment, protections and limits. An
attack could read other things here than in a run, so tests of what lies in the environment start the true process.
"""

import contextlib
import faulthandler
import gc
import importlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from runner.models.worker import process

LIBRARIES = (
    "runner.models.local.open",
    "runner.models.local.open_causal",
    "runner.models.local.encoder",
    "transformers.models.llama.modeling_llama",
)


@cache
def import_libraries() -> None:
    """What each fork would import, and compute, again."""
    for name in LIBRARIES:
        importlib.import_module(name)
    conversions = importlib.import_module("transformers.conversion_mapping")
    conversions.get_checkpoint_conversion_mapping("llama")  # a thousand patterns are compiled by the first to ask


class ForkedPopen:
    """As far as `process.Process` uses it, `subprocess.Popen` of the interpreter that holds a model."""

    def __init__(
        self, command: Sequence[str], *, cwd: Any, env: Mapping[str, str], pass_fds: Sequence[int], **_: Any
    ) -> None:
        _, entry, parent = command[-3:]
        ours, theirs = [], []
        for direction in ("in", "out", "out"):
            reader, writer = os.pipe()
            ours.append(writer if direction == "in" else reader)
            theirs.append(reader if direction == "in" else writer)
        self.pid = os.fork()
        if self.pid == 0:
            _serve(theirs, pass_fds, os.fspath(cwd), env, entry, int(parent))
        for handle in theirs:
            os.close(handle)
        self.stdin, self.stdout, self.stderr = (
            os.fdopen(handle, mode, buffering=0) for handle, mode in zip(ours, ("wb", "rb", "rb"), strict=True)
        )
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = 60) -> int:
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("worker", timeout)
            time.sleep(0.001)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _serve(
    pipes: Sequence[int], kept: Sequence[int], cwd: str, env: Mapping[str, str], entry: str, parent: int
) -> NoReturn:
    try:
        gc.freeze()  # else it would look through all that was imported
        os.setsid()
        os.chdir(cwd)
        for number, handle in enumerate(pipes):
            os.dup2(handle, number, inheritable=True)
        for handle in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
            if handle > 2 and handle not in kept:
                with contextlib.suppress(OSError):  # the folder's own is closed by now
                    os.close(handle)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(env)
        tempfile.tempdir = None  # was looked for in another environment
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate("rww"))
        faulthandler.enable(2)
        module, function = entry.split(":")
        getattr(importlib.import_module(module), function)(parent)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def subprocess_with(popen: Callable[..., ForkedPopen]) -> SimpleNamespace:
    """What `process` needs of the module `subprocess`, with `popen` in the place of `Popen`."""
    return SimpleNamespace(Popen=popen, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired)


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of models are forks of this one within a test."""
    import_libraries()
    monkeypatch.setattr(process, "subprocess", subprocess_with(ForkedPopen))
