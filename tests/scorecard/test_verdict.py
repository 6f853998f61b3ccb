"""The sentence about a comparison: each kind of outcome in words that say no more than the numbers do."""

from typing import Any

import pytest
from click.testing import CliRunner
from support import factories

from runner.cli import main
from runner.core.errors import InvalidInput
from runner.scorecard import compare as comparison
from runner.scorecard.compare import Gate, compare
from runner.scorecard.verdict import people, percent, verdict

PLACES = {"baseline": "prior", "start": 0.69, "ceiling": 0.49, "a": 0.02, "b": 0.09, "people": 0.68, "votes": 5.0}
NOWHERE = dict.fromkeys(PLACES)


def said(places: Any = PLACES, margin: float | None = None, primary: str = "cross_entropy", **changes: Any) -> Any:
    row = {
        "difference": -0.021,
        "lower": -0.030,
        "upper": -0.012,
        "p_value": 0.0001,
        "minimum_detectable": 0.0129,
        "verdict": "better",
        "lower_is_better": True,
        "a": 0.68,
        "b": 0.66,
    }
    return verdict("dilemmas", primary, {**row, **changes}, 0.95, places, margin)


def test_better_with_how_near_both_are_to_people():
    one = said()
    assert one["text"] == (
        "dilemmas: B is better by 0.021 nats [0.012, 0.030]; B is 9 % of the way from the prior to the ceiling, A 2 %, "
        "five people 68 %."
    )
    assert one["parts"]["gain"] == 0.021
    assert (one["parts"]["lower"], one["parts"]["upper"]) == (0.012, 0.030)
    assert one["parts"]["places"] == PLACES


def test_worse_is_told_as_an_amount():
    text = said(difference=0.021, lower=0.012, upper=0.030, verdict="worse")["text"]
    assert text.startswith("dilemmas: B is worse by 0.021 nats [0.012, 0.030];")
    higher = said(difference=-0.021, lower_is_better=False, verdict="worse", primary="accuracy")["text"]
    assert higher.startswith("dilemmas: B is worse by 0.021 share of items [0.012, 0.030];")


def test_undecided_is_not_equal():
    one = said(difference=-0.003, lower=-0.010, upper=0.004, p_value=0.34, verdict="undecided")
    assert one["text"].startswith(
        "dilemmas: undecided: B's gain is 0.003 nats [−0.004, 0.010], p = 0.34; a true difference of 0.013 would be "
        "found four times in five; B is 9 %"
    )
    assert one["parts"]["verdict"] == "undecided"


@pytest.mark.parametrize(("margin", "word"), [(None, "undecided"), (0.009, "undecided"), (0.01, "equal")])
def test_equal_needs_a_margin_that_somebody_stated(margin, word):
    one = said(margin=margin, difference=-0.003, lower=-0.010, upper=0.004, verdict="undecided", p_value=0.34)
    assert one["parts"]["verdict"] == word
    assert ("equal within 0.01 nats" in one["text"]) == (word == "equal")


def test_better_within_the_margin_says_both():
    assert "[0.012, 0.030], within the margin of 0.05;" in said(margin=0.05)["text"]


def test_no_difference_on_any_item():
    one = said(difference=0.0, lower=0.0, upper=0.0, verdict="undecided", p_value=1.0)
    assert "equal: A and B do not differ on any item" in one["text"]


def test_without_an_interval_the_values_and_the_reason_are_told():
    row = {"difference": None, "reason": "all items depend on each other", "verdict": "not measured"}
    one = said(**row)
    assert one["text"].startswith(
        "dilemmas: no difference with an interval in cross_entropy, A scores 0.680 and B 0.660: all items depend on "
        "each other; B is 9 %"
    )
    assert one["parts"]["gain"] is one["parts"]["lower"] is None
    assert "scores" not in said(**row, a=None, b=None)["text"]


def test_where_no_ceiling_is_known_nobody_is_near_people():
    assert said(places=NOWHERE)["text"].endswith("; how near they are to people is not known.")
    assert "from equal probabilities to the ceiling" in said(places={**PLACES, "baseline": "uniform"})["text"]
    assert "people" not in said(places={**PLACES, "people": None, "votes": None})["text"]


def test_a_narrow_interval_is_shown_with_the_digits_it_has():
    assert "by 0.00021 nats [0.00012, 0.00030]" in said(difference=-0.00021, lower=-0.0003, upper=-0.00012)["text"]


