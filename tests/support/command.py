"""The installed command as a subprocess, in a home of its own, as its users have it."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from runner.cli import main

BENCHMARK = Path(sys.executable).with_name("benchmark")


@dataclass(frozen=True)
class Command:
    """Runs `benchmark` with keys, cache and working directory in `home`, on one thread and without a network."""

    home: Path
    program: tuple[str, ...] = (str(BENCHMARK),)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """No variable of this process but the path, so that nobody's settings decide a test."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": tempfile.gettempdir(),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "LC_ALL": "C.UTF-8",
            **(more or {}),
        }

    def __call__(
        self, *arguments: object, code: int | None = 0, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; the exit code must be `code` (None: any), and a traceback is never right."""
        done = subprocess.run(
            [*self.program, *map(str, arguments)],
            **{"cwd": self.home, "stdin": subprocess.DEVNULL, **options},
            env=self.environment(env),
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
        said = f"{' '.join(map(str, arguments))}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert "Traceback" not in done.stderr, said
        assert code is None or done.returncode == code, f"exit code {done.returncode}, not {code}: {said}"
        return done

    def start(self, arguments: Sequence[object], **options: Any) -> subprocess.Popen[str]:
        """Start, for a test that disturbs it."""
        return subprocess.Popen(
            [*self.program, *map(str, arguments)],
            **{"cwd": self.home, "stdin": subprocess.DEVNULL, "preexec_fn": _minds_interrupts, **options},
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )


def _minds_interrupts() -> None:
    """A shell that starts the tests in the background lets them ignore SIGINT; what they start would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_here(*arguments: str) -> tuple[int, str]:
    """Run a command line in this process, which takes a tenth of the time; exit code and all that was printed."""
    done = CliRunner().invoke(main, arguments, prog_name="benchmark", catch_exceptions=False)
    return done.exit_code, done.output
