"""Code in the place of the model's: it tries what a hostile one might, and tells how each attempt ended."""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import system_calls

import runner
from runner.models.worker import sandbox, server

FILES = {
    "read the labels",
    "read the key",
    "list the folder of the labels",
    "list the root",
    "read the password file",
    "read the labels of the sample",
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
    "network": {
        "send to a local socket through a pair",
        "connect over TCP",
        "send over UDP",
        "listen",
        "connect to a local socket",
    },
    "signals": {
        "signal the parent",
        "signal everybody",
        "limit the parent",
        "trace the parent",
        "signal the parent through a pipe's owner",
        "open a handle of the parent",
        "read the parent's memory in one call",
        "bind the parent to a core",
        "slow the parent down",
    },
    "processes": {"start a process", "start a program"},
    "capabilities": {"be another user", "change the root"},
    "memory": {"take all memory"},
    "system_calls": {
        "change the mode of a file",
        "change the owner of a file",
        "change the times of a file",
        "change the attributes of a file",
        "change the flags of a file",
        "leave System V memory behind",
        "leave a System V semaphore behind",
        "leave a System V queue behind",
        "leave a POSIX queue behind",
        "watch a folder by inotify",
        "watch a folder by dnotify",
        "watch the machine by fanotify",
        "keep a key in the kernel",
        "ask for a key of the kernel",
        "read the user's keyring",
        "share memory beyond every limit",
        "share memory by a file without a name",
        "open io_uring",
        "open a userfaultfd",
        "open a performance counter",
        "load a BPF map",
        "take a handle of a file",
        "leave its process group",
        "outlive the parent",
        "mount a folder",
        "make namespaces",
        "queue reads in the kernel",
        "change its personality",
    },
}
# Calls that only some kernels have, or only some users may make: without protection they may fail as well.
NOT_EVERYWHERE = {
    "change the attributes of a file",
    "change the flags of a file",
    "leave a POSIX queue behind",
    "watch the machine by fanotify",
    "watch a folder by dnotify",
    "keep a key in the kernel",
    "ask for a key of the kernel",
    "read the user's keyring",
    "open io_uring",
    "open a userfaultfd",
    "open a performance counter",
    "load a BPF map",
    "take a handle of a file",
    "mount a folder",
    "make namespaces",
    "leave its process group",
    "queue reads in the kernel",
    "read the parent's memory in one call",
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

    def through_a_pair() -> None:
        ours, _theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.sendto(b"x", targets["datagrams"])

    sample = Path(runner.__path__[0]) / "embedded" / "sample" / "dev.sample-dilemmas.jsonl"
    # Of a file of the model, which it may read, and of one elsewhere, which it may not.
    config, elsewhere = str(model / "config.json"), str(labels)

    def flags() -> None:
        with (model / "config.json").open("rb") as stream:
            now = fcntl.ioctl(stream, _FS_IOC_GETFLAGS, bytes(8)) if sys.platform == "linux" else b""
            fcntl.ioctl(stream, _FS_IOC_SETFLAGS, now)

    def owned_by_the_parent() -> None:
        reading, _writing = os.pipe()
        fcntl.fcntl(reading, fcntl.F_SETOWN, parent)

    def dnotify() -> None:
        handle = os.open(".", os.O_RDONLY)
        try:
            fcntl.fcntl(handle, fcntl.F_NOTIFY, fcntl.DN_MODIFY)
            fcntl.fcntl(handle, fcntl.F_NOTIFY, 0)
        finally:
            os.close(handle)

    def shared() -> None:
        mmap.mmap(-1, 1 << 20, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS).close()

    def posix_queue() -> None:
        name = b"benchmark-probe"
        os.close(_system("mq_open", name, os.O_CREAT | os.O_RDWR, 0o600, None))
        _system("mq_unlink", name)

    def keyring() -> None:
        _system("keyctl", 11, -4, None, 0)  # KEYCTL_READ, KEY_SPEC_USER_KEYRING

    def memory_of_the_parent() -> None:
        here = ctypes.create_string_buffer(8)
        pair = (ctypes.c_uint64 * 2)(ctypes.addressof(here), 8)
        _system("process_vm_readv", parent, pair, 1, pair, 1, 0)

    def bpf_map() -> None:
        # BPF_MAP_CREATE of an array with one entry
        os.close(_system("bpf", 0, (ctypes.c_uint32 * 8)(2, 4, 4, 1), 32))

    def performance() -> None:
        attributes = (ctypes.c_uint32 * 32)(1, 128)  # PERF_TYPE_SOFTWARE, its size
        os.close(_system("perf_event_open", attributes, 0, -1, -1, 0))

    def handle_of_a_file() -> None:
        handle, mount = (ctypes.c_uint32 * 36)(128), ctypes.c_int()
        _system("name_to_handle_at", _AT_FDCWD, config.encode(), handle, ctypes.byref(mount), 0)

    def system_v(make: str, remove: str, *arguments: int) -> Callable[[], None]:
        def attempt() -> None:
            made = _system(make, 0, *arguments)
            _system(remove, made, *((0, 0) if remove == "semctl" else (0, None)), *((0,) if remove == "semctl" else ()))

        return attempt

    def link() -> None:
        os.link(labels, "labels")

    return {
        # What it may.
        "read the model": lambda: (model / "config.json").read_bytes(),
        "write in its own folder": lambda: Path("note").write_bytes(b"x"),
        # What it may not.
        "read the labels": lambda: labels.read_bytes(),
        "read the labels of the sample": lambda: sample.read_bytes(),
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
        "signal the parent through a pipe's owner": owned_by_the_parent,
        "open a handle of the parent": lambda: os.close(_system("pidfd_open", parent, 0)),
        "read the parent's memory in one call": memory_of_the_parent,
        "bind the parent to a core": lambda: os.sched_setaffinity(parent, os.sched_getaffinity(parent)),
        "slow the parent down": lambda: os.setpriority(
            os.PRIO_PROCESS, parent, os.getpriority(os.PRIO_PROCESS, parent)
        ),
        "send to a local socket through a pair": through_a_pair,
        "change the mode of a file": lambda: (Path(elsewhere).chmod(0o644), Path(config).chmod(0o644)),
        "change the owner of a file": lambda: os.chown(config, os.getuid(), -1),
        "change the times of a file": lambda: os.utime(elsewhere, (0, 0)),
        "change the attributes of a file": lambda: os.setxattr(config, "user.probe", b"x"),
        "change the flags of a file": flags,
        "leave System V memory behind": system_v("shmget", "shmctl", 4096, 0o1600),
        "leave a System V semaphore behind": system_v("semget", "semctl", 1, 0o1600),
        "leave a System V queue behind": system_v("msgget", "msgctl", 0o1600),
        "leave a POSIX queue behind": posix_queue,
        "watch a folder by inotify": lambda: os.close(_system("inotify_init1", 0)),
        "watch a folder by dnotify": dnotify,
        "watch the machine by fanotify": lambda: os.close(_system("fanotify_init", 0, 0)),
        "keep a key in the kernel": lambda: _system("add_key", b"user", b"benchmark-probe", b"x", 1, -2),
        "ask for a key of the kernel": lambda: _system("request_key", b"user", b"benchmark-probe", None, -2),
        "read the user's keyring": keyring,
        "share memory beyond every limit": shared,
        "share memory by a file without a name": lambda: os.close(os.memfd_create("probe")),
        "open io_uring": lambda: os.close(_system("io_uring_setup", 1, (ctypes.c_uint8 * 120)())),
        "open a userfaultfd": lambda: os.close(_system("userfaultfd", 1)),
        "open a performance counter": performance,
        "load a BPF map": bpf_map,
        "take a handle of a file": handle_of_a_file,
        "leave its process group": lambda: os.setpgid(0, 0),
        "outlive the parent": lambda: _system("prctl", 1, 0, 0, 0, 0),
        "mount a folder": lambda: _system("mount", b"none", b".", b"tmpfs", 0, None),
        "make namespaces": lambda: _system("unshare", 0x04000000),
        "queue reads in the kernel": lambda: _system("io_setup", 1, ctypes.byref(ctypes.c_uint64())),
        "change its personality": lambda: _system("personality", 0),
        # The last of all, since a process that became another user may do less.
        "be another user": lambda: os.setuid(65534 if os.getuid() == 0 else 0),
        "change the root": lambda: os.chroot("."),
        "take all memory": lambda: mmap.mmap(-1, 1 << 46, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close(),
    }


_PTRACE_SEIZE = 0x4206
_AT_FDCWD = -100
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS = 0x80086601, 0x40086602
_NUMBERS = system_calls.syscalls()
_ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "arm64"}[platform.machine()]


def _call(request: int, process: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    arguments = (ctypes.c_long(request), ctypes.c_long(process), None, None)
    if library.ptrace(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _system(name: str, *arguments: Any) -> int:
    """The system call as the kernel has it, whatever the C library makes of it."""
    library = ctypes.CDLL(None, use_errno=True)
    given = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result: int = library.syscall(ctypes.c_long(_NUMBERS.get(name, _ARCHITECTURE)), *given)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _fork() -> None:
    made = os.fork()
    if made == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(made, 0)


def _numbers(folder: str) -> list[str]:
    return [path.name for path in Path(folder).iterdir() if path.is_symlink()]
