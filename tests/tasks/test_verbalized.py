"""A distribution as a line of text and back."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.types import Prediction, VerbalizedFormat
from runner.tasks.verbalized import (
    Unreadable,
    disagreement,
    form,
    log_scores,
    parse,
    scores_or_none,
    whole_percentages,
    write,
)

NAMES = ("A", "B", "C", "D", "E", "F", "G")
TWO = VerbalizedFormat(("A", "B"), (0, 1), 0.5, 64)

names = st.lists(st.from_regex(r"[A-Za-z]{1,6}", fullmatch=True), min_size=2, max_size=7, unique=True)


@st.composite
def percentages(draw):
    """Names and as many whole percentages that add up to 100."""
    called = draw(names)
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=len(called) - 1, max_size=len(called) - 1)))
    return called, tuple(b - a for a, b in zip([0, *cuts], [*cuts, 100], strict=True))


@given(percentages(), st.integers(0, 3), st.integers(0, 3))
def test_what_is_written_is_read_again(made, before, after):
    called, shares = made
    line = write(shares, called)
    assert "\n" not in line
    assert parse(" " * before + line + " " * after, called) == shares
    assert form(called) == ", ".join(f"{name}: ?%" for name in called)


@given(percentages(), st.data())
def test_a_line_with_one_letter_more_less_or_changed_is_another_distribution_or_none(made, data):
    called, shares = made
    line = write(shares, called)
    place = data.draw(st.integers(0, len(line) - 1))
    letter = data.draw(st.sampled_from("0123456789%:,. AB\n-"))
    for changed in (line[:place] + line[place + 1 :], line[:place] + letter + line[place:], line[:place] + letter):
        try:
            found = parse(changed, called)
        except Unreadable:
            continue
        assert write(found, called) == changed.strip(" ")
        assert sum(found) == 100


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_words(text):
    try:
        found = parse(text, ("A", "B"))
    except Unreadable as problem:
        found, said = None, str(problem)
    assert said if found is None else write(found, ("A", "B")) == text.strip(" ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "A: 70, B: 30",
        "A: 70%",
        "B: 30%, A: 70%",
        "A: 70%, B: 30%.",
        "A: 70%, B: 30%, C: 0%",
        "A: 70%,B: 30%",
        "A: 70 %, B: 30 %",
        "A: 70.0%, B: 30.0%",
        "A: 070%, B: 30%",
        "A: +70%, B: 30%",
        "A: ٧٠%, B: 30%",
        "A: 70%, B: 31%",
        "A: 150%, B: -50%",
        "A: 0%, B: 0%",
        "a: 70%, b: 30%",
        "A: ?%, B: ?%",
        "Answer: A: 70%, B: 30%",
        "\nA: 70%, B: 30%",
        "70% A, 30% B",
        "A: 1000%, B: 30%",
    ],
)
def test_nothing_is_guessed(text):
    with pytest.raises(Unreadable):
        parse(text, ("A", "B"))
    assert scores_or_none(text, TWO) is None


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=7).filter(lambda found: sum(found) > 1e-6))
def test_whole_percentages_add_up_and_are_within_one_of_the_share(weights):
    found = whole_percentages(weights)
    assert sum(found) == 100
    total = math.fsum(weights)
    assert all(abs(whole - 100 * weight / total) < 1 + 1e-9 for whole, weight in zip(found, weights, strict=True))
    # A larger share never gets fewer percent.
    pairs = sorted(zip(weights, found, strict=True))
    assert all(one[1] <= other[1] for one, other in itertools.pairwise(pairs) if one[0] < other[0])


@pytest.mark.parametrize(
    ("votes", "expected"),
    [([3, 2], (60, 40)), ([1, 1, 1], (34, 33, 33)), ([5, 0], (100, 0)), ([2, 1], (67, 33)), ([1, 1, 4], (17, 17, 66))],
)
def test_votes_as_whole_percentages(votes, expected):
    assert whole_percentages(votes) == expected


@pytest.mark.parametrize("shares", [(50, 49), (101, -1), (100,), (50, 50, 0)])
def test_only_percentages_are_written(shares):
    with pytest.raises(ValueError, match="whole percentages"):
        write(shares, ("A", "B"))


@pytest.mark.parametrize("weights", [[0.0, 0.0], [-1.0, 2.0], [math.inf, 1.0], [math.nan, 1.0]])
def test_weights_are_shares(weights):
    with pytest.raises(ValueError, match="no shares"):
        whole_percentages(weights)


def test_scores_are_in_label_order_and_a_written_zero_is_half_a_percent():
    turned = VerbalizedFormat(("A", "B"), (1, 0), 0.5, 64)
    assert log_scores("A: 70%, B: 30%", TWO) == pytest.approx((math.log(0.7), math.log(0.3)))
    assert log_scores("A: 70%, B: 30%", turned) == pytest.approx((math.log(0.3), math.log(0.7)))
    assert log_scores(" A: 100%, B: 0%", TWO) == pytest.approx((0.0, math.log(0.005)))


@pytest.mark.parametrize(
    ("text", "scores", "writing", "problem"),
    [
        (None, (0.0, 0.0), None, None),
        ("A: 70%, B: 30%", (math.log(0.7), math.log(0.3)), TWO, None),
        ("no", None, TWO, None),
        ("no", (0.0, 0.0), TWO, "its text says None"),
        ("A: 70%, B: 30%", None, TWO, "its text says"),
        ("A: 70%, B: 30%", (math.log(0.3), math.log(0.7)), TWO, "its text says"),
        ("A: 70%, B: 30%", (math.log(0.7),), TWO, "its text says"),
        (None, (0.0, 0.0), TWO, "without one"),
        ("A: 70%, B: 30%", (0.0, 0.0), None, "names no prompt"),
    ],
)
def test_a_row_says_what_its_text_says(text, scores, writing, problem):
    row = Prediction("dilemmas", "i", scores, prompt_id="p", text=text)
    found = disagreement(row, writing, 1e-9)
    assert found is None if problem is None else problem in (found or "")
