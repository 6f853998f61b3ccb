"""Every file of a submission is exchanged for another: no signed card speaks of other bytes than those measured.

The model's process answers with a digest of the files that it is given, read anew for each prompt.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support import hostile_submissions as hostile
from support.misbehaving_worker import reading_of

from runner.artifacts import PrivateView, model_manifest
from runner.cli import main
from runner.core.canonical import manifest_digest
from runner.evaluation import evaluate as walk
from runner.evaluation import open_submission
from runner.models.worker import process
from runner.report import console
from runner.scorecard import filenames

pytestmark = pytest.mark.slow

DOCUMENT = """\
schema_version: "1"
name: exchanged
model: {backend: causal, path: model, format: plain, dtype: float32}
"""
Moment = tuple[str, int]
CHECKED: Moment = ("checked", 0)
BOUND: Moment = ("bound", 0)
MOMENTS: list[tuple[Moment, Moment | None]] = [
    (CHECKED, None),
    (CHECKED, ("load", 0)),
    (("load", 0), None),
    (("load", 0), ("predict", 0)),
    (BOUND, None),
    (BOUND, ("predict", 0)),
    (("predict", 0), ("predict", 3)),
    (("predict", 3), None),
    (("self-check", 0), None),
    (("self-check", 0), ("score", 0)),
    (("score", 0), None),
]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """The submission's model, and another one whose every file differs."""
    hostile.make_model(tmp_path / "submitted" / "model")
    hostile.make_model(tmp_path / "other")
    hostile.flip(tmp_path / "other")
    hostile.setting("config.json", rms_norm_eps=0.5)(tmp_path / "other")
    hostile.edit("tokenizer.json", lambda document: document["model"]["vocab"].update(more=9))(tmp_path / "other")
    hostile.setting("tokenizer_config.json", bos_token="the")(tmp_path / "other")
    (tmp_path / "other" / "chat_template.jinja").write_text(hostile.TEMPLATE + " ")
    (tmp_path / "submitted" / "submission.yaml").write_text(DOCUMENT)
    return tmp_path


def by_name(folders: Path) -> None:
    """Another file under each name; the first is kept elsewhere, and comes back as it was."""
    model, other = folders / "submitted" / "model", folders / "other"
    for path in [*model.iterdir()]:
        kept = path.with_name("kept")
        path.rename(kept)
        (other / path.name).rename(path)
        kept.rename(other / path.name)


def in_place(folders: Path) -> None:
    """Other bytes in each file, written over the first ones; those are written back in the end."""
    model, other = folders / "submitted" / "model", folders / "other"
    for path in [*model.iterdir()]:
        first, second = path.read_bytes(), (other / path.name).read_bytes()
        path.write_bytes(second)
        (other / path.name).write_bytes(first)


def read_from(folder: Path) -> list[float]:
    with PrivateView(folder, "model") as view:
        return [*reading_of(view.folder)]


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "only bound"])
@pytest.mark.parametrize("exchange", [by_name, in_place])
@pytest.mark.parametrize(("at", "back"), MOMENTS)
def test_no_card_speaks_of_other_bytes_than_those_measured(
    at: Moment,
    back: Moment | None,
    exchange: Callable[[Path], None],
    watched: bool,
    folders: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not watched and exchange is in_place:
        pytest.skip("what is written into the very file that was opened is found by watching it")
    model = folders / "submitted" / "model"
    shutil.copytree(model, folders / "first")
    left = [moment for moment in (at, back) if moment is not None]

    def meet(*moment: Any) -> None:
        if left and moment == left[0]:
            left.pop(0)
            exchange(folders)

    @contextmanager
    def progress(_quiet: bool) -> Iterator[Any]:
        yield lambda stage, done, _total: meet(stage, done)

    def checked(*arguments: Any, **options: Any) -> Any:
        found = check(*arguments, **options)
        meet(*CHECKED)
        return found

    def opened(*arguments: Any, **options: Any) -> Any:
        meet(*BOUND)
        return start(*arguments, **options)

    check, start = walk.check_submission_files, open_submission.open_isolated
    monkeypatch.setattr(open_submission, "open_isolated", opened)
    monkeypatch.setattr(walk, "check_submission_files", checked)
    if not watched:
        monkeypatch.setattr(open_submission, "raise_if_modified", lambda _: None)
    monkeypatch.setattr(console, "progress", progress)
    monkeypatch.setattr(process, "ENTRY", "support.misbehaving_worker:reading")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folders / "config"))
    arguments = [
        "evaluate",
        str(folders / "submitted" / "submission.yaml"),
        "--suite",
        "sample",
        "--task",
        "dilemmas",
        "--limit",
        "2",
    ]
    done = CliRunner().invoke(main, [*arguments, "--quiet", "--device", "cpu", "-o", str(folders / "results")])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    if not watched and back is not None and at not in (CHECKED, ("load", 0)) and back != ("score", 0):
        assert done.exit_code == 0, done.output  # the handles lead to the first files all the while
    if done.exit_code:
        assert "BYTES_CHANGED" in done.output
        assert list((folders / "results").rglob(filenames.BUNDLE)) == []
        return
    run = Path(done.stdout.splitlines()[-1])
    card = json.loads((run / filenames.CARD).read_text(encoding="utf-8"))
    assert card["submission"]["model"]["digest"] == manifest_digest(model_manifest(folders / "first"))
    answers = [json.loads(line) for line in (run / filenames.PREDICTIONS).read_text(encoding="utf-8").splitlines()]
    assert {tuple(answer["log_scores"]) for answer in answers} == {tuple(read_from(folders / "first"))}
