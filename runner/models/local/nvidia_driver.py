"""The NVIDIA driver of this machine: its version, and the newest CUDA it can run. Nothing is started to ask."""

import ctypes
import re
from pathlib import Path

_SAYS_VERSION = Path("/proc/driver/nvidia/version")
_CONTROL = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


def is_present() -> bool:
    """Whether a driver has a device here; in a container, whether it was let in."""
    return any(device.exists() for device in _CONTROL)


def version() -> str | None:
    """As `580.65.06`, or None where the kernel's module does not say (no driver, or Windows' own)."""
    try:
        text = _SAYS_VERSION.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", text)
    return match[1] if match else None


def newest_cuda() -> str | None:
    """The newest CUDA version that the driver can run, as `13.0`; None without a driver's library.

    `cuDriverGetVersion` of the CUDA driver API gives 1000 times the major and 10 times the minor number.
    """
    number = ctypes.c_int()
    try:
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number)):
            return None
    except (OSError, AttributeError):
        return None
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def too_old_for(cuda: str | None) -> str | None:
    """A sentence if the driver cannot run what was built for CUDA `cuda`; None if it can, or there is none.

    Within a major version any driver of it will do (NVIDIA, CUDA Compatibility: minor version compatibility).
    """
    newest = newest_cuda()
    if cuda is None or newest is None or int(newest.split(".")[0]) >= int(cuda.split(".")[0]):
        return None
    return f"the NVIDIA driver {version() or ''} runs CUDA up to {newest}, and torch was built for {cuda}".replace(
        "  ", " "
    )
