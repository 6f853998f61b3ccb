"""The ceiling's own error: its influence column against refitting the prior on resampled items."""

import numpy as np
import pytest

from runner.scoring.ceiling import ceiling
from runner.scoring.ceiling_error import prior_influence
from runner.scoring.dirichlet import fit_dirichlet

NAMES = ["cross_entropy", "total_variation", "accuracy"]


def votes(items, alpha, number, seed):
    generator = np.random.default_rng(seed)
    return np.array([generator.multinomial(number, one) for one in generator.dirichlet(alpha, items)], dtype=float)


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "number"), [((0.98, 0.95), 5), ((2.0, 1.0, 0.5), 8)])
def test_the_error_is_that_of_refitting_in_each_resample(alpha, number):
    counts = votes(500, alpha, number, 1)
    best = fit_dirichlet(counts)
    # With three labels accuracy is an integral for each item: too slow to be refitted.
    names = NAMES[: 3 if len(alpha) == 2 else 2]
    limits = ceiling(counts, names, 2, 0, best.alpha)
    influence = prior_influence(counts, limits, best, names)
    generator = np.random.default_rng(2)
    again = [ceiling(counts[generator.integers(0, 500, 500)], names, 2, 0) for _ in range(120)]
    for name in names:
        column = limits[name].per_item + influence[name]
        assert influence[name].mean() == pytest.approx(0, abs=1e-12)
        error = column.std(ddof=1) / np.sqrt(500)
        assert error == pytest.approx(np.std([one[name].value for one in again]), rel=0.2), name
        fixed = limits[name].per_item.std(ddof=1) / np.sqrt(500)
        assert error > 1.15 * fixed or name == "accuracy", name


@pytest.mark.parametrize(
    "counts", [np.tile([3, 2], (40, 1)), np.tile([[5, 0], [0, 5]], (20, 1)), np.eye(2)[[0, 1] * 9]]
)
def test_a_prior_at_a_limit_is_not_moved_by_an_item(counts):
    best = fit_dirichlet(counts)
    limits = ceiling(counts, NAMES, 2, 0, best.alpha)
    assert all((column == 0).all() for column in prior_influence(counts, limits, best, NAMES).values())


@pytest.mark.parametrize(("alpha", "number"), [((0.98, 0.95), 5), ((2.0, 1.0, 0.5), 8)])
def test_an_items_influence_is_what_leaving_it_out_takes_back(alpha, number):
    """Forty kinds of items, fifty of each: without one of 2,000 the prior moves by so little that a slope tells it."""
    counts = np.repeat(votes(40, alpha, number, 1), 50, axis=0)
    best = fit_dirichlet(counts)
    names = ["cross_entropy", "total_variation"]
    limits = ceiling(counts, names, 2, 0, best.alpha)
    influence = prior_influence(counts, limits, best, names)
    for item in range(0, 2000, 500):
        without = fit_dirichlet(np.delete(counts, item, axis=0)).alpha
        moved = ceiling(counts, names, 2, 0, without)
        for name in names:
            taken_back = (limits[name].value - moved[name].value) * (len(counts) - 1)
            size = np.abs(influence[name]).max()
            assert influence[name][item] == pytest.approx(taken_back, rel=0.01, abs=0.005 * size), (name, item)


def test_the_slope_of_many_unlike_items_is_taken_from_some_of_them():
    counts = votes(700, (2.0, 1.0, 0.5), 60, 3)
    best = fit_dirichlet(counts)
    limits = ceiling(counts, ["cross_entropy", "ranking_agreement"], 4, 0, best.alpha)
    found = prior_influence(counts, limits, best, ["cross_entropy", "ranking_agreement"])
    assert set(found) == {"cross_entropy"}  # what is drawn has none
    assert found["cross_entropy"].shape == (700,)
    assert found["cross_entropy"].mean() == pytest.approx(0, abs=1e-12)
    # Of 234 items the slope is known to a third, and all of it is a hundredth of the items' own spread.
    assert 0 < found["cross_entropy"].std() < 0.02 * limits["cross_entropy"].per_item.std()
    for item in (5, 333):
        without = fit_dirichlet(np.delete(counts, item, axis=0)).alpha
        moved = ceiling(counts, ["cross_entropy"], 2, 0, without)["cross_entropy"].value
        taken_back = (limits["cross_entropy"].value - moved) * 699
        assert found["cross_entropy"][item] == pytest.approx(taken_back, rel=0.35)
