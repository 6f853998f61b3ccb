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
