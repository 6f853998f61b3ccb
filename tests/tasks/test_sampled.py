"""Drawn answers: one reading of each, counts, the score of the counts, and what drawing adds to the error."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import xlogy

from runner.core.types import Prediction, SamplingFormat, Thinking
from runner.scoring import intervals
from runner.tasks import sampled
from runner.tasks.sampled import Unreadable, count, label_of, last_line, log_scores, split_thought

FORMAT = SamplingFormat((("A", "A."), ("B", "B.")), 4, 1.0, 1.0, 8)
LABELS = ("first", "second")
SQUARE = Thinking("[THINK]", "[/THINK]", 100)


@pytest.mark.parametrize(
    ("text", "thinking", "begun", "thought", "answer"),
    [
        ("A", None, False, "", "A"),
        ("<think>B or A?</think>\n\nA", None, False, "B or A?", "\n\nA"),
        ("  <think></think>A", None, False, "", "A"),
        ("<think>A", None, False, "A", None),
        ("let me see\nB</think>A", None, True, "let me see\nB", "A"),
        ("let me see A", None, True, "let me see A", None),
        ("let me see\nB</think>\nA", None, False, "let me see\nB", "\nA"),
        ("[THINK]B[/THINK]A", SQUARE, False, "B", "A"),
        ("<think>B</think>A", SQUARE, False, "", "<think>B</think>A"),
        ("A <think>B</think>", None, False, "", "A <think>B</think>"),
    ],
)
def test_what_follows_a_thought_is_the_answer(
    text: str, thinking: Thinking | None, begun: bool, thought: str, answer: str | None
) -> None:
    assert split_thought(text, thinking, begun=begun) == (thought, answer)


@pytest.mark.parametrize(
    ("answer", "label"),
    [("A", 0), (" B.\n", 1), ("Both are bad.\n\nB\n  \n", 1), ("\n\nA", 0)],
)
def test_the_last_line_is_read_to_the_letter(answer: str, label: int) -> None:
    assert label_of(answer, FORMAT) == label


@pytest.mark.parametrize(
    "answer", ["", "\n", "a", "A or B", "The answer is A", "A\nbecause", "**A**", "(A)", "AB", None]
)
def test_everything_else_is_a_failure(answer: str | None) -> None:
    with pytest.raises(Unreadable):
        label_of(answer, FORMAT)


@given(st.lists(st.sampled_from(["A", "B.", "A\nB", "I cannot", None, ""]), max_size=30))
def test_every_answer_is_counted_once(answers: list[str | None]) -> None:
    samples, failures, failed = count(answers, FORMAT, LABELS)
    assert sum(samples.values()) + failures == len(answers)
    assert samples["second"] == sum(answer in ("B.", "A\nB") for answer in answers)
    assert len(failed) == min(3, failures)


def test_the_score_is_the_posterior_mean_under_half_a_vote_each() -> None:
    """(k + ½) / (n + K/2), by hand for two and five labels."""
    assert log_scores([11, 4], 1) == pytest.approx((math.log(11.5 / 16), math.log(4.5 / 16)))
    assert log_scores([0, 0, 3, 0, 1], 0) == pytest.approx([math.log(v / 6.5) for v in (0.5, 0.5, 3.5, 0.5, 1.5)])


@pytest.mark.parametrize(("samples", "failures", "scored"), [([2, 2], 4, True), ([2, 2], 5, False), ([0, 0], 0, False)])
def test_more_failures_than_answers_are_no_score(samples: list[int], failures: int, scored: bool) -> None:
    assert (log_scores(samples, failures) is not None) == scored


def row(first: int, second: int, failures: int = 0, **more: object) -> Prediction:
    samples = {"first": first, "second": second}
    scores = log_scores([first, second], failures)
    return Prediction("dilemmas", "1", scores, samples=samples, failures=failures, prompt_id="s", **more)  # type: ignore[arg-type]


def test_parts_of_an_answer_are_one_row_whatever_the_parts() -> None:
    parts = [row(1, 0, usage=(10, 2)), row(0, 2, 1, usage=(11, 5), failed=("hm",)), row(3, 0, usage=(10, 4))]
    whole = sampled.united(parts)
    assert (whole.samples, whole.failures, whole.failed) == ({"first": 4, "second": 2}, 1, ("hm",))
    assert whole.log_scores == log_scores([4, 2], 1)
    assert whole.usage == (31, 11)
    assert sampled.united([whole]) == whole


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"samples": None}, "without any"),
        ({"samples": {"second": 3, "first": 1}}, "the labels are"),
        ({"failures": 1}, "5 answers, 4 were asked for"),
        ({"log_scores": (-0.1, -0.2)}, "its samples say"),
        ({"log_scores": None}, "its samples say"),
    ],
)
def test_a_row_that_contradicts_itself_is_found(changed: dict[str, object], words: str) -> None:
    good = row(3, 1)
    assert sampled.disagreement(good, FORMAT, LABELS, 0.0) is None
    assert words in (sampled.disagreement(replace(good, **changed), FORMAT, LABELS, 0.0) or "")  # type: ignore[arg-type]
    assert sampled.disagreement(good, None, LABELS, 0.0) is not None


def test_seeds_differ_by_question_and_number_and_by_nothing_else() -> None:
    keys = [replace(row(1, 1), item_id=item, order=order).key for item in "ab" for order in (0, 1)]
    seeds = [sampled.seed_of(key, number) for key in keys for number in range(3)]
    assert len(set(seeds)) == len(seeds)
    assert sampled.seed_of(keys[0], 2) == sampled.seed_of(replace(row(9, 9), item_id="a").key, 2)


def test_the_last_line_has_no_blanks_around_it() -> None:
    assert last_line("x\r\n  y  \n\n") == "y"


# --- the error of drawing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 16, 64])
def test_known_probabilities_are_recovered_with_the_error_that_is_told(n: int) -> None:
    """400 items with known p: the mean Brier-like error of the posterior mean, and the told error of a mean score.

    The oracle is exact: for binomial counts the variance of (k + ½) / (n + 1) is np(1 − p) / (n + 1)² and its bias
    (½ − p) / (n + 1). The told error comes from drawing each item's answers again.
    """
    random = np.random.default_rng(n)
    p = random.beta(2, 2, size=400)
    drawn = random.binomial(n, p, size=(300, 400))
    estimates = (drawn + 0.5) / (n + 1)
    bias = (0.5 - p) / (n + 1)
    assert np.abs((estimates - p).mean(axis=0) - bias).max() < 5 * np.sqrt(p * (1 - p) / n / 300).max()
    true_error = np.sqrt((n * p * (1 - p)).sum()) / (n + 1) / 400
    told = []
    for one in drawn[:20]:
        again = random.binomial(n, one / n, size=(20, 400))
        told.append(intervals.error_of_drawing(((again + 0.5) / (n + 1))[:, :, None])[0])
    # k (n − k) / n is too small by (n − 1) / n on average: what a bootstrap of n values always is.
    assert np.mean(told) == pytest.approx(true_error * math.sqrt((n - 1) / n), rel=0.05)


@pytest.mark.parametrize("n", [4, 16, 64])
def test_the_bias_of_a_score_shrinks_as_one_over_n(n: int) -> None:
    """The expected cross-entropy of the posterior mean, exactly, by the sum over all counts."""
    from scipy.stats import binom

    p, h = 0.7, 0.6

    def expected(draws: int) -> float:
        k = np.arange(draws + 1)
        q = (k + 0.5) / (draws + 1)
        loss = -(xlogy(h, q) + xlogy(1 - h, 1 - q))
        return float((binom.pmf(k, draws, p) * loss).sum())

    exact = -(h * math.log(p) + (1 - h) * math.log(1 - p))
    assert abs(expected(4 * n) - exact) < 0.5 * abs(expected(n) - exact) + 1e-3


def test_drawing_again_widens_and_does_not_move() -> None:
    random = np.random.default_rng(0)
    redrawn = random.normal(3.0, 1.0, size=(20, 50, 2))
    changes = intervals.second_stage(redrawn, 4000, 1)
    assert changes.shape == (4000, 2)
    assert changes.mean(axis=0) == pytest.approx([0, 0], abs=4 / math.sqrt(50 * 4000))
    assert changes.std(axis=0) == pytest.approx(intervals.error_of_drawing(redrawn), rel=0.05)
    assert (intervals.second_stage(redrawn, 4000, 1) == changes).all()
