"""From a reference to a model or an adapter to the local folder that holds it."""

from pathlib import Path

from runner.artifacts import FETCHED
from runner.core.errors import BackendError, Fault
from runner.core.types import AdapterRef, ModelRef


def resolve_model(ref: ModelRef | AdapterRef, *, weights: bool = True) -> Path:
    """The folder of `ref`: its local path as it is, or the pinned revision fetched from the Hub.

    Only files that are loaded are fetched (without `weights`, no safetensors); HF_HUB_OFFLINE is honoured. The Hub's
    cache is made of links, which `runner.artifacts` follows inside it. Raises `BackendError` with `MODEL_MISSING` or
    `HUB`.
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
    return _fetch(ref.repository, ref.revision, patterns)


def _fetch(repository: str, revision: str, patterns: list[str]) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError

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
    except (HTTPError, OSError) as problem:
        hint = "Check the name, the revision, and HF_TOKEN if access is restricted."
        reason = " ".join(str(problem).split())[:300]
        raise BackendError(Fault("HUB", f"{called} could not be fetched: {reason}", hint=hint)) from None
    return Path(snapshot_dir)
