"""A cap on the memory of a training: to fail early rather than take what others need."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from runner.core.errors import BackendError, Fault
from runner.models.local import devices


@contextmanager
def capped(gib: float | None, device: torch.device) -> Iterator[None]:
    """Within it the process may take `gib` GiB of the device's memory (None: all); `BackendError` when it runs out.

    On a CPU the data segment of this process is limited, other processes' memory is not counted.
    """
    try:
        with _limit(gib, device):
            yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and not devices.is_out_of_memory(error):
            raise
        problem = " ".join(str(error).split())[:200]
        hint = "Lower batch_size and raise gradient_accumulation by as much, or set gradient_checkpointing."
        message = f"There is not enough memory{'' if gib is None else f' within {gib:g} GiB'} ({problem})."
        raise BackendError(Fault("OUT_OF_MEMORY", message, hint=hint)) from error


@contextmanager
def _limit(gib: float | None, device: torch.device) -> Iterator[None]:
    if gib is None:
        yield
    elif device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(gib * 2**30 / total, 1.0), device)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, device)
    else:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        max_bytes = int(gib * 2**30)
        # The system may already allow less, which cannot be raised, and holds as well.
        resource.setrlimit(
            resource.RLIMIT_DATA, (max_bytes if hard == resource.RLIM_INFINITY else min(max_bytes, hard), hard)
        )
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
