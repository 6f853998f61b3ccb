"""What is said on a terminal: within 80 columns, plain when piped, no colour when none is wanted, nothing cut."""

import copy
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from support import factories
from support.paths import GOLDEN
from support.unseen import UNSEEN

from runner.core.types import Check
from runner.evaluation.ceilings import of_tasks
from runner.report import terminal
from runner.report.comparison import print_comparison
from runner.scorecard.compare import Gate, compare
from runner.scorecard.verify import Report, verify

ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def card():
    """The golden card of the sample, under a name."""
    found = json.loads((GOLDEN / "sample-card.json").read_text(encoding="utf-8"))
    return {**found, "submission": {"name": "golden-answers"}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    top = tmp_path_factory.mktemp("runs")
    return [
        factories.scored(top, factories.sample_rows(seed=1, noise=2.0), "much-noise"),
        factories.scored(top, factories.sample_rows(seed=2, noise=0.5), "little-noise"),
    ]


@pytest.fixture(scope="module")
def comparison(runs):
    return compare(*runs, factories.KEYRING, gates=[Gate("cross_entropy", 0.0), Gate("accuracy", 0.01)])


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "TERM", "CLICOLOR"):
        monkeypatch.delenv(name, raising=False)


def said(capsys, show, *arguments, piped=False, **more):
    """What a terminal of 80 columns without colour shows, or what is piped."""
    with pytest.MonkeyPatch.context() as patch:
        if not piped:
            patch.setenv("TTY_COMPATIBLE", "1")
            patch.setenv("TERM", "dumb")
        show(*arguments, **more)
    return capsys.readouterr().out


def fits(text):
    return [line for line in text.splitlines() if cell_len(line) > 80] == []


# --- golden texts -------------------------------------------------------------------------------------------------


def seen(text):
    """Without what cannot be seen: Rich pads the lines that it wraps."""
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def kept(name, text, request):
    """What the golden file says; with --update-golden, `text` is put there first."""
    path = GOLDEN / name
    if request.config.getoption("--update-golden"):
        path.write_text(text, encoding="utf-8")
    return path.read_text(encoding="utf-8")


def test_the_summary_of_a_card(card, capsys, request):
    text = seen(said(capsys, terminal.print_card, card))
    assert text == kept("terminal-card.txt", text, request)


def test_every_metric_of_a_card(card, capsys, request):
    text = seen(said(capsys, terminal.print_card, card, every_metric=True))
    assert text == kept("terminal-card-verbose.txt", text, request)


@pytest.mark.slow
def test_a_comparison(comparison, capsys, request):
    text = seen(said(capsys, print_comparison, comparison))
    assert text == kept("terminal-comparison.txt", text, request)


def test_every_metric_of_a_comparison(comparison, capsys, request):
    text = seen(said(capsys, print_comparison, comparison, piped=True, every_metric=True))
    assert text == kept("terminal-comparison-verbose.txt", text, request)


def test_a_verification(runs, capsys, request):
    text = seen(said(capsys, terminal.print_verification, verify(runs[0], factories.KEYRING)))
    assert text == kept("terminal-verification.txt", text, request)


# --- width --------------------------------------------------------------------------------------------------------


def numbers_in(text):
    """With lines joined, so that a folded cell counts as whole."""
    return re.findall(r"[+-]?\d+\.\d+(?:e\+\d+)?|[+-]?\d(?:\.\d+)?e[+-]\d+", text)


def spread(value, factor):
    """The card with every number of a metric multiplied."""
    for task in value["tasks"].values():
        for metric in task["metrics"].values():
            if metric["value"] is not None:
                metric["value"] *= factor
            if metric["confidence_interval"] is not None:
                metric["confidence_interval"]["lower"] *= -factor
                metric["confidence_interval"]["upper"] *= factor
        for block in (task["ceiling"], *task["baselines"].values()):
            for entry in block.values():
                if entry["value"] is not None:
                    entry["value"] *= factor
    return value


