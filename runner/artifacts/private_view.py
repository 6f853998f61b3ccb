"""A folder of our making that holds exactly the files of a submission that were checked and hashed.

The libraries are given this folder and never the submitted one: what they look for beside the files that we know, by
whatever key or name, is not there. docs/decisions/0062-private-view.md says why it is made of what it is made of.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from runner.artifacts import adapter, config, tokenizer
from runner.artifacts.config_keys import reduce_config
from runner.artifacts.json_files import read_object
from runner.artifacts.manifest import FileStat, stat_file
from runner.artifacts.reading import open_regular
from runner.artifacts.tree import Kind, Tree, walk
from runner.core.errors import Fault, InvalidInput, OutputError, raise_faults
from runner.core.private_folder import make_private_folder

_PREFIX = "moral-ambiguity-view-"
_WEIGHTS = ".safetensors"
_HANDLES = Path("/proc/self/fd")
_SETTINGS: Mapping[Kind, Mapping[str, int]] = {
    "model": {config.FILE: config.MAX_BYTES, tokenizer.SETTINGS: tokenizer.MAX_SETTINGS},
    "adapter": {adapter.CONFIG: adapter.MAX_CONFIG},
}


class PrivateView:
    """Holds a private folder and an open handle of each weights file in it; `close` gives both up.

    Small files are copies of the bytes that were hashed; config.json and adapter_config.json are written anew from the
    keys that we know. Weights are links to handles that were opened once and hashed through: whatever is put in their
    place afterwards, this folder leads to the file that was hashed. `close` must come after the last use.
    """

    folder: Path
    """What a library is given."""
    files: list[dict[str, Any]]
    """The manifest of the submitted files: name, size and sha256, sorted by name in UTF-8 byte order."""

    def __init__(
        self, folder: Path, kind: Kind, before: tuple[FileStat, ...] | None = None, *, weights: bool = True
    ) -> None:
        """Bind the files of `folder`; without `weights` only what a tokenizer needs.

        `before` is what `stat_files` saw before the files were checked: what is bound is that, or `BYTES_CHANGED`.
        Raises `InvalidInput` with the faults of the folder, `OutputError` (OUTPUT_UNWRITABLE) if the folder, a copy or
        a link cannot be made.
        """
        faults, tree = walk(folder, kind)
        raise_faults(faults)
        self._handles: list[int] = []
        try:
            self._root, self._lock = make_private_folder(_PREFIX)
        except OSError as error:
            raise _unwritable("A private folder cannot be made", error, error.filename) from None
        try:
            self.folder = self._root / kind
            try:
                self.folder.mkdir()
            except OSError as error:
                raise _unwritable("A private folder cannot be made", error, self.folder) from None
            seen = None if before is None else {stat[0]: stat for stat in before}
            names = [name for name in tree.used() if weights or not name.endswith(_WEIGHTS)]
            self.files = [self._bind(tree, name, seen) for name in names]
            self._write_settings(tree, kind)
        except BaseException:
            self.close()
            raise

    def _bind(self, tree: Tree, name: str, seen: Mapping[str, FileStat] | None) -> dict[str, Any]:
        """Copy or link one file; its entry in the manifest."""
        file = tree.shown_path(name)
        path = str(tree.folder / name)
        try:
            with open_regular(tree.path(name)) as stream:
                if seen is not None and stat_file(path, stream.fileno()) != seen.get(path):
                    message = "It was written to or exchanged while it was checked."
                    raise InvalidInput(Fault("BYTES_CHANGED", message, file=file))
                if name.endswith(_WEIGHTS):
                    self._link(tree, name, stream.fileno())
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
                    size = stream.tell()
                else:
                    data = stream.readall()
                    self._write(name, data)
                    digest, size = hashlib.sha256(data).hexdigest(), len(data)
        except OSError as error:
            message = f"It cannot be read: {error.strerror or error}."
            raise InvalidInput(Fault("FILE_UNREADABLE", message, file=file)) from None
        return {"name": name, "size": size, "sha256": digest}

    def _link(self, tree: Tree, name: str, handle: int) -> None:
        """A link to an open handle, which leads to the file itself whatever its name comes to mean."""
        target = tree.path(name).resolve()
        if sys.platform == "linux":
            self._handles.append(os.dup(handle))
            target = _HANDLES / str(self._handles[-1])
        try:
            (self.folder / name).symlink_to(target)
        except OSError as error:
            raise _unwritable(f"The private link to {name} cannot be made", error, self.folder) from None

    def _write_settings(self, tree: Tree, kind: Kind) -> None:
        """Write the settings anew, from the bytes that were bound and the keys that are known."""
        for name, limit in _SETTINGS[kind].items():
            bound = Tree(self.folder, kind, {name: 0} if (self.folder / name).is_file() else {}, frozenset())
            faults, document = read_object(bound, name, limit)
            raise_faults(faults)
            if document is not None:
                known = _reduce(name, document, bound, tree)
                self._write(name, json.dumps(known, sort_keys=True).encode())

    def _write(self, name: str, data: bytes) -> None:
        """Write a file of the view."""
        try:
            (self.folder / name).write_bytes(data)
        except OSError as error:
            raise _unwritable(f"The private copy of {name} cannot be written", error, self.folder) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Take the folder away and close the handles."""
        for handle in self._handles:
            os.close(handle)
        self._handles = []
        if self._lock >= 0:
            shutil.rmtree(self._root, ignore_errors=True)
            os.close(self._lock)
        self._lock = -1


def _unwritable(what: str, error: OSError, at: Path | str | None) -> OutputError:
    """A disk that is full or closed to us is no fault of the file that was read."""
    hint = "Make room there, or set TMPDIR to a folder on another disk."
    file = None if at is None else str(at)
    return OutputError(Fault("OUTPUT_UNWRITABLE", f"{what}: {error.strerror or error}.", file=file, hint=hint))


def _reduce(name: str, document: Mapping[str, Any], bound: Tree, tree: Tree) -> dict[str, Any]:
    if name == adapter.CONFIG:
        return adapter.reduce_settings(document, tree)
    if name == tokenizer.SETTINGS:
        return tokenizer.reduce_tokenizer_settings(document)
    faults, known = config.read_config(bound)
    raise_faults(faults)
    return reduce_config(known.model_type, document) if known else {}


def inherited_handles(folder: Path) -> list[int]:
    """The handles to which the links of a view lead: a process that is to read it must inherit them."""
    entries = folder.iterdir() if folder.is_dir() else ()
    links = (entry.readlink() for entry in entries if entry.is_symlink())
    return [int(target.name) for target in links if target.parent == _HANDLES]
