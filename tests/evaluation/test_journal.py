"""The journal after a kill at any moment: a prefix of what was written, never a wrong row."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.files import write_whole
from runner.core.types import Prediction
from runner.evaluation import journal
from runner.evaluation.journal import NAME, Journal, create_run_dir, unfinished

HEADER = {"key": "sha256:0", "nonce": None, "id": "1", "started_at": "2026-01-01T00:00:00Z", "who": "ümlaut\n\u2028"}

batches = st.lists(
    st.lists(
        st.builds(
            Prediction,
            task=st.sampled_from(["dilemmas", "a b", "é\n"]),
            item_id=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4),
            log_scores=st.tuples(st.floats(-1e3, 0), st.floats(-1e3, 0)),
            answer_mass=st.none() | st.floats(0, 1),
        ),
        max_size=3,
    ),
    max_size=4,
)


def written(folder: Path, content: list[list[Prediction]]) -> bytes:
    folder.mkdir(exist_ok=True)
    with Journal.create(folder, HEADER) as open_journal:
        for batch in content:
            open_journal.append(batch)
        assert open_journal.done == [row for batch in content for row in batch]
        assert (open_journal.path, open_journal.header) == (folder / NAME, HEADER)
    return (folder / NAME).read_bytes()


def resumed(folder: Path, data: bytes) -> Journal | None:
    (folder / NAME).write_bytes(data)
    return Journal.resume(folder)


def prefixes(content: list[list[Prediction]]) -> list[list[Prediction]]:
    return [[row for batch in content[:number] for row in batch] for number in range(len(content) + 1)]


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """fsync waits for a disk; what it is for is tested by killing, not by losing power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@given(batches, st.data())
def test_cut_anywhere_it_holds_the_whole_batches_before(tmp_path_factory, content, choose):
    folder = tmp_path_factory.mktemp("run")
    data = written(folder, content)
    length = choose.draw(st.integers(0, len(data)))
    found = resumed(folder, data[:length])
    lines = data.splitlines(keepends=True)
    whole = sum(length >= sum(map(len, lines[: number + 1])) for number in range(len(lines)))
    if whole == 0:
        assert found is None
        return
    with found:
        assert (found.path, found.header) == (folder / NAME, HEADER)
        assert found.done == prefixes(content)[whole - 1]
        # What is cut off is gone from the file too, and the run goes on behind it.
        more = [Prediction("t", "later", (0.0, -1.0))]
        found.append(more)
    with Journal.resume(folder) as again:
        assert again.done == [*prefixes(content)[whole - 1], *more]


@given(batches, st.data())
def test_a_changed_byte_costs_its_batch_and_those_behind_it(tmp_path_factory, content, choose):
    folder = tmp_path_factory.mktemp("run")
    data = written(folder, content)
    place = choose.draw(st.integers(0, len(data) - 1))
    other = choose.draw(st.integers(0, 255).filter(lambda byte: byte != data[place]))
    found = resumed(folder, data[:place] + bytes([other]) + data[place + 1 :])
    before = data[:place].count(b"\n")
    if before == 0:
        assert found is None
        return
    with found:
        assert found.done == prefixes(content)[before - 1]


@pytest.mark.slow
@given(batches, st.binary(max_size=40))
def test_rubbish_behind_the_end_is_cut_off(tmp_path_factory, content, rubbish):
    folder = tmp_path_factory.mktemp("run")
    data = written(folder, content)
    with resumed(folder, data + rubbish) as found:
        assert found.done == prefixes(content)[-1]
    assert (folder / NAME).read_bytes() == data


@pytest.mark.parametrize("rubbish", [b"x", b"x" * 9999, b"\n\n"])
def test_what_is_no_record_is_cut_off_and_written_over(tmp_path, rubbish):
    first, second = [Prediction("t", "a", (0.0, -1.0))], [Prediction("t", "b", (-1.0, 0.0))]
    data, whole = (written(tmp_path, [first]), written(tmp_path / "whole", [first, second]))
    with resumed(tmp_path, data + rubbish) as found:
        assert (tmp_path / NAME).read_bytes() == data
        found.append(second)
    assert (tmp_path / NAME).read_bytes() == whole


