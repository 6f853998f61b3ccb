"""A look at the machine before the work: what would stop a run, found in seconds instead of hours."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from runner.config.benchmark import load_benchmark
from runner.core import resources
from runner.core.errors import BackendError
from runner.models.api.access import DEFAULT_KEY_VARIABLE
from runner.models.worker import ACTIVE, device_names, isolation, threads_per_replica
from runner.signing import keys
from runner.tasks.data.check import check as check_data

_NEEDED_DISK = 2 << 30
# What engines give a container unless told otherwise is nominally 64 MiB, and with some a little less.
_NEEDED_SHARED_MEMORY = 60_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: `state` is ok, warn or fail; `hint` says what to do unless it is ok."""

    name: str
    state: str
    message: str
    hint: str | None = None


def examine(output_dir: Path, data_dir: Path | None, device: str | None) -> list[Finding]:
    """Findings in the order in which a run would meet them. Looks at each device, so torch is imported here."""
    return [
        _output(output_dir),
        _disk(output_dir),
        _temporary(),
        _shared_memory(),
        _key(),
        *_data(data_dir),
        _hub(),
        _services(),
        *_devices(device),
    ]


def _nearest(path: Path) -> Path:
    """The closest ancestor that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())


def _output(output_dir: Path) -> Finding:
    folder = _nearest(output_dir)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        hint = 'Give --output-dir, or in a container -v "$PWD/results:/results" --user "$(id -u):$(id -g)".'
        return Finding("output", "fail", f"{folder} is not writable: {problem.strerror}", hint)
    return Finding("output", "ok", f"{output_dir} is writable")


def _disk(output_dir: Path) -> Finding:
    free = shutil.disk_usage(_nearest(output_dir)).free
    message = f"{free / 1e9:.1f} GB free for results"
    if free < _NEEDED_DISK:
        return Finding("disk", "warn", message, "A run on the full suite writes some hundred MB; leave 2 GB.")
    return Finding("disk", "ok", message)


def _temporary() -> Finding:
    try:
        with tempfile.TemporaryFile():
            return Finding("temporary files", "ok", f"{tempfile.gettempdir()} is writable")
    except OSError as problem:
        return Finding("temporary files", "fail", str(problem.strerror), "In a container add --tmpfs /tmp.")


def _shared_memory() -> Finding:
    try:
        size = shutil.disk_usage("/dev/shm").total
    except OSError:
        return Finding("shared memory", "ok", "this platform has no /dev/shm")
    if size < _NEEDED_SHARED_MEMORY:
        return Finding("shared memory", "warn", f"{size / 1e6:.0f} MB", "In a container add --shm-size 1g.")
    return Finding("shared memory", "ok", f"{size / 1e9:.1f} GB")


def _key() -> Finding:
    path = keys.default_key_path()
    if not path.exists():
        return Finding("signing key", "ok", f"none yet; the first run makes {path}")
    if not os.access(path, os.R_OK):
        return Finding("signing key", "fail", f"{path} cannot be read", "Fix its owner, or give --key.")
    return Finding("signing key", "ok", str(path))


def _data(data_dir: Path | None) -> list[Finding]:
    findings = []
    for status in check_data(load_benchmark(resources.benchmark_file()), data_dir):
        name = f"data {status.dataset}/{status.split}"
        match status.state:
            case "ok":
                findings.append(Finding(name, "ok", f"{status.rows:,} rows"))
            case "missing":
                findings.append(Finding(name, "warn", "not there", "Run `benchmark data fetch`, or give --data-dir."))
            case _:
                findings.append(Finding(name, "fail", status.state, "Fetch it again, or mend what is there."))
    return findings


def _hub() -> Finding:
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return Finding("model hub", "ok", "offline (HF_HUB_OFFLINE=1): models come from folders or the cache")
    return Finding("model hub", "ok", "online: pinned revisions may be downloaded")


def _services() -> Finding:
    try:
        client = f"httpx2 {version('httpx2')}"
    except PackageNotFoundError:
        return Finding("services", "ok", "the client is not installed: pip install 'moral-ambiguity-benchmark[api]'")
    key = "is set" if os.environ.get(DEFAULT_KEY_VARIABLE) else "is not set"
    return Finding("services", "ok", f"{client}; {DEFAULT_KEY_VARIABLE} {key}")


def _isolation(device: str | None) -> Finding:
    try:
        states = isolation(device)
    except BackendError as problem:
        return Finding("isolation", "fail", problem.faults[0].message, problem.faults[0].hint)
    why = "unavailable: "
    missing = [f"{name} ({state.removeprefix(why)})" for name, state in states.items() if state.startswith(why)]
    if missing:
        hint = "Run submissions of strangers in a container or a machine of their own; the card names what is missing."
        return Finding("isolation", "warn", f"the model's process goes without: {', '.join(missing)}", hint)
    active = sum(state == ACTIVE for state in states.values())
    return Finding("isolation", "ok", f"{active} protections of the model's process are active")


def _devices(device: str | None) -> list[Finding]:
    from runner.models.local.open import examine_device

    try:
        names = device_names(device)
    except BackendError as problem:
        return [Finding("device", "fail", fault.message, fault.hint) for fault in problem.faults]
    findings = [_isolation(names[0])]
    if len(names) > 1:
        threads = threads_per_replica(None, len(names))
        of_each = f"{threads} threads each" if threads else "threads as the environment says"
        findings.append(Finding("copies", "ok", f"{len(names)} processes, each with a copy of the model; {of_each}"))
    return findings + [Finding(*finding) for name in dict.fromkeys(names) for finding in examine_device(name)]
