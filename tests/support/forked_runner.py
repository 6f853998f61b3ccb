"""Run the command again and again in forked children of one process, so that the libraries are imported once.

The model is loaded in the child itself, not in the process of its own that it has otherwise: what is tested with this
is the walk, and what it leaves on the disk.

Reads from stdin one JSON object per line: `arguments`, and `stop` (null, or [n, kind]): the child is killed at its n-th
durability point (from 0): before a file is synced, renamed or removed or a folder made, under the folder `under`.
With kind "torn", the file that was about to be synced loses half of what it gained since the last sync: what a power
cut may do. With `user`, the child gives up being root for that user. Writes one JSON object per line: `code` (negative:
the signal), `points` passed, `stdout`, `stderr`.
"""

# What every child needs, imported once; another user may not be able to read where Python is.
import gc
import json
import os
import signal
import sys
import tempfile
from typing import Any

import runner.artifacts
import runner.evaluation.evaluate
import runner.models.local.causal
import runner.report.terminal
from runner.cli import main
from runner.models.local.open import open_backend


def _open_here(*arguments: Any, threads: int | None = None, **options: Any) -> Any:
    """In this process, whose threads its environment has fixed."""
    backend: Any = open_backend(*arguments, **options)
    backend.isolation = {"process": "unavailable: a test"}
    return backend


def _watch(under: str, stop: tuple[int, str] | None, tell: int) -> None:
    """Count points, and die at the one that `stop` names."""
    passed = 0
    sizes: dict[int, int] = {}  # by inode: a folder is renamed meanwhile
    sync = os.fsync

    def point(path: str, descriptor: int | None = None) -> None:
        nonlocal passed
        if not path.startswith(under):
            return
        if stop is not None and passed == stop[0]:
            if stop[1] == "torn" and descriptor is not None and not os.path.isdir(path):  # noqa: PTH112
                status = os.fstat(descriptor)
                os.ftruncate(descriptor, (sizes.get(status.st_ino, 0) + status.st_size + 1) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1
        os.write(tell, b".")

    def watched_sync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
        point(path, descriptor)
        sync(descriptor)
        status = os.fstat(descriptor)
        sizes[status.st_ino] = status.st_size

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("os.rename", "os.remove", "os.mkdir"):
            point(os.fspath(arguments[0]))

    os.fsync = watched_sync
    sys.addaudithook(hook)


def _run(order: dict[str, Any]) -> dict[str, Any]:
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.close(reader)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            if order["user"] is not None:
                os.setgroups([])
                os.setgid(order["user"])
                os.setuid(order["user"])
            runner.evaluation.evaluate.open_isolated = _open_here
            _watch(order["under"], order["stop"], writer)
            sys.argv = ["benchmark", *order["arguments"]]
            main()
        os.close(writer)
        points = 0
        while chunk := os.read(reader, 4096):
            points += len(chunk)
        os.close(reader)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        return {"code": code, "points": points, "stdout": out.read().decode(), "stderr": err.read().decode()}


if __name__ == "__main__":
    "".encode("utf-16be")  # else looked for when it is first used, which another user may not
    gc.freeze()  # else each child would look through all that was imported
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), flush=True)
