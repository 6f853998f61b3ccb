"""Items that share something: errors against brute force and against the truth of a simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.scoring import comparison, intervals
from runner.scoring.dependence import dependence


def ring(items):
    """Dilemmas in a ring: item i has the actions i and i + 1."""
    return [(f"a{item}", f"a{(item + 1) % items}") for item in range(items)]


def chained(generator, items, share):
    """`(items, 1)` losses of variance 1 whose neighbours in a ring correlate by half of `share`."""
    actions = generator.normal(size=items)
    own = generator.normal(size=items)
    common = (actions + np.roll(actions, -1)) / np.sqrt(2)
    return (np.sqrt(share) * common + np.sqrt(1 - share) * own)[:, None]


def test_items_that_share_nothing_are_independent():
    assert dependence([("a",), ("b",), ()]) is None
    assert dependence([("a", "a"), ("b",)]) is None


@given(st.integers(0, 10_000))
def test_the_error_is_the_sum_over_all_pairs_that_share_something(seed):
    generator = np.random.default_rng(seed)
    keys = [tuple(f"k{number}" for number in generator.integers(0, 25, generator.integers(0, 4))) for _ in range(30)]
    shared = dependence(keys)
    if shared is None or shared.units < 2:
        return
    values = generator.normal(size=(30, 2))
    deviations = values - values.mean(axis=0)
    touch = np.eye(30, dtype=bool) | np.array([[bool(set(one) & set(other)) for other in keys] for one in keys])
    total = np.einsum("im,ij,jm->m", deviations, touch, deviations)
    alone = (deviations**2).sum(axis=0)
    expected = np.where(total > 1e-9 * alone, total, alone) * shared.units / (shared.units - 1) / 30**2
    assert intervals.standard_error(values, shared) ** 2 == pytest.approx(expected, rel=1e-9)


def test_a_ring_is_walked_around_and_cut_into_blocks():
    shared = dependence(ring(200))
    steps = np.diff(shared.walk) % 200
    assert set(steps.tolist()) in ({1}, {199})
    assert (shared.length, shared.units) == (9, 22)
    assert np.bincount(shared.unit).min() >= 9


def test_groups_that_share_nothing_are_the_units():
    shared = dependence([(f"author {number // 5}",) for number in range(200)])
    assert (shared.units, shared.length) == (40, 0)
    weights = np.concatenate(list(intervals.resample_weights(200, 50, 1, shared)))
    assert (weights.reshape(50, 40, 5).std(axis=2) == 0).all()
    assert (weights.sum(axis=1) == 200).all()


def test_bootstrap_and_error_know_the_dependence():
    """Against the spread of the mean over simulated data sets, which the independent error misses by a tenth."""
    generator = np.random.default_rng(1)
    shared = dependence(ring(600))
    truth = np.std([chained(generator, 600, 0.5).mean() for _ in range(4000)])
    data = [chained(generator, 600, 0.5) for _ in range(40)]
    robust = np.mean([intervals.standard_error(one, shared)[0] for one in data])
    drawn = np.mean([intervals.bootstrap_means(one, 300, at, shared).std() for at, one in enumerate(data)])
    plain = np.mean([intervals.standard_error(one)[0] for one in data])
    assert robust == pytest.approx(truth, rel=0.05)
    assert drawn == pytest.approx(truth, rel=0.08)
    assert plain < 0.85 * truth


def test_flips_of_blocks_keep_the_size_that_flips_of_items_lose():
    generator = np.random.default_rng(2)
    shared = dependence(ring(300))
    hits = np.zeros(2)
    for _ in range(400):
        gaps = chained(generator, 300, 1.0)
        hits += (
            comparison.sign_flip(shared.unit_sums(gaps), 199, seed=3)[0] <= 0.05,
            comparison.sign_flip(gaps, 199, seed=3)[0] <= 0.05,
        )
    assert hits[0] / 400 < 0.09
    assert hits[1] / 400 > 0.12


def test_a_subset_keeps_what_is_left_to_share():
    shared = dependence(ring(200))
    assert shared.subset(np.arange(200) % 2 == 0) is None
    assert shared.subset(np.arange(200) < 100).codes.shape == (100, 2)
