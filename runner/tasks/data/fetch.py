"""From the declared archives to the released files under their released names, each checked before it has its name."""

import os
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from runner.config.cross_checks import is_archive
from runner.core.benchmark_types import Benchmark, DataFile, Dataset
from runner.core.errors import Fault, Interrupted, InvalidInput, OutputError, UserError
from runner.tasks.data.download import download
from runner.tasks.data.extract import BadArchive, Limits, extract
from runner.tasks.data.hub import download_from_hub
from runner.tasks.data.locate import candidate_paths, default_data_dir, digest_of_file, is_file, pin, require_known
from runner.tasks.data.retry import RetryPolicy
from runner.tasks.data.unpack import extract_zip, take_file

FetchProgress = Callable[[str, int, int | None], None]
"""Called with the name of the dataset, the bytes of its archive there so far, and the bytes in all or None."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The outcome for one split."""

    dataset: str
    """Name of the dataset."""
    split: str
    """Name of the split."""
    path: Path
    """Path of its file."""
    state: Literal["embedded", "present", "fetched", "replaced", "local"]
    """`embedded` in the package, `present` before, `fetched`, `replaced` a wrong file, or `local`: a folder that is
    never fetched."""


def fetch(
    benchmark: Benchmark,
    data_dir: Path | None,
    datasets: Collection[str] | None = None,
    progress: FetchProgress | None = None,
    patience: RetryPolicy | None = None,
    limits: Limits | None = None,
    *,
    pinned: bool = True,
    retrying: Callable[[str], None] = lambda _: None,
) -> list[Fetched]:
    """Bring every split of `datasets` (None: of all) into `data_dir` (None: the default one), in benchmark order.

    A file that is there with the declared digest is left alone, and needs neither network nor a writable folder. A
    file that is there with another digest is replaced where it lies. Otherwise a split goes to
    `data_dir/<folder>/<file>`. No digest of an archive is published, so what counts is the pins of its members: a
    member gets its released name only when its digest is right. The archive (`<dataset>.part`) is removed, whatever
    becomes of it. A dataset that fails does not keep the others from being fetched. With `pinned` false no digest is
    compared: that is for who is about to pin what there is. `retrying` is given a sentence on each attempt that failed
    and is made again.

    Raises, with the faults of every dataset, `InvalidInput` (DATA_NAME, DATA_DATASET, DATA_URL; DATA_ARCHIVE and
    DATA_DIGEST when the archive does not hold what is declared), `BackendError` (DATA_DOWNLOAD), `OutputError`
    (DATA_WRITE) or `Interrupted` (DATA_LOCKED: another process is fetching the same dataset).
    """
    require_known(benchmark, datasets)
    folder = default_data_dir() if data_dir is None else data_dir
    fetched: list[Fetched] = []
    errors: list[UserError] = []
    for dataset in benchmark.datasets.values():
        if datasets is not None and dataset.name not in datasets:
            continue
        try:
            fetched += _fetch_dataset(dataset, folder, progress, patience or RetryPolicy(), limits, pinned, retrying)
        except OSError as error:
            what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
            message = f"{dataset.name} could not be kept in {folder}: {what}."
            hint = "Free space, or name a folder that can be written to with --data-dir."
            errors.append(OutputError(Fault("DATA_WRITE", message, file=str(folder), hint=hint)))
        except UserError as error:
            errors.append(error)
    if errors:
        raise type(errors[0])(*(fault for error in errors for fault in error.faults))
    return fetched


def _fetch_dataset(
    dataset: Dataset,
    folder: Path,
    progress: FetchProgress | None,
    patience: RetryPolicy,
    limits: Limits | None,
    pinned: bool,
    retrying: Callable[[str], None],
) -> list[Fetched]:
    splits = list(dataset.splits.values())
    if dataset.embedded is not None:
        return [
            Fetched(dataset.name, data.split, candidate_paths(dataset, data, folder)[0], "embedded") for data in splits
        ]
    if dataset.path is not None:
        return [_local(dataset, data, folder) for data in splits]
    before = {data.split: _state(dataset, data, folder, pinned) for data in splits}
    if any(state != "present" for _, state in before.values()):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / f".{dataset.name}.lock", timeout=0):
                # Looked at again: another process may have finished between the first look and the lock.
                before = {data.split: _state(dataset, data, folder, pinned) for data in splits}
                # Splits that are folds of one file need it once.
                missing = {data.file: data for data in splits if before[data.split][1] != "present"}
                if missing:
                    targets = {file: before[data.split][0] for file, data in missing.items()}
                    _bring(dataset, missing, targets, folder, progress, patience, limits, pinned, retrying)
        except Timeout:
            message = f"Another process is fetching {dataset.name} into {folder}."
            raise Interrupted(Fault("DATA_LOCKED", message, hint="Run the command again when it is done.")) from None
    return [Fetched(dataset.name, split, path, state) for split, (path, state) in before.items()]


