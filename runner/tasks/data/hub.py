"""One file of a data repository of the Hugging Face Hub, at a commit."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from runner.core.errors import BackendError, Fault
from runner.tasks.data.retry import Retryable, RetryPolicy, retry


def download_from_hub(
    repository: str,
    revision: str,
    file: str,
    target: Path,
    patience: RetryPolicy,
    retrying: Callable[[str], None] = lambda _: None,
) -> None:
    """Write `file` of the data repository at the commit `revision` to `target`, by the Hub's own client.

    HF_HUB_OFFLINE, HF_ENDPOINT and HF_TOKEN are honoured. A connection that is dropped is met with another attempt, as
    is what the client tries again by itself; `retrying` is given a sentence on the former. Raises `BackendError`
    (DATA_HUB); an `OSError` that leaves is about the disk.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError

    what = f"{file} of {repository} at {revision} could not be fetched"

    def attempt() -> None:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".hub-") as folder:
            try:
                path = hf_hub_download(repository, file, repo_type="dataset", revision=revision, local_dir=folder)
            except (HTTPError, LocalEntryNotFoundError, OSError) as problem:
                # The disk's errors have a number; those of the Hub's client that are OSErrors have none.
                if (
                    isinstance(problem, OSError)
                    and problem.errno is not None
                    and not isinstance(problem, ConnectionError)
                ):
                    raise
                if constants.HF_HUB_OFFLINE:
                    raise _refusal(f"{what}: HF_HUB_OFFLINE forbids to fetch it.") from None
                passing = _passing(problem)
                if passing is not None:
                    raise Retryable(passing) from None
                raise _refusal(f"{what}: {_one_line(problem)}") from None
            shutil.move(path, target)

    why = retry(attempt, patience, retrying)
    if why is not None:
        raise _refusal(f"{what} in {patience.attempts} attempts; the last one ended so: {why}.")


def _passing(problem: Exception) -> str | None:
    """How the connection broke, where the client itself did not try again; None for whatever else went wrong.

    It repeats what it asks after a status that may pass, a server that cannot be reached or is silent, and content that
    breaks off. The one thing that leaves it at once is a connection that is dropped at the first request.
    """
    from huggingface_hub.errors import HTTPError

    # By name: releases of the Hub's client take these classes from different packages.
    kinds = {kind.__name__ for kind in type(problem).__mro__}
    if not isinstance(problem, HTTPError) or not kinds & {"NetworkError", "RemoteProtocolError"}:
        return None
    return _one_line(problem).removesuffix(".") if problem.request.method == "HEAD" else None


def _one_line(problem: BaseException) -> str:
    return " ".join(str(problem).split())[:300]


def _refusal(message: str) -> BackendError:
    hint = "Check the name, the revision, and HF_TOKEN if access is restricted; or put the file there yourself."
    return BackendError(Fault("DATA_HUB", message, hint=hint))
