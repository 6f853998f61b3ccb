"""A fresh interpreter in a session of its own, spoken to through pipes, watched by the clock, and surely ended."""

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.core import resources
from runner.core.errors import BackendError, Fault
from runner.core.private_folder import make_private_folder
from runner.core.text import printable
from runner.models.worker import protocol

ENTRY = "runner.models.worker.server:main"

# The collector of garbage rests until the libraries are imported (`runner.models.local.open`).
_START = (
    "import gc, importlib, json, sys; "
    "gc.disable(); "
    "sys.path[:] = json.loads(sys.argv[1]); "
    "module, function = sys.argv[2].split(':'); "
    "getattr(importlib.import_module(module), function)(int(sys.argv[3]))"
)
_PASSED_ON = frozenset(
    {
        "PATH",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "LD_LIBRARY_PATH",
        "CUBLAS_WORKSPACE_CONFIG",
        "TOKENIZERS_PARALLELISM",
        "PYTHONHASHSEED",
        "PYTORCH_ALLOC_CONF",
        "PYTORCH_CUDA_ALLOC_CONF",
    }
)
_PASSED_ON_FROM = ("CUDA_", "NVIDIA_", "OMP_", "MKL_", "KMP_", "OPENBLAS_", "RAYON_")
_FOLDER = "moral-ambiguity-worker-"
_STDERR_BYTES = 16 << 10
_READS_AT_ONCE = 64
_LAST_LINES = 6
_LINE_LENGTH = 200
_SIGNS_OF_MEMORY = ("memory allocation of", "std::bad_alloc", "MemoryError", "Cannot allocate memory")


