"""`import runner`: the functions that the command has, for Python."""

import doctest
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import runner
from runner import public_api
from runner.core.errors import InvalidInput, VerificationError


@pytest.fixture
def home(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with predictions, a submission, and a run of `score`, as the examples in the docstrings have it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    shutil.copy(root / "submissions" / "tiny-llama" / "submission.yaml", tmp_path)
    shutil.copytree(root / "submissions" / "tiny-llama" / "model", tmp_path / "model")
    config = public_api._config("sample", ["dilemmas"], None, None, None, None)
    from runner.evaluation.baselines import write_baseline

    write_baseline("uniform", config, tmp_path / "predictions.jsonl")
    runner.score("predictions.jsonl", suite="sample", tasks=["dilemmas"])
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in runner.__all__ if not name.startswith("__")])
def test_the_examples_in_the_docstrings_run(name: str, home: Path) -> None:
    tests = doctest.DocTestFinder(recurse=False).find(getattr(runner, name), name)
    assert all(doctest.DocTestRunner(verbose=False).run(test).failed == 0 for test in tests)
    functions = {name for name in runner.__all__ if name.islower() and name not in ("evaluate", "__version__")}
    assert name not in functions or any(test.examples for test in tests)


def test_importing_runner_imports_nothing_heavy() -> None:
    code = "import sys, runner; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True).stdout
    assert not {"numpy", "click", "rich", "yaml", "torch", "pandas"} & set(names.split())


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        runner.no_such_name  # noqa: B018


@pytest.mark.slow
def test_a_card_as_a_frame_and_as_html(home: Path) -> None:
    pytest.importorskip("pandas")
    card = runner.load_card("results/predictions")
    frame = card.to_frame()
    metric = card["tasks"]["dilemmas"]["metrics"]["cross_entropy"]
    assert frame.loc[("dilemmas", "cross_entropy"), "value"] == metric["value"]
    assert frame.loc[("dilemmas", "cross_entropy"), "lower"] == metric["confidence_interval"]["lower"]
    assert frame.loc[("dilemmas", "cross_entropy"), "ceiling"] < metric["value"]
    html = card._repr_html_()
    assert "cross_entropy" in html
    assert "<script" not in html


@pytest.mark.slow
def test_a_comparison_as_a_frame_and_as_html(home: Path) -> None:
    pytest.importorskip("pandas")
    result = runner.compare("results/predictions", "results/predictions")
    assert (result.to_frame()["difference"].dropna() == 0).all()
    assert "dilemmas" in result._repr_html_()


@pytest.mark.slow
def test_a_card_of_a_stranger_is_refused_unless_it_is_taken_unverified(home: Path, root: Path) -> None:
    other = root / "tests" / "conformance" / "keyring.json"
    with pytest.raises(VerificationError):
        runner.load_card("results/predictions", keyring=other)
    assert not runner.load_card("results/predictions", unverified=True).verified


@pytest.mark.slow
def test_the_latest_finished_run_of_a_name_is_meant(home: Path) -> None:
    for seconds, number in (("2031-01-02T03-04-05Z", 9), ("2031-01-02T03-04-05Z-2", 10)):
        first = runner.load_card("results/predictions").path.parent
        shutil.copytree(first, home / "results" / "predictions" / seconds)
        assert runner.load_card("results/predictions").path.parent.name == seconds, number
    (home / "results" / "predictions" / "2032-01-02T03-04-05Z").mkdir()  # a run that is not finished
    assert runner.load_card("results/predictions").path.parent.name == "2031-01-02T03-04-05Z-2"


@pytest.mark.slow
def test_a_name_without_a_finished_run_says_so(home: Path) -> None:
    (home / "results" / "other" / "2032-01-02T03-04-05Z").mkdir(parents=True)
    with pytest.raises(InvalidInput) as caught:
        runner.verify("results/other")
    assert caught.value.faults[0].code == "FILE_MISSING"


def test_the_package_is_typed() -> None:
    assert (Path(runner.__file__).parent / "py.typed").is_file()