@pytest.mark.parametrize("factor", [1.0, 30.0, 900.0, 1e5, 1e6])
@pytest.mark.parametrize("every", [False, True])
def test_wide_numbers_fit_and_are_whole(card, capsys, factor, every):
    changed = spread(copy.deepcopy(card), factor)
    text = said(capsys, terminal.print_card, changed, every_metric=every)
    assert fits(text)
    # The sign of omission stands in intervals only, between blanks: nothing was cut.
    assert not re.search(r"\S…|…\S", text)
    for task in changed["tasks"].values():
        value = terminal.number(task["metrics"]["cross_entropy"]["value"])
        interval = task["metrics"]["cross_entropy"]["confidence_interval"]
        assert f"{value} {terminal.number(interval['lower'])} … {terminal.number(interval['upper'])}" in re.sub(
            " +", " ", text
        )


@pytest.mark.parametrize("factor", [1.0, 30.0, 900.0, 1e5])
def test_wide_differences_fit_and_verdicts_are_whole(comparison, capsys, factor):
    changed = copy.deepcopy(comparison)
    for row in changed["tasks"]["dilemmas"]["metrics"].values():
        for name in ("difference", "lower", "upper", "minimum_detectable"):
            if row.get(name) is not None:
                row[name] *= factor
    text = said(capsys, print_comparison, changed, every_metric=True)
    if factor < 1e5:  # beyond, the numbers alone need more than 80 columns
        assert fits(text)
    assert not re.search(r"\S…|…\S", text)
    verdicts = [row["verdict"] for row in changed["tasks"]["dilemmas"]["metrics"].values()]
    assert {"better", "undecided"} <= set(verdicts)
    for verdict in set(verdicts):
        assert len(re.findall(rf" {verdict}\n", text)) == verdicts.count(verdict)


def test_long_words_are_folded(card, comparison, capsys):
    name = "n" * 80
    changed = {
        **card,
        "submission": {"name": name},
        "not_comparable": ["a reason " * 40],
        "missing_tasks": ["a-task-with-a-name-of-some-length"] * 6,
    }
    assert fits(said(capsys, terminal.print_card, changed))
    assert fits(said(capsys, print_comparison, {**comparison, "a": {"name": name}, "b": {"name": name}}))
    report = Report(Path(), card, "key", "self-reported", (Check("note", "note", "word " * 60 + "x" * 200),))
    assert fits(said(capsys, terminal.print_verification, report))


def test_east_asian_letters_are_two_columns_wide(card, capsys):
    assert fits(said(capsys, terminal.print_card, {**card, "not_comparable": ["道徳的" * 40]}))


@pytest.mark.slow
def test_the_ceiling_fits(capsys):
    found = of_tasks(factories.choice(tasks=("dilemmas", "anecdotes")), 20, None)
    text = said(capsys, terminal.print_ceilings, found)
    assert fits(text)
    for one in found:
        for row in one["ceiling"].values():
            assert terminal.number(row["value"]) in text


# --- missing numbers ----------------------------------------------------------------------------------------------


def test_what_was_not_measured_is_a_dash_and_its_reason_is_said_once(card, capsys):
    changed = copy.deepcopy(card)
    task = changed["tasks"]["dilemmas"]
    for name in ("cross_entropy_calibrated", "dirichlet_multinomial"):
        task["metrics"][name].update(value=None, standard_error=None, confidence_interval=None, reason="for a reason")
    text = said(capsys, terminal.print_card, {**changed, "tasks": {"dilemmas": task}})
    assert re.search(r"cross_entropy \(cal\.\) +– +– ", text)
    assert text.count("for a reason") == 1
    assert "nan" not in text.lower().replace("unanim", "")


def test_a_card_without_the_primary_metric_has_no_bar(card, capsys):
    changed = copy.deepcopy(card)
    for task in changed["tasks"].values():
        task["metrics"]["cross_entropy"].update(
            value=None, standard_error=None, confidence_interval=None, reason="a reason"
        )
    assert "├" not in said(capsys, terminal.print_card, changed)


