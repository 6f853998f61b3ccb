"""Paired comparison: the size and the power of the test, Holm's correction, and verdicts."""

import itertools
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.scoring import comparison
from runner.scoring.comparison import (
    PairedStatistic,
    compare,
    holm,
    minimum_detectable_difference,
    paired_macro_f1,
    sign_flip,
)
from runner.scoring.f1 import macro_f1_score
from runner.scoring.intervals import bootstrap_means, percentile_interval
from runner.scoring.verdicts import DESCRIPTIVE, PRIMARY, SECONDARY, SIGNED, decide

SETTINGS = {"draws": 500, "permutations": 999, "seed": 3}


def test_p_value_equals_the_enumeration_of_all_flips():
    gaps = np.random.default_rng(1).normal(0.3, 1, 12)
    flipped = np.array(list(product([-1, 1], repeat=12))) @ gaps
    exact = (np.abs(flipped) >= abs(gaps.sum()) - 1e-12).mean()
    assert sign_flip(gaps, 60_000, seed=2) == pytest.approx(exact, abs=0.007)


def test_ties_with_the_observed_sum_count():
    # Every flip of one item gives the same size of sum: p must be 1, whatever rounding does.
    assert sign_flip(np.array([0.1 + 0.2]), 500, seed=1) == 1.0
    assert sign_flip(np.zeros((5, 2)), 500, seed=1).tolist() == [1.0, 1.0]


def test_hits_and_misses_are_compared_as_numbers():
    hits = np.random.default_rng(6).random((2, 40, 1)) < 0.5
    as_numbers = compare(*hits.astype(float), **SETTINGS)
    for kind in (bool, np.uint8):
        assert compare(*hits.astype(kind), **SETTINGS) == as_numbers


def test_p_value_is_never_zero():
    assert sign_flip(np.full(200, 1.0), 999, seed=1) == pytest.approx(1 / 1000)


def test_flips_are_shared_by_metrics_and_independent_of_blocks(monkeypatch):
    gaps = np.random.default_rng(4).normal(0.1, 1, (61, 2))
    whole = sign_flip(gaps, 400, seed=5)
    assert sign_flip(gaps[:, 0], 400, seed=5) == whole[0]
    monkeypatch.setattr(comparison, "_BLOCK", 61 * 9)
    # Blocks draw whole bytes for each row, so they may use the stream alike.
    assert sign_flip(gaps, 400, seed=5).tolist() == whole.tolist()


