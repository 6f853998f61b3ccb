"""The command in forks of one process that has its libraries already: the way in which most tests run it."""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from support.command import Command
from support.paths import ROOT, SUPPORT, TESTS

_READ_LATE = ("BENCHMARK_", "MY_KEY", "OPENAI_API_KEY", "SSL_CERT_FILE", "no_proxy")


@dataclass(frozen=True)
class Done:
    code: int
    points: int
    stdout: str
    stderr: str


@cache
def _server() -> subprocess.Popen[str]:
    """`forked_runner.py`, waiting for orders until the tests end."""
    home = tempfile.TemporaryDirectory()
    process = subprocess.Popen(
        [sys.executable, str(SUPPORT / "forked_runner.py")],
        env=Command(Path(home.name)).environment({"PYTHONPATH": f"{ROOT}:{TESTS}", "TORCHDYNAMO_DISABLE": "1"}),
        cwd=home.name,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )

    @atexit.register
    def end() -> None:
        process.communicate(timeout=60)
        home.cleanup()

    return process


def _ask(order: Mapping[str, Any]) -> Any:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(order) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())


class Running:
    """As far as tests use it, `subprocess.Popen` of a command that runs in a fork."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._said = tempfile.TemporaryDirectory()
        self._files = [str(Path(self._said.name) / name) for name in ("stdout", "stderr")]
        self.pid: int = _ask({**order, "into": self._files})
        self.returncode: int | None = None

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.communicate()
        self._said.cleanup()

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = _ask({"poll": self.pid})
        return self.returncode

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """Wait for its end; what it wrote to standard output and to standard error."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            assert time.monotonic() < end, "it does not end"
            time.sleep(0.01)
        stdout, stderr = (Path(file).read_text(encoding="utf-8") for file in self._files)
        return stdout, stderr

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@dataclass(frozen=True)
class Forked(Command):
    """As `Command`, without a Python of its own for each call, and without one of its own for the model.

    What is asked for with variables that libraries read when they are imported, or with options of `subprocess`, is run
    as `Command` does, and so is what `start` starts. `installed` is the command as its users have it, in the same home.
    """

    def start_fork(self, arguments: Sequence[object]) -> Running:
        """Start in a fork, for a test that disturbs it; the model has a process of its own, a fork too."""
        words = [str(argument) for argument in arguments]
        order = {"arguments": words, "environment": self.environment(), "cwd": str(self.home)}
        return Running({**order, "under": None, "stop": None, "user": None, "file_bytes": None})

    @property
    def installed(self) -> Command:
        return Command(self.home)

    def __call__(
        self, *arguments: object, code: int | None = 0, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        if not all(name.startswith(_READ_LATE) for name in env or ()) or options.keys() - {"cwd"}:
            return super().__call__(*arguments, code=code, env=env, **options)
        words = [str(argument) for argument in arguments]
        done = self.run(words, code=code, cwd=options.get("cwd"), env=env)
        return subprocess.CompletedProcess(["benchmark", *words], done.code, done.stdout, done.stderr)

    def run(
        self,
        arguments: Sequence[str],
        *,
        under: Path | None = None,
        stop: tuple[int, str] | None = None,
        user: int | None = None,
        file_bytes: int | None = None,
        code: int | None = 0,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """Run to the end, or to the durability point `stop` among those under the folder `under`, as `user`.

        No file may become larger than `file_bytes`.
        """
        order = {
            "arguments": arguments,
            "environment": self.environment(env),
            "cwd": str(cwd or self.home),
            "under": str(under) if under else None,
            "stop": stop,
            "user": user,
            "file_bytes": file_bytes,
            "into": None,
        }
        done = Done(**_ask(order))
        said = f"{' '.join(arguments)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert "Traceback" not in done.stderr, said
        expected = -signal.SIGKILL if stop else code
        assert expected is None or done.code == expected, f"exit code {done.code}, not {expected}: {said}"
        return done
