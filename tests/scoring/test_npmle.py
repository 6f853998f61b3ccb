"""A prior of any shape: it finds what a Dirichlet cannot be, and agrees with one where one is the truth."""

import numpy as np
import pytest

from runner.scoring.ceiling import ceiling
from runner.scoring.npmle import fit_npmle, npmle_ceiling


def votes(shares, number, seed=1):
    generator = np.random.default_rng(seed)
    return np.array([generator.multinomial(number, one) for one in shares], dtype=float)


def test_where_the_truth_is_a_dirichlet_the_ceilings_agree():
    counts = votes(np.random.default_rng(2).dirichlet([2.0, 3.0], 4000), 20)
    names = ["cross_entropy", "brier", "total_variation"]
    found = npmle_ceiling(counts, names)
    for name, limit in ceiling(counts, names, 2, 0).items():
        assert found[name] == pytest.approx(limit.value, rel=0.01), name


def test_two_points_are_found_and_their_oracle_is_met():
    """Half the items at .2, half at .8: no Dirichlet is that; the oracle's loss is the entropy of either."""
    shares = np.tile([[0.2, 0.8], [0.8, 0.2]], (3000, 1))
    counts = votes(shares, 20)
    points, weights = fit_npmle(counts)
    near = np.abs(points[:, :1] - np.array([0.2, 0.8])).min(axis=1) < 0.05
    assert weights[near].sum() > 0.9
    oracle = -(counts / 20 * np.log(shares)).sum(axis=1).mean()
    assert npmle_ceiling(counts, ["cross_entropy"])["cross_entropy"] == pytest.approx(oracle, abs=0.003)


def test_the_likelihood_is_no_worse_than_that_of_equal_weights():
    counts = votes(np.random.default_rng(3).dirichlet([1.0, 1.0, 0.5], 300), 6)
    points, weights = fit_npmle(counts)
    likelihood = np.exp(counts @ np.log(points).T)
    assert weights.sum() == pytest.approx(1)
    assert np.log(likelihood @ weights).mean() > np.log(likelihood.mean(axis=1)).mean()
