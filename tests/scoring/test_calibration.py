"""Fitted numbers are recovered from simulated votes; what the data do not determine is said, not invented."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp

from runner.scoring import calibration, rules
from runner.scoring.calibration import fit_concentration, fit_temperature, folds, prior, reliability, temper


def simulate(items=4000, labels=4, votes=8, seed=0, spread=1.5):
    generator = np.random.default_rng(seed)
    logs = log_softmax(generator.normal(0, spread, (items, labels)), axis=1)
    return generator, logs, generator.multinomial(votes, np.exp(logs))


# --- temperature --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("truth", [0.3, 1.0, 2.5, 8.0])
def test_temperature_is_recovered(truth):
    _, logs, counts = simulate()
    # Votes follow temper(given, truth) when the given scores are the true ones times the temperature.
    given_scores = log_softmax(logs * truth, axis=1)
    fitted = fit_temperature(given_scores, counts)
    assert fitted.reason is None
    assert fitted.value == pytest.approx(truth, rel=0.05)
    assert np.allclose(temper(given_scores, truth), logs)


@given(st.integers(0, 2**32 - 1))
def test_no_other_temperature_is_better(seed):
    _, logs, counts = simulate(items=60, seed=seed)
    fitted = fit_temperature(logs * 1.7, counts)
    assert fitted.value is not None
    best = rules.cross_entropy(temper(logs * 1.7, fitted.value), counts).mean()
    for factor in (0.5, 0.99, 1.01, 2.0):
        assert best <= rules.cross_entropy(temper(logs * 1.7, fitted.value * factor), counts).mean()


def test_temper_keeps_distributions_and_order():
    _, logs, _ = simulate(items=50)
    for temperature in (0.05, 1.0, 30.0):
        tempered = temper(logs, temperature)
        assert logsumexp(tempered, axis=1) == pytest.approx(0, abs=1e-12)
        assert (tempered.argmax(axis=1) == logs.argmax(axis=1)).all()
    assert np.allclose(temper(logs, 1.0), logs)
    assert np.exp(temper(logs, np.inf)) == pytest.approx(1 / logs.shape[1])
    for bad in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="temperature"):
            temper(logs, bad)


UNIFORM = np.full((10, 3), -np.log(3)), np.ones((10, 3))
WRONG = np.log(np.tile([0.9, 0.1], (10, 1))), np.tile([1, 4], (10, 1))
RIGHT = np.log(np.tile([0.6, 0.4], (10, 1))), np.tile([5, 0], (10, 1))


@pytest.mark.parametrize(
    ("made", "value", "now", "before"),
    [(UNIFORM, 1.0, "uniform", "uniform"), (WRONG, np.inf, "infinite", "flatter"), (RIGHT, 0.01, "below", "sharper")],
)
def test_a_temperature_at_a_limit_is_that_limit_with_the_reason(made, value, now, before):
    fitted, within = fit_temperature(*made), calibration.fit_temperature_within(*made)
    assert fitted.value == value
    assert now in fitted.reason
    assert within.value is None
    assert before in within.reason


def test_a_flat_optimum_is_found_not_called_infinite():
    """Log-scores 0 and −690, right three times in five: the best share is .6, at T = 690 / log(.6/.4)."""
    logs = temper(np.tile([0.0, -690.0], (10, 1)), 1.0)
    fitted = fit_temperature(logs, np.tile([3, 2], (10, 1)))
    assert fitted.reason is None
    assert fitted.value == pytest.approx(690 / np.log(1.5), rel=1e-9)
    assert calibration.fit_temperature_within(logs, np.tile([3, 2], (10, 1))).value is None


@pytest.mark.slow
@given(st.integers(0, 10_000))
def test_no_temperature_beats_the_limit(seed):
    """Scores that know nothing: whatever is fitted, its loss is the least over a wide grid, infinity included."""
    generator = np.random.default_rng(seed)
    logs = temper(generator.normal(0, 2, (12, 2)), 1.0)
    counts = generator.multinomial(5, [0.5, 0.5], 12)
    best = rules.cross_entropy(temper(logs, fit_temperature(logs, counts).value), counts).mean()
    for temperature in (*np.geomspace(0.01, 1e6, 60), np.inf):
        assert best <= rules.cross_entropy(temper(logs, temperature), counts).mean() + 1e-12


# --- concentration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("truth", [0.5, 4.0, 60.0])
def test_concentration_is_recovered(truth):
    generator, logs, _ = simulate(spread=0.7)
    # Forty votes: with a few, scatter of the size of c = 60 drowns in that of the votes.
    latent = generator.standard_gamma(truth * np.exp(logs))
    counts = generator.multinomial(40, latent / latent.sum(axis=1, keepdims=True))
    fitted = fit_concentration(logs, counts)
    assert fitted.value == pytest.approx(truth, rel=0.12)
    best = rules.dirichlet_multinomial(logs, counts, fitted.value).mean()
    for factor in (0.1, 0.9, 1.1, 10.0):
        assert best < rules.dirichlet_multinomial(logs, counts, fitted.value * factor).mean()


def test_no_more_scatter_than_a_multinomial():
    logs = np.log(np.tile([0.6, 0.4], (30, 1)))
    counts = np.tile([3, 2], (30, 1))
    fitted = fit_concentration(logs, counts)
    assert fitted.value == np.inf
    assert "multinomial" in fitted.reason
    limit = rules.dirichlet_multinomial(logs, counts, fitted.value)
    assert limit == pytest.approx(5 * rules.cross_entropy(logs, counts))
    assert limit == pytest.approx(rules.dirichlet_multinomial(logs, counts, 1e12), rel=1e-9)
    assert calibration.fit_concentration_within(logs, counts).value is None


def test_unanimous_items_want_concentration_zero():
    fitted = fit_concentration(np.log(np.full((30, 2), 0.5)), np.tile([[5, 0], [0, 5]], (15, 1)))
    assert fitted.value == calibration.CONCENTRATIONS[0]
    assert "bound" in fitted.reason
    within = calibration.fit_concentration_within(np.log(np.full((30, 2), 0.5)), np.tile([[5, 0], [0, 5]], (15, 1)))
    assert within.value is None
    assert "agree" in within.reason


def test_single_votes_say_nothing_about_concentration():
    fitted = fit_concentration(np.log(np.full((4, 2), 0.5)), np.eye(2)[[0, 1, 0, 1]])
    assert fitted.value is None
    assert "two votes" in fitted.reason


@pytest.mark.parametrize("votes", [5, 64, 65, 300])
def test_loss_and_slope_of_the_concentration(votes):
    """Against the rule, whose form is another one, and against differences of it; below and above sixty-four votes."""
    _, logs, counts = simulate(items=40, votes=votes)
    curve = calibration._concentration_curve(logs, counts)
    for c in (0.01, 0.9, 40.0, 3000.0):
        value, slope = curve(np.log(c))
        assert value == pytest.approx(rules.dirichlet_multinomial(logs, counts, c).mean(), rel=1e-11)
        around = [rules.dirichlet_multinomial(logs, counts, c * np.exp(step)).mean() for step in (-1e-4, 1e-4)]
        assert slope == pytest.approx((around[1] - around[0]) / 2e-4, abs=1e-5 * max(1.0, abs(value)))


def test_concentration_does_not_hang_on_the_last_bits():
    """Another machine rounds otherwise; what it fits must still be the same number to the tolerance of a recompute."""
    generator, logs, counts = simulate(items=500, labels=2, votes=5)
    fitted = fit_concentration(logs, counts).value
    for _ in range(10):
        order = generator.permutation(len(logs))
        rounded = logs[order] * (1 + 2.2e-16 * generator.integers(-2, 3, logs.shape))
        assert fit_concentration(rounded, counts[order]).value == pytest.approx(fitted, rel=1e-10)


def test_a_million_million_votes_need_no_memory():
    logs = np.log(np.tile([0.6, 0.4], (30, 1)))
    counts = np.tile([[10**12, 3], [7, 10**11], [4 * 10**9, 10**9]], (10, 1))
    fitted = fit_concentration(logs, counts).value
    for factor in (0.8, 1.25):  # nearer ones drown in the rounding of a loss of 1e9, which is .004 here
        one, other = (rules.dirichlet_multinomial(logs, counts, c).mean() for c in (fitted, fitted * factor))
        assert one < other


# --- prior, folds, reliability ------------------------------------------------------------------------------------


def test_prior_is_the_best_constant_prediction():
    _, _, counts = simulate(items=2000, labels=3)
    log_share = prior(counts)
    assert logsumexp(log_share) == pytest.approx(0, abs=1e-12)
    best = rules.cross_entropy(np.tile(log_share, (2000, 1)), counts).mean()
    for shift in np.eye(3):
        other = log_softmax(log_share + 0.1 * shift)
        assert best < rules.cross_entropy(np.tile(other, (2000, 1)), counts).mean()


def test_prior_is_finite_for_a_label_nobody_chose():
    # (3 + ½)/(3 + 1) and ½/(3 + 1)
    assert np.exp(prior(np.array([[5, 0], [9, 0], [1, 0]]))) == pytest.approx([0.875, 0.125])


@given(st.integers(2, 200), st.integers(2, 10), st.integers(0, 1000))
def test_folds_are_balanced_and_seeded(items, number, seed):
    if number > items:
        with pytest.raises(ValueError, match="folds"):
            folds(items, number, seed)
        return
    assigned = folds(items, number, seed)
    sizes = np.bincount(assigned, minlength=number)
    assert len(assigned) == items
    assert sizes.max() - sizes.min() <= 1
    assert (assigned == folds(items, number, seed)).all()


def test_folds_depend_on_the_seed():
    assert (folds(100, 5, 1) != folds(100, 5, 2)).any()


def test_reliability_bins_hold_every_item_once():
    _, logs, counts = simulate(items=1003, labels=3)
    h = counts / counts.sum(axis=1, keepdims=True)
    for label, curve in enumerate(reliability(logs, counts, 10)):
        assert len(curve.items) == 10
        assert curve.items.sum() == 1003
        assert np.ptp(curve.items) <= 1
        assert (np.diff(curve.predicted) > 0).all()
        assert curve.items @ curve.predicted == pytest.approx(np.exp(logs)[:, label].sum())
        assert curve.items @ curve.observed == pytest.approx(h[:, label].sum())
        # These votes were drawn from the predictions: the curve lies on the diagonal.
        assert curve.observed == pytest.approx(curve.predicted, abs=0.05)


def test_reliability_keeps_equal_predictions_together():
    logs = np.log([[0.5, 0.5]] * 90 + [[0.9, 0.1]] * 10)
    curves = reliability(logs, np.tile([1, 1], (100, 1)), 10)
    assert curves[0].items.tolist() == [90, 10]
    assert curves[0].predicted == pytest.approx([0.5, 0.9])
    assert curves[1].items.tolist() == [10, 90]
