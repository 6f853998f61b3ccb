"""A folder of our own lives as long as its process; one that a killed process left is removed by the next."""

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runner.core.private_folder import make_private_folder, remove_if_left


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_folder_is_private_and_held(tmp_path: Path) -> None:
    folder, handle = make_private_folder("ours-")
    assert folder.parent == tmp_path
    assert folder.name.startswith("ours-")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not os.get_inheritable(handle)
    other = os.open(folder, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    # The next one leaves it alone while it is held, and takes it away afterwards.
    second, second_handle = make_private_folder("ours-")
    assert sorted(tmp_path.iterdir()) == sorted([folder, second])
    os.close(handle)
    third, third_handle = make_private_folder("ours-")
    assert sorted(tmp_path.iterdir()) == sorted([second, third])
    os.close(second_handle)
    os.close(third_handle)


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    code = (
        "import os, sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from runner.core.private_folder import make_private_folder\n"
        "folder, _ = make_private_folder('ours-'); (folder / 'weights').write_bytes(b'x'); os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    for name in ("theirs-12345678", "ours-short", "ours-longer-than-eight"):
        (tmp_path / name).mkdir()
    (tmp_path / "ours-afileabc").write_text("x")
    os.mkfifo(tmp_path / "ours-fifofifo")  # of another user, perhaps: to open it to read would never end
    (tmp_path / "target").mkdir()
    (tmp_path / "ours-linklink").symlink_to(tmp_path / "target")
    [left] = [path for path in tmp_path.iterdir() if (path / "weights").is_file()]
    folder, handle = make_private_folder("ours-")
    assert not left.exists()
    names = {"theirs-12345678", "ours-short", "ours-longer-than-eight", "target"}
    names |= {"ours-afileabc", "ours-fifofifo", "ours-linklink"}
    assert {path.name for path in tmp_path.iterdir()} == {*names, folder.name}
    os.close(handle)


def test_the_folder_of_another_user_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ours-12345678"
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
        remove_if_left(folder)
    assert folder.is_dir()
    remove_if_left(folder)
    assert not folder.exists()
    remove_if_left(folder)


def test_a_file_system_without_locks_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", without)
    folder, handle = make_private_folder("ours-")
    second, second_handle = make_private_folder("ours-")
    assert sorted(tmp_path.iterdir()) == sorted([folder, second])
    os.close(handle)
    os.close(second_handle)


def test_a_folder_that_is_taken_away_before_it_is_locked_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, removed = fcntl.flock, []

    def late(handle: int, how: int) -> None:
        if not removed:
            removed.append(Path(f"/proc/self/fd/{handle}").resolve())
            removed[0].rmdir()
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    folder, handle = make_private_folder("ours-")
    assert folder.is_dir()
    assert folder != removed[0]
    os.close(handle)