class Process:
    """Holds a child process and its private folder; `close` ends it, and so does the end of this process."""

    def __init__(self, threads: int | None = None, handles: Sequence[int] = ()) -> None:
        try:
            self._folder, self._lock = make_private_folder(_FOLDER)
        except OSError as problem:
            message = f"The process that holds the model has no place for its files: {problem.strerror}."
            raise BackendError(Fault("WORKER_START", message, file=problem.filename)) from None
        try:
            self._child = subprocess.Popen(
                # Like -I, but PYTHONHASHSEED counts; no other variable of Python's is passed on.
                [sys.executable, "-s", "-P", "-B", "-X", "faulthandler", "-c", _START, *self._arguments()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._folder,
                env=_environment(self._folder, threads),
                start_new_session=True,
                pass_fds=handles,
                bufsize=0,
            )
        except OSError as problem:
            self._leave_folder()
            message = f"The process that holds the model cannot be started: {problem.strerror}."
            raise BackendError(Fault("WORKER_START", message, file=problem.filename)) from None
        pipes = self._child.stdin, self._child.stdout, self._child.stderr
        self._to, self._from, self._stderr = (pipe.fileno() for pipe in pipes if pipe is not None)
        for pipe in (self._to, self._from, self._stderr):
            os.set_blocking(pipe, False)
        self._read = bytearray()
        self._said = bytearray()
        self._ended = False

    @staticmethod
    def _arguments() -> tuple[str, str, str]:
        root = str(resources.PACKAGE.parent)
        path = [entry for entry in sys.path if Path(entry).is_absolute()]
        return json.dumps(path if root in path else [*path, root]), ENTRY, str(os.getpid())

    @property
    def folder(self) -> Path:
        """The only folder that the child may write to."""
        return self._folder

    def send(self, message: Mapping[str, Any], seconds: float, activity: str) -> None:
        """Give the child a message; raises `BackendError` as `receive` does."""
        self.send_bytes(protocol.to_line(message), seconds, activity)

    def send_bytes(self, lines: bytes, seconds: float, activity: str) -> None:
        """Give the child whole messages, as they were encoded."""
        waiting = memoryview(lines)
        deadline = time.monotonic() + seconds
        while waiting:
            self._wait(deadline, activity, sending=True)
            try:
                waiting = waiting[os.write(self._to, waiting) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._lost(activity) from None

    def receive(self, seconds: float, activity: str) -> dict[str, Any]:
        """The child's next message: an item, ok, or an error; raises what `receive_line` does."""
        try:
            return protocol.message_of(self.receive_line(seconds, activity))
        except protocol.ProtocolError as problem:
            raise self.refuse(str(problem), activity) from None

    def receive_line(self, seconds: float, activity: str) -> bytes:
        """The child's next line, without its end and unread.

        Raises `BackendError`: `WORKER_TIMEOUT` when `seconds` pass without one or the child has used up the time of the
        processor that it gave itself, `WORKER_MEMORY` and `WORKER_CRASH`
        when the child is gone, `WORKER_REPLY` when it says what no request calls for. Then it is ended.
        """
        deadline = time.monotonic() + seconds
        searched = 0
        while (end := self._read.find(b"\n", searched)) < 0:
            searched = len(self._read)
            if searched > protocol.MOST_BYTES:
                raise self.refuse(f"a line of more than {protocol.MOST_BYTES >> 20} MiB", activity)
            self._wait(deadline, activity)
            with contextlib.suppress(BlockingIOError):
                chunk = os.read(self._from, 1 << 20)
                if not chunk:
                    raise self._lost(activity)
                self._read += chunk
        line = bytes(self._read[:end])
        del self._read[: end + 1]
        return line

    def refuse(self, what: str, activity: str) -> BackendError:
        """End a child that said `what`; the error to raise."""
        self.close()
        return refusal(what, activity)

    def kill(self) -> None:
        """End the child, whichever thread speaks to it now; what belongs to it stays until `close`."""
        if not self._ended:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the child and all that belongs to it, and take its folder away."""
        if self._ended:
            return
        self.kill()
        self._ended = True
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()
        self._leave_folder()

    # --- inside ----------------------------------------------------------------------------------------------------

    def _wait(self, deadline: float, activity: str, *, sending: bool = False) -> None:
        """Until the child can be written to or has written, keeping what it says on standard error."""
        with selectors.DefaultSelector() as selector:
            event = selectors.EVENT_WRITE if sending else selectors.EVENT_READ
            selector.register(self._to if sending else self._from, event)
            stderr = selector.register(self._stderr, selectors.EVENT_READ)
            while True:
                # A child that is never silent makes something ready for ever, so the clock is read each time.
                remaining = deadline - time.monotonic()
                ready = selector.select(remaining) if remaining > 0 else []
                if not ready:
                    raise self._too_late(activity)
                if stderr in [key for key, _ in ready] and not self._listen():
                    selector.unregister(self._stderr)
                if any(key is not stderr for key, _ in ready):
                    return

    def _listen(self) -> bool:
        """Take what is on standard error, but not for ever; false once it is closed."""
        try:
            for _ in range(_READS_AT_ONCE):
                chunk = os.read(self._stderr, 1 << 16)
                if not chunk:
                    return False
                self._said = (self._said + chunk)[-_STDERR_BYTES:]
        except BlockingIOError:
            pass
        return True

    def _too_late(self, activity: str) -> BackendError:
        # The interpreter writes where it is when it is aborted, even from within a library that does not return.
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(signal.SIGABRT)
        self._exit_code(2)
        message = f"The process that holds the model did not answer in time while {activity}, and was ended."
        return self._failure("WORKER_TIMEOUT", message)

    def _lost(self, activity: str) -> BackendError:
        """Why the child is gone, from how it ended and what it said last."""
        code = self._exit_code(5)
        if code == -signal.SIGXCPU:
            message = f"The process that holds the model used up its time of the processor while {activity}."
            return self._failure("WORKER_TIMEOUT", message)
        stderr_text = self._said.decode(errors="replace")
        if code is None:
            message = "closed its pipe"
        elif code < 0:
            message = f"was ended by {signal.Signals(-code).name}"
        else:
            message = f"ended with exit code {code}"
        of_memory = code == -signal.SIGKILL or any(sign in stderr_text for sign in _SIGNS_OF_MEMORY)
        reason = ", most likely for want of memory" if of_memory else ""
        return self._failure(
            "WORKER_MEMORY" if of_memory else "WORKER_CRASH",
            f"The process that holds the model {message} while {activity}{reason}.",
        )

    def _exit_code(self, seconds: float) -> int | None:
        """How the child ended, or None if it still runs; its last output is stored."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(seconds)
        self._listen()
        return self._child.returncode

    def _failure(self, code: str, message: str) -> BackendError:
        lines = [line.strip() for line in self._said.decode(errors="replace").splitlines() if line.strip()]
        last_lines = " | ".join(printable(line)[:_LINE_LENGTH] for line in lines[-_LAST_LINES:])
        self.close()
        return BackendError(Fault(code, message, hint=f"Its last words: {last_lines}" if last_lines else None))

    def _leave_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)


def refusal(what: str, activity: str) -> BackendError:
    """`WORKER_REPLY`: a process that holds a model said `what`, which no request calls for."""
    return BackendError(
        Fault("WORKER_REPLY", f"The process that holds the model answered with {what}, while {activity}.")
    )


def _environment(folder: Path, threads: int | None) -> dict[str, str]:
    """Only what decides where libraries are and how they compute: no token, no key, no path of the user's."""
    # Read when the libraries are loaded; MKL's own variable would win over the general one, tokenizers use Rayon.
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    counted = dict.fromkeys(names, str(threads)) if threads else {}
    inherited = {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_FROM)
    }
    own = str(folder)
    return {
        "PYTHONHASHSEED": "0",
        **inherited,
        **counted,
        "HOME": own,
        "TMPDIR": own,
        "USER": "worker",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # It may start no compiler; bitsandbytes, which peft imports, would import torch's all the same: .8 seconds.
        "TORCHDYNAMO_DISABLE": "1",
    }
