"""Which files of a submitted folder are loaded, which of those may not be, and what else lies there and never is."""

import os
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runner.artifacts.reading import capped, open_regular, read_exactly
from runner.core.errors import Fault
from runner.core.strict_json import JsonFault, parse
from runner.core.text import printable

Kind = Literal["model", "adapter"]

MAX_FILES = 4096
_INDEX = "model.safetensors.index.json"
_MAX_INDEX = 16 << 20
MAX_BYTES: Mapping[Kind, int] = {"model": 1 << 40, "adapter": 32 << 30}

# Used: loaded, and therefore hashed into the manifest.
_USED_NAMES: Mapping[Kind, frozenset[str]] = {
    "model": frozenset(
        {
            "config.json",
            _INDEX,
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "added_tokens.json",
            "chat_template.jinja",
        }
    ),
    "adapter": frozenset({"adapter_config.json", "adapter_model.safetensors"}),
}
# What is worth fetching from the Hub: the files that are loaded, and not the second copies of the weights that many
# repositories hold under other names.
FETCHED: Mapping[Kind, tuple[str, ...]] = {
    "model": (*sorted(_USED_NAMES["model"]), "model.safetensors", "model-*-of-*.safetensors"),
    "adapter": tuple(sorted(_USED_NAMES["adapter"])),
}
_HIDDEN_ADAPTER = frozenset({"adapter_config.json", "adapter_model.safetensors"})


@dataclass(frozen=True, slots=True)
class Tree:
    """The contents of a folder."""

    folder: Path
    """Path of the folder."""
    kind: Kind
    """What the folder is to hold."""
    files: Mapping[str, int]
    """Name of a file that is loaded and may be opened to its size in bytes."""
    refused: frozenset[str]
    """Names of files that would be loaded and are at fault."""
    ignored: tuple[str, ...] = ()
    """All other files and folders at the top of the folder; nothing ever opens them."""

    def shown_path(self, name: str) -> str:
        """The path of a file as it is shown to the user."""
        return printable(str(self.folder / name))

    def holds(self, name: str) -> bool:
        """Whether a file of that name is there to be loaded, at fault or not."""
        return name in self.files or name in self.refused

    def used(self) -> tuple[str, ...]:
        """The files that are loaded, in UTF-8 byte order of their names."""
        return tuple(sorted(self.files, key=os.fsencode))

    def path(self, name: str) -> Path:
        """Where the bytes of a file lie: in the folder, or where a link of the Hub's cache leads."""
        return _target(self.folder / name)


def walk(folder: Path, kind: Kind) -> tuple[list[Fault], Tree]:
    """The files of `folder` that are loaded, and a fault for each that is not plain, not readable, or too much.

    What is never loaded is no danger, whatever it is; it is listed as ignored. The folder itself may be reached through
    a link; inside it a link is followed only in the Hub's cache (`snapshots/REVISION/NAME` to `blobs/DIGEST`). No file
    is opened but the index of the weights, which says which of them are loaded, and the others to see whether they can
    be. Rule 2 of the submission rules: `FILE_NOT_REGULAR`, `TREE_LIMIT`, `NAME_COLLISION`, `FILE_UNREADABLE`, and
    `LOAD_HIDDEN_ADAPTER` for an adapter inside a model's folder.
    """
    nothing = Tree(folder, kind, {}, frozenset())
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for _, entry in zip(range(MAX_FILES + 1), entries, strict=False))
    except OSError as error:
        hint = "Let the user who runs this read it: chmod -R a+rX." if isinstance(error, PermissionError) else None
        message = f"The folder cannot be read: {error.strerror}."
        return [Fault("FILE_UNREADABLE", message, file=nothing.shown_path(""), hint=hint)], nothing
    if len(names) > MAX_FILES:
        hint = "Keep only the files that are loaded."
        return [Fault("TREE_LIMIT", f"More than {MAX_FILES:,} files.", file=nothing.shown_path(""), hint=hint)], nothing

    loaded = [name for name in names if name in _USED_NAMES[kind] | _weights(folder, kind, names)]
    collisions = _collisions(loaded)
    faults: list[Fault] = []
    files: dict[str, int] = {}
    refused: set[str] = set()
    for name in loaded:
        status, fault = _look(folder, name, collisions)
        if status is None:
            refused.add(name)
        else:
            files[name] = status.st_size
        if fault is not None:
            faults.append(fault)
    if kind == "model" and (hidden := sorted(_HIDDEN_ADAPTER.intersection(names))):
        message = "An adapter lies in the model's folder; it would not be applied unless it is named."
        hint = "Move it to a folder of its own and name it under `adapter:` in submission.yaml."
        faults += [Fault("LOAD_HIDDEN_ADAPTER", message, file=nothing.shown_path(name), hint=hint) for name in hidden]
    total = sum(files.values())
    if total > MAX_BYTES[kind]:
        message = f"{total:,} bytes in all, at most {MAX_BYTES[kind]:,} are read for {_article(kind)}."
        faults.append(Fault("TREE_LIMIT", message, file=nothing.shown_path("")))
    ignored = tuple(name for name in names if name not in loaded and name not in _HIDDEN_ADAPTER - _USED_NAMES[kind])
    return capped(faults), Tree(folder, kind, files, frozenset(refused), ignored)