@pytest.mark.parametrize(("share", "text"), [(0.094, "9 %"), (-0.04, "−4 %"), (-0.001, "0 %"), (1.06, "106 %")])
def test_shares(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(("votes", "text"), [(5.0, "five people"), (4.7, "other people"), (50.0, "other people")])
def test_people(votes, text):
    assert people(votes) == text


# --- from cards ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    top = tmp_path_factory.mktemp("runs")
    chosen = {"tasks": ("dilemmas", "anecdotes")}
    return [
        factories.scored(
            top, factories.sample_rows(seed, noise, factories.choice(**chosen), prompts=1), f"n{noise}", **chosen
        )
        for seed, noise in ((1, 2.0), (2, 0.5))
    ]


@pytest.mark.slow
def test_shares_and_values_are_those_of_the_cards(runs):
    result = compare(*runs, factories.KEYRING, gates=[Gate("cross_entropy", 0.5)])
    assert list(result["tasks"]) == ["dilemmas", "anecdotes"], "the benchmark's order, which is not the alphabet's"
    cards = [factories.read_card(run) for run in runs]
    for name, task in result["tasks"].items():
        blocks = [card["tasks"][name] for card in cards]
        parts = task["verdict"]["parts"]
        assert task["verdict"]["text"].startswith(f"{name}: ")
        assert parts["margin"] == 0.5
        for side, block in zip("ab", blocks, strict=True):
            assert parts["places"][side] == pytest.approx(block["metrics"]["skill"]["value"])
            for metric, row in task["metrics"].items():
                if row["difference"] is not None:
                    assert row[side] == pytest.approx(block["metrics"][metric]["value"]), metric
        panel = blocks[0]["panel"]
        people_share = None if panel is None else panel["skill"]["cross_entropy"]["value"]
        assert parts["places"]["people"] == (None if people_share is None else pytest.approx(people_share))
    own = [{"card": label, **one} for label, card in zip("AB", cards, strict=True) for one in card["warnings"]]
    assert len(own) == len(result["warnings"]) > 0
    assert all(warning in own for warning in result["warnings"])
    assert result["tasks"]["dilemmas"]["verdict"]["parts"]["places"]["people"] is not None


@pytest.mark.slow
def test_one_task_alone(runs):
    result = compare(*runs, factories.KEYRING, gates=[Gate("brier", 0.5)], only=("anecdotes",))
    assert list(result["tasks"]) == ["anecdotes"]
    assert [gate["gate"] for gate in result["gates"]] == ["brier=0.5 on anecdotes"]
    assert {one["task"] for one in result["warnings"]} <= {"anecdotes"}
    with pytest.raises(InvalidInput, match="No task of both cards: anecdote"):
        compare(*runs, factories.KEYRING, only=("anecdote",))


@pytest.mark.slow
def test_items_that_all_depend_on_each_other_give_no_interval(runs, monkeypatch):
    """One group that shares a value: nothing is known of chance, and that is said instead of a traceback."""
    from dataclasses import replace

    from runner.scoring.dependence import dependence

    real = comparison.measure

    def measure(answers, scoring):
        found = real(answers, scoring)
        return replace(found, shared=dependence([["one"]] * len(found.counts)))

    monkeypatch.setattr(comparison, "measure", measure)
    task = compare(*runs, factories.KEYRING, only=("dilemmas",))["tasks"]["dilemmas"]
    assert task["metrics"]["cross_entropy"]["reason"] == "all items depend on each other"
    assert task["verdict"]["parts"]["verdict"] == "not measured"
    assert "no difference with an interval" in task["verdict"]["text"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--task", "dilemmas"], 0, "dilemmas: "),
        (["--task", "dilemas"], 1, "Both have: anecdotes, dilemmas."),
        (["--metric", "brier"], 0, "↓ brier"),
        (["--metric", "brir"], 2, "Did you mean 'brier'?"),
        (["-v"], 0, "seed_dirichlet"),
    ],
)
def test_options(runs, monkeypatch, options, code, words):
    monkeypatch.setattr("runner.cli.options.trusted_keys", lambda file: factories.KEYRING)
    done = CliRunner().invoke(main, ["compare", *map(str, runs), *options])
    assert done.exit_code == code, done.output
    assert words in done.output
    assert ("anecdotes: " in done.output) == (code == 0 and "--task" not in options)
