"""Intervals hold what they promise: coverage by simulation, agreement with scipy, and a shared stream of items."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from scipy.stats import bootstrap as scipy_bootstrap

from runner.scoring import intervals
from runner.scoring.dependence import dependence
from runner.scoring.intervals import (
    bca_interval,
    bootstrap_means,
    error_of_drawing,
    percentile_interval,
    resample_weights,
    second_stage,
    standard_error,
)


def skewed_losses(generator, items):
    """Cross-entropies of a fair model on five votes, as the benchmark meets them, of shape `items`."""
    first = np.clip(generator.beta(0.5, 0.5, items), 1e-3, 1 - 1e-3)
    votes = generator.binomial(5, first)
    guess = np.clip(0.5 + 0.8 * (first - 0.5), 0.02, 0.98)
    return -(votes * np.log(guess) + (5 - votes) * np.log(1 - guess)) / 5


def true_mean():
    """The mean of `skewed_losses`: sin² of an angle drawn evenly has the distribution Beta(½, ½)."""
    first = np.clip(np.sin((np.arange(100_000) + 0.5) / 100_000 * np.pi / 2) ** 2, 1e-3, 1 - 1e-3)
    guess = np.clip(0.5 + 0.8 * (first - 0.5), 0.02, 0.98)
    return float(-(first * np.log(guess) + (1 - first) * np.log(1 - guess)).mean())


def test_weights_count_whole_samples():
    blocks = list(resample_weights(30, 50, seed=1))
    weights = np.concatenate(blocks)
    assert weights.shape == (50, 30)
    assert (weights.sum(axis=1) == 30).all()
    # Each item is drawn once on average, with variance 1 − 1/n.
    many = np.concatenate(list(resample_weights(30, 4000, seed=2)))
    assert many.mean(axis=0) == pytest.approx(1, abs=0.08)
    assert many.var() == pytest.approx(1 - 1 / 30, rel=0.03)


def test_the_stream_does_not_depend_on_block_size(monkeypatch):
    losses = np.random.default_rng(0).random((37, 3))
    whole = bootstrap_means(losses, 100, seed=5)
    monkeypatch.setattr(intervals, "_BLOCK", 37 * 7)
    assert bootstrap_means(losses, 100, seed=5) == pytest.approx(whole, abs=1e-15)


@given(st.integers(1, 50), st.integers(0, 100))
def test_metrics_share_their_items(items, seed):
    losses = np.random.default_rng(seed).random(items)
    both = bootstrap_means(np.column_stack([losses, 1 - 3 * losses]), 20, seed)
    assert both[:, 1] == pytest.approx(1 - 3 * both[:, 0])
    assert bootstrap_means(losses, 20, seed) == pytest.approx(both[:, 0])


def test_draws_scatter_as_the_standard_error_says():
    losses = np.random.default_rng(0).exponential(size=(400, 2))
    assert bootstrap_means(losses, 20_000, seed=1).std(axis=0) == pytest.approx(standard_error(losses), rel=0.03)


def test_standard_error():
    assert standard_error([1.0, 2.0, 3.0]) == pytest.approx(1 / np.sqrt(3))
    assert standard_error([1.0]) is None
    with pytest.raises(ValueError, match="one item"):
        bootstrap_means([], 10, 0)


def test_intervals_of_a_constant_are_the_constant():
    losses = np.full((20, 2), 0.25)
    draws = bootstrap_means(losses, 50, seed=1)
    for lower, upper in (percentile_interval(draws, 0.95), bca_interval(losses, draws, 0.95)):
        assert lower == pytest.approx(0.25)
        assert upper == pytest.approx(0.25)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_agrees_with_scipy(method):
    losses = np.random.default_rng(3).exponential(size=80)
    theirs = scipy_bootstrap(
        (losses,), np.mean, n_resamples=40_000, method=method, rng=np.random.default_rng(1)
    ).confidence_interval
    draws = bootstrap_means(losses, 40_000, seed=2)
    lower, upper = percentile_interval(draws, 0.95) if method == "percentile" else bca_interval(losses, draws, 0.95)
    assert (lower, upper) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_few_units_take_quantiles_further_out():
    """A ring of 40 items has six blocks: t with 5 degrees is 2.571, √(6/5) · 2.571 = 2.816, a tail of 0.00243."""
    ring = dependence([(f"a{item}", f"a{(item + 1) % 40}") for item in range(40)])
    assert ring is not None
    assert ring.units == 6
    draws = np.linspace(0, 1, 100_001)
    assert percentile_interval(draws, 0.95, ring) == pytest.approx((0.00243, 0.99757), abs=1e-5)
    assert percentile_interval(draws, 0.95) == pytest.approx((0.025, 0.975), abs=1e-9)


def coverage(items, repeats, draws, seed):
    """Share of nominal 95 % intervals that hold the true mean: percentile, BCa.

    Fifty data sets share a stream of resampled items, as metrics do; their items are their own.
    """
    generator = np.random.default_rng(seed)
    held = np.zeros(2)
    mean = true_mean()
    for block in range(repeats // 50):
        losses = skewed_losses(generator, (items, 50))
        sampled = bootstrap_means(losses, draws, seed=block)
        for which, (lower, upper) in enumerate(
            (percentile_interval(sampled, 0.95), bca_interval(losses, sampled, 0.95))
        ):
            held[which] += ((lower <= mean) & (mean <= upper)).sum()
    return held / repeats


def test_the_true_mean_is_that_of_many_draws():
    losses = skewed_losses(np.random.default_rng(99), 200_000)
    assert abs(losses.mean() - true_mean()) < 4 * standard_error(losses)


def test_coverage_quick():
    # 500 repeats: two standard errors of the coverage itself are two per cent.
    assert coverage(200, 500, 400, seed=1) == pytest.approx([0.95, 0.95], abs=0.025)


@pytest.mark.slow
@pytest.mark.parametrize("items", [200, 2000])
def test_coverage(items):
    held = coverage(items, 1500, 600, seed=items)  # a standard error of 0.0056; of 0.0059, as data sets share streams
    print(f"coverage of 95 % intervals at {items} items: percentile {held[0]:.4f}, BCa {held[1]:.4f}")
    assert ((held >= 0.93) & (held <= 0.97)).all()


@pytest.mark.parametrize("mirrored", [1.0, -1.0])
def test_the_acceleration_is_that_of_the_jackknife_with_its_sign(mirrored):
    """Every item left out once, as Efron (1987) has it: for losses with a long tail to either side."""
    losses = mirrored * np.random.default_rng(5).lognormal(0, 1.5, 15)
    draws = bootstrap_means(losses, 20_000, 3)
    without = np.array([np.delete(losses, at).mean() for at in range(len(losses))])
    apart = without.mean() - without
    acceleration = (apart**3).sum() / (6 * (apart**2).sum() ** 1.5)
    assert np.sign(acceleration) == mirrored
    assert abs(acceleration) > 0.05
    bias = ndtri((draws < losses.mean()).mean())
    ends = []
    for share in (0.025, 0.975):
        shifted = bias + ndtri(share)
        ends.append(np.quantile(draws, ndtr(bias + shifted / (1 - acceleration * shifted))))
    assert np.array(bca_interval(losses, draws, 0.95)) == pytest.approx(np.array(ends))


def test_each_metric_has_the_interval_that_it_has_alone():
    losses = np.random.default_rng(8).lognormal(0, 1, (40, 3)) * [1.0, 10.0, -1.0]
    draws = bootstrap_means(losses, 400, seed=1)
    together = bca_interval(losses, draws, 0.9)
    for metric in range(3):
        alone = bca_interval(losses[:, metric], draws[:, metric], 0.9)
        assert np.array(together)[:, metric] == pytest.approx(np.array(alone))


def test_drawing_answers_again_widens_by_its_own_error_and_moves_nothing():
    """Answers of known spread, other on every item: the mean over the items then has Σσ² / n² of variance."""
    generator = np.random.default_rng(4)
    spread = generator.uniform(0.1, 2.0, (30, 1))
    redrawn = generator.normal(5.0, 1.0, (30, 1)) + spread * generator.normal(size=(400, 30, 1))
    truth = np.sqrt((spread**2).sum()) / 30
    assert error_of_drawing(redrawn) == pytest.approx([truth], rel=0.05)
    changes = second_stage(redrawn, 6000, seed=1)
    assert changes.shape == (6000, 1)
    assert changes.std(axis=0) == pytest.approx([truth], rel=0.05)
    assert abs(changes.mean()) < 4 * truth / np.sqrt(6000)


@given(st.integers(0, 1000))
def test_few_times_scatter_as_many_would_and_metrics_share_them(seed):
    redrawn = np.random.default_rng(seed).normal(size=(3, 50, 1))
    both = np.concatenate([redrawn, 7 - 2 * redrawn], axis=2)
    changes = second_stage(both, 40, seed)
    assert changes[:, 1] == pytest.approx(-2 * changes[:, 0])
    # Each item takes one of three values; the spread of three is made as wide as that of the population is estimated.
    assert second_stage(both, 4000, seed).std(axis=0) == pytest.approx(error_of_drawing(both), rel=0.1)


def test_the_second_stage_fills_every_draw_in_blocks_of_any_size(monkeypatch):
    redrawn = np.random.default_rng(0).random((4, 37, 2))
    monkeypatch.setattr(intervals, "_BLOCK", 37 * 7)
    changes = second_stage(redrawn, 3000, seed=5)
    for part in np.split(changes, 10):
        assert part.std(axis=0) == pytest.approx(error_of_drawing(redrawn), rel=0.2)
    assert len(np.unique(changes[:, 0])) > 2900
