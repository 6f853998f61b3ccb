"""One file of a data repository of the Hugging Face Hub, at a commit."""

import shutil
import tempfile
from pathlib import Path

from runner.core.errors import BackendError, Fault


def download_from_hub(repository: str, revision: str, file: str, target: Path) -> None:
    """Write `file` of the data repository at the commit `revision` to `target`, by the Hub's own client.

    HF_HUB_OFFLINE, HF_ENDPOINT and HF_TOKEN are honoured. Raises `BackendError` (DATA_HUB); an `OSError` that leaves
    is about the disk.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".hub-") as folder:
        try:
            path = hf_hub_download(repository, file, repo_type="dataset", revision=revision, local_dir=folder)
        except (HTTPError, LocalEntryNotFoundError, OSError) as problem:
            # The disk's errors have a number; those of the Hub's client that are OSErrors have none.
            if isinstance(problem, OSError) and problem.errno is not None and not isinstance(problem, ConnectionError):
                raise
            reason = " ".join(str(problem).split())[:300]
            if constants.HF_HUB_OFFLINE:
                reason = "HF_HUB_OFFLINE forbids to fetch it."
            message = f"{file} of {repository} at {revision} could not be fetched: {reason}"
            hint = "Check the name, the revision, and HF_TOKEN if access is restricted; or put the file there yourself."
            raise BackendError(Fault("DATA_HUB", message, hint=hint)) from None
        shutil.move(path, target)
