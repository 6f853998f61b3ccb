"""The calls that the filter allows are the kernel's, every other is refused, and the filter does what its lists say."""

import errno
import platform
import re
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
import system_calls
from support.paths import GOLDEN

from runner.models.worker import seccomp
from runner.models.worker.syscalls import ALLOWED, LAST, LOCAL_SOCKETS

KERNEL = system_calls.syscalls()
COLUMNS = {"x86_64": "x86_64", "aarch64": "arm64"}
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
REFUSED = GOLDEN / "refused-system-calls.txt"
OWN = 4321


def table(machine: str) -> dict[str, int]:
    """Name → number of every call of a machine, from the kernel's sources as the package `system-calls` has them."""
    found = {}
    for name in KERNEL.names():
        try:
            found[name] = KERNEL.get(name, COLUMNS[machine])
        except system_calls.NotSupportedSystemCall:
            continue
    return found


def answer(machine: str, number: int, arguments: Mapping[int, int], *, cuda: bool) -> int | None:
    """What the filter answers a call: None to let it through, else the error. Its few instructions are done here."""
    data = struct.pack("<iIQ6Q", number, AUDIT[machine], 0, *(arguments.get(at, 0) for at in range(6)))
    program = seccomp._program(cuda, OWN, machine)
    at, accumulator = 0, 0
    while True:
        operation, when, otherwise, operand = program[at]
        at += 1
        match operation:
            case 0x20:
                accumulator = struct.unpack_from("<I", data, operand)[0]
            case 0x54:
                accumulator &= operand
            case 0x06:
                return None if operand == 0x7FFF0000 else operand & 0xFFFF
            case _:
                true = {
                    0x15: accumulator == operand,
                    0x25: accumulator > operand,
                    0x35: accumulator >= operand,
                    0x45: accumulator & operand != 0,
                }[operation]
                at += when if true else otherwise


@pytest.mark.parametrize("machine", COLUMNS)
def test_every_number_is_the_kernels(machine: str) -> None:
    column, kernel = list(COLUMNS).index(machine), table(machine)
    for name, numbers in {**ALLOWED, **LOCAL_SOCKETS}.items():
        assert numbers[column] == kernel.get(name), name
    assert max(kernel.values()) == LAST, "the tables are newer: look at what was added"


@pytest.mark.skipif(not HEADER.is_file(), reason="the kernel's header is not installed (linux-libc-dev)")
def test_the_installed_header_agrees() -> None:
    header = dict(re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text(encoding="ascii")))
    for name, (number, _) in {**ALLOWED, **LOCAL_SOCKETS}.items():
        assert header.get(name, str(number)) == str(number), name
    assert len(header) > 350


def test_every_call_is_allowed_or_refused_on_purpose(request: pytest.FixtureRequest) -> None:
    """A newer kernel's calls appear here as new lines: each is to be looked at, and then allowed or listed."""
    named = set(table("x86_64")) | set(table("aarch64"))
    refused = "".join(f"{name}\n" for name in sorted(named - set(ALLOWED) - set(LOCAL_SOCKETS)))
    if request.config.getoption("--update-golden"):
        REFUSED.write_text(refused, encoding="ascii")
    assert REFUSED.read_text(encoding="ascii") == refused, "run pytest with --update-golden"


@pytest.mark.parametrize("cuda", [False, True])
@pytest.mark.parametrize("machine", COLUMNS)
def test_the_filter_does_what_the_lists_say(machine: str, cuda: bool) -> None:
    kernel = table(machine)
    allowed = set(ALLOWED) | (set(LOCAL_SOCKETS) if cuda else set())
    # Of those that depend on an argument: arguments that are let through.
    good = {"clone": {0: 0x10000}, "kill": {0: OWN}, "tgkill": {0: OWN}, "prctl": {0: 15}, "socket": {0: 1}}
    good |= {"ioctl": {1: 0x5401}, "mmap": {3: 0x22}}
    for name, number in kernel.items():
        expected = None if name in allowed else errno.EPERM
        if name == "clone3":
            expected = errno.ENOSYS
        elif name == "socket" and not cuda:
            expected = errno.EACCES
        assert answer(machine, number, good.get(name, {}), cuda=cuda) == expected, name
    for number in (LAST + 1, LAST + 100, 0x3FFFFFFF):
        assert answer(machine, number, {}, cuda=cuda) == errno.ENOSYS


@pytest.mark.parametrize(
    ("name", "arguments", "with_cuda", "without"),
    [
        ("clone", {0: 17}, errno.EPERM, errno.EPERM),
        ("kill", {0: 1}, errno.EPERM, errno.EPERM),
        ("kill", {0: 0xFFFFFFFF}, errno.EPERM, errno.EPERM),
        ("tgkill", {0: 1}, errno.EPERM, errno.EPERM),
        ("prlimit64", {0: 1}, errno.EPERM, errno.EPERM),
        ("sched_setaffinity", {0: 1}, errno.EPERM, errno.EPERM),
        ("prctl", {0: 1}, errno.EPERM, errno.EPERM),
        ("fcntl", {1: 8}, errno.EPERM, errno.EPERM),
        ("fcntl", {1: 1026}, errno.EPERM, errno.EPERM),
        ("fcntl", {1: 1030}, None, None),
        ("ioctl", {1: 0x40086602}, errno.EPERM, errno.ENOTTY),
        ("ioctl", {1: 0x5412}, errno.EPERM, errno.ENOTTY),
        ("ioctl", {1: 0xC020462A}, None, errno.ENOTTY),
        ("mmap", {3: 0x21}, None, errno.EPERM),
        ("mmap", {3: 0x4021}, None, errno.EPERM),
        ("mmap", {3: 0x01}, None, None),
        ("socket", {0: int(socket.AF_INET)}, errno.EACCES, errno.EACCES),
        ("socketpair", {0: 1}, None, errno.EPERM),
    ],
)
def test_arguments_are_looked_at(
    name: str, arguments: dict[int, int], with_cuda: int | None, without: int | None
) -> None:
    for machine in COLUMNS:
        number = table(machine)[name]
        assert answer(machine, number, arguments, cuda=True) == with_cuda
        assert answer(machine, number, arguments, cuda=False) == without


def test_a_call_of_another_architecture_is_refused() -> None:
    assert seccomp._program(False, OWN, "x86_64")[:3] == [(0x20, 0, 0, 4), (0x15, 1, 0, 0xC000003E), (6, 0, 0, 0x50001)]
    number = table("x86_64")["read"]
    assert answer("x86_64", 0x40000000 | number, {}, cuda=False) == errno.EPERM  # x32


def test_this_machine_is_one_of_them() -> None:
    assert seccomp.supported() == (platform.machine() in COLUMNS)