def test_a_batch_that_was_swapped_for_another_one_is_still_only_what_was_written(tmp_path):
    """A whole line copied from another journal has a right checksum; what it says was answered by that run."""
    rows = [[Prediction("t", name, (0.0, -1.0))] for name in "ab"]
    data = written(tmp_path, rows)
    lines = data.splitlines(keepends=True)
    with resumed(tmp_path, lines[0] + lines[2]) as found:
        assert found.done == rows[1]


def test_an_empty_file_has_no_header(tmp_path):
    (tmp_path / NAME).touch()
    assert Journal.resume(tmp_path) is None
    # and is not left locked
    assert Journal.resume(tmp_path) is None


def test_a_header_has_all_that_a_run_is_known_by(tmp_path):
    known_by = dict.fromkeys(("key", "id", "nonce", "started_at"), "x")
    for number, missing in enumerate([None, *known_by]):
        folder = tmp_path / str(number)
        folder.mkdir()
        header = {name: value for name, value in known_by.items() if name != missing}
        Journal.create(folder, header).close()
        found = Journal.resume(folder)
        assert (found is None) == (missing is not None)
        if found is not None:
            assert found.header == header
            found.close()


def test_a_journal_is_made_once(tmp_path):
    Journal.create(tmp_path, HEADER).close()
    with pytest.raises(FileExistsError):
        Journal.create(tmp_path, HEADER)


def test_a_number_that_is_none_is_not_written(tmp_path):
    with Journal.create(tmp_path, HEADER) as open_journal:
        with pytest.raises(ValueError, match="JSON"):
            open_journal.append([Prediction("t", "i", (0.0, float("nan")))])
        assert open_journal.done == []
    with Journal.resume(tmp_path) as found:
        assert found.done == []


# --- other processes ----------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from runner.evaluation.journal import Journal
held = Journal.resume(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_journal_that_another_process_holds_is_left_alone(tmp_path, root):
    rows = [Prediction("t", "a", (0.0, -1.0))]
    data = written(tmp_path, [rows])
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, cwd=root)
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError):
            Journal.resume(tmp_path)
        assert (tmp_path / NAME).read_bytes() == data
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with Journal.resume(tmp_path) as found:  # a dead process holds nothing
        assert found.done == rows


def test_a_run_that_was_finished_between_opening_and_locking_is_not_gone_on_with(tmp_path, monkeypatch):
    written(tmp_path, [])
    lock = journal.fcntl.flock

    def finish_first(stream, how):
        (tmp_path / NAME).unlink()
        lock(stream, how)

    monkeypatch.setattr(journal.fcntl, "flock", finish_first)
    with pytest.raises(FileNotFoundError) as finished:
        Journal.resume(tmp_path)
    assert finished.value.filename == str(tmp_path / NAME)
    assert finished.value.strerror == os.strerror(finished.value.errno)


def test_unfinished_runs_are_found_newest_first(tmp_path):
    for name in ("2026-01-01T00-00-00Z", "2026-03-01T00-00-00Z", "2026-02-01T00-00-00Z"):
        (tmp_path / name).mkdir()
        Journal.create(tmp_path / name, HEADER).close()
    (tmp_path / "2026-04-01T00-00-00Z").mkdir()  # finished, or never begun
    assert [path.name[5:7] for path in unfinished(tmp_path)] == ["03", "02", "01"]
    assert unfinished(tmp_path / "nowhere") == []


