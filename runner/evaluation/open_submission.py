"""What is evaluated, opened: a backend, and the files that its answers are bound to."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.artifacts import (
    FileStat,
    Kind,
    PrivateView,
    binding,
    changed_files,
    check_folders,
    combine_manifests,
    raise_if_modified,
    stat_files,
)
from runner.core.canonical import manifest_digest, sha256_bytes
from runner.core.errors import Fault, InvalidInput, raise_faults
from runner.core.types import AdapterRef, ModelRef, Prediction, ServiceRef, Submission
from runner.evaluation import submission_info
from runner.models.api import Access, allowed_key, open_service
from runner.models.base import Backend, Cluster, LoadOptions
from runner.models.cluster import ClusterReplicas, open_cluster
from runner.models.hub import resolve_model
from runner.models.worker import device_names, open_isolated, open_replicas
from runner.scorecard import filenames


@dataclass(frozen=True, slots=True)
class OpenedSubmission:
    """A submission whose model answers prompts, and whose files were hashed before they were loaded."""

    submission: Submission
    """What is evaluated."""
    backend: Backend
    """A worker for each replica of the model, or the service that runs it."""
    manifest: list[dict[str, Any]]
    """Name, size and sha256 of every file that is loaded; of submission.yaml alone for a service."""
    folders: Mapping[Kind, Path]
    """The folders of model and adapter; none for a service."""
    file_stats: tuple[FileStat, ...]
    """Inode, size and times of change of every loaded file, taken before it was checked and hashed."""
    load_seconds: float
    """Seconds that loading the model took, without hashing its files."""
    replicas: "ClusterReplicas | None" = None
    """The backend, where nodes of a cluster are."""

    @property
    def digest(self) -> str:
        """The digest of `manifest`."""
        return manifest_digest(self.manifest)

    @property
    def bytes_bound(self) -> str | None:
        """How the loaded files are tied to their digests, as the card says it; None for a service."""
        return binding(*self.folders.values()) if self.folders else None

    def raise_if_modified(self) -> None:
        """Raise `InvalidInput` (BYTES_CHANGED) once a file was written to or exchanged; reads nothing of it."""
        raise_if_modified(self.file_stats)

    def changed_files(self) -> list[Fault]:
        """BYTES_CHANGED for each file whose bytes are no longer those of `manifest`; hashes all of them again."""
        here = [
            fault
            for kind, folder in self.folders.items()
            for fault in changed_files(folder, kind, submission_info.part_of(self.manifest, kind))
        ]
        return here + (self.replicas.changed_files() if self.replicas is not None else [])

    def describe(self, facts: Mapping[str, Any], answers: Sequence[Prediction]) -> dict[str, Any]:
        """The `submission` block of the card; `facts` are the backend's own description."""
        return submission_info.describe(self.submission, self.manifest, facts, answers)


def stat_submission(submission: Submission) -> tuple[FileStat, ...]:
    """The state of the files on this machine that a submission names; to be taken before they are checked."""
    return stat_files(*((folder, kind) for kind, folder in _local_folders(submission).items()))


def resolve_folders(
    submission: Submission, stats: tuple[FileStat, ...]
) -> tuple[dict[Kind, Path], tuple[FileStat, ...]]:
    """The folders of a submission's model and adapter, and `stats` with those of what is fetched and checked here.

    None where a service runs the model. Raises `InvalidInput` with the faults of what was fetched.
    """
    if submission.service is not None:
        return {}, stats
    folders: dict[Kind, Path] = {"model": resolve_model(submission.model)}
    if submission.adapter:
        folders["adapter"] = resolve_model(submission.adapter)
    if fetched := [(folder, kind) for kind, folder in folders.items() if kind not in _local_folders(submission)]:
        stats += stat_files(*fetched)
        raise_faults(check_folders(submission, folders["model"], folders.get("adapter"), pins=False))
    return folders, stats


def _local_folders(submission: Submission) -> dict[Kind, Path]:
    refs: dict[Kind, ModelRef | AdapterRef | None] = {"model": submission.model, "adapter": submission.adapter}
    return {kind: Path(ref.path) for kind, ref in refs.items() if ref is not None and ref.path is not None}


@contextmanager
def open_submission(
    submission: Submission,
    folders: Mapping[Kind, Path],
    stats: tuple[FileStat, ...],
    load: LoadOptions,
    access: Access | None,
    cluster: Cluster | None = None,
) -> Iterator[OpenedSubmission]:
    """Hash the files, then load the model from private views of them, or name the service that runs it.

    `stats` are those of the files before they were checked: no other files are bound. At its end the backend is closed.
    Raises `InvalidInput` (OPTION) for options of the other kind, and what the backend raises when it opens.
    """
    replicas = device_names(load.device)
    with ExitStack() as stack:
        views = {kind: stack.enter_context(PrivateView(folder, kind, stats)) for kind, folder in folders.items()}
        manifest = _manifest(submission, folders, views)
        started = time.monotonic()
        backend: Backend
        replicas_on_nodes = None
        if submission.service is not None:
            backend = _open_service(submission.service, load, access)
        elif access is not None:
            message = "The options --api-… are for submissions that name a service; this one names a model."
            raise InvalidInput(Fault("OPTION", message))
        elif cluster is not None:
            manifests = {kind: view.files for kind, view in views.items()}
            backend = replicas_on_nodes = open_cluster(submission, manifests, load, cluster)
        else:
            opening = open_isolated if len(replicas) == 1 else open_replicas
            adapter = views["adapter"].folder if "adapter" in views else None
            backend = opening(submission, views["model"].folder, adapter, load)
        stack.enter_context(closing(backend))
        load_seconds = time.monotonic() - started
        yield OpenedSubmission(submission, backend, manifest, folders, stats, load_seconds, replicas_on_nodes)


def _open_service(service: ServiceRef, load: LoadOptions, access: Access | None) -> Backend:
    options = {"device": load.device, "dtype": load.dtype, "batch-tokens": load.batch_tokens, "threads": load.threads}
    if unused := [name for name, value in options.items() if value is not None]:
        raise InvalidInput(Fault("OPTION", f"The option --{unused[0]} is for models, this submission names a service."))
    access = access or Access()
    if access.max_cost is not None and service.price is None:
        message = "--api-max-cost needs the price of a million tokens, which the submission does not give."
        raise InvalidInput(Fault("OPTION", message, hint="Write `price: {currency: …, input: …, output: …}` in it."))
    return open_service(service, allowed_key(service, access), access)


def _manifest(
    submission: Submission, folders: Mapping[Kind, Path], views: Mapping[Kind, PrivateView]
) -> list[dict[str, Any]]:
    """The manifest of the model's and the adapter's files, or of submission.yaml alone where a service is measured."""
    if submission.service is None:
        return combine_manifests(submission, {kind: view.files for kind, view in views.items()}, folders)
    source = submission.source
    return [{"name": filenames.SUBMISSION, "size": len(source), "sha256": sha256_bytes(source)}]
