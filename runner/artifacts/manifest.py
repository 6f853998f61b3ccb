"""Name and hash the files of a submission that are loaded, and find those that have changed."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from runner.artifacts.reading import open_regular
from runner.artifacts.tree import Kind, Tree, walk
from runner.core.canonical import manifest_digest
from runner.core.errors import Fault, InvalidInput, raise_faults
from runner.core.types import Submission


def file_manifest(folder: Path, kind: Kind) -> list[dict[str, Any]]:
    """Name, size in bytes and sha256 of every file of `folder` that is loaded, sorted by name in UTF-8 byte order.

    Loaded, and hashed, are for a model config.json, the safetensors files and their index, tokenizer.json,
    tokenizer_config.json, special_tokens_map.json, added_tokens.json and chat_template.jinja; for an adapter
    adapter_config.json and adapter_model.safetensors. Files that are accepted and ignored are not bound, so that a
    changed README is the same model. Raises `InvalidInput` with the faults of the folder (`tree.walk`).
    """
    faults, tree = walk(folder, kind)
    raise_faults(faults)
    return [_entry(tree, name) for name in tree.used()]


def model_manifest(folder: Path) -> list[dict[str, Any]]:
    """`file_manifest` of a model; its digest is `canonical.manifest_digest` of it."""
    return file_manifest(folder, "model")


def adapter_manifest(folder: Path) -> list[dict[str, Any]]:
    """`file_manifest` of an adapter; its digest is `canonical.manifest_digest` of it."""
    return file_manifest(folder, "adapter")


def submission_manifest(submission: Submission, model: Path, adapter: Path | None) -> list[dict[str, Any]]:
    """`combine_manifests` of the manifests of two folders; also raises `InvalidInput` with the faults of a folder."""
    files: dict[Kind, list[dict[str, Any]]] = {"model": model_manifest(model)}
    if adapter is not None:
        files["adapter"] = adapter_manifest(adapter)
    folders: dict[Kind, Path] = {"model": model, **({} if adapter is None else {"adapter": adapter})}
    return combine_manifests(submission, files, folders)


def combine_manifests(
    submission: Submission, files: Mapping[Kind, list[dict[str, Any]]], folders: Mapping[Kind, Path]
) -> list[dict[str, Any]]:
    """The manifests of model and adapter as one, names below `model/` and `adapter/`: what a scorecard is signed for.

    Raises `InvalidInput` (`DIGEST_MISMATCH`) where one is not what submission.yaml pins; `folders` are for its words.
    """
    pins = {"model": submission.model.digest, "adapter": submission.adapter.digest if submission.adapter else None}
    raise_faults(
        fault
        for kind, listed in files.items()
        for fault in digest_faults(listed, pins[kind], folders[kind], f"$.{kind}.digest")
    )
    entries = [{**entry, "name": f"{kind}/{entry['name']}"} for kind, listed in files.items() for entry in listed]
    return sorted(entries, key=lambda entry: str(entry["name"]).encode())


def digest_faults(files: Iterable[Mapping[str, Any]], pinned: str | None, folder: Path, path: str) -> list[Fault]:
    """`DIGEST_MISMATCH` unless the manifest `files` of `folder` has the digest that submission.yaml pins at `path`."""
    if pinned is None:
        return []
    actual = manifest_digest(files)
    if actual == pinned:
        return []
    message = f"The files have the digest {actual}, {pinned} was expected."
    return [Fault("DIGEST_MISMATCH", message, file=str(folder), path=path, hint="Other bytes are another submission.")]


def changed_files(folder: Path, kind: Kind, before: Iterable[Mapping[str, Any]]) -> list[Fault]:
    """`BYTES_CHANGED` for each file that is not what the manifest `before` says: hash again after a run.

    Weights are mapped into memory: a file edited after it was hashed changes the model that is running.
    """
    now = {entry["name"]: dict(entry) for entry in file_manifest(folder, kind)}
    then = {entry["name"]: dict(entry) for entry in before}
    return [
        Fault("BYTES_CHANGED", "It is not the file that was hashed before the run.", file=str(folder / name))
        for name in sorted(now.keys() | then.keys())
        if now.get(name) != then.get(name)
    ]


FileStat = tuple[str, int, int, int, int]
"""Path, inode, size in bytes, and in nanoseconds the times of the last change of content and of the file's state."""


def stat_files(*folders: tuple[Path, Kind]) -> tuple[FileStat, ...]:
    """What tells cheaply that a loaded file of `folders` was written to or exchanged; see `raise_if_modified`."""
    return tuple(stat_file(str(folder / name)) for folder, kind in folders for name in walk(folder, kind)[1].used())


def raise_if_modified(before: tuple[FileStat, ...]) -> None:
    """`InvalidInput` (BYTES_CHANGED) naming each file that is no longer as `stat_files` saw it; reads nothing of it.

    For between two batches: what is answered while nothing was touched was answered by the bytes that were hashed, so
    that a run that is stopped, and goes on later, keeps no answer of other weights. The kernel sets the time of a
    file's state, and nobody else can: bytes that were written and written back, or a name that led elsewhere for a
    while, show in it. So does a change of mode, owner or links, which ends the run too; the same command goes on.
    """
    hint = (
        "Leave the files alone during a run, also by chmod or links; the same command goes on from what was answered."
    )
    raise_faults(
        [
            Fault("BYTES_CHANGED", "It was written to, exchanged or touched during the run.", file=path, hint=hint)
            for path, *_ in (stat for stat in before if stat_file(stat[0]) != stat)
        ]
    )


def stat_file(path: str, handle: int | None = None) -> FileStat:
    """The `FileStat` of a file, by an open handle of it or by its path; a link of the Hub's cache is followed."""
    try:
        status = Path(path).stat() if handle is None else os.fstat(handle)
    except OSError:
        return path, 0, 0, 0, 0
    return path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def binding(*folders: Path) -> str:
    """How a run ties the files that it loads to the digests on its card; what the card says of it."""
    read_only = all(os.statvfs(folder).f_flag & os.ST_RDONLY for folder in folders)
    return "hashed before and after" + (", on a read-only mount" if read_only else "")


def _entry(tree: Tree, name: str) -> dict[str, Any]:
    try:
        with open_regular(tree.path(name)) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return {"name": name, "size": stream.tell(), "sha256": digest}
    except OSError as error:
        message = f"It cannot be read: {error.strerror or error}."
        raise InvalidInput(Fault("FILE_UNREADABLE", message, file=tree.shown_path(name))) from None
