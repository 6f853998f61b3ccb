"""`benchmark report` and `benchmark export` as their users have them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runner.cli import main
from runner.scorecard import filenames
from runner.signing.keyring import Keyring


@pytest.fixture(autouse=True)
def _trusting(monkeypatch: pytest.MonkeyPatch, keyring: Keyring, tmp_path: Path) -> None:
    monkeypatch.setattr("runner.cli.options.trusted_keys", lambda file: keyring)
    monkeypatch.chdir(tmp_path)


def command(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == code, (done.output, done.exception)
    return done


@pytest.mark.slow
def test_report_leaves_a_page_and_says_where(run: Path, tmp_path: Path) -> None:
    done = command("report", run)
    assert done.stdout == "invented.html\n"
    assert (tmp_path / "invented.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    command("report", run / filenames.BUNDLE, "-o", "pages/one.html", "--items", 0)
    page = (tmp_path / "pages" / "one.html").read_text(encoding="utf-8")
    assert "Not shown: <bdi>none were asked for.</bdi>" in page
    assert command("report", run, "-o", "-").stdout == (tmp_path / "invented.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_report_compares_two(run: Path, other_run: Path, tmp_path: Path) -> None:
    assert command("report", run, other_run).stdout == "other-against-invented.html\n"
    assert "Comparison" in (tmp_path / "other-against-invented.html").read_text(encoding="utf-8")
    command("report", run, other_run, run, code=2)
    command("report", run, other_run, "--unverified", code=2)


@pytest.mark.slow
def test_report_of_a_card_alone_says_what_is_missing(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / filenames.BUNDLE
    alone.write_bytes((run / filenames.BUNDLE).read_bytes())
    done = command("report", alone)
    assert "There are no predictions beside the card." in done.stderr
    assert "There are no predictions beside the card." in (tmp_path / "invented.html").read_text(encoding="utf-8")
    assert command("report", alone, "--quiet").stderr == ""
    command("report", alone, "--show-texts", code=1)


@pytest.mark.slow
def test_nothing_is_made_of_a_card_that_does_not_verify(run: Path, tmp_path: Path) -> None:
    bundle = json.loads((run / filenames.BUNDLE).read_bytes())
    signature = bundle["dsseEnvelope"]["signatures"][0]
    signature["sig"] = signature["sig"][4:8] + signature["sig"][:4] + signature["sig"][8:]
    altered = tmp_path / "altered.json"
    altered.write_text(json.dumps(bundle), encoding="utf-8")
    command("report", altered, code=4)
    for target in ("csv", "eee"):
        command("export", "--to", target, run, altered, "-o", "out", code=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["altered.json"]
    command("report", altered, "--unverified")
    assert "Nobody checked who signed this card." in (tmp_path / "invented.html").read_text(encoding="utf-8")
    assert ",unverified," in command("export", "--to", "csv", "--unverified", altered, "--force").stdout


@pytest.mark.slow
def test_export_writes_where_it_is_told(run: Path, other_run: Path, tmp_path: Path) -> None:
    assert "--force" in command("export", "--to", "eee", run, other_run, "-o", "out", code=4).stderr
    assert not (tmp_path / "out").exists()
    done = command("export", "--to", "eee", run, other_run, "-o", "out", "--force")
    made = done.stdout.splitlines()
    assert len(made) == 2
    assert all(json.loads((tmp_path / path).read_text(encoding="utf-8"))["schema_version"] == "0.3.0" for path in made)
    assert "eee has no place for the signature" in done.stderr
    assert done.stderr.count("eee has no place for the signature") == 1
    assert f"cd out && python -m every_eval_ever validate {made[0].removeprefix('out/')}" in done.stderr
    table = command("export", "--to", "csv", run, "-q", "--force")
    assert table.stdout.startswith("submission,")
    assert table.stderr == ""
    command("export", "--to", "csv", run, "-o", "scores.csv", "--force")
    assert (tmp_path / "scores.csv").read_bytes().decode() == table.stdout_bytes.decode()


@pytest.mark.slow
def test_export_with_rows_per_item(run: Path, tmp_path: Path) -> None:
    command("export", "--to", "csv", run, "--force", "--items", code=2)
    made = command("export", "--to", "eee", run, "-o", "out", "--force", "--items").stdout.splitlines()
    assert [path.endswith("_samples.jsonl") for path in made] == [False, True]
    log = json.loads((tmp_path / made[0]).read_text(encoding="utf-8"))
    assert log["detailed_evaluation_results"]["file_path"] == made[1].removeprefix("out/")


@pytest.mark.slow
def test_export_to_a_paper_and_to_mlflow(run: Path, other_run: Path, tmp_path: Path) -> None:
    done = command("export", "--to", "latex", run, other_run, "--force")
    assert done.stdout.count("\\begin{tabular}") == 1
    assert "booktabs" in done.stderr
    done = command("export", "--to", "mlflow", run, other_run, "--force", "-o", "out")
    assert done.stdout == "out/mlruns\n"
    assert "cd out && MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri mlruns" in done.stderr
    (experiment,) = (tmp_path / "out" / "mlruns").iterdir()
    assert len([path for path in experiment.iterdir() if path.is_dir()]) == 2


@pytest.mark.slow
def test_export_to_the_hub_needs_to_know_where(run: Path) -> None:
    assert "--dataset-id" in command("export", "--to", "hf-eval-results", run, code=2).stderr
    done = command("export", "--to", "hf-eval-results", run, "--dataset-id", "a/b", code=4)
    assert "NOT_COMPARABLE" in done.stderr
    done = command("export", "--to", "eee", run, run, "--force", code=1)
    assert "SAME_FILE" in done.stderr


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_told(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert "OUTPUT_UNWRITABLE" in command("report", run, "-o", "file/page.html", code=3).stderr
