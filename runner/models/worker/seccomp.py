"""A seccomp filter: no socket, no new process or program, no hand on another process; everything else as ever."""

import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Sequence

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Numbers of the system calls that are refused or looked at, on x86-64 and on 64-bit Arm (None: not there).
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198),
    "clone": (56, 220),
    "clone3": (435, 435),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "prlimit64": (302, 261),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
}
_LOOKED_AT = ("socket", "clone", "clone3", "kill", "tgkill", "prlimit64")

Instruction = tuple[int, int, int, int]
"""Operation, how many to skip when true, when false, operand (struct sock_filter)."""


def supported() -> bool:
    """Whether the numbers of this machine's system calls are known here."""
    return platform.machine() in _ARCHITECTURES


def install(*, local_sockets: bool) -> None:
    """Filter this thread and all it starts; with `local_sockets`, sockets of this machine (AF_UNIX) stay possible.

    CUDA asks its own services through them. Needs no_new_privs; raises `OSError`.
    """
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _program(local_sockets, os.getpid()))
    buffer = ctypes.create_string_buffer(code, len(code))

    class _Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(program), 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _program(local_sockets: bool, own: int) -> list[Instruction]:
    """The filter as instructions; each rule either returns or leaves the call's number loaded for the next."""
    machine = platform.machine()
    column = list(_ARCHITECTURES).index(machine)
    numbers = {name: pair[column] for name, pair in _NUMBERS.items()}
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        _error(errno.EPERM),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine == "x86_64":
        program += [(_AT_LEAST, 0, 1, _X32), _error(errno.EPERM)]
    for name, number in numbers.items():
        if number is not None and name not in _LOOKED_AT:
            program += _when(number, [_error(errno.EPERM)])
    # The C library takes this for a kernel without clone3, and calls clone, whose flags can be seen.
    program += _when(numbers["clone3"], [_error(errno.ENOSYS)])
    program += _when(numbers["clone"], _only((_ANY_BIT, 0, 1, _CLONE_THREAD), errno.EPERM))
    family = (_EQUAL, 0, 1, int(socket.AF_UNIX))
    program += _when(numbers["socket"], _only(family, errno.EACCES) if local_sockets else [_error(errno.EACCES)])
    for name in ("kill", "tgkill"):
        program += _when(numbers[name], _only((_EQUAL, 0, 1, own), errno.EPERM))
    program += _when(numbers["prlimit64"], _only((_EQUAL, 0, 1, 0), errno.EPERM))
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _when(number: int | None, then: Sequence[Instruction]) -> list[Instruction]:
    return [] if number is None else [(_EQUAL, 0, len(then), number), *then]


def _only(condition: Instruction, error: int) -> list[Instruction]:
    """Allow the call if `condition` holds of the low half of its first argument."""
    return [(_LOAD, 0, 0, _FIRST_ARGUMENT_AT), condition, (_RETURN, 0, 0, _ALLOW), _error(error)]


def _error(number: int) -> Instruction:
    return _RETURN, 0, 0, _ERROR | number
