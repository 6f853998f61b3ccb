"""Disattenuated correlation of entropies: simulate, then recover, from a second panel and from split votes."""

import numpy as np
import pytest

from runner.scoring.distances import entropy
from runner.scoring.entropy_correlation import entropy_columns, entropy_correlation


def simulated(kind, votes, seed, items=4000):
    """Log-probabilities, votes, five votes of others, and the true correlation of entropies."""
    generator = np.random.default_rng(seed)
    truth = generator.dirichlet([0.98, 0.95], items)
    counts, panel = (np.array([generator.multinomial(n, one) for one in truth], dtype=float) for n in (votes, 5))
    odds = np.log(truth[:, 0] / truth[:, 1])
    odds = {"oracle": odds, "noisy": odds + generator.normal(0, 1.5, items), "noise": generator.normal(0, 2, items)}[
        kind
    ]
    shares = np.clip(1 / (1 + np.exp(-odds)), 1e-12, 1 - 1e-12)
    shares = np.column_stack([shares, 1 - shares])
    return np.log(shares), counts, panel, np.corrcoef(entropy(shares.T), entropy(truth.T))[0, 1]


@pytest.mark.parametrize("kind", ["oracle", "noisy", "noise"])
@pytest.mark.parametrize(("votes", "second"), [(5, True), (30, False)])
def test_the_truth_is_recovered(kind, votes, second):
    logs, counts, panel, truth = simulated(kind, votes, seed=1)
    found = entropy_columns(logs, counts, panel if second else None, seed=1)
    assert entropy_correlation(found.columns.sum(axis=0)) == pytest.approx(truth, abs=0.05)
    plain = np.corrcoef(entropy(np.exp(logs).T), entropy((counts / votes).T))[0, 1]
    assert abs(plain) < 0.75 * abs(truth) or second is False or kind == "noise"


def test_the_groups_reliability_and_the_estimate_are_those_of_covariances():
    logs, counts, panel, _ = simulated("noisy", 5, seed=5, items=200)
    found = entropy_columns(logs, counts, panel, seed=1)
    c = np.cov(entropy(np.exp(logs).T), [entropy(counts.T / 5), entropy(panel.T / 5)])
    assert found.reliability == pytest.approx(c[1, 2] / np.sqrt(c[1, 1] * c[2, 2]), rel=1e-9)
    estimate = entropy_correlation(found.columns.sum(axis=0))
    assert estimate == pytest.approx((c[0, 1] + c[0, 2]) / 2 / np.sqrt(c[0, 0] * c[1, 2]), rel=1e-9)


def test_a_model_whose_entropy_does_not_vary_tracks_nothing():
    _, counts, panel, _ = simulated("oracle", 5, seed=2)
    found = entropy_columns(np.full(counts.shape, -np.log(2)), counts, panel, seed=1)
    assert entropy_correlation(found.columns.sum(axis=0)) == 0


def test_without_a_second_group_or_many_votes_there_is_a_reason():
    logs, counts, _, _ = simulated("oracle", 5, seed=3)
    assert "10 votes" in entropy_columns(logs, counts, None, seed=1).reason
    few = np.zeros_like(counts)
    few[:10] = 1
    assert "second group" in entropy_columns(logs, counts, few, seed=1).reason


def test_groups_that_do_not_agree_are_nothing_to_divide_by():
    generator = np.random.default_rng(4)
    counts, panel = (generator.multinomial(5, [0.5, 0.5], 400).astype(float) for _ in range(2))
    found = entropy_columns(np.log(counts + 1) - np.log(7), counts, panel, seed=1)
    assert found.columns is None or found.reliability >= 0.05
    if found.columns is None:
        assert "agree" in found.reason