def _weights(folder: Path, kind: Kind, names: list[str]) -> frozenset[str]:
    """The safetensors files of a model that are loaded: model.safetensors, and the shards that its index names.

    All of them where there is neither, or the index cannot be read: then nothing is loaded, and faults say why.
    """
    if kind == "adapter":
        return frozenset()
    there = frozenset(name for name in names if name.endswith(".safetensors") and name not in _HIDDEN_ADAPTER)
    if _INDEX in names:
        try:
            with open_regular(_target(folder / _INDEX)) as stream:
                weight_map = parse(read_exactly(stream, _MAX_INDEX + 1), max_bytes=_MAX_INDEX)["weight_map"]
            return there & {"model.safetensors", *(str(name) for name in weight_map.values())}
        except (OSError, JsonFault, KeyError, TypeError, AttributeError):
            return there
    return there & {"model.safetensors"} or there


def _target(path: Path) -> Path:
    """`path`, or what it links to where that is the Hub's way: from `snapshots/REVISION` into `blobs` beside it."""
    folder = path.parent.resolve()
    if not path.is_symlink() or folder.parent.name != "snapshots":
        return path
    target = path.resolve()
    return target if target.parent == folder.parent.parent / "blobs" else path


def _look(folder: Path, name: str, collisions: Mapping[str, str]) -> tuple[os.stat_result | None, Fault | None]:
    """The state of a file that may be opened, or the first thing that is wrong with it."""
    file = printable(str(folder / name))
    try:
        status = _target(folder / name).lstat()
    except OSError as error:
        return None, Fault("FILE_UNREADABLE", f"It cannot be looked at: {error.strerror}.", file=file)
    if (what := _what(status)) is not None:
        hint = "Put a plain copy of the file in its place (`cp -L`)."
        return None, Fault("FILE_NOT_REGULAR", f"It is {what}, a regular file was expected.", file=file, hint=hint)
    if name in collisions:
        message = f"Its name equals that of {printable(collisions[name])} once case and Unicode form are put aside."
        return None, Fault("NAME_COLLISION", message, file=file, hint="Rename one of the two.")
    unreadable = _unreadable(_target(folder / name), status, file)
    return (None, unreadable) if unreadable else (status, None)


def _what(status: os.stat_result) -> str | None:
    """What an entry is, unless it is a regular file with one name."""
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return f"a file with {status.st_nlink} hard links" if status.st_nlink > 1 else None
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a block device",
        stat.S_IFCHR: "a character device",
    }
    return kinds.get(stat.S_IFMT(mode), "of an unknown kind")


def _unreadable(path: Path, status: os.stat_result, location: str) -> Fault | None:
    try:
        open_regular(path).close()
    except OSError as error:
        message = (
            f"It cannot be read by the user who runs this (mode {stat.S_IMODE(status.st_mode):04o}): {error.strerror}."
        )
        return Fault("FILE_UNREADABLE", message, file=location, hint="Saving writes mode 0600: chmod a+r the file.")
    return None


def _collisions(names: list[str]) -> dict[str, str]:
    """Each name that equals another one after case folding and NFC, with that other one."""
    same: dict[str, list[str]] = {}
    for name in names:
        same.setdefault(unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()), []).append(name)
    return {
        name: next(other for other in group if other != name)
        for group in same.values()
        if len(group) > 1
        for name in group
    }


def _article(kind: Kind) -> str:
    return "a model" if kind == "model" else "an adapter"
