"""From a reference to a model or an adapter to the local folder of plain files that holds it."""

import shutil
import tempfile
from pathlib import Path

from runner.artifacts import FETCHED
from runner.core.errors import BackendError, Fault
from runner.core.types import AdapterRef, ModelRef


def resolve_model(ref: ModelRef | AdapterRef, *, weights: bool = True) -> Path:
    """The folder of `ref`: its local path as it is, or the pinned revision fetched from the Hub.

    Only files that are loaded are fetched (without `weights`, no safetensors); HF_HUB_OFFLINE is honoured. The Hub's
    cache is made of links, so what is there is copied once into a folder of plain files under HF_HOME, as the checks
    of a submission's files ask. Raises `BackendError` with `MODEL_MISSING` or `HUB`.
    """
    if ref.path is not None:
        folder = Path(ref.path)
        if not folder.is_dir():
            raise BackendError(Fault("MODEL_MISSING", "There is no such folder.", file=str(folder)))
        return folder
    if ref.repository is None or ref.revision is None:
        raise ValueError("a reference has a path, or a repository and a revision")
    fetched = FETCHED["model" if isinstance(ref, ModelRef) else "adapter"]
    patterns = [pattern for pattern in fetched if weights or not pattern.endswith(".safetensors")]
    snapshot = _fetch(ref.repository, ref.revision, patterns)
    return _plain_copy(snapshot, ref.repository, ref.revision, patterns) if weights else snapshot


def _fetch(repository: str, revision: str, patterns: list[str]) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    called = f"{repository} at {revision}"
    try:
        snapshot_dir = snapshot_download(
            repository, revision=revision, allow_patterns=patterns, local_files_only=constants.HF_HUB_OFFLINE
        )
    except LocalEntryNotFoundError:
        if constants.HF_HUB_OFFLINE:
            message = f"{called} is not in the local cache, and HF_HUB_OFFLINE forbids to fetch it."
        else:
            message = f"{called} is not in the local cache, and the Hub could not be reached."
        hint = "Fetch it where there is a network, or give the folder as `model.path`."
        raise BackendError(Fault("HUB", message, hint=hint)) from None
    except (HfHubHTTPError, OSError) as problem:
        hint = "Check the name, the revision, and HF_TOKEN if access is restricted."
        reason = " ".join(str(problem).split())[:300]
        raise BackendError(Fault("HUB", f"{called} could not be fetched: {reason}", hint=hint)) from None
    return Path(snapshot_dir)


def _plain_copy(snapshot: Path, repository: str, revision: str, patterns: list[str]) -> Path:
    """The files of `snapshot` without links, in a folder that appears only when it is whole."""
    from huggingface_hub import constants

    paths = sorted({path for pattern in patterns for path in snapshot.glob(pattern)})
    target = Path(constants.HF_HOME) / "moral-ambiguity-benchmark" / repository.replace("/", "--") / revision
    sizes = {path.name: path.stat().st_size for path in paths}
    if target.is_dir() and {path.name: path.stat().st_size for path in target.iterdir()} == sizes:
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as unfinished:
            for path in paths:
                shutil.copyfile(path, Path(unfinished, path.name))
            shutil.rmtree(target, ignore_errors=True)
            Path(unfinished).rename(target)
            Path(unfinished).mkdir()  # for the context manager to remove
        target.chmod(0o755)
    except OSError as problem:
        message = f"{repository} at {revision} could not be copied out of the cache: {problem.strerror or problem}."
        hint = "Set HF_HOME to a folder that can be written to and has room, or give a plain folder as `model.path`."
        raise BackendError(Fault("HUB", message, file=str(target), hint=hint)) from None
    return target