def test_holm_by_hand():
    # Sorted: .01·4, .02·3, .03·2, .9·1; never decreasing, never above 1.
    assert holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm([0.5, 0.6]).tolist() == [1.0, 1.0]
    assert holm([1, 0]).dtype == np.float64


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_raw_and_bonferroni(p):
    adjusted = holm(p)
    assert (adjusted >= np.array(p)).all()
    assert (adjusted <= np.minimum(1, np.array(p) * len(p)) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()


def decided(a, b, directions, families=None):
    """What `decide` says of each metric; by default the first is the primary one, the others are tested together."""
    found = compare(a, b, **SETTINGS)
    families = families or [PRIMARY, *[SECONDARY] * (len(directions) - 1)]
    verdicts = decide(found.difference, found.standard_error, found.p_value, families, directions, 0.95)
    return found, tuple(one.verdict for one in verdicts), verdicts


def test_verdicts_follow_the_direction():
    generator = np.random.default_rng(6)
    b = generator.random((300, 5))
    a = b + generator.normal(0, 0.1, b.shape) + np.array([-0.1, -0.1, 0.0, -0.1, -0.1])
    directions = [True, False, True, None, True]
    families = [PRIMARY, SECONDARY, SECONDARY, SIGNED, DESCRIPTIVE]
    found, words, verdicts = decided(a, b, directions, families)
    assert words == ("better", "worse", "undecided", "differs", "not tested")
    turned, other, _ = decided(b, a, directions, families)
    assert other == ("worse", "better", "undecided", "differs", "not tested")
    assert turned.difference == pytest.approx(-found.difference)
    assert turned.p_value == pytest.approx(found.p_value)
    assert ((found.lower <= found.difference) & (found.difference <= found.upper)).all()
    assert [one.p_adjusted for one in verdicts[:1]] == found.p_value[:1].tolist()
    assert [one.p_adjusted for one in verdicts[1:3]] == holm(found.p_value[1:3]).tolist()
    assert verdicts[3].p_adjusted == pytest.approx(3 * found.p_value[3])
    assert verdicts[4].p_adjusted is verdicts[4].lower is verdicts[4].minimum_detectable is None


def test_adjusted_intervals_and_what_is_detected_are_those_of_the_verdicts_level():
    error = np.full(3, 0.5)
    primary, one, _ = decide(
        np.array([1.0, 1.0, 1.0]),
        error,
        np.array([0.04, 0.04, 0.04]),
        [PRIMARY, SECONDARY, SECONDARY],
        [True] * 3,
        0.95,
    )
    assert (primary.verdict, one.verdict) == ("worse", "undecided")
    assert primary.upper - primary.lower == pytest.approx(2 * 1.959964 * 0.5)
    assert one.upper - one.lower == pytest.approx(2 * 2.241403 * 0.5)
    assert primary.minimum_detectable == pytest.approx(minimum_detectable_difference(0.5, 0.05))
    assert one.minimum_detectable == pytest.approx(minimum_detectable_difference(0.5, 0.025))


def test_a_model_is_not_better_than_itself():
    a = np.random.default_rng(7).random((50, 2))
    found, words, _ = decided(a, a, [True, True])
    assert words == ("undecided", "undecided")
    assert found.p_value.tolist() == [1.0, 1.0]
    assert found.difference.tolist() == found.lower.tolist() == found.upper.tolist() == [0.0, 0.0]


def test_pairing_finds_what_unpaired_items_hide():
    generator = np.random.default_rng(8)
    b = generator.exponential(size=(500, 1)) * 3
    a = b - 0.05 + generator.normal(0, 0.2, b.shape)
    assert abs(a.mean() - b.mean()) < 0.5 * np.hypot(a.std(), b.std()) / np.sqrt(500)
    assert decided(a, b, [True])[1] == ("better",)


def test_wrong_shapes_are_refused():
    for a, b in ((np.ones((3, 2)), np.ones((4, 2))), (np.ones(3), np.ones(3)), (np.ones((1, 2)), np.ones((1, 2)))):
        with pytest.raises(ValueError, match="shape"):
            compare(a, b, **SETTINGS)


def test_the_minimum_detectable_difference_is_found_with_power_080():
    generator = np.random.default_rng(9)
    items, repeats = 100, 1500
    step = float(minimum_detectable_difference(1 / np.sqrt(items)))
    assert step == pytest.approx(0.2802, abs=1e-4)
    gaps = generator.normal(step, 1, (items, repeats))
    # Each column is one experiment: they share flips, which leaves each p-value valid.
    assert (sign_flip(gaps, 1999, seed=1) <= 0.05).mean() == pytest.approx(0.8, abs=0.035)


def test_few_units_widen_what_the_verdict_says():
    """Twenty-two blocks of a ring of 200 items: Student's t with 21 degrees, from its table (2.080 and 0.859)."""
    arguments = (np.array([0.1]), np.array([0.05]), np.array([0.06]), [PRIMARY], [True], 0.95)
    (few,), (many,), (alone,) = decide(*arguments, 22), decide(*arguments, 10**9), decide(*arguments)
    assert (few.lower, few.upper) == pytest.approx((0.1 - 2.080 * 0.05, 0.1 + 2.080 * 0.05), abs=1e-4)
    assert few.minimum_detectable == pytest.approx((2.080 + 0.859) * 0.05, abs=1e-4)
    assert many.minimum_detectable == pytest.approx(alone.minimum_detectable)
    assert many.lower == pytest.approx(alone.lower)


def test_macro_f1_is_compared_on_the_same_items():
    generator = np.random.default_rng(10)
    human = generator.integers(0, 3, 400)
    good, bad = (np.where(generator.random(400) < share, human, generator.integers(0, 3, 400)) for share in (0.9, 0.4))
    found = paired_macro_f1((good, bad), human, 3, draws=400, permutations=99, seed=1)
    assert found.difference == pytest.approx(macro_f1_score(good, human, 3) - macro_f1_score(bad, human, 3))
    assert 0 < found.lower < found.difference < found.upper
    assert found.upper - found.lower == pytest.approx(2 * 1.96 * found.standard_error, rel=0.2)
    assert found.p_value == 0.01
    assert paired_macro_f1((good, good), human, 3, draws=50, permutations=99, seed=1) == PairedStatistic(0, 0, 0, 0, 1)


def test_the_p_value_of_macro_f1_is_that_of_all_exchanges():
    generator = np.random.default_rng(11)
    human, one, other = generator.integers(0, 3, (3, 8))
    gaps = []
    for exchange in itertools.product([False, True], repeat=8):
        first, second = np.where(exchange, other, one), np.where(exchange, one, other)
        gaps.append(abs(macro_f1_score(first, human, 3) - macro_f1_score(second, human, 3)))
    exact = np.mean(np.array(gaps) >= gaps[0] - 1e-12)
    found = paired_macro_f1((one, other), human, 3, draws=10, permutations=20_000, seed=1)
    assert found.p_value == pytest.approx(exact, abs=0.012)
    assert 0.02 < exact < 0.98


def test_the_test_of_macro_f1_keeps_its_size():
    generator = np.random.default_rng(12)
    p_values = []
    for number in range(600):
        human = generator.integers(0, 3, 80)
        one, other = (np.where(generator.random(80) < 0.5, human, generator.integers(0, 3, 80)) for _ in range(2))
        p_values.append(paired_macro_f1((one, other), human, 3, draws=2, permutations=199, seed=number).p_value)
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.025)


def sizes(items, repeats, permutations, seed):
    """Share of false findings at the 5 % level: sign-flip test, and paired percentile interval that excludes 0.

    The two models make exchangeable errors of skewed size on the same items, as two seeds of one model would. Forty
    comparisons share their flips and resampled items, as metrics do; their errors are their own.
    """
    generator = np.random.default_rng(seed)
    hits = np.zeros(2)
    for block in range(repeats // 40):
        item, one, other = generator.exponential(size=(3, items, 40))
        gaps = item * (one - other)
        lower, upper = percentile_interval(bootstrap_means(gaps, permutations, seed=block), 0.95)
        hits += (sign_flip(gaps, permutations, seed=block) <= 0.05).sum(), ((lower > 0) | (upper < 0)).sum()
    return hits / repeats


def test_size_quick():
    assert sizes(100, 600, 199, seed=1)[0] == pytest.approx(0.05, abs=0.022)


@pytest.mark.slow
@pytest.mark.parametrize("items", [200, 1000])
def test_size(items):
    found = sizes(items, 4000, 299, seed=items)  # a standard error of 0.0034; of 0.0037, as comparisons share flips
    print(f"false findings at 5 % with {items} items: sign flip {found[0]:.4f}, interval {found[1]:.4f}")
    assert 0.04 <= found[0] <= 0.06
    assert 0.035 <= found[1] <= 0.065
