"""Which submissions a sweep evaluates, in which order, and by what an entry that is finished is known again."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from runner.config.detect import kind_of
from runner.config.schema import did_you_mean
from runner.config.source import BENCHMARK_BYTES, fault_at, read
from runner.config.submission import load_submission
from runner.config.sweep import SweepItem, SweepSpec, load_sweep, submission_file
from runner.core import environment
from runner.core.canonical import digest, sha256_file
from runner.core.errors import Fault, InvalidInput, raise_faults
from runner.core.types import Submission
from runner.tasks.selection import RunConfig


@dataclass(frozen=True, slots=True)
class Entry:
    """One submission with all its tasks: one run, and one card."""

    name: str
    """Name of the submission, or of its file where that cannot be parsed; the second of a name has -2 behind it."""
    path: Path
    """Its submission.yaml."""
    config: RunConfig
    """Benchmark, suite, tasks, split, data and limit."""
    weights_bytes: int | None
    """Bytes of its safetensors files; None where they are not in a folder on this machine."""
    service: bool
    """Whether a service runs the model."""
    key: str
    """Digest of all that an entry's result follows from, files by name, size and time of change."""


def read_spec(paths: Sequence[Path]) -> SweepSpec:
    """The submissions that a command line names: files, folders that hold one, or one sweep.yaml alone.

    Raises `InvalidInput` with the faults of a sweep.yaml, and for files that are not there.
    """
    files = [submission_file(path) for path in paths]
    missing = [path for path in files if not path.is_file()]
    raise_faults(Fault("FILE_MISSING", "There is no such file.", str(path)) for path in missing)
    sweeps = [path for path in files if _is_sweep(path)]
    if sweeps and len(files) > 1:
        message = "A sweep.yaml names all submissions of a sweep, and more are given beside it."
        raise InvalidInput(Fault("OPTION", message, str(sweeps[0]), hint="Give it alone, or list them in it."))
    return load_sweep(files[0]) if sweeps else SweepSpec(tuple(SweepItem(path) for path in dict.fromkeys(files)))


def plan_entries(spec: SweepSpec, config: RunConfig, load: Mapping[str, Any]) -> list[Entry]:
    """The entries of a sweep, those with most bytes of weights first, so that what may not fit is known early.

    Options of `config` that were given hold for all; `load` are those by which models are loaded. Weights that are not
    on this machine yet come first. Raises `InvalidInput` (UNKNOWN_BASELINE) for a baseline that is not in the sweep.
    """
    benchmark = sha256_file(config.benchmark) if config.benchmark.is_file() else None
    common = {"benchmark": benchmark, "load": dict(load), "versions": environment.versions()}
    entries: list[Entry] = []
    names: Counter[str] = Counter()
    for item in spec.items:
        entry = _entry(item, config, common)
        names[entry.name] += 1
        entries.append(replace(entry, name=f"{entry.name}-{count}") if (count := names[entry.name]) > 1 else entry)
    if spec.baseline is not None and spec.baseline not in names:
        _refuse_baseline(spec, [entry.name for entry in entries])
    return sorted(entries, key=lambda entry: (entry.weights_bytes is not None, -(entry.weights_bytes or 0)))


def _entry(item: SweepItem, config: RunConfig, common: Mapping[str, Any]) -> Entry:
    own = replace(
        config,
        suite=config.suite or item.suite,
        tasks=config.tasks or item.tasks,
        split=config.split or item.split,
        limit=config.limit or item.limit,
    )
    try:
        submission: Submission | None = load_submission(item.path)
    except InvalidInput:  # its run will say so
        submission = None
    folders = [] if submission is None else _folders(submission)
    files = [(str(file), file.stat()) for folder in folders for file in sorted(folder.iterdir()) if file.is_file()]
    weights = [status.st_size for name, status in files if name.endswith(".safetensors")]
    settings = {**asdict(own), "benchmark": None, "data_dir": None if own.data_dir is None else str(own.data_dir)}
    key = {
        **common,
        "submission": sha256_file(item.path),
        "path": str(item.path.absolute()),
        "files": [[name, status.st_size, str(status.st_mtime_ns)] for name, status in files],
        "config": {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()},
    }
    name = item.path.parent.name if item.path.name == "submission.yaml" else item.path.stem
    service = submission is not None and submission.service is not None
    known = bool(folders) or service or submission is None
    return Entry(
        name=submission.name if submission else name,
        path=item.path,
        config=own,
        weights_bytes=sum(weights) if known else None,
        service=service,
        key=digest(key),
    )


def _folders(submission: Submission) -> list[Path]:
    """Folders on this machine that the submission's files are in; none where the model's are elsewhere."""
    if submission.model.path is None:
        return []
    refs = [submission.model.path, submission.adapter.path if submission.adapter else None]
    return [folder for path in refs if path is not None and (folder := Path(path)).is_dir()]


def _is_sweep(path: Path) -> bool:
    try:
        return kind_of(read(path, BENCHMARK_BYTES)) == "sweep"
    except InvalidInput:  # no YAML: what it is meant to be is a submission, which its run will refuse
        return False


def _refuse_baseline(spec: SweepSpec, names: Sequence[str]) -> None:
    message, hint = f"No submission of the sweep is named {spec.baseline!r}.", did_you_mean(spec.baseline, names)
    if spec.document is None or spec.document.value.get("baseline") != spec.baseline:
        raise InvalidInput(Fault("UNKNOWN_BASELINE", message, hint=hint))
    raise InvalidInput(fault_at(spec.document, "UNKNOWN_BASELINE", ("baseline",), message, hint))
