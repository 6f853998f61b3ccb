"""What a process gives up before it opens a stranger's files; every protection by name, active or why not."""

import ctypes
import errno
import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from runner.artifacts import inherited_handles
from runner.core import resources
from runner.models.worker import landlock, seccomp

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CAPABILITY_VERSION = 0x20080522
_FILE_BYTES = 64 << 10
_CUDA_FILE_BYTES = 256 << 20

ACTIVE = "active"
_BY_SECCOMP = ("network", "processes", "signals", "system_calls")

# Where the dynamic loader, the driver's libraries and the time zone are. Not /usr as a whole: people keep data there.
_LIBRARIES = (
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/local/cuda",
    "/usr/local/nvidia",
    "/usr/share/nvidia",
    "/usr/share/zoneinfo",
    "/nix/store",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
)
# What libraries ask the kernel about the machine, and about this process alone.
_KERNEL = (
    "/sys",
    *(
        f"/proc/{name}"
        for name in (
            "self",
            "cpuinfo",
            "devices",
            "driver",
            "filesystems",
            "loadavg",
            "meminfo",
            "modules",
            "stat",
            "sys/kernel",
            "sys/vm",
            "uptime",
            "version",
            "vmstat",
        )
    ),
)
_DEVICES = ("/dev/null", "/dev/random", "/dev/urandom")
# The sample's stories with their votes, which travel in the package.
_LABELS = resources.PACKAGE.resolve() / "embedded"
_MODEL_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "peft", "numpy", "scipy", "jinja2", "click")


def may_use_cuda(device: str | None) -> bool:
    """Whether a run on `device` (None: the first CUDA device, or the CPU) could meet a CUDA driver on this machine."""
    return device != "cpu" and any(Path(path).exists() for path in ("/dev/nvidiactl", "/dev/dxg"))


def protect(
    folders: Sequence[Path], own: Path, parent: int, *, cuda: bool, memory_bytes: int | None = None
) -> dict[str, str]:
    """Give up all that a model's process does not need; each protection's name with `active`, or why it is not.

    From then on `folders` may be read and `own` written, besides the libraries. `parent` is the process that must
    be alive: this one dies with it. `memory_bytes` limits what may be allocated on a machine without CUDA. To be
    called once, before any thread is started; what cannot be had is reported, never raised.
    """
    if sys.platform != "linux":
        there = dict.fromkeys(("core_dumps", "disk", "memory"), ACTIVE)
        _limits(cuda, memory_bytes, there)
        missing = ("no_new_privileges", "capabilities", "files", "parent_death", *_BY_SECCOMP)
        return {**there, **dict.fromkeys(missing, f"unavailable: the system is {sys.platform}")}
    states: dict[str, str] = {}
    _limits(cuda, memory_bytes, states)
    states["no_new_privileges"] = _tried(lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1))
    states["capabilities"] = _tried(_drop_capabilities)
    states["parent_death"] = _tried(lambda: die_with(parent))
    known = landlock.version()
    if known:
        states["files"] = _tried(lambda: _held.extend(landlock.restrict(_grants(folders, own, cuda))))
    else:
        states["files"] = "unavailable: the kernel has no Landlock"
    if seccomp.supported():
        filtered = _tried(lambda: seccomp.install(cuda=cuda))
    else:
        filtered = f"unavailable: no filter is known for the processor {os.uname().machine}"
    states |= dict.fromkeys(_BY_SECCOMP, filtered)
    return {name: _attempted(name, state) for name, state in sorted(states.items())}


_held: list[int] = []


def _limits(cuda: bool, memory_bytes: int | None, states: dict[str, str]) -> None:
    """No core dumps, no files to speak of, and no more memory than is good."""
    states["core_dumps"] = _tried(lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
    # Some bytes must be: the library for temporary files tries its folder. CUDA's driver caches what it compiles.
    file_bytes = _CUDA_FILE_BYTES if cuda else _FILE_BYTES
    states["disk"] = _tried(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes)))
    if cuda:
        states["memory"] = "not with CUDA: it reserves more address space than there is memory"
    elif memory_bytes is None:
        states["memory"] = "unavailable: no limit was asked for"
    else:
        limit = memory_bytes
        states["memory"] = _tried(lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)))


