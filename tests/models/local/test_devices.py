"""Devices as they are chosen and told of, on machines without any: a driver too old, a model over several."""

from pathlib import Path

import pytest
import torch
from support import tiny_models

from runner.core.errors import BackendError
from runner.models.local import devices, loading, nvidia_driver

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
        monkeypatch.setattr(nvidia_driver, "_SAYS_VERSION", tmp_path / "version")
        monkeypatch.setattr(nvidia_driver, "_CONTROL", (tmp_path / "control",))
        monkeypatch.setattr(nvidia_driver.ctypes, "CDLL", lambda name: Library(number, status))

    return make


@pytest.mark.parametrize(("text", "version"), [(CLOSED, "535.183.01"), (OPEN, "580.65.06"), ("nothing\n", None)])
def test_its_version(machine, text, version) -> None:
    machine(text, 13000)
    assert nvidia_driver.version() == version


@pytest.mark.parametrize(("number", "cuda"), [(12020, "12.2"), (13000, "13.0"), (12080, "12.8"), (13010, "13.1")])
def test_the_cuda_it_can_run(machine, number, cuda) -> None:
    machine(OPEN, number)
    assert nvidia_driver.newest_cuda() == cuda


def test_without_a_driver(monkeypatch, tmp_path) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(nvidia_driver.ctypes, "CDLL", missing)
    monkeypatch.setattr(nvidia_driver, "_SAYS_VERSION", tmp_path / "none")
    monkeypatch.setattr(nvidia_driver, "_CONTROL", (tmp_path / "none",))
    assert (nvidia_driver.version(), nvidia_driver.newest_cuda(), nvidia_driver.is_present()) == (None, None, False)
    assert nvidia_driver.too_old_for("13.0") is None


def test_a_library_that_fails_has_no_version(machine) -> None:
    machine(OPEN, 13000, status=34)  # CUDA_ERROR_STUB_LIBRARY
    assert nvidia_driver.newest_cuda() is None


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
    said = nvidia_driver.too_old_for(cuda)
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


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if there were four CUDA devices, with less and less memory free."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: ((8 - device.index) << 30, 10 << 30))
    return monkeypatch


@pytest.mark.parametrize("name", ["cuda:0+cuda:0", "cuda:0+cuda", "cuda:0+cpu", "cpu+cpu", "cuda:0+cuda:9", "cuda:0+"])
def test_devices_over_which_no_model_is_spread(four, name: str) -> None:
    with pytest.raises(BackendError, match="DEVICE"):
        devices.choose_all(name)
    assert devices.examine(name)[0][1] == "fail"


def test_devices_over_which_a_model_is_spread(four) -> None:
    assert devices.choose_all("cuda:1+cuda:3") == (torch.device("cuda:1"), torch.device("cuda:3"))
    assert devices.choose_all("cuda:2") == (torch.device("cuda:2"),)
    assert [message for _, _, message, _ in devices.examine("cuda:1+cuda:3")] == [
        "GPU 1, 7,168 of 10,240 MiB free",
        "GPU 3, 5,120 of 10,240 MiB free",
    ]


def test_whole_layers_go_to_each_as_far_as_it_has_room(four, tmp_path) -> None:
    # Where the library puts them is asked of it; no weight is moved, since there is no such device here.
    tiny_models.model("llama", 480).save_pretrained(tmp_path)
    asked = {}

    class Asked(Exception):
        pass

    def instead(folder, **options):
        asked.update(options)
        raise Asked

    four.setattr(loading.AutoModelForCausalLM, "from_pretrained", instead)
    with pytest.raises(Asked):
        loading.load_model(tmp_path, "bfloat16", *devices.choose_all("cuda:1+cuda:3"))
    assert asked["device_map"] == "balanced"
    assert asked["max_memory"] == {1: int(0.9 * (7 << 30)), 3: int(0.9 * (5 << 30))}


def test_a_torch_for_the_processor_beside_a_gpu_is_a_warning(unusable) -> None:
    unusable.setattr(torch.version, "cuda", None)
    ((_, state, message, _),) = devices.examine(None)
    assert (state, "without CUDA" in message) == ("warn", True)
