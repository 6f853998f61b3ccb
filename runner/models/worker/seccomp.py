"""A seccomp filter: the system calls that a model needs, none that reaches out of its process; see `syscalls`."""

import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Iterable

from runner.models.worker.syscalls import ALLOWED, LAST, LOCAL_SOCKETS, Numbers

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _ABOVE, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x54, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_CLONE_THREAD = 0x00010000
_SHARED_ANONYMOUS = 0x21
_X32 = 0x40000000

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# include/uapi/linux/fcntl.h: signals of a file for another process, leases, notices of a folder, hints kept on a file.
_FCNTL_REFUSED = {8: "F_SETOWN", 10: "F_SETSIG", 15: "F_SETOWN_EX", 1024: "F_SETLEASE", 1026: "F_NOTIFY"}
_FCNTL_REFUSED |= {1036: "F_SET_RW_HINT", 1038: "F_SET_FILE_RW_HINT"}
# include/uapi/asm-generic/ioctls.h: queries of a terminal, and flags of a descriptor of one's own.
_IOCTL_ALLOWED = {0x5401: "TCGETS", 0x802C542A: "TCGETS2", 0x5413: "TIOCGWINSZ", 0x541B: "FIONREAD"}
_IOCTL_ALLOWED |= {0x5421: "FIONBIO", 0x5450: "FIONCLEX", 0x5451: "FIOCLEX"}
# include/uapi/linux/fs.h, fscrypt.h, fsverity.h: a driver may get any request, a file not these, nor signals.
_IOCTL_REFUSED = {0x40086602: "FS_IOC_SETFLAGS", 0x40046602: "FS_IOC32_SETFLAGS", 0x401C5820: "FS_IOC_FSSETXATTR"}
_IOCTL_REFUSED |= {0x800C6613: "FS_IOC_SET_ENCRYPTION_POLICY", 0x40806685: "FS_IOC_ENABLE_VERITY"}
_IOCTL_REFUSED |= {0x5412: "TIOCSTI", 0x5452: "FIOASYNC", 0x8901: "FIOSETOWN", 0x8902: "SIOCSPGRP"}
_PRCTL_REFUSED = {1: "PR_SET_PDEATHSIG"}

Instruction = tuple[int, int, int, int]
"""Operation, how many to skip when true, when false, operand (struct sock_filter)."""


def supported() -> bool:
    """Whether the numbers of this machine's system calls are known here."""
    return platform.machine() in _ARCHITECTURES


def install(*, cuda: bool) -> None:
    """Filter this thread and all it starts.

    With `cuda` it may ask the driver, and the driver's services through sockets of this machine. A call that is known
    and not allowed ends with EPERM, one that is newer than the tables with ENOSYS.

    Needs no_new_privs; raises `OSError`.
    """
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _program(cuda, os.getpid()))
    buffer = ctypes.create_string_buffer(code, len(code))

    class _Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(program), 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _program(cuda: bool, own: int, machine: str | None = None) -> list[Instruction]:
    """The filter as instructions; each rule either returns or leaves the call's number loaded for the next."""
    machine = machine or platform.machine()
    column = list(_ARCHITECTURES).index(machine)
    checked = _checked(cuda, own)
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        _error(errno.EPERM),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine == "x86_64":
        program += [(_AT_LEAST, 0, 1, _X32), _error(errno.EPERM)]
    program += [(_ABOVE, 0, 1, LAST), _error(errno.ENOSYS)]
    allowed: dict[str, Numbers] = {**ALLOWED, **(LOCAL_SOCKETS if cuda else {})}
    for name, numbers in allowed.items():
        number = numbers[column]
        if number is not None:
            then = checked.get(name, [(_RETURN, 0, 0, _ALLOW)])
            program += [(_EQUAL, 0, len(then), number), *then]
    if not cuda:  # as libraries know it from containers without a network
        number = LOCAL_SOCKETS["socket"][column]
        program += [(_EQUAL, 0, 1, number or 0), _error(errno.EACCES)]
    return [*program, _error(errno.EPERM)]


def _checked(cuda: bool, own: int) -> dict[str, list[Instruction]]:
    """The instructions for a call that is allowed for some arguments only."""
    none, itself = (_EQUAL, 0, 1, 0), (_EQUAL, 0, 1, own)
    checked = {
        # The C library takes this for a kernel without clone3, and calls clone, whose flags can be seen.
        "clone3": [_error(errno.ENOSYS)],
        "clone": _only(0, (_ANY_BIT, 0, 1, _CLONE_THREAD)),
        "kill": _only(0, itself),
        "tgkill": _only(0, itself),
        "prlimit64": _only(0, none),
        "sched_setaffinity": _only(0, none),
        "prctl": _refused(0, _PRCTL_REFUSED),
        "fcntl": _refused(1, _FCNTL_REFUSED),
        "ioctl": _refused(1, _IOCTL_REFUSED),
        "socket": _only(0, (_EQUAL, 0, 1, int(socket.AF_UNIX)), errno.EACCES),
    }
    if not cuda:
        checked["ioctl"] = _listed(1, _IOCTL_ALLOWED, errno.ENOTTY)
        # Memory that is shared counts for no limit of a process.
        checked["mmap"] = [
            (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * 3),
            (_AND, 0, 0, _SHARED_ANONYMOUS),
            (_EQUAL, 0, 1, _SHARED_ANONYMOUS),
            _error(errno.EPERM),
            (_RETURN, 0, 0, _ALLOW),
        ]
    return checked


def _only(argument: int, condition: Instruction, error: int = errno.EPERM) -> list[Instruction]:
    """Allow the call if `condition` holds of the low half of an argument."""
    return [_argument(argument), condition, (_RETURN, 0, 0, _ALLOW), _error(error)]


def _listed(argument: int, values: Iterable[int], error: int) -> list[Instruction]:
    """Allow the call for these values of an argument."""
    rules: list[Instruction] = []
    for value in values:
        rules += [(_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    return [_argument(argument), *rules, _error(error)]


def _refused(argument: int, values: Iterable[int]) -> list[Instruction]:
    """Allow the call for all but these values of an argument."""
    rules: list[Instruction] = []
    for value in values:
        rules += [(_EQUAL, 0, 1, value), _error(errno.EPERM)]
    return [_argument(argument), *rules, (_RETURN, 0, 0, _ALLOW)]


def _argument(number: int) -> Instruction:
    return _LOAD, 0, 0, _ARGUMENTS_AT + 8 * number


def _error(number: int) -> Instruction:
    return _RETURN, 0, 0, _ERROR | number
