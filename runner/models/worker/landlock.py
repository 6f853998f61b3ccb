"""Landlock through its system calls: from then on this thread, and what it starts, reaches only the places named."""

import ctypes
import errno
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

# The same numbers on every architecture (include/uapi/linux/landlock.h, Documentation/userspace-api/landlock.rst).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1

WRITE_FILE, READ_FILE, READ_DIR = 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8

READ = READ_FILE | READ_DIR
DEVICE = READ_FILE | WRITE_FILE | IOCTL_DEV
OWN = READ | WRITE_FILE | TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG
_FILE_RIGHTS = 1 | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

# How many rights on files each version of the interface knows; those of TCP came with 4, of signals with 6.
_FILE_RIGHTS_OF = {1: 13, 2: 14, 3: 15, 4: 15}
_ALL_FILE_RIGHTS = 16
_TCP_FROM, _SCOPES_FROM = 4, 6


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("tcp", ctypes.c_uint64), ("scopes", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("rights", ctypes.c_uint64), ("handle", ctypes.c_int32)]


def version() -> int:
    """Version of the kernel's interface; 0 where there is no Landlock, or it is switched off."""
    try:
        return _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    except OSError:
        return 0


def restrict(grants: Iterable[tuple[str | Path, int]]) -> Sequence[int]:
    """Refuse this thread every file but those at or beneath `grants`, each with its rights; every TCP connection too.

    No program may be started and, from version 6 on, no process outside be signalled. Places that do not exist are
    left out. Returns handles below /proc that must stay open as long as their rules are to hold: the kernel makes
    entries there anew once nobody holds them. Needs no_new_privs; raises `OSError`.
    """
    known = version()
    handled = (1 << _FILE_RIGHTS_OF.get(known, _ALL_FILE_RIGHTS)) - 1
    ruleset = _Ruleset(handled, 0b11 if known >= _TCP_FROM else 0, 0b11 if known >= _SCOPES_FROM else 0)
    size = 24 if known >= _SCOPES_FROM else 16 if known >= _TCP_FROM else 8
    rules = _call(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(size), ctypes.c_uint32(0))
    held: list[int] = []
    passing = [rules]
    try:
        for path, rights in grants:
            try:
                handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            (held if Path(path).is_relative_to("/proc") else passing).append(handle)
            allowed = rights & handled & (-1 if stat.S_ISDIR(os.fstat(handle).st_mode) else _FILE_RIGHTS)
            rule = _Beneath(allowed, handle)
            _call(_ADD_RULE, ctypes.c_int(rules), ctypes.c_int(_PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0))
        _call(_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0))
    finally:
        for handle in passing:
            os.close(handle)
    return held


def _call(number: int, *arguments: object) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syscall"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    result: int = library.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
