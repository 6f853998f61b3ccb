"""The losses in torch are the benchmark's rules, and no worse where numbers are extreme."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from runner.core.recipe_types import Objective
from runner.scoring import rules
from runner.scoring.calibration import fit_concentration
from runner.training.objectives import dirichlet_multinomial, losses

COUNTS = st.lists(st.integers(0, 60), min_size=2, max_size=5).filter(any)
SEEDS = st.integers(0, 2**32 - 1)


def one(objective: Objective, scores: np.ndarray, counts: list[int], concentration: float | None = None) -> float:
    found = losses(
        objective,
        [torch.tensor(scores)],
        [torch.tensor(counts, dtype=torch.float64)],
        [] if concentration is None else [torch.tensor(concentration)],
    )
    return float(found[0])


@given(COUNTS, SEEDS)
def test_soft_cross_entropy_without_mass_is_the_rule(counts: list[int], seed: int) -> None:
    scores = np.random.default_rng(seed).normal(-3, 2, len(counts))
    expected = rules.RULES["cross_entropy"](log_softmax(scores)[None], np.array([counts]))[0]
    assert one(Objective("soft_cross_entropy", 0.0, None), scores, counts) == pytest.approx(expected, abs=1e-12)


@given(COUNTS, SEEDS)
def test_with_mass_one_it_is_the_cross_entropy_over_the_whole_vocabulary(counts: list[int], seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, 30)
    scores = log_softmax(logits)[: len(counts)]
    expected = -float(np.dot(np.array(counts) / sum(counts), scores))
    assert one(Objective("soft_cross_entropy", 1.0, None), scores, counts) == pytest.approx(expected, abs=1e-12)


@given(COUNTS, SEEDS)
def test_hard_is_minus_log_of_the_benchmarks_plurality_label(counts: list[int], seed: int) -> None:
    scores = np.random.default_rng(seed).normal(-3, 2, len(counts))
    label = rules.plurality(np.array([counts]))[0]
    assert one(Objective("hard", 0.0, None), scores, counts) == pytest.approx(-log_softmax(scores)[label], abs=1e-12)


@given(COUNTS, SEEDS, st.floats(0.05, 500))
def test_dirichlet_multinomial_is_the_rule(counts: list[int], seed: int, concentration: float) -> None:
    scores = np.random.default_rng(seed).normal(-3, 2, len(counts))
    expected = rules.dirichlet_multinomial(log_softmax(scores)[None], np.array([counts]), concentration)[0]
    found = one(Objective("dirichlet_multinomial", 0.0, None), scores, counts, concentration)
    assert found == pytest.approx(expected, rel=1e-6)  # the concentration is float32


@settings(max_examples=20)
@given(COUNTS, SEEDS)
def test_gradients_of_dirichlet_multinomial_are_those_of_finite_differences(counts: list[int], seed: int) -> None:
    votes = torch.tensor(counts, dtype=torch.float64)
    scores = torch.tensor(np.random.default_rng(seed).normal(0, 1, len(counts)), requires_grad=True)
    concentration = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)

    def loss(given: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return dirichlet_multinomial(torch.log_softmax(given, 0), votes, c)

    assert torch.autograd.gradcheck(loss, (scores, concentration))


def test_a_chosen_label_without_probability_costs_its_log_and_has_a_gradient() -> None:
    scores = torch.tensor([0.0, -900.0], dtype=torch.float64, requires_grad=True)
    votes = torch.tensor([3.0, 2.0], dtype=torch.float64)
    loss = dirichlet_multinomial(torch.log_softmax(scores, 0), votes, torch.tensor(2.0, dtype=torch.float64))
    loss.backward()
    assert 800 < loss.item() < 1000
    assert torch.isfinite(scores.grad).all()


def test_prompts_of_different_tasks_go_together() -> None:
    scores = [torch.zeros(2), torch.zeros(5)]
    counts = [torch.ones(2, dtype=torch.float64), torch.ones(5, dtype=torch.float64)]
    found = losses(Objective("soft_cross_entropy", 0.0, None), scores, counts, [])
    assert found.tolist() == pytest.approx([np.log(2), np.log(5)])


@pytest.mark.slow
def test_a_concentration_that_the_scoring_fits_is_where_the_objective_is_least() -> None:
    """Simulate, then recover: there the gradient vanishes, and on both sides it points there."""
    generator = np.random.default_rng(1)
    logs = log_softmax(generator.normal(0, 1, (400, 3)), axis=1)
    shares = np.stack([generator.dirichlet(6.0 * np.exp(row)) for row in logs])
    counts = np.stack([generator.multinomial(20, row) for row in shares]).astype(float)
    expected = fit_concentration(logs, counts).value
    assert expected == pytest.approx(6, rel=0.1)

    def slope(at: float) -> float:
        learned = torch.tensor(np.log(at), requires_grad=True)
        objective = Objective("dirichlet_multinomial", 0.0, None)
        votes = list(torch.tensor(counts))
        losses(objective, list(torch.tensor(logs)), votes, [learned.exp()] * len(votes)).mean().backward()
        assert learned.grad is not None
        return float(learned.grad)

    assert slope(expected) == pytest.approx(0, abs=1e-6)
    assert slope(expected / 1.1) < -1e-3
    assert slope(expected * 1.1) > 1e-3