@pytest.mark.parametrize(
    ("prior", "value", "ceiling", "place"),
    [
        (1.0, 1.0, 0.0, 0),
        (1.0, 0.0, 0.0, -1),
        (1.0, 0.5, 0.0, 5),
        (1.0, 9.0, 0.0, 0),
        (1.0, -9.0, 0.0, -1),
        (1, 1, 1, 0),
    ],
)
def test_the_bar_shows_the_place(prior, value, ceiling, place):
    bar = terminal.way(prior, value, ceiling, width=11).plain
    assert len(bar) == 13
    inner = bar[1:-1]
    mark = {True: "<", False: ">"}.get(value > prior) if not ceiling <= value <= prior else "●"
    assert inner.index(mark) == place % 11


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0.0000"), (-0.12345, "-0.1235"), (999.9, "999.9000"), (1234.56, "1235"), (1e6, "1e+06")],
)
def test_numbers(value, text):
    assert terminal.number(value) == text
    if value is not None:
        assert terminal.signed(value) == (text if value < 0 else f"+{text}")


# --- colour -------------------------------------------------------------------------------------------------------


def shows(card, comparison, runs):
    return [
        (terminal.print_card, card),
        (print_comparison, comparison),
        (terminal.print_verification, verify(runs[0], factories.KEYRING)),
    ]


def test_piped_it_is_plain_and_no_line_is_wrapped(card, comparison, runs, capsys):
    for show, value in shows(card, comparison, runs):
        text = said(capsys, show, value, piped=True)
        assert ESCAPE not in text
        assert "\r" not in text
    for show, value, whole in (
        (
            terminal.print_card,
            {**card, "not_comparable": ["/a path/" + "x" * 300 + " " + "word " * 60]},
            "not_comparable",
        ),
        (print_comparison, {**comparison, "notes": ["/a path/" + "x" * 300 + " " + "word " * 60]}, "notes"),
    ):
        lines = said(capsys, show, value, piped=True).splitlines()
        assert any(value[whole][0].strip() in line for line in lines)


COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|38;\d)")


