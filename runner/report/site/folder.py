"""The folder of a site: written beside its path and moved there whole; a folder that is no site is left alone."""

import contextlib
import ctypes
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from runner.core.errors import Fault, InvalidInput, OutputError

MARKER = "site.json"
_MARKER_TEXT = json.dumps({"format": "moral-ambiguity-site", "version": "1"}) + "\n"
_EXCHANGE = 2
_HERE = -100


@contextlib.contextmanager
def site_folder(folder: Path) -> Iterator[Path]:
    """An empty folder that replaces `folder` when the block ends, and vanishes if it fails.

    Raises `InvalidInput` (OUTPUT_EXISTS) for a folder that holds something other than a site, `OutputError`
    (OUTPUT_UNWRITABLE) where the site cannot be written.
    """
    _refuse_others(folder)
    folder = folder.resolve()
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.part")
    try:
        part.mkdir(parents=True)
        try:
            (part / MARKER).write_text(_MARKER_TEXT, encoding="utf-8")
            yield part
            _replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as problem:
        if not _is_about(problem, part, folder):
            raise
        message = f"The site cannot be written here: {problem.strerror}."
        hint = "Give a folder that can be renamed: one inside a mounted folder, not the mounted folder itself."
        raise OutputError(Fault("OUTPUT_UNWRITABLE", message, str(folder), hint=hint)) from None


def _is_about(problem: OSError, part: Path, folder: Path) -> bool:
    """Whether writing the site failed: a full disk names no file, a folder that cannot be made its parent."""
    if problem.filename is None:
        return True
    path = Path(os.fsdecode(problem.filename))
    return path == folder or path.is_relative_to(part) or part.is_relative_to(path)


def _refuse_others(folder: Path) -> None:
    try:
        if not os.path.lexists(folder) or (folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())):
            return
        ours = not folder.is_symlink() and (folder / MARKER).read_text(encoding="utf-8") == _MARKER_TEXT
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        message = f"is there already and is no site that this command made (it has no {MARKER} of ours)."
        hint = "Give another folder, or remove this one."
        raise InvalidInput(Fault("OUTPUT_EXISTS", message, str(folder), hint=hint))


def _replace(part: Path, folder: Path) -> None:
    """Replace `folder` by `part`; on Linux in one step, so that a reader finds the old site or the new one."""
    if not folder.exists():
        part.rename(folder)
        return
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if exchange is not None and exchange(_HERE, os.fsencode(part), _HERE, os.fsencode(folder), _EXCHANGE) == 0:
        return
    old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.old")
    folder.rename(old)
    try:
        part.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
