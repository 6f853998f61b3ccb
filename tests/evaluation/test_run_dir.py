"""A run's folder: the same run is found again, another one never; the signed card appears last."""

import json
import os
from pathlib import Path

import pytest
from support import factories

from runner.core.errors import OutputError
from runner.core.types import Prediction
from runner.evaluation import run_dir
from runner.evaluation.journal import Journal
from runner.evaluation.run_dir import (
    check_writable,
    new_folder,
    open_run,
    write_card,
    write_environment,
    write_predictions,
)
from runner.scorecard import filenames

CONTENT = {"benchmark": "sha256:1", "limit": None, "data": {"a/b": {"rows": 3}}}
ROW = Prediction("t", "i", (0.0, -1.0))


def begun(parent: Path, content=CONTENT, nonce=None) -> run_dir.RunDir:
    run = open_run(parent, content, nonce, resume=True)
    run.journal.append([ROW])
    run.journal.close()
    return run


def test_the_same_run_goes_on(tmp_path):
    first = begun(tmp_path / "name")
    again = open_run(tmp_path / "name", dict(reversed(CONTENT.items())), None, resume=True)
    assert again.path == first.path
    assert again.journal.done == [ROW]
    assert again.journal.header["id"] == first.journal.header["id"]
    assert again.journal.header["started_at"] == first.journal.header["started_at"]
    again.journal.close()


@pytest.mark.parametrize(
    ("content", "nonce", "resume"),
    [
        ({**CONTENT, "limit": 3}, None, True),
        ({**CONTENT, "data": {"a/b": {"rows": 4}}}, None, True),
        (CONTENT, "challenge", True),
        (CONTENT, None, False),
    ],
)
def test_another_run_begins_anew_and_the_first_is_kept(tmp_path, content, nonce, resume):
    first = begun(tmp_path)
    other = open_run(tmp_path, content, nonce, resume=resume)
    assert other.path != first.path
    assert other.journal.done == []
    assert other.journal.header["id"] != first.journal.header["id"]
    other.journal.close()
    again = open_run(tmp_path, CONTENT, None, resume=True)
    assert again.journal.done == [ROW] or not resume
    again.journal.close()


def test_a_run_that_is_going_on_is_left_alone(tmp_path):
    running = open_run(tmp_path, CONTENT, None, resume=True)
    second = open_run(tmp_path, CONTENT, None, resume=True)
    assert second.path != running.path
    for run in (running, second):
        run.journal.close()


def test_a_folder_without_a_header_is_passed_over(tmp_path):
    (tmp_path / "2999-01-01T00-00-00Z").mkdir()
    (tmp_path / "2999-01-01T00-00-00Z" / "journal.jsonl").touch()
    first = begun(tmp_path)
    again = open_run(tmp_path, CONTENT, None, resume=True)
    assert again.path == first.path
    again.journal.close()


def test_folders_of_one_second_have_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr("runner.core.clock.now", lambda: "2026-01-02T03:04:05Z")
    names = [new_folder(tmp_path).name for _ in range(3)]
    assert names == ["2026-01-02T03-04-05Z", "2026-01-02T03-04-05Z-2", "2026-01-02T03-04-05Z-3"]


@pytest.mark.parametrize("make", [new_folder, check_writable, lambda path: open_run(path, CONTENT, None, resume=True)])
def test_where_nothing_can_be_written_it_is_said(tmp_path, make):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(OutputError) as caught:
        make(tmp_path / "file" / "name")
    (fault,) = caught.value.faults
    assert fault.code == "OUTPUT_UNWRITABLE"
    assert "--output-dir" in fault.hint


def test_a_full_disk_at_the_first_line_is_said(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "create", full)
    with pytest.raises(OutputError, match="No space left"):
        open_run(tmp_path, CONTENT, None, resume=True)


def test_digests_are_those_of_the_files(tmp_path):
    stated = write_predictions(tmp_path, [ROW, ROW])
    environment = write_environment(tmp_path, {"text": "é", "number": 1.5})
    import hashlib

    for name, digest in ((filenames.PREDICTIONS, stated["sha256"]), (filenames.ENVIRONMENT, environment["sha256"])):
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    assert stated["rows"] == len((tmp_path / filenames.PREDICTIONS).read_text(encoding="utf-8").splitlines()) == 2


# --- the card -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return factories.scored(tmp_path_factory.mktemp("runs"), factories.sample_rows())


@pytest.mark.slow
def test_the_signed_card_is_written_last(run, tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(run_dir, "write_whole", lambda path, data: order.append(path.name))
    write_card(tmp_path, factories.read_card(run), factories.KEY)
    assert order == [filenames.CARD, filenames.BUNDLE]


def test_a_card_that_cannot_be_signed_leaves_nothing(run, tmp_path):
    card = factories.read_card(run)
    for bad in (float("nan"), float("inf"), 2**60, 1e17):
        card["tasks"]["dilemmas"]["metrics"]["accuracy"]["value"] = bad
        with pytest.raises(ValueError, match=r"."):
            write_card(tmp_path, card, factories.KEY)
        assert list(tmp_path.iterdir()) == []


def test_the_plain_card_is_the_signed_one(run):
    import base64

    bundle = json.loads((run / filenames.BUNDLE).read_text(encoding="utf-8"))
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    assert statement["predicate"] == factories.read_card(run)
    subjects = {subject["name"]: subject["digest"] for subject in statement["subject"]}
    assert set(subjects) == {"submission", "dataset"}
    assert f"sha256:{subjects['submission']['sha256']}" == factories.read_card(run)["submission"]["digest"]


@pytest.mark.slow
def test_what_launched_the_run_is_a_subject_too(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHMARK_IMAGE_DIGEST", "sha256:" + "a" * 64)
    monkeypatch.setenv("BENCHMARK_SOURCE_REVISION", "b" * 40)
    card = factories.read_card(factories.scored(tmp_path, factories.sample_rows()))
    subjects = {subject["name"]: subject["digest"] for subject in run_dir._subjects(card)}
    assert subjects["runner-image"] == {"sha256": "a" * 64}
    assert subjects["runner-source"] == {"gitCommit": "b" * 40}


def test_only_the_owner_of_the_umask_decides_who_reads(run):
    """No file of a run is left without its permission bits, as those of temporary files are."""
    umask = os.umask(0)
    os.umask(umask)
    for path in run.iterdir():
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask, path


def test_looking_whether_a_folder_can_be_written_leaves_none(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    check_writable(tmp_path / "kept" / "output" / "name")
    assert list(tmp_path.rglob("*")) == [tmp_path / "kept"]
