"""The device that computes: which one, whether it can be used, what fits into it, and how it repeats itself exactly."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils import deterministic as memory

from runner.core.errors import BackendError, Fault
from runner.models.local import nvidia_driver

# Without it cuBLAS may sum in another order from run to run; it is read when CUDA starts.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# Of malloc.h of the GNU C library.
_M_MMAP_THRESHOLD = -3
_M_TRIM_THRESHOLD = -1
Part = TypeVar("Part")
Result = TypeVar("Result")


def choose(device: str | None) -> torch.device:
    """The device called `device` (cpu, cuda, cuda:N), or the first CUDA device, or the CPU.

    Raises `BackendError` (`DEVICE`) if there is no such device.
    """
    if device is None:
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        torch_device = torch.device(device)
    except RuntimeError:
        torch_device = None
    if torch_device is None or torch_device.type not in ("cpu", "cuda"):
        raise BackendError(Fault("DEVICE", f"There is no device {device!r}; cpu, cuda or cuda:N was expected."))
    if torch_device.type == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise BackendError(Fault("DEVICE", f"The device is {device}, but {_why_not()}", hint=_HINT))
    count = torch.cuda.device_count()
    if (torch_device.index or 0) >= count:
        raise BackendError(Fault("DEVICE", f"The device is {device}, but there are only {count} CUDA devices."))
    return torch.device("cuda", torch_device.index or 0)


def choose_all(device: str | None) -> tuple[torch.device, ...]:
    """The devices over which one model is to be spread: CUDA devices with + between them, or what `choose` chooses.

    Raises `BackendError` (`DEVICE`) if one is not there, comes twice, or is a CPU.
    """
    names = [device] if device is None else device.split("+")
    devices = tuple(map(choose, names))
    if len(devices) > 1 and (len(set(devices)) < len(devices) or any(entry.type != "cuda" for entry in devices)):
        message = f"The device is {device}, but a model is spread over different CUDA devices only: cuda:0+cuda:1."
        raise BackendError(Fault("DEVICE", message))
    return devices


def devices_of(model: torch.nn.Module) -> tuple[torch.device, ...]:
    """The devices that hold weights of `model`, in the order in which it comes to them."""
    return tuple(dict.fromkeys(value.device for value in model.parameters()))


def room(device: torch.device) -> int:
    """Bytes of a CUDA device that weights may take: nine tenths of what is free, since what is computed needs some."""
    return int(torch.cuda.mem_get_info(device)[0] * 0.9)


def examine(device: str | None) -> list[tuple[str, str, str, str | None]]:
    """Name, state (ok, warn, fail), message and hint of the device that a run would use."""
    try:
        several = choose_all(device)
    except BackendError as problem:
        return [("device", "fail", fault.message, fault.hint) for fault in problem.faults]
    first_device = several[0]
    if first_device.type == "cpu":
        message = f"the CPU, with {torch.get_num_threads()} threads"
        if device is None and nvidia_driver.is_present():
            state = "warn" if torch.version.cuda is None else "fail"
            return [("device", state, f"{message}: {_why_not()}", f"{_HINT} Or choose it: --device cpu.")]
        hint = "Give --device cuda on a machine with a GPU (a container needs --gpus all); small models do without."
        return [("device", "ok" if device else "warn", message, hint)]
    findings: list[tuple[str, str, str, str | None]] = []
    for gpu in several:
        free, total = torch.cuda.mem_get_info(gpu)
        state = "ok" if free > total // 2 else "warn"
        message = f"{torch.cuda.get_device_name(gpu)}, {free >> 20:,} of {total >> 20:,} MiB free"
        findings.append(("device", state, message, "Another process holds its memory; see nvidia-smi."))
    return findings


_HINT = "See nvidia-smi; a container needs --gpus all, and a driver that runs the CUDA version of torch."


def _why_not() -> str:
    """Why no CUDA device can be used, as the rest of a sentence."""
    if torch.version.cuda is None:
        return "this torch was built without CUDA."
    too_old = nvidia_driver.too_old_for(torch.version.cuda)
    if too_old is not None:
        return f"{too_old}."
    return "no CUDA device can be used." if nvidia_driver.is_present() else "no NVIDIA device is here."


def describe(device: torch.device) -> dict[str, Any]:
    """JSON facts about the device and the settings that decide how it rounds."""
    facts: dict[str, Any] = {
        "type": device.type,
        "name": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "deterministic_algorithms": True,
        "float32_matmul_precision": "highest",
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "cublas_workspace_config": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
            "compute_capability": f"{properties.major}.{properties.minor}",
            "memory_bytes": properties.total_memory,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "driver": nvidia_driver.version(),
            "driver_cuda": nvidia_driver.newest_cuda(),
        }
    return facts


@contextmanager
def deterministic_algorithms() -> Iterator[None]:
    """Within it torch uses the same algorithms each time, with full float32 products.

    What has no deterministic form warns once instead of failing; the settings are put back afterwards.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    precision = torch.get_float32_matmul_precision()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.set_float32_matmul_precision(precision)


@contextmanager
def inference_mode() -> Iterator[None]:
    """Within it torch computes repeatably and without gradients."""
    with deterministic_algorithms(), unfilled_memory(), torch.inference_mode():
        yield


@contextmanager
def unfilled_memory() -> Iterator[None]:
    """Within it fresh memory is not filled first: it is always written before it is read here."""
    fill = memory.fill_uninitialized_memory  # type: ignore[attr-defined]
    memory.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        memory.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


def is_out_of_memory(problem: RuntimeError) -> bool:
    """Whether `problem` says that memory ran out, on a CUDA device or the CPU."""
    messages = ("can't allocate memory", "Cannot allocate memory")
    return isinstance(problem, torch.OutOfMemoryError) or any(words in str(problem) for words in messages)


def split_on_oom(
    do: Callable[[Sequence[Part]], Result], batch: Sequence[Part], device: torch.device, name: Callable[[Part], str]
) -> list[Result]:
    """What is done with a batch; with one that does not fit into memory, by halves.

    Raises `BackendError` (`OUT_OF_MEMORY`) where not even one part fits, with its `name`.
    """
    problem: str
    try:
        return [do(batch)]
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        problem = " ".join(str(error).split())[:200]
    # Here, where the error and the tensors that its frames hold are gone.
    release(device)
    if len(batch) == 1:
        message = f"There is not enough memory for one {name(batch[0])} ({problem})."
        raise BackendError(Fault("OUT_OF_MEMORY", message, hint="Use a larger device or a smaller dtype."))
    half = len(batch) // 2
    return split_on_oom(do, batch[:half], device, name) + split_on_oom(do, batch[half:], device, name)


def keep_freed_memory() -> None:
    """Let the C library keep what large tensors leave, where it can: the next ones are of the same size.

    Asking the system for it anew each time, page by page, took 4 to 8 % of the time on a CPU in a trial. There is
    hardly more in use at once for it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def put_on(device: torch.device, tensor: Tensor) -> Tensor:
    """A CPU's `tensor` on `device`; to a CUDA device it travels from pinned memory, while that computes."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def release(device: torch.device) -> None:
    """Give back the memory that torch holds but does not use."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def peak_memory_bytes(*devices: torch.device) -> int | None:
    """Peak memory of torch in bytes, summed over the CUDA devices; None on the CPU."""
    on_cuda = [torch.cuda.max_memory_allocated(device) for device in devices if device.type == "cuda"]
    return sum(map(int, on_cuda)) if on_cuda else None
