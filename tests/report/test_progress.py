"""Progress where nobody watches a bar: few lines, on standard error, with rate and time left."""

import pytest

from runner.report import console
from runner.report.console import Pace, duration


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""

    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

    one = Clock()
    monkeypatch.setattr(console.time, "monotonic", one)
    return one


def run(clock, total, seconds, start=0, every=1, quiet=False):
    """Reports of a run of `total` prompts that takes so long from `start` on."""
    with console.progress(quiet) as observe:
        observe("load", 0, 0)
        for done in range(start, total + 1, every):
            clock.now = seconds * (done - start) / (total - start)
            observe("predict", done, total)


def test_a_line_each_twentieth(clock, capsys):
    run(clock, 4680, 400)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[:2] == ["Loading the model …", "Predicting (4,680 prompts) …"]
    assert len(lines) - 2 == 20
    assert lines[6] == "  1,170/4,680 prompts, 11.7/s, 5 min left"


def test_a_line_each_thirty_seconds_where_a_twentieth_takes_longer(clock, capsys):
    run(clock, 100, 3000)
    lines = capsys.readouterr().err.splitlines()[2:]
    assert len(lines) == 100
    assert lines[1] == "  2/100 prompts, 0.0/s, 49 min left"


def test_a_job_of_seconds_is_told_in_seconds(clock, capsys):
    run(clock, 1000, 4)
    assert len(capsys.readouterr().err.splitlines()) - 2 <= 4


def test_a_resumed_run_counts_its_own_pace(clock, capsys):
    run(clock, 1000, 100, start=500)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "Predicting (500 prompts; 500 were answered before) …"
    assert lines[2] == "  505/1,000 prompts, 5.0/s, 99 s left" or lines[2].endswith("5.0/s, 2 min left")


def test_quiet_says_nothing(clock, capsys):
    run(clock, 1000, 400, quiet=True)
    assert capsys.readouterr() == ("", "")


def test_a_download(clock, capsys):
    with console.download_progress(False) as observe:
        for done in range(0, 10_000_001, 100_000):
            clock.now = done / 200_000
            observe("scruples", done, 10_000_000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 20
    assert lines[0] == "  scruples: 500/10,000 kB, 200.0/s, 48 s left"


def test_a_download_of_unknown_size_is_silent(clock, capsys):
    with console.download_progress(False) as observe:
        observe("scruples", 1, None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (40, "40 s"), (89.6, "90 s"), (660, "11 min"), (7500, "2 h 5 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_nothing_is_due_before_anything_is_done():
    pace = Pace(5, 0.0)
    assert not pace.is_due(5, 100, 60.0)
    assert pace.is_due(6, 100, 60.0)
    assert not pace.is_due(100, 100, 60.5)
