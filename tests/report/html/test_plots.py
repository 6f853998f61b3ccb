"""Positions: within the plot, in order, and with ticks that are round and where they say they are."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runner.report.html.plots import Scale, scale_over, strip

finite = st.floats(-1e6, 1e6)


@given(finite, finite, finite, finite)
def test_places_are_inside_and_in_order(left: float, right: float, a: float, b: float) -> None:
    assume(abs(left - right) > 1e-6)
    scale = Scale(left, right)
    for value in (a, b, left, right):
        assert 2 <= scale.at(value) <= 98
    assert (scale.at(left), scale.at(right)) == (2, 98)
    low, high = sorted((a, b))
    assert scale.at(low) <= scale.at(high) if left < right else scale.at(low) >= scale.at(high)


def test_a_place_is_linear_between_the_ends() -> None:
    scale = Scale(0.7, 0.5)
    assert scale.at(0.6) == 50
    assert scale.at(0.55) == pytest.approx(2 + 96 * 0.75)


@given(finite, finite, st.integers(2, 8))
def test_ticks_are_few_round_and_at_the_place_of_their_label(left: float, right: float, about: int) -> None:
    assume(abs(left - right) > 1e-3)
    scale = Scale(left, right)
    ticks = scale.ticks(about)
    assert len(ticks) <= about + 1
    low, high = sorted((left, right))
    slack = 1e-6 * (high - low)
    for value, label in ticks:
        assert low - slack <= value <= high + slack
        assert float(label.replace("−", "-")) == pytest.approx(value, abs=1e-9 + 1e-6 * (high - low))
        assert label not in ("-0", "−0", "−0.0")
    assert len({label for _, label in ticks}) == len(ticks)


@given(st.lists(finite, min_size=1), st.sampled_from([True, False, None]))
def test_a_scale_holds_all_its_values(values: list[float], lower_is_better: bool | None) -> None:
    scale = scale_over([*values, None], lower_is_better=lower_is_better)
    better, worse = (min(values), max(values)) if lower_is_better else (max(values), min(values))
    assert scale.at(better) >= scale.at(worse)
    assert scale.left != scale.right


def test_an_interval_keeps_its_ends_whatever_the_direction() -> None:
    for scale in (Scale(0.7, 0.5), Scale(0.5, 0.7)):
        row = strip(scale, 0.6, 0.58, 0.63, 0.55)
        assert row.lower is not None
        assert row.upper is not None
        assert row.lower < row.dot < row.upper
        assert {row.lower, row.upper} == {scale.at(0.58), scale.at(0.63)}
        assert row.width == pytest.approx(row.upper - row.lower)
    assert strip(Scale(0, 1), 0.5, None, None).lower is None
    assert strip(Scale(0, 1), 0.5, 0.5, 0.5).width == 0.4
