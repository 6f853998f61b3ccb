"""Code in the place of the model's: it tries what a hostile one might, and tells how each attempt ended."""

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runner.models.worker import sandbox, server

FILES = {
    "read the labels",
    "read the key",
    "list the folder of the labels",
    "list the root",
    "read the password file",
    "read the labels through a link",
    "read the labels through a second name",
    "read the parent's environment",
    "list the parent's open files",
    "read the parent's memory",
    "change the model",
    "write beside the model",
    "write elsewhere",
}
# Which protection stops which attempt.
STOPPED_BY = {
    "files": FILES,
    "disk": {"change its limits on files"},
    "network": {"connect over TCP", "send over UDP", "listen", "connect to a local socket"},
    "signals": {"signal the parent", "signal everybody", "limit the parent", "trace the parent"},
    "processes": {"start a process", "start a program"},
    "capabilities": {"be another user", "change the root"},
    "memory": {"take all memory"},
}


def main(parent: int) -> None:
    """What `runner.models.worker.server` does, with attempts for a model."""
    server.open_backend = lambda *given: Attempts(json.loads(given[-1].dtype), parent)  # type: ignore[assignment]
    server.main(parent)


def unprotected(parent: int) -> None:
    """The same in a process that gives nothing up: what the attempts can do if nothing stops them."""
    sandbox.protect = lambda *_, **__: {"nothing": "unavailable: a test"}  # type: ignore[assignment]
    main(parent)


def bare(parent: int) -> None:
    """The process as it is, with the model that it is told to load, but giving nothing up."""
    sandbox.protect = lambda *_, **__: {"nothing": "unavailable: a test"}  # type: ignore[assignment]
    server.main(parent)


class Attempts:
    """A backend whose facts are how its attempts ended: `done`, or the name of the error that stopped them."""

    def __init__(self, targets: Mapping[str, Any], parent: int) -> None:
        self._outcomes = {name: _outcome(attempt) for name, attempt in _attempts(targets, parent).items()}

    def without_adapter(self) -> None:
        return None

    def describe(self) -> dict[str, Any]:
        return {
            "dtype": "none",
            "outcomes": self._outcomes,
            "environment": dict(os.environ),
            "open": sorted(str(Path("/proc/self/fd", name).readlink()) for name in _numbers("/proc/self/fd")),
            "folder": str(Path.cwd()),
        }


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as problem:
        return errno.errorcode.get(problem.errno or 0, str(problem))
    except MemoryError:
        return "ENOMEM"
    return "done"


def _attempts(targets: Mapping[str, Any], parent: int) -> dict[str, Callable[[], object]]:
    model, labels, key, other = (Path(targets[name]) for name in ("model", "labels", "key", "other"))

    def connect(kind: int, place: Any, family: int = socket.AF_INET) -> None:
        with socket.socket(family, kind) as made:
            made.settimeout(5)
            made.connect(place)
            made.send(b"x")

    def link() -> None:
        os.link(labels, "labels")

    return {
        # What it may.
        "read the model": lambda: (model / "config.json").read_bytes(),
        "write in its own folder": lambda: Path("note").write_bytes(b"x"),
        # What it may not.
        "read the labels": lambda: labels.read_bytes(),
        "read the key": lambda: key.read_bytes(),
        "list the folder of the labels": lambda: list(labels.parent.iterdir()),
        "list the root": lambda: list(Path("/").iterdir()),
        "read the password file": lambda: Path("/etc/passwd").read_bytes(),
        "read the labels through a link": lambda: (Path("link").symlink_to(labels), Path("link").read_bytes()),
        "read the labels through a second name": link,
        "read the parent's environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
        "list the parent's open files": lambda: _numbers(f"/proc/{parent}/fd"),
        "read the parent's memory": lambda: Path(f"/proc/{parent}/mem").open("rb").close(),
        "change the model": lambda: (model / "config.json").write_bytes(b"{}"),
        "write beside the model": lambda: (model / "more").write_bytes(b"x"),
        "write elsewhere": lambda: (other / "more").write_bytes(b"x"),
        "change its limits on files": lambda: Path("big").write_bytes(b"x" * (1 << 20)),
        "connect over TCP": lambda: connect(socket.SOCK_STREAM, ("127.0.0.1", targets["port"])),
        "send over UDP": lambda: connect(socket.SOCK_DGRAM, ("127.0.0.1", targets["port"])),
        "listen": lambda: socket.create_server(("127.0.0.1", 0)).close(),
        "connect to a local socket": lambda: connect(socket.SOCK_STREAM, targets["socket"], socket.AF_UNIX),
        "signal the parent": lambda: os.kill(parent, 0),
        "signal everybody": lambda: os.kill(-1, 0),
        "limit the parent": lambda: resource.prlimit(parent, resource.RLIMIT_CORE),
        "trace the parent": lambda: _call(_PTRACE_SEIZE, parent),
        "start a process": _fork,
        "start a program": lambda: subprocess.run(["/bin/true"], check=True),
        "be another user": lambda: os.setuid(65534 if os.getuid() == 0 else 0),
        "change the root": lambda: os.chroot("."),
        "take all memory": lambda: mmap.mmap(-1, 1 << 46, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close(),
    }


_PTRACE_SEIZE = 0x4206


def _call(request: int, process: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    arguments = (ctypes.c_long(request), ctypes.c_long(process), None, None)
    if library.ptrace(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _fork() -> None:
    made = os.fork()
    if made == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(made, 0)


def _numbers(folder: str) -> list[str]:
    return [path.name for path in Path(folder).iterdir() if path.is_symlink()]