def _local(dataset: Dataset, data: DataFile, folder: Path) -> Fetched:
    looked_at = candidate_paths(dataset, data, folder)
    for path in looked_at:
        if is_file(path):
            return Fetched(dataset.name, data.split, path, "local")
    message = f"{data.file} of {dataset.name} was not found; looked at {' and '.join(map(str, looked_at))}."
    hint = "Put it there: nothing is fetched for a source with a `path`."
    raise InvalidInput(Fault("DATA_MISSING", message, file=str(looked_at[-1]), hint=hint))


def _state(
    dataset: Dataset, data: DataFile, folder: Path, pinned: bool
) -> tuple[Path, Literal["present", "fetched", "replaced"]]:
    """Where a split belongs, and what fetching it will have made of it."""
    possible = candidate_paths(dataset, data, folder)
    path = next(filter(is_file, possible), None)
    if path is None:
        return possible[-1], "fetched"
    kind, expected = pin(data)
    return path, "present" if not pinned or digest_of_file(kind, path) == expected else "replaced"


def _bring(
    dataset: Dataset,
    files: Mapping[str, DataFile],
    targets: Mapping[str, Path],
    folder: Path,
    progress: FetchProgress | None,
    patience: RetryPolicy,
    limits: Limits | None,
    pinned: bool,
    retrying: Callable[[str], None],
) -> None:
    """Fetch `files` (by name) and give those that are right their names, which are `targets`."""
    part = folder / f"{dataset.name}.part"
    source = dataset.url or f"{dataset.hub} at {dataset.revision}"
    prefix = "" if dataset.folder in (None, ".") else f"{dataset.folder}/"

    def report(done: int, total: int | None) -> None:
        if progress is not None:
            progress(dataset.name, done, total)

    def report_attempt(why: str) -> None:
        retrying(f"{dataset.name}: {why}")

    unchecked = {
        file: target.with_name(f".{target.name}.{secrets.token_hex(4)}.unchecked") for file, target in targets.items()
    }
    faults = []
    try:
        for target in targets.values():
            target.parent.mkdir(parents=True, exist_ok=True)
        if dataset.url is None:
            refused: Mapping[str, str] = {}
            for file, path in unchecked.items():
                download_from_hub(dataset.hub or "", dataset.revision or "", file, path, patience, report_attempt)
        else:
            download(dataset.url, part, patience, report, report_attempt)
            refused = _unpack(dataset.url, part, {prefix + file: path for file, path in unchecked.items()}, limits)
        for file, target in targets.items():
            member = prefix + file
            if member in refused:
                faults.append(Fault("DATA_ARCHIVE", f"{source} does not give {member}: {refused[member]}."))
                continue
            kind, expected = pin(files[file])
            digest = digest_of_file(kind, unchecked[file])
            if digest == expected or not pinned:
                _give_name(unchecked[file], target)
                continue
            message = f"{member} in {source} has {kind} {digest}, expected {expected}; it was not kept."
            faults.append(Fault("DATA_DIGEST", message, hint="The release has changed, or it was altered on the way."))
    except BadArchive as error:
        hint = "What was downloaded is discarded; run the command again."
        faults.append(Fault("DATA_ARCHIVE", f"{source} cannot be unpacked: {error}.", hint=hint))
    finally:
        for path in (part, *unchecked.values()):
            path.unlink(missing_ok=True)
    if faults:
        raise InvalidInput(*faults)


def _unpack(url: str, part: Path, wanted: Mapping[str, Path], limits: Limits | None) -> Mapping[str, str]:
    """The wanted files out of what was downloaded, by the ending of its address; why, for those that are not there."""
    name = url.partition("?")[0].partition("#")[0].rpartition("/")[2]
    if is_archive(url):
        return (extract_zip if name.lower().endswith(".zip") else extract)(part, wanted, limits)
    for file, path in wanted.items():
        take_file(part, path, gzipped=name != file, limits=limits)
    return {}


def _give_name(unchecked: Path, target: Path) -> None:
    unchecked.replace(target)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
