"""A private folder on a disk that is full or closed: said as such, at whatever file it happens, and nothing is left."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import hostile_submissions as hostile

from runner.artifacts import PrivateView
from runner.core.errors import OutputError


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Make the temporary folder a file system of its own, with the given limits."""
    place = tmp_path / "disk"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    mounted = False

    def mount(limits: str) -> Path:
        nonlocal mounted
        if mounted:
            subprocess.run(["umount", place], check=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", limits, "none", place], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
        mounted = True
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("limits", ["nr_inodes={room}", "size={size}"], ids=["files", "bytes"])
def test_a_full_disk_is_no_fault_of_the_model(mount: Callable[[str], Path], tmp_path: Path, limits: str) -> None:
    model = tmp_path / "model"
    hostile.make_model(model)
    page = subprocess.run(["getconf", "PAGESIZE"], capture_output=True, text=True, check=True).stdout
    messages = []
    # One more file or page each time, until there is room for the whole folder.
    for room in range(1, 30):
        place = mount(limits.format(room=room, size=room * int(page)))
        try:
            with PrivateView(model, "model") as view:
                assert {path.name for path in view.folder.iterdir()} == {path.name for path in model.iterdir()}
            break
        except OutputError as error:
            [fault] = error.faults
            assert fault.code == "OUTPUT_UNWRITABLE"
            assert fault.file is not None
            assert fault.file.startswith(str(place))
            assert "TMPDIR" in (fault.hint or "")
            messages.append(fault.message)
        assert list(place.iterdir()) == []
    else:
        pytest.fail("there was never room enough")
    assert all(message.endswith("No space left on device.") for message in messages)
    kinds = {message.partition(" of ")[0].partition(" to ")[0].partition(":")[0] for message in messages}
    assert "The private copy" in kinds
    if "inodes" in limits:
        assert kinds == {"A private folder cannot be made", "The private link", "The private copy"}


def test_no_place_for_a_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile.make_model(tmp_path / "model")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(OutputError) as refused:
        PrivateView(tmp_path / "model", "model")
    [fault] = refused.value.faults
    assert fault.code == "OUTPUT_UNWRITABLE"
    assert fault.message == "A private folder cannot be made: No such file or directory."
