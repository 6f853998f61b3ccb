"""Read files that may be anything, within bounds; write files so that a crash leaves the old content or the new."""

import errno
import os
import stat
from collections.abc import Iterable
from io import FileIO
from pathlib import Path

_DESCRIPTORS = (Path("/dev/fd"), Path("/proc/self/fd"))
_STANDARD_INPUT = Path("/dev/stdin")


def open_regular(path: Path, *, follow: bool = True, descriptors: bool = False) -> FileIO:
    """The regular file at `path`, opened for reading without buffering ahead; nothing else is ever waited for.

    Its kind is read from the open file, so that it cannot be exchanged in between; a FIFO does not block
    (`O_NONBLOCK`), a terminal is not taken over. With `follow=False` a link is refused (`O_NOFOLLOW`). With
    `descriptors`, a pipe that the caller was handed (`/dev/fd/3`, `/dev/stdin`) is read too, and waited for.

    Raises `OSError`: `IsADirectoryError`, EINVAL ("not a regular file"), and what opening a file raises.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    handle = os.open(path, flags)
    kind = os.fstat(handle).st_mode
    if stat.S_ISREG(kind):
        return FileIO(handle)
    if descriptors and stat.S_ISFIFO(kind) and (path.parent in _DESCRIPTORS or path == _STANDARD_INPUT):
        os.set_blocking(handle, True)
        return FileIO(handle)
    os.close(handle)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_exactly(stream: FileIO, length: int) -> bytes:
    """The next `length` bytes, or fewer where the file ends: an unbuffered read may return less than requested.

    Raises `BlockingIOError` for what looks like a regular file and has nothing to give yet, as some of the kernel's.
    """
    blocks = []
    while length > 0 and (block := stream.read(length)) != b"":
        if block is None:
            raise BlockingIOError(errno.EAGAIN, "not a regular file", str(stream.name))
        blocks.append(block)
        length -= len(block)
    return b"".join(blocks)


def read_regular(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file, at most one more than `max_bytes`, so that the caller sees that it is too large.

    Raises `OSError` as `open_regular` does.
    """
    with open_regular(path) as stream:
        return read_exactly(stream, max_bytes + 1)


def read_whole(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file of at most `max_bytes`; of a larger one nothing is read.

    Raises `OSError` as `open_regular` does, and with EFBIG for a file that is too large.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        data = read_exactly(stream, max_bytes + 1) if size <= max_bytes else b""
    if max(size, len(data)) > max_bytes:
        raise OSError(errno.EFBIG, f"larger than {max_bytes:,} bytes, the most that is read", str(path))
    return data


def write_whole(path: Path, data: bytes) -> None:
    """`write_blocks` of one block."""
    write_blocks(path, [data])


def write_blocks(path: Path, blocks: Iterable[bytes]) -> None:
    """Write blocks under a temporary name, fsync, rename: a reader sees the old file or the new one, never a part."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as stream:
        stream.writelines(blocks)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: fsync of the folder itself. Raises `OSError`."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