def _grants(folders: Sequence[Path], own: Path, cuda: bool) -> Iterator[tuple[Path | str, int]]:
    yield own, landlock.OWN
    # The links of a private view lead to handles of the very files that were hashed, wherever those lie.
    linked = [Path(f"/proc/self/fd/{handle}") for folder in folders for handle in inherited_handles(folder)]
    for path in (*folders, *linked):
        yield path, landlock.READ
    stated = [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if path.startswith("/")]
    for path in dict.fromkeys([*_python(), *(Path(path) for path in (*_LIBRARIES, *_KERNEL, *stated))]):
        yield from _around(path, _LABELS)
    for device in _DEVICES:
        yield device, landlock.DEVICE
    if cuda:
        yield "/dev/zero", landlock.DEVICE
        for driver in (*Path("/dev").glob("nvidia*"), Path("/dev/dxg")):
            yield driver, landlock.DEVICE | landlock.READ_DIR


def _around(folder: Path, hidden: Path) -> Iterator[tuple[Path, int]]:
    """Grants to read all that lies beneath `place` but what lies beneath `hidden`; that it is there can be seen.

    A right holds for all beneath it and cannot be taken back there: so what lies beside the way to `hidden` is granted
    one by one.
    """
    real = folder.resolve()
    if not hidden.is_relative_to(real):
        yield folder, landlock.READ
    elif real != hidden:
        yield real, landlock.READ_DIR
        with suppress(OSError):
            for inner in sorted(real.iterdir()):
                if not inner.is_symlink():  # a grant would follow it to wherever it leads
                    yield from _around(inner, hidden)


def _python() -> Iterator[Path]:
    """This package, the standard library, and each folder of the path that holds a library of the model's."""
    yield resources.PACKAGE
    for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}:
        yield Path(prefix, "lib")
        yield Path(prefix, "pyvenv.cfg")
    standard = Path(os.__file__).parent
    for entry in map(Path, sys.path):
        if entry.is_relative_to(standard) or any(_is_folder(entry / name) for name in _MODEL_LIBRARIES):
            yield entry


def _is_folder(path: Path) -> bool:
    with suppress(PermissionError):
        return path.is_dir()
    return False


def _drop_capabilities() -> None:
    """Root without its powers counts as an ordinary user."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    if _library().capset(header, none):
        raise _error()


def die_with(parent: int) -> None:
    """Let the kernel end this process when `parent`, which started it, has ended. Linux only; raises `OSError`."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _attempted(name: str, state: str) -> str:
    """`state`, after trying what the protection should stop: a filter that is installed but does not hold says so."""
    attempts: dict[str, Callable[[], object]] = {
        "files": lambda: list(Path("/").iterdir()),
        "network": lambda: socket.socket(socket.AF_INET).close(),
        "processes": _fork,
        "signals": lambda: os.kill(os.getppid(), 0),
        "system_calls": lambda: Path().chmod(stat.S_IMODE(Path().stat().st_mode)),
    }
    if state != ACTIVE or name not in attempts:
        return state
    try:
        attempts[name]()
    except PermissionError:
        return ACTIVE
    except OSError as problem:
        return f"unavailable: an attempt ended with {errno.errorcode.get(problem.errno or 0, 'an error')}"
    return "unavailable: it was installed, but an attempt was not stopped"


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _tried(action: Callable[[], object]) -> str:
    try:
        action()
    except (OSError, ValueError, AttributeError) as problem:
        return f"unavailable: {getattr(problem, 'strerror', None) or problem}"
    return ACTIVE


def _prctl(option: int, value: int) -> None:
    none = ctypes.c_ulong(0)
    if _library().prctl(option, ctypes.c_ulong(value), none, none, none):
        raise _error()


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
