"""The machine and the libraries a run was made with; none of it is part of the score."""

import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from runner.core.errors import Fault, InvalidInput
from runner.core.version import __version__

_LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "safetensors",
    "numpy",
    "scipy",
    "huggingface_hub",
    "cryptography",
    "rfc8785",
)
_VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "HF_HUB_OFFLINE",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
    "TOKENIZERS_PARALLELISM",
    "TRANSFORMERS_OFFLINE",
    "TZ",
)


def versions() -> dict[str, str | None]:
    """Version of the runner and of each library that can move a number; None where one is not installed."""
    installed: dict[str, str | None] = {"runner": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = None
    return installed


def describe() -> dict[str, Any]:
    """Libraries, system, processor and the environment variables that steer determinism; no user or host name.

    `image_digest` and `source_revision` are what the launcher passed in (a container cannot know its own digest);
    `InvalidInput` when they are malformed.
    """
    return {
        "versions": versions(),
        "system": {
            "platform": platform.platform(),
            "machine": platform.machine(),
            "processor": _processor(),
            "cpus": cpus(),
            "memory_bytes": _memory(),
        },
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "image_digest": _passed_in("BENCHMARK_IMAGE_DIGEST", r"sha256:[0-9a-f]{64}"),
        # The image sets it, to nothing when the build did not give it.
        "source_revision": _passed_in("BENCHMARK_SOURCE_REVISION", r"([0-9a-f]{40}([0-9a-f]{24})?)?") or None,
    }


def cpus() -> int | None:
    """Processor cores that this process may use, or None where the platform does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def in_container() -> bool:
    """Whether this is the project's image (it sets `BENCHMARK_CONTAINER`), where what is not mounted does not stay."""
    return os.environ.get("BENCHMARK_CONTAINER") == "1"


def is_mounted(path: Path) -> bool:
    """Whether `path` lies on something that was mounted into the container, and not on its own file system."""
    whole = Path(os.path.realpath(path))
    return any(folder.is_mount() for folder in (whole, *whole.parents) if folder != Path("/"))


def _passed_in(name: str, form: str) -> str | None:
    value = os.environ.get(name)
    if value is not None and re.fullmatch(form, value) is None:
        message = f"The environment variable {name} is {value[:80]!r}, but must match {form}."
        raise InvalidInput(Fault("ENVIRONMENT", message, hint="Unset it, or pass the full digest."))
    return value


def peak_memory_bytes() -> int | None:
    """Largest resident size so far of this process or of one that it started and that has ended.

    None where the platform does not tell.
    """
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) * unit


def _processor() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a kernel file, not a path of ours
            return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)
    except OSError:
        return platform.processor() or None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