def test_a_folder_appears_with_its_journal_in_it(tmp_path, monkeypatch):
    """A crash at any step before leaves nothing under a run's name, and what it leaves is swept by the next run."""
    for step in ("fsync", "rename", "flock"):
        code = (
            "import os, fcntl, sys; from pathlib import Path; from runner.evaluation.journal import create_run_dir\n"
            "setattr(fcntl if sys.argv[2] == 'flock' else os, sys.argv[2], lambda *_, **__: os._exit(9))\n"
            "create_run_dir(Path(sys.argv[1]), 'run', {})\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path), step], check=False)
        assert done.returncode == 9
        assert [path.name[:7] for path in tmp_path.iterdir()] == [".begun-"]
        assert unfinished(tmp_path) == []
        folder, made = create_run_dir(tmp_path, "run", HEADER)
        made.append([Prediction("t", "a", (0.0, -1.0))])
        made.close()
        assert list(tmp_path.iterdir()) == [folder] == unfinished(tmp_path)
        assert (folder / NAME).read_bytes().count(b"\n") == 2
        made.discard()
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_being_begun_is_not_swept(tmp_path, monkeypatch):
    """Another run starts between every two steps of this one."""
    outer = journal.Journal.create

    def create(folder, header):
        monkeypatch.setattr(journal.Journal, "create", outer)
        create_run_dir(tmp_path, "run", HEADER)[1].close()  # sweeps the folder away: it is not locked yet
        return outer(folder, header)

    monkeypatch.setattr(journal.Journal, "create", create)
    folder, made = create_run_dir(tmp_path, "run", HEADER)
    create_run_dir(tmp_path, "run", HEADER)[1].close()
    made.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run-2", "run-3"]
    assert folder.name == "run-2"


def test_a_folder_that_another_began_to_rename_is_kept(tmp_path, monkeypatch):
    rename = Path.rename

    def late(old, new):
        monkeypatch.setattr(Path, "rename", rename)
        create_run_dir(tmp_path, "run", HEADER)[1].close()  # it is locked, so it stays; but the name is taken
        return rename(old, new)

    monkeypatch.setattr(Path, "rename", late)
    folder, made = create_run_dir(tmp_path, "run", HEADER)
    made.close()
    assert folder.name == "run-2"
    assert len(list(tmp_path.iterdir())) == 2


def test_where_every_name_is_taken_the_name_is_said_and_nothing_is_left(tmp_path):
    taken = {"run", *(f"run-{number}" for number in range(2, 1000))}
    for name in taken:
        (tmp_path / name).mkdir()
    with pytest.raises(FileExistsError) as refused:
        create_run_dir(tmp_path, "run", HEADER)
    assert refused.value.filename == str(tmp_path / "run")
    assert {path.name for path in tmp_path.iterdir()} == taken


def test_what_cannot_be_swept_hinders_no_run(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".begun-link").symlink_to(tmp_path / "elsewhere")  # which is no folder to be removed
    folder, made = create_run_dir(tmp_path, "run", HEADER)
    made.close()
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", ".begun-link", folder.name}


def test_a_folder_that_is_held_hinders_the_sweep_of_no_other(tmp_path):
    for name in "abc":
        written(tmp_path / f".begun-{name}", [])
    first = next(tmp_path.glob(".begun-*"))  # the sweep takes them in the same order
    with Journal.resume(first):
        journal.remove_stale(tmp_path)
        assert list(tmp_path.iterdir()) == [first]
    journal.remove_stale(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_journal_is_discarded_without_what_lies_beside_it(tmp_path):
    written(tmp_path, [])
    (tmp_path / "environment.json").touch()
    Journal.resume(tmp_path).discard()
    assert [path.name for path in tmp_path.iterdir()] == ["environment.json"]


# --- whole files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_file_is_written_whole(tmp_path, old):
    path = tmp_path / "card.json"
    if old is not None:
        path.write_bytes(old)
    write_whole(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["card.json"]
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_in_between_leaves_the_old_file(tmp_path, monkeypatch, old, step):
    path = tmp_path / "card.json"
    if old is not None:
        path.write_bytes(old)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert (path.read_bytes() if path.exists() else None) == old
    monkeypatch.undo()
    write_whole(path, b"newer")  # what was left behind does not stand in the way
    assert path.read_bytes() == b"newer"


KILLED = """
import os, sys
from pathlib import Path
from runner.core.files import write_whole
step = sys.argv[2]
setattr(os, step, lambda *_: os._exit(9))
write_whole(Path(sys.argv[1]), b"new" * 100000)
"""


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_kill_in_between_leaves_the_old_file(tmp_path, root, step):
    path = tmp_path / "card.json"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), step], cwd=root)
    assert done.returncode == 9
    assert path.read_bytes() == b"old"
