"""Walk a submitted folder without following links, and say which of its files may be opened."""

import os
import re
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runner.artifacts.reading import capped, open_regular
from runner.core.errors import Fault
from runner.core.text import printable

Kind = Literal["model", "adapter"]

MAX_FILES = 1024
MAX_PATH = 160
MAX_DEPTH = 8
MAX_BYTES: Mapping[Kind, int] = {"model": 1 << 40, "adapter": 32 << 30}

# Used: loaded, and therefore hashed into the manifest.
_USED_NAMES: Mapping[Kind, frozenset[str]] = {
    "model": frozenset(
        {
            "config.json",
            "model.safetensors.index.json",
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
# Accepted because ordinary repositories hold them; never loaded, so not hashed. Beside a tokenizer.json, transformers
# reads neither vocabularies nor sentencepiece models; generation settings are given explicitly.
_IGNORED_NAMES = frozenset(
    {
        "generation_config.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "tokenizer.model",
        "spiece.model",
        "sentencepiece.bpe.model",
        "README.md",
        "README",
        "README.txt",
        "LICENSE",
        "LICENSE.md",
        "LICENSE.txt",
        "NOTICE",
        "NOTICE.txt",
        "USE_POLICY.md",
        "submission.yaml",
        "recipe.yaml",
    }
)
# The tokenizer of an adapter's base is used, so the copy that trainers leave beside an adapter is not.
_IGNORED_BESIDE_ADAPTER = _USED_NAMES["model"] - {"config.json", "model.safetensors.index.json"}
# What `hf download --local-dir` leaves; nothing in it is read.
_IGNORED_FOLDER = ".cache"
_HIDDEN_ADAPTER = frozenset({"adapter_config.json", "adapter_model.safetensors"})
_FORBIDDEN = re.compile(
    r"\.(py[cdow]?|so|bin|pt|pth|pkl|pickle|joblib|ckpt|gguf|h5|npy|npz|onnx|msgpack)$|^\.git", re.IGNORECASE
)
_CONVERT = (
    'Convert it: python -c "import torch; from safetensors.torch import save_file; '
    "save_file(torch.load('{name}.bin', weights_only=True), '{to}.safetensors', {{'format': 'pt'}})\", then delete it."
)


@dataclass(frozen=True, slots=True)
class Tree:
    """What a folder holds: `files` may be opened (name to size in bytes), `refused` are present but at fault."""

    folder: Path
    kind: Kind
    files: Mapping[str, int]
    refused: frozenset[str]

    def place(self, name: str) -> str:
        """The path of a file as it is shown to the user."""
        return printable(str(self.folder / name))

    def holds(self, name: str) -> bool:
        """Whether a file of that name is there, at fault or not."""
        return name in self.files or name in self.refused

    def used(self) -> tuple[str, ...]:
        """The files that are loaded, in UTF-8 byte order of their names."""
        return tuple(sorted((name for name in self.files if _is_used(name, self.kind)), key=os.fsencode))


def walk(folder: Path, kind: Kind) -> tuple[list[Fault], Tree]:
    """The files of `folder`, and a fault for each that is not plain, not allowed, not readable, or too much.

    The folder itself may be reached through a link; inside it no link is followed and no file is opened but to see
    whether it can be. Rule 2 of the submission rules: `FILE_NOT_REGULAR`, `FILE_FORBIDDEN_TYPE`, `FILE_NOT_ALLOWED`,
    `TREE_LIMIT`, `NAME_COLLISION`, `FILE_UNREADABLE`, and `LOAD_HIDDEN_ADAPTER` for an adapter inside a model's folder.
    """
    faults: list[Fault] = []
    entries: list[tuple[str, os.stat_result]] = []
    nothing = Tree(folder, kind, {}, frozenset())
    if not _list(folder, "", 0, entries, faults):
        hint = "Keep only the files that are loaded."
        return [Fault("TREE_LIMIT", f"More than {MAX_FILES:,} files.", file=nothing.place(""), hint=hint)], nothing

    collisions = _collisions([name for name, _ in entries])
    files: dict[str, int] = {}
    refused: set[str] = set()
    for name, status in entries:
        fault = _fault(folder, name, status, kind, collisions)
        if fault is None:
            files[name] = status.st_size
        else:
            refused.add(name)
            faults.append(fault)
    total = sum(files.values())
    if total > MAX_BYTES[kind]:
        message = f"{total:,} bytes in all, at most {MAX_BYTES[kind]:,} are read for {_article(kind)}."
        faults.append(Fault("TREE_LIMIT", message, file=nothing.place("")))
    return capped(faults), Tree(folder, kind, files, frozenset(refused))


def _list(folder: Path, below: str, depth: int, entries: list[tuple[str, os.stat_result]], faults: list[Fault]) -> bool:
    """Collect everything but folders under `folder / below`; False once there is more than the limit."""
    try:
        with os.scandir(folder / below) as scan:
            names = sorted(entry.name for _, entry in zip(range(MAX_FILES + 1), scan, strict=False))
    except OSError as error:
        location = printable(str(folder / below))
        hint = "Let the user who runs this read it: chmod -R a+rX." if isinstance(error, PermissionError) else None
        faults.append(
            Fault("FILE_UNREADABLE", f"The folder cannot be read: {error.strerror}.", file=location, hint=hint)
        )
        return True
    for name in names:
        path = f"{below}/{name}" if below else name
        try:
            status = (folder / path).lstat()
        except OSError as error:
            location = printable(str(folder / path))
            faults.append(Fault("FILE_UNREADABLE", f"It cannot be looked at: {error.strerror}.", file=location))
            continue
        descend = stat.S_ISDIR(status.st_mode) and not _FORBIDDEN.search(name) and path != _IGNORED_FOLDER
        if not descend or depth == MAX_DEPTH or len(os.fsencode(path)) > MAX_PATH:
            if path != _IGNORED_FOLDER or not stat.S_ISDIR(status.st_mode):
                entries.append((path, status))
        elif not _list(folder, path, depth + 1, entries, faults):
            return False
        if len(entries) > MAX_FILES:
            return False
    return len(names) <= MAX_FILES


def _fault(folder: Path, name: str, status: os.stat_result, kind: Kind, collisions: Mapping[str, str]) -> Fault | None:
    """The first thing that is wrong with one entry, or None."""
    location = printable(str(folder / name))
    what = _what(status)
    if what is not None and not stat.S_ISDIR(status.st_mode):
        hint = "Put a plain copy of the file in its place; a downloaded cache is made of links, so copy with `cp -rL`."
        return Fault("FILE_NOT_REGULAR", f"It is {what}, a regular file was expected.", file=location, hint=hint)
    base = name.rsplit("/", 1)[-1]
    if match := _FORBIDDEN.search(base):
        message = f"Files of the type {match[0].lower()} are refused: they can hold code."
        return Fault("FILE_FORBIDDEN_TYPE", message, file=location, hint=_instead(base))
    if name.count("/") >= MAX_DEPTH or len(os.fsencode(name)) > MAX_PATH:
        message = (
            f"Its path has {len(os.fsencode(name))} bytes and {name.count('/')} folders, at most {MAX_PATH} bytes "
        )
        return Fault("TREE_LIMIT", message + f"and {MAX_DEPTH} folders are allowed.", file=location)
    if name in collisions:
        message = f"Its name equals that of {printable(collisions[name])} once case and Unicode form are put aside."
        return Fault("NAME_COLLISION", message, file=location, hint="Rename one of the two.")
    if kind == "model" and name in _HIDDEN_ADAPTER:
        message = "An adapter lies in the model's folder, and would be switched on without being named."
        hint = "Move it to a folder of its own and name it under `adapter:` in submission.yaml."
        return Fault("LOAD_HIDDEN_ADAPTER", message, file=location, hint=hint)
    if not (_is_used(name, kind) or _is_ignored(name, kind)):
        message = f"It is not among the files that {_article(kind)} may hold."
        return Fault("FILE_NOT_ALLOWED", message, file=location, hint="Remove it; nothing would read it.")
    return None if _is_ignored(name, kind) else _unreadable(folder / name, status, location)


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


def _is_used(name: str, kind: Kind) -> bool:
    weights = kind == "model" and name.endswith(".safetensors") and "/" not in name and name not in _HIDDEN_ADAPTER
    return weights or name in _USED_NAMES[kind]


def _is_ignored(name: str, kind: Kind) -> bool:
    return name in _IGNORED_NAMES or (kind == "adapter" and name in _IGNORED_BESIDE_ADAPTER)


def _instead(name: str) -> str:
    """What to do about a forbidden file; its name is never put into a command."""
    if name == "adapter_model.bin":
        return _CONVERT.format(name="adapter_model", to="adapter_model")
    if name == "pytorch_model.bin":
        return _CONVERT.format(name="pytorch_model", to="model")
    return "Remove it; weights are read from safetensors files only."


def _article(kind: Kind) -> str:
    return "a model" if kind == "model" else "an adapter"
