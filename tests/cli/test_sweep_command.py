"""What `benchmark sweep` refuses before any work, and that a sweep in which all is refused still ends in words."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import Command, run_here
from support.paths import EXAMPLES

BROKEN = EXAMPLES / "invalid" / "submission" / "typo.yaml"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in Command(tmp_path).environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGHUP)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "Usage"),
        ([str(BROKEN), "--engine", "other"], 2, "--engine"),
        ([str(BROKEN), "--batch-tokens", "0"], 2, "--batch-tokens"),
        (["nowhere.yaml"], 1, "FILE_MISSING"),
        ([str(EXAMPLES / "invalid" / "sweep" / "values.yaml")], 1, "values.yaml:5:8"),
        ([str(BROKEN), "--baseline", "nobody"], 1, "UNKNOWN_BASELINE"),
        ([str(BROKEN), "--benchmark", "nowhere.yaml"], 1, "FILE_MISSING"),
    ],
)
def test_what_is_refused_before_any_work(arguments: list[str], code: int, said: str) -> None:
    found, output = run_here("sweep", *arguments)
    assert (found, said in output) == (code, True), output
    assert not Path("results").exists()


@pytest.mark.slow
def test_submissions_that_are_refused_end_in_lines_and_the_worst_exit_code(tmp_path: Path) -> None:
    code, output = run_here("sweep", str(BROKEN), str(BROKEN.with_name("missing-keys.yaml")), "-o", "out")
    assert code == 1, output
    assert "0 of 2 submissions have a card." in output
    assert output.splitlines()[-1] == "out"
    state = json.loads(Path("out/sweep.json").read_text(encoding="utf-8"))
    assert [entry["state"] for entry in state["entries"]] == ["failed", "failed"]
    assert state["entries"][0]["faults"][0]["line"]
