"""Which metrics a comparison tests, and which have a skill: each finding once, and nothing without a good direction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.scoring.metrics import METRICS, has_skill, is_tested, skill, skill_draws


@pytest.mark.parametrize("labels", [2, 3, 5])
@pytest.mark.parametrize("primary", ["cross_entropy", "brier"])
def test_a_comparison_tests_each_finding_once(labels: int, primary: str) -> None:
    tested = {name for name in METRICS if is_tested(name, primary, labels)}
    untested = {"gap_to_ceiling", "skill", "entropy_gap", "seed_cross_entropy", "seed_dirichlet", primary}
    doubles = {"kl", "kl_calibrated", "kl_pmi", "dirichlet_multinomial_per_vote", "class_calibration"}
    # Of two labels the order says what the first label says.
    doubles |= {"ranking_agreement"} if labels == 2 else set()
    assert tested == set(METRICS) - untested - doubles


@pytest.mark.parametrize("labels", [2, 3, 5])
def test_a_skill_is_of_a_mean_over_items_with_a_ceiling_of_its_own(labels: int) -> None:
    tested = {name for name in METRICS if is_tested(name, "cross_entropy", labels)} | {"cross_entropy"}
    without_ceiling = {"macro_f1", "entropy_correlation"} | {name for name in METRICS if name.endswith("_pmi")}
    assert {name for name in METRICS if has_skill(name, labels)} == tested - without_ceiling


@given(st.floats(0, 2), st.floats(0.1, 2), st.floats(-1, 0.09))
def test_skill_of_draws_is_that_of_each(value: float, prior: float, ceiling: float) -> None:
    one = skill(value, prior, ceiling)
    assert one == pytest.approx((value - prior) / (ceiling - prior))
    both = skill_draws(np.array([value, prior]), np.array([prior, prior]), np.array([ceiling, ceiling]))
    assert both is not None
    assert both == pytest.approx([one, 0.0])


def test_a_way_of_less_than_a_millionth_of_a_nat_is_none() -> None:
    assert skill(0.5, 0.5 + 0.9e-6, 0.5) is None
    assert skill(0.5, 0.5 + 1.1e-6, 0.5) == pytest.approx(1.0)
    assert skill_draws(np.array([0.5]), np.array([0.5 + 0.9e-6]), np.array([0.5])) is None
    assert skill_draws(np.array([0.5]), np.array([0.5 + 1.1e-6]), np.array([0.5])) == pytest.approx([1.0])