def test_on_a_terminal_it_is_coloured_unless_that_is_not_wanted(card, comparison, runs, capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    for show, value in shows(card, comparison, runs):
        monkeypatch.delenv("NO_COLOR", raising=False)
        assert COLOUR.search(said(capsys, show, value, piped=True))
        monkeypatch.setenv("NO_COLOR", "1")
        text = said(capsys, show, value, piped=True)
        assert not COLOUR.search(text)
        assert fits(re.sub(r"\x1b\[[\d;]*m", "", text))


PROGRAM = """
import json, sys
from runner.report import terminal
from runner.report.comparison import print_comparison
terminal.print_card(json.load(open(sys.argv[1], encoding="utf-8")))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_a_real_terminal(card, tmp_path, root, variables, coloured):
    path = tmp_path / "card.json"
    path.write_text(json.dumps(card), encoding="utf-8")
    master, slave = pty.openpty()
    environment = {
        "PATH": os.environ["PATH"],
        "TERM": "xterm-256color",
        "COLUMNS": "80",
        "LC_ALL": "C.UTF-8",
        **variables,
    }
    subprocess.run([sys.executable, "-c", PROGRAM, str(path)], stdout=slave, cwd=root, env=environment, check=True)
    os.close(slave)
    data = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        data += part
    os.close(master)
    text = data.decode()
    assert "golden-answers" in text
    assert bool(COLOUR.search(text)) is coloured


# --- a comparison in a sentence ----------------------------------------------------------------------------------


def bar_of(text):
    return re.search(r"├(.*)┤", text)[1]


def test_the_bar_shows_both_and_where_they_meet(comparison, capsys):
    task = comparison["tasks"]["dilemmas"]
    places = task["verdict"]["parts"]["places"]
    assert 0 < places["a"] < 1 < places["b"]
    text = said(capsys, print_comparison, comparison)
    bar = bar_of(text)
    assert bar.index("○") == round(places["a"] * 39)
    assert bar.index("┼") == round(places["people"] * 39)
    assert bar.index("●") == 39
    assert "B right of the ceiling" in text
    for a, b, expected in ((0.5, 0.503, "◉"), (-0.2, 0.5, "○"), (0.9, 1.4, "●")):
        changed = copy.deepcopy(comparison)
        changed["tasks"]["dilemmas"]["verdict"]["parts"]["places"].update(a=a, b=b, people=None)
        text = said(capsys, print_comparison, changed)
        assert expected in bar_of(text)
        assert ("A left of the" in text) == (a < 0)
    changed["tasks"]["dilemmas"]["verdict"]["parts"]["places"].update(baseline=None)
    assert "├" not in said(capsys, print_comparison, changed)


def test_four_metrics_are_shown_or_those_that_are_asked_for(comparison, capsys):
    def rows(text):
        text = text.partition("metric ")[2]
        return re.findall(r"^[↓↑ ] (\w+(?: \(cal\.\))?) +\S", text, re.MULTILINE)

    assert rows(said(capsys, print_comparison, comparison, piped=True)) == [
        "cross_entropy",
        "total_variation",
        "accuracy",
        "cross_entropy (cal.)",
    ]
    text = said(capsys, print_comparison, comparison, piped=True, metrics=("brier", "kl"))
    assert rows(text) == ["brier", "kl"]
    every = said(capsys, print_comparison, comparison, piped=True, every_metric=True)
    assert len(rows(every)) == len(comparison["tasks"]["dilemmas"]["metrics"])
    assert "detect" in every.partition("interval:")[0]


def test_warnings_of_both_cards_are_said_once(comparison, capsys):
    warning = {"code": "items", "task": "dilemmas", "value": 1.0, "threshold": 2.0, "message": "few items"}
    other = {**warning, "message": "a place is preferred", "card": "B"}
    changed = {**comparison, "warnings": [{**warning, "card": "A"}, {**warning, "card": "B"}, other]}
    text = said(capsys, print_comparison, changed)
    assert text.count("few items") == 1
    assert "! A and B: few items" in text
    assert "! B: a place is preferred" in text


def test_the_rule_is_the_last_line(comparison, capsys):
    assert said(capsys, print_comparison, comparison, piped=True).splitlines()[-1] == comparison["notes"][0]


# --- texts of strangers -------------------------------------------------------------------------------------------

HOSTILE = "\x1b[2J\x1b]0;title\x07\r[red]x[/red][/]\u202e\u0000" + UNSEEN


def test_a_signers_words_cannot_steer_the_terminal(card, comparison, capsys):
    changed = copy.deepcopy(card)
    changed["submission"]["name"] = HOSTILE
    changed["benchmark"]["name"] = HOSTILE
    changed["not_comparable"] = [HOSTILE]
    task = changed["tasks"]["dilemmas"]
    task["metrics"]["brier"].update(value=None, confidence_interval=None, reason=HOSTILE)
    task["metrics"][HOSTILE] = task["metrics"]["accuracy"]
    changed["tasks"][HOSTILE] = task
    report = Report(Path(), card, "key", "self-reported", (Check("note", "note", HOSTILE),))
    compared = {**comparison, "a": {"name": HOSTILE}, "notes": [HOSTILE]}
    compared["warnings"] = [{"task": "dilemmas", "card": "A", "message": HOSTILE}]
    for show, value in (
        (lambda one: terminal.print_card(one, every_metric=True), changed),
        (print_comparison, compared),
        (terminal.print_verification, report),
    ):
        text = said(capsys, show, value)
        assert not [letter for letter in text if not letter.isprintable() and letter != "\n"]
        assert not set(text) & set(UNSEEN)
        assert "[red]x[/red][/]" in text.replace("\n", "")
