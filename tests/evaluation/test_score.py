"""From a predictions file to a signed card: what is asked of the file, and where the result lies."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from support import factories

from runner.cli import main
from runner.core.canonical import sha256_file
from runner.core.errors import InvalidInput, OutputError
from runner.evaluation.score import score_file
from runner.scorecard import filenames
from runner.scorecard.recompute import recompute
from runner.scorecard.verify import verify
from runner.tasks.predictions import read


def score(path, output, *, name=None, nonce=None, **more):
    return score_file(path, factories.choice(**more), name, output, nonce, lambda: factories.KEY)


@pytest.fixture
def rows_file(tmp_path):
    return factories.write_rows(tmp_path / "My Rows (2).jsonl", factories.sample_rows())


@pytest.mark.slow
def test_the_run_holds_what_was_scored(rows_file, tmp_path):
    folder, card = score(rows_file, tmp_path / "out", nonce="challenge")
    assert folder.parent == tmp_path / "out" / "my-rows-2-"
    names = {filenames.BUNDLE, filenames.CARD, filenames.PREDICTIONS, filenames.ENVIRONMENT, filenames.BENCHMARK}
    assert {path.name for path in folder.iterdir()} == names
    assert list(read(folder / filenames.PREDICTIONS)) == list(read(rows_file))
    assert factories.read_card(folder) == json.loads(json.dumps(card))
    assert card["run"]["nonce"] == "challenge"
    assert card["submission"]["model"] is card["submission"]["adapter"] is card["run"]["self_check"] is None
    (file,) = card["submission"]["files"]
    assert (file["sha256"], file["size"]) == (sha256_file(rows_file), rows_file.stat().st_size)
    assert verify(folder, factories.KEYRING, nonce="challenge").card == factories.read_card(folder)


@pytest.mark.slow
def test_fewer_digits_and_other_fields_of_the_file_are_kept_as_they_were_read(tmp_path):
    path = tmp_path / "p.jsonl"
    rows = "".join(
        json.dumps({"item_id": row.item_id, "log_scores": [round(score) for score in row.log_scores], "task": row.task})
        + "\n"
        for row in factories.sample_rows(fitting=False, prompts=1)[::2]
    )
    path.write_text(rows, encoding="utf-8")
    folder, card = score(path, tmp_path)
    assert card["predictions"]["rows"] == 80
    report = recompute(verify(folder, factories.KEYRING), None, None, None)
    assert report.checks[-1].state == "ok"


@pytest.mark.slow
def test_tasks_without_rows_are_left_out_and_named(rows_file, tmp_path):
    card = score(rows_file, tmp_path, tasks=())[1]
    assert list(card["tasks"]) == ["dilemmas"]
    assert card["missing_tasks"] == ["anecdotes", "anecdotes-binary"]
    assert set(card["data"]) == {"sample-dilemmas/test", "sample-dilemmas/dev"}


def test_a_file_without_rows_for_any_task(rows_file, tmp_path):
    for path, tasks in ((rows_file, ("anecdotes",)), (factories.write_rows(tmp_path / "empty.jsonl", []), ())):
        with pytest.raises(InvalidInput, match="no row for any of the tasks"):
            score(path, tmp_path / "out", tasks=tasks)
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_for_a_file_with_faults(tmp_path):
    path = factories.write_rows(tmp_path / "p.jsonl", factories.sample_rows()[:-1])
    with pytest.raises(InvalidInput, match="has no answer"):
        score(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_with_and_without_rows_to_fit_on(rows_file, tmp_path):
    whole = score(rows_file, tmp_path)[1]["tasks"]["dilemmas"]
    bare = score(factories.write_rows(tmp_path / "bare.jsonl", factories.sample_rows(fitting=False)), tmp_path)[1][
        "tasks"
    ]["dilemmas"]
    assert (whole["fitted"]["method"], whole["fitted"]["split"]) == ("held-out", "dev")
    assert (bare["fitted"]["method"], bare["fitted"]["split"]) == ("cross-fitted", "test")
    assert whole["prior_method"] == bare["prior_method"] == "held-out"  # label shares need no predictions
    assert whole["metrics"]["cross_entropy"] == bare["metrics"]["cross_entropy"]
    assert whole["metrics"]["cross_entropy_calibrated"] != bare["metrics"]["cross_entropy_calibrated"]


@pytest.mark.slow
def test_the_same_scores_give_the_same_numbers_in_any_format(rows_file, tmp_path):
    shifted = [replace(row, log_scores=tuple(score + 7.0 for score in row.log_scores)) for row in read(rows_file)]
    one = score(rows_file, tmp_path)[1]["tasks"]["dilemmas"]["metrics"]
    other = score(factories.write_rows(tmp_path / "shifted.jsonl", shifted), tmp_path)[1]["tasks"]["dilemmas"][
        "metrics"
    ]
    for name, metric in one.items():
        assert (metric["value"] is None) == (other[name]["value"] is None)
        if metric["value"] is not None:
            assert other[name]["value"] == pytest.approx(metric["value"], rel=1e-9, abs=1e-12), name


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "../out", "a/b", "Upper", "-x", ".hidden", "x" * 81, "ünicode", "a b", "x\n"])
def test_a_name_that_is_no_name(rows_file, tmp_path, name):
    with pytest.raises(InvalidInput) as caught:
        score(rows_file, tmp_path / "out", name=name)
    assert caught.value.faults[0].code == "NAME"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("predictions.jsonl", "predictions"),
        ("GPT-4o (try 2).jsonl", "gpt-4o-try-2-"),
        ("..jsonl", "predictions"),
        ("日本.jsonl", "predictions"),
        ("x" * 200 + ".jsonl", "x" * 80),
    ],
)
def test_a_name_is_made_of_the_files(tmp_path, file, name):
    path = factories.write_rows(tmp_path / file, factories.sample_rows())
    folder, card = score(path, tmp_path / "out")
    assert card["submission"]["name"] == folder.parent.name == name
    verify(folder, factories.KEYRING)


@pytest.mark.parametrize("nonce", ["", "x" * 201, "line\nbreak", "\udc80"])
def test_a_nonce_that_could_not_be_signed_is_refused_before_the_work(tmp_path, nonce):
    done = CliRunner().invoke(main, ["score", str(tmp_path / "nowhere.jsonl"), "--nonce", nonce])
    assert done.exit_code == 2
    assert "--nonce" in done.output


@pytest.mark.slow
def test_where_nothing_can_be_written(rows_file, tmp_path):
    (tmp_path / "out").write_text("in the way", encoding="utf-8")
    with pytest.raises(OutputError) as caught:
        score(rows_file, tmp_path / "out")
    assert caught.value.faults[0].code == "OUTPUT_UNWRITABLE"
    assert caught.value.exit_code == 3


@pytest.mark.slow
def test_a_disk_that_fills_up(rows_file, tmp_path, monkeypatch):
    from runner.evaluation import run_dir

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_dir, "write_whole", full)
    with pytest.raises(OutputError, match="No space left"):
        score(rows_file, tmp_path / "out")
