"""Files that may be anything are read within bounds and never waited for; what is written is whole."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.core import files
from runner.core.files import open_regular, read_exactly, read_regular, read_whole, sync_folder, write_whole


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    return path


def test_a_regular_file_is_opened_for_reading_only_and_not_inherited(file: Path) -> None:
    with open_regular(file) as stream:
        assert stream.read() == b"0123456789"
        assert not stream.writable()
        assert not os.get_inheritable(stream.fileno())


def open_handles() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/null")


@pytest.mark.parametrize(
    ("make", "number", "words"),
    [
        (fifo, errno.EINVAL, "not a regular file"),
        (device, errno.EINVAL, "not a regular file"),
        (Path.mkdir, errno.EISDIR, "Is a directory"),
        (lambda path: None, errno.ENOENT, "No such file or directory"),
    ],
    ids=["fifo", "device", "folder", "nothing"],
)
@pytest.mark.parametrize("descriptors", [False, True])
def test_anything_else_is_refused_at_once_and_let_go(
    tmp_path: Path, make: Callable[[Path], None], number: int, words: str, descriptors: bool
) -> None:
    path = tmp_path / "other"
    make(path)
    before = open_handles()
    with pytest.raises(OSError, match=words) as refused:
        open_regular(path, descriptors=descriptors)
    assert (refused.value.errno, refused.value.filename) == (number, str(path))
    assert isinstance(refused.value, IsADirectoryError) == (number == errno.EISDIR)
    assert open_handles() == before


def test_a_link_is_followed_unless_told(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    with open_regular(link) as stream:
        assert stream.read() == b"0123456789"
    with pytest.raises(OSError, match="symbolic links") as refused:
        open_regular(link, follow=False)
    assert refused.value.errno == errno.ELOOP
    with open_regular(file, follow=False) as stream:
        assert stream.read() == b"0123456789"


def test_a_pipe_that_was_handed_over_is_waited_for(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    late = threading.Timer(0.05, lambda: (os.write(writer, b"late"), os.close(writer)))
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(Path(f"/dev/fd/{reader}"))
    late.start()
    with open_regular(Path(f"/dev/fd/{reader}"), descriptors=True) as stream:
        assert read_exactly(stream, 100) == b"late"
    late.join()
    os.close(reader)
    fifo(tmp_path / "fd")
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path / "fd", descriptors=True)


class Slow:
    """An unbuffered file that gives one byte at a time, or nothing yet."""

    name = "slow"

    def __init__(self, *blocks: bytes | None) -> None:
        self.blocks = list(blocks)
        self.asked: list[int] = []

    def read(self, length: int) -> bytes | None:
        self.asked.append(length)
        return self.blocks.pop(0) if self.blocks else b""


def test_reading_goes_on_until_there_is_enough_or_the_end() -> None:
    stream = Slow(b"a", b"bc", b"d", b"e")
    assert read_exactly(stream, 4) == b"abcd"  # type: ignore[arg-type]
    assert stream.asked == [4, 3, 1]
    assert read_exactly(Slow(b"a"), 4) == b"a"  # type: ignore[arg-type]
    assert read_exactly(Slow(b"a"), 0) == b""  # type: ignore[arg-type]
    with pytest.raises(BlockingIOError, match="not a regular file") as refused:
        read_exactly(Slow(b"a", None), 4)  # type: ignore[arg-type]
    assert (refused.value.errno, refused.value.filename) == (errno.EAGAIN, "slow")


@pytest.mark.parametrize(("most", "data"), [(3, b"0123"), (9, b"0123456789"), (10, b"0123456789"), (99, b"0123456789")])
def test_one_byte_more_than_allowed_shows_that_it_is_too_large(file: Path, most: int, data: bytes) -> None:
    assert read_regular(file, most) == data


def test_a_file_is_read_whole_or_not_at_all(file: Path) -> None:
    assert read_whole(file, 10) == read_whole(file, 2_000) == b"0123456789"
    with pytest.raises(OSError, match="larger than 9 bytes") as refused:
        read_whole(file, 9)
    assert (refused.value.errno, refused.value.filename) == (errno.EFBIG, str(file))
    os.truncate(file, 1 << 40)
    with pytest.raises(OSError, match="larger than 1,000 bytes, the most that is read"):
        read_whole(file, 1_000)


def test_a_file_that_says_it_is_empty_is_read_to_the_bound() -> None:
    assert read_whole(Path("/proc/self/status"), 100_000).startswith(b"Name:")
    with pytest.raises(OSError, match="larger than 10 bytes"):
        read_whole(Path("/proc/self/status"), 10)


def test_what_is_written_is_on_the_disk_before_it_has_its_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, bytes]] = []

    def fsync(handle: int) -> None:
        kind = "folder" if Path(f"/proc/self/fd/{handle}").resolve() == file.parent else "file"
        part = file.with_name(".file.part")
        steps.append((kind, part.read_bytes() if part.exists() else file.read_bytes()))
        assert kind == "folder" or file.read_bytes() == b"0123456789"

    monkeypatch.setattr(files.os, "fsync", fsync)
    write_whole(file, b"new")
    assert steps == [("file", b"new"), ("folder", b"new")]
    assert [path.name for path in file.parent.iterdir()] == ["file"]


def test_a_folder_is_synced_and_its_handle_let_go(file: Path) -> None:
    before = open_handles()
    sync_folder(file.parent)
    with pytest.raises(NotADirectoryError):
        sync_folder(file)
    assert open_handles() == before
