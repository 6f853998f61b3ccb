"""Folders of our own for as long as this process lives, and the removal of those that killed processes left."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path


def make_private_folder(prefix: str) -> tuple[Path, int]:
    """A new folder that only this user may enter, and a handle that holds its lock for as long as this process lives.

    Folders of the same prefix that no live process holds are removed first. Raises `OSError`.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}????????"):
        remove_if_left(left)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        handle = os.open(folder, os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:
                return folder, handle
        except OSError:
            return folder, handle  # a file system without locks; nobody else takes it for left either
        os.close(handle)  # another process took it for left, in the instant before it was locked


def remove_if_left(folder: Path) -> None:
    """Remove a folder of ours that no live process holds."""
    try:
        handle = os.open(folder, os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        if os.fstat(handle).st_uid == os.geteuid():
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return
    finally:
        os.close(handle)
