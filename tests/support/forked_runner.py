"""Run the command again and again in forked children of one process, so that libraries are imported once.

A model is loaded in the child itself, not in the process of its own that it has otherwise; a card names the protections
which that process would have. What only reads prompts does so in a protected fork of the child. So this stands for the
installed command where no process is what is tested. Libraries of models are imported once a command has opened one or
read prompts.

Reads from stdin one JSON object per line: `arguments`, `environment`, `cwd`; `stop` (null, or [n, kind]): the child is
killed at its n-th durability point (from 0): before a file is synced, renamed or removed or a folder made, under the
folder `under`. With kind "torn", the file that was about to be synced loses half of what it gained since the last sync:
what a power cut may do. With `user`, the child gives up being root for that user; with `file_bytes` it can write no
larger file. Writes one JSON object per line: `code` (negative: the signal), `points` passed, `stdout`, `stderr`.

With `into`, two files for what it says, the child is not waited for, and its model has a process of its own, a fork of
it: the answer is its number. The answer to `{"poll": number}` is its exit code, or null while it runs.
"""

import atexit
import gc
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
from functools import cache, partial
from typing import Any

from support.forked_script import end_with
from support.forked_worker import LIBRARIES, ForkedPopen, import_libraries, subprocess_with

from runner.cli import main
from runner.models.worker import process

# What every child needs.
LIGHT = (
    "runner.artifacts",
    "runner.evaluation.evaluate",
    "runner.evaluation.score",
    "runner.report.terminal",
    "runner.scorecard.recompute",
    "runner.scorecard.verify",
)
MODELS = (*LIBRARIES, "peft")
TRAINING = (*MODELS, "runner.training.finetune")
SECONDS = 600
_POINT, _OPENED = b".", b"m"


@cache
def _load(names: tuple[str, ...]) -> None:
    gc.disable()
    for name in names:
        importlib.import_module(name)
    if names != LIGHT:
        import_libraries()
    gc.freeze()  # else each child would look through all that was imported
    gc.enable()


@cache
def _protections() -> dict[str, str]:
    from runner.models.worker import isolation

    return dict(isolation("cpu"))


def _open_here(tell: int, *arguments: Any) -> Any:
    """In this process, whose threads its environment has fixed."""
    os.write(tell, _OPENED)
    from runner.models.local.open import open_backend

    backend: Any = open_backend(*arguments)
    backend.isolation = _protections()
    backend.share = lambda steps: ((step, backend.predict(step)) for step in steps)
    backend.spent = lambda: None
    return backend


def _fork_worker(tell: int, *arguments: Any, **options: Any) -> Any:
    """A process that holds a tokenizer, or a replica, as a fork of this one."""
    os.write(tell, _OPENED)
    return ForkedPopen(*arguments, **options)


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
        os.write(tell, _POINT)

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


def _be_the_command(order: dict[str, Any], tell: int | None) -> None:
    """What the installed command does, to what libraries do at the end."""
    try:
        signal.alarm(SECONDS)
        # Whoever started the tests in the background has the server ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(order["cwd"])
        if order["user"] is not None:
            os.setgroups([])
            os.setgid(order["user"])
            os.setuid(order["user"])
        os.environ.clear()
        os.environ.update(order["environment"])
        if order["file_bytes"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_bytes"],) * 2)
        if tell is not None:
            open_submission = sys.modules["runner.evaluation.open_submission"]
            open_submission.open_isolated = partial(_open_here, tell)  # type: ignore[attr-defined]
            vars(process)["subprocess"] = subprocess_with(partial(_fork_worker, tell))
        if order["under"] is not None:
            _watch(order["under"], order["stop"], tell)
        sys.argv = ["benchmark", *order["arguments"]]
        main()
    finally:
        atexit._run_exitfuncs()


def _load_for(order: dict[str, Any]) -> None:
    _load(LIGHT)
    if order["user"] is not None or order["into"]:  # a user who may not be able to read where Python is
        _load(MODELS)
    if order["arguments"][:1] == ["finetune"]:
        _load(TRAINING)


def _start(order: dict[str, Any]) -> int:
    _load_for(order)
    child = os.fork()
    if child == 0:
        for number, path in enumerate((os.devnull, *order["into"])):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
        end_with(lambda: _be_the_command(order, None))
    return child


def _poll(child: int) -> int | None:
    pid, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def _run(order: dict[str, Any]) -> dict[str, Any]:
    _load_for(order)
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.close(reader)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            end_with(lambda: _be_the_command(order, writer))
        os.close(writer)
        points = 0
        opened = False
        while chunk := os.read(reader, 4096):
            points += chunk.count(_POINT)
            opened |= _OPENED in chunk
        os.close(reader)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if opened:  # the first to open a model imports what that takes by itself; the next ones have it
            _load(MODELS)
            _protections()
        out.seek(0)
        err.seek(0)
        return {"code": code, "points": points, "stdout": out.read().decode(), "stderr": err.read().decode()}


if __name__ == "__main__":
    vars(process)["subprocess"] = subprocess_with(ForkedPopen)
    "".encode("utf-16be")  # else looked for when it is first used, which another user may not
    for line in sys.stdin:
        order = json.loads(line)
        answer = _poll(order["poll"]) if "poll" in order else (_start if order["into"] else _run)(order)
        print(json.dumps(answer), flush=True)
