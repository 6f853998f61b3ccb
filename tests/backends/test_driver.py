"""A driver that is too old is told in words, on machines that have none as well."""

from pathlib import Path

import pytest
import torch

from runner.backends import devices, driver
from runner.errors import BackendError

# As two kinds of the kernel's module write it.
CLOSED = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\nGCC version:  gcc 12\n"
)
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder@U22-I3)\n"


class Library:
    """The driver's library, as far as it is asked."""

    def __init__(self, number: int, status: int = 0) -> None:
        self.number, self.status = number, status

    def cuDriverGetVersion(self, pointer: object) -> int:  # noqa: N802 - NVIDIA's name
        pointer._obj.value = self.number
        return self.status


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A machine with a driver: what its module says, and the number its library gives."""

    def make(text: str, number: int, status: int = 0) -> None:
        (tmp_path / "version").write_text(text, encoding="utf-8")
        (tmp_path / "control").touch()
        monkeypatch.setattr(driver, "_SAYS_VERSION", tmp_path / "version")
        monkeypatch.setattr(driver, "_CONTROL", (tmp_path / "control",))
        monkeypatch.setattr(driver.ctypes, "CDLL", lambda name: Library(number, status))

    return make


@pytest.mark.parametrize(("text", "version"), [(CLOSED, "535.183.01"), (OPEN, "580.65.06"), ("nothing\n", None)])
def test_its_version(machine, text, version) -> None:
    machine(text, 13000)
    assert driver.version() == version


@pytest.mark.parametrize(("number", "cuda"), [(12020, "12.2"), (13000, "13.0"), (12080, "12.8"), (13010, "13.1")])
def test_the_cuda_it_can_run(machine, number, cuda) -> None:
    machine(OPEN, number)
    assert driver.newest_cuda() == cuda


def test_without_a_driver(monkeypatch, tmp_path) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(driver.ctypes, "CDLL", missing)
    monkeypatch.setattr(driver, "_SAYS_VERSION", tmp_path / "none")
    monkeypatch.setattr(driver, "_CONTROL", (tmp_path / "none",))
    assert (driver.version(), driver.newest_cuda(), driver.is_present()) == (None, None, False)
    assert driver.too_old_for("13.0") is None


def test_a_library_that_fails_has_no_version(machine) -> None:
    machine(OPEN, 13000, status=34)  # CUDA_ERROR_STUB_LIBRARY
    assert driver.newest_cuda() is None


@pytest.mark.parametrize(
    ("number", "cuda", "too_old"),
    [
        (12080, "13.0", True),
        (13000, "13.0", False),
        (13000, "13.2", False),
        (14000, "13.0", False),
        (12080, None, False),
    ],
)
def test_any_driver_of_the_major_version_will_do(machine, number, cuda, too_old) -> None:
    machine(CLOSED, number)
    said = driver.too_old_for(cuda)
    assert (said is not None) == too_old
    if said:
        assert "535.183.01" in said
        assert "12.8" in said
        assert "13.0" in said


@pytest.fixture
def unusable(machine, monkeypatch):
    machine(CLOSED, 12080)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return monkeypatch


def test_the_doctor_names_a_driver_that_is_too_old(unusable) -> None:
    unusable.setattr(torch.version, "cuda", "13.0")
    for device in (None, "cuda"):
        ((_, state, message, hint),) = devices.examine(device)
        assert state == "fail"
        assert "535.183.01 runs CUDA up to 12.8, and torch was built for 13.0" in message
        assert hint
    with pytest.raises(BackendError, match=r"up to 12\.8"):
        devices.choose("cuda:0")
    assert devices.examine("cpu")[0][1] == "ok"


def test_a_torch_for_the_processor_beside_a_gpu_is_a_warning(unusable) -> None:
    unusable.setattr(torch.version, "cuda", None)
    ((_, state, message, _),) = devices.examine(None)
    assert (state, "without CUDA" in message) == ("warn", True)
