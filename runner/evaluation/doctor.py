"""Check the machine before a run: what would stop it shows in seconds instead of hours."""

import os
import shutil
import tempfile
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from runner.config.benchmark import load_benchmark
from runner.core import resources
from runner.core.errors import BackendError
from runner.core.types import Check
from runner.models.api.access import DEFAULT_KEY_VARIABLE
from runner.models.worker import ACTIVE, device_names, isolation, threads_per_replica
from runner.signing import keys
from runner.tasks.data.check import check as check_data

_NEEDED_DISK = 2 << 30
# An engine's default for a container is nominally 64 MiB, and with some a little less.
_NEEDED_SHARED_MEMORY = 60_000_000
_PATIENCE = 3.0
"""Seconds that the Hub has to answer."""


def examine(output_dir: Path, data_dir: Path | None, device: str | None) -> list[Check]:
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


def _output(output_dir: Path) -> Check:
    folder = _nearest(output_dir)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        hint = 'Give --output-dir, or in a container -v "$PWD/results:/results" --user "$(id -u):$(id -g)".'
        return Check("output", "fail", f"{folder} is not writable: {problem.strerror}", hint)
    return Check("output", "ok", f"{output_dir} is writable")


def _disk(output_dir: Path) -> Check:
    free = shutil.disk_usage(_nearest(output_dir)).free
    message = f"{free / 1e9:.1f} GB free for results"
    if free < _NEEDED_DISK:
        return Check("disk", "warn", message, "A run on the full suite writes some hundred MB; leave 2 GB.")
    return Check("disk", "ok", message)


def _temporary() -> Check:
    try:
        with tempfile.TemporaryFile():
            return Check("temporary files", "ok", f"{tempfile.gettempdir()} is writable")
    except OSError as problem:
        return Check("temporary files", "fail", str(problem.strerror), "In a container add --tmpfs /tmp.")


def _shared_memory() -> Check:
    try:
        size = shutil.disk_usage("/dev/shm").total
    except OSError:
        return Check("shared memory", "ok", "this platform has no /dev/shm")
    if size < _NEEDED_SHARED_MEMORY:
        return Check("shared memory", "warn", f"{size / 1e6:.0f} MB", "In a container add --shm-size 1g.")
    return Check("shared memory", "ok", f"{size / 1e9:.1f} GB")


def _key() -> Check:
    path = keys.default_key_path()
    if not path.exists():
        return Check("signing key", "ok", f"none yet; the first run makes {path}")
    if not os.access(path, os.R_OK):
        return Check("signing key", "fail", f"{path} cannot be read", "Fix its owner, or give --key.")
    return Check("signing key", "ok", str(path))


def _data(data_dir: Path | None) -> list[Check]:
    findings = []
    for status in check_data(load_benchmark(resources.benchmark_file()), data_dir):
        name = f"data {status.dataset}/{status.split}"
        match status.state:
            case "ok":
                findings.append(Check(name, "ok", f"{status.rows:,} rows"))
            case "missing":
                findings.append(Check(name, "warn", "not there", "Run `benchmark data fetch`, or give --data-dir."))
            case _:
                findings.append(Check(name, "fail", status.state, "Fetch it again, or mend what is there."))
    return findings


def _hub() -> Check:
    """Online only if the Hub's address (that of HF_ENDPOINT, where it is set) answers one request in time."""
    from huggingface_hub import constants

    address = constants.ENDPOINT
    if constants.is_offline_mode():
        message = "offline (HF_HUB_OFFLINE), not tried: models come from folders or the cache"
        return Check("model hub", "ok", message)
    answers: list[str] = []
    # The time limits of a client leave out the search for a name, so the request is waited for from outside.
    request = threading.Thread(target=lambda: answers.append(_ask(address)), daemon=True)
    request.start()
    request.join(_PATIENCE)
    answer = answers[0] if answers else f"no answer within {_PATIENCE:g} s"
    if answer:
        hint = "Only needed for models that are named by repository; the cache and folders work without it."
        return Check("model hub", "warn", f"{address} was not reached: {answer}", hint)
    return Check("model hub", "ok", f"online: {address} answered, pinned revisions may be downloaded")


def _ask(address: str) -> str:
    """Empty if a server answers there, whatever it says; else the reason."""
    from huggingface_hub.utils import get_session

    try:
        get_session().head(address, timeout=_PATIENCE)
    except Exception as problem:  # of whichever HTTP library the Hub's client uses
        return str(problem) or type(problem).__name__
    return ""


def _services() -> Check:
    try:
        client = f"httpx2 {version('httpx2')}"
    except PackageNotFoundError:
        return Check("services", "ok", "the client is not installed: pip install 'moral-ambiguity-benchmark[api]'")
    key = "is set" if os.environ.get(DEFAULT_KEY_VARIABLE) else "is not set"
    return Check("services", "ok", f"{client}; {DEFAULT_KEY_VARIABLE} {key}")


def _isolation(device: str | None) -> Check:
    try:
        states = isolation(device)
    except BackendError as problem:
        return Check("isolation", "fail", problem.faults[0].message, problem.faults[0].hint)
    why = "unavailable: "
    missing = [f"{name} ({state.removeprefix(why)})" for name, state in states.items() if state.startswith(why)]
    if missing:
        hint = "Run submissions of strangers in a container or a machine of their own; the card names what is missing."
        return Check("isolation", "warn", f"the model's process goes without: {', '.join(missing)}", hint)
    active = sum(state == ACTIVE for state in states.values())
    return Check("isolation", "ok", f"{active} protections of the model's process are active")


def _devices(device: str | None) -> list[Check]:
    from runner.models.local.open import examine_device

    try:
        names = device_names(device)
    except BackendError as problem:
        return [Check("device", "fail", fault.message, fault.hint) for fault in problem.faults]
    findings = [_isolation(names[0])]
    if len(names) > 1:
        threads = threads_per_replica(None, len(names))
        of_each = f"{threads} threads each" if threads else "threads as the environment says"
        findings.append(Check("copies", "ok", f"{len(names)} processes, each with a copy of the model; {of_each}"))
    return findings + [Check(*finding) for name in dict.fromkeys(names) for finding in examine_device(name)]
