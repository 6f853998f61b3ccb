"""What a card concludes: warnings, the zero of skill, limits, a second panel, and answers that copy a place."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax
from support import factories

from runner.scorecard.build import build_tasks, scope
from runner.scorecard.warn import CODES
from runner.tasks.selection import Selection

OWN = ("dilemmas-letters", "dilemmas-numbers", "dilemmas-words")


def card(selection: Selection, scores: Any, **more: Any) -> tuple[Any, dict[str, Any]]:
    """The block of Dilemmas, and the card's warnings by code."""
    tasks = build_tasks(selection, factories.answers(selection, scores, prompt_id=OWN, **more))
    return tasks["dilemmas"], {one["code"]: one for one in scope(selection, tasks, None)["warnings"]}


def with_panel(selection: Selection, panel: Any) -> Selection:
    part = selection.tasks[0]
    scored = tuple(replace(item, panel=tuple(map(int, row))) for item, row in zip(part.scored, panel, strict=True))
    return replace(selection, tasks=(replace(part, scored=scored),))


def test_the_released_benchmark_warns_of_everything_there_is() -> None:
    assert set(factories.benchmark().scoring.warnings) == set(CODES)


def test_a_model_that_copies_a_place_is_seen_although_its_average_is_uniform() -> None:
    counts, _ = factories.simulated(300)
    always_first = np.tile([[[3.0, 0.0], [0.0, 3.0]]], (300, 1, 1))
    block, warned = card(factories.selection(counts), always_first)
    surplus = 1 / (1 + np.exp(-3.0)) - 0.5
    assert block["metrics"]["cross_entropy"]["value"] == pytest.approx(np.log(2))
    assert block["order"]["position_bias"] == pytest.approx([surplus, -surplus])
    assert block["order"]["consistency"] == 0
    assert block["order"]["single_order"] > 1.2
    gain = block["order"]["single_order"] - np.log(2)
    assert block["order"]["gain_by_averaging"] == pytest.approx(gain)
    assert warned["position_bias"]["value"] == pytest.approx(surplus)
    assert warned["order_gap"]["value"] == pytest.approx(2 * surplus)
    assert "probability" in warned["order_gap"]["message"]


def test_skill_is_not_above_zero_for_a_model_that_knows_nothing() -> None:
    """Forty items whose label shares are the other way round on the fitting split: the prior is worse than nothing."""
    counts, _ = factories.simulated(40)
    selection = factories.selection(counts[counts[:, 0] >= 3], fitting=counts[counts[:, 0] <= 2])
    number = len(selection.tasks[0].scored)
    block, warned = card(selection, np.zeros((number, 2, 2)), fitting=np.zeros((40 - number, 2, 2)))
    assert block["metrics"]["skill"]["zero"] == "uniform"
    assert block["metrics"]["skill"]["value"] == pytest.approx(0, abs=1e-12)
    assert "prior_worse_than_uniform" in warned
    assert "items" in warned


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["oracle", "nothing"])
def test_the_best_and_the_worst_models_have_every_metric(kind: str) -> None:
    generator = np.random.default_rng(1)
    for _ in range(3):
        truth = generator.beta(0.98, 0.95, 300)
        first = generator.binomial(5, truth)
        odds = np.log(truth / (1 - truth)) if kind == "oracle" else generator.normal(0, 1, 300)
        scores = log_softmax(np.column_stack([odds, np.zeros(300)]), axis=1)[:, None].repeat(2, axis=1)
        block, _ = card(factories.selection(np.column_stack([first, 5 - first]), draws=50), scores)
        missing = {name for name, metric in block["metrics"].items() if metric["value"] is None}
        assert missing <= {"entropy_correlation", "seed_dirichlet"}


@pytest.mark.slow
def test_a_second_panel_lies_between_prior_and_ceiling() -> None:
    generator = np.random.default_rng(2)
    truth = generator.beta(0.98, 0.95, 800)
    first, others = (generator.binomial(5, truth) for _ in range(2))
    selection = with_panel(
        factories.selection(np.column_stack([first, 5 - first])), np.column_stack([others, 5 - others])
    )
    block, _ = card(selection, np.log(np.column_stack([truth, 1 - truth]))[:, None].repeat(2, axis=1))
    panel = block["panel"]
    value = panel["metrics"]["cross_entropy"]["value"]
    assert block["ceiling"]["cross_entropy"]["value"] < value < block["baselines"]["prior"]["cross_entropy"]["value"]
    assert panel["skill"]["cross_entropy"]["value"] == pytest.approx(0.68, abs=0.08)
    assert panel["reliability"]["plurality_agreement"] == pytest.approx(0.8, abs=0.05)
    assert block["metrics"]["entropy_correlation"]["value"] == pytest.approx(1, abs=0.15)
    assert abs(panel["ceiling"]["difference"]["value"]) < 4 * panel["ceiling"]["difference"]["standard_error"]
    assert block["strata"]["panel_unanimity"]["5-0"]["ceiling"] is not None


@pytest.mark.parametrize(
    ("panel", "primary", "reason"),
    [
        (None, "cross_entropy", "the data have no second group of people on these items"),
        ([(5, 0)] + [(0, 0)] * 59, "cross_entropy", "a second group of people voted on 1 of the items; two are needed"),
        ([(1, 0), (0, 1)] * 30, "cross_entropy", "the second group's votes say too little: no item has two votes"),
        ([(5, 0)] * 60, "cross_entropy", "the second group's votes say too little: only one label was ever chosen"),
        ([(3, 2)] * 60, "macro_f1", "the primary metric, macro_f1, has no loss per item"),
    ],
)
def test_a_missing_panel_has_a_reason(panel: Any, primary: str, reason: str) -> None:
    counts, scores = factories.simulated(60)
    selection = factories.selection(counts, primary=primary)
    block, _ = card(selection if panel is None else with_panel(selection, panel), scores)
    assert block["panel"] is None
    assert block["panel_reason"].startswith(reason)


def test_a_panel_has_no_reason_to_be_missing() -> None:
    counts, scores = factories.simulated(60)
    block, _ = card(with_panel(factories.selection(counts), counts[::-1]), scores)
    assert block["panel"]["items"] == 60
    assert "panel_reason" not in block


def test_single_votes_have_no_ceiling() -> None:
    counts = np.eye(2, dtype=int)[[0, 1] * 30]
    block, warned = card(factories.selection(counts), factories.simulated(60)[1])
    assert {limit["value"] for limit in block["ceiling"].values()} == {None}
    assert block["metrics"]["skill"]["value"] is None
    assert block["metrics"]["dirichlet_multinomial"]["value"] == pytest.approx(
        block["metrics"]["cross_entropy"]["value"]
    )
    assert {"votes_per_item", "ceiling_prior"} <= set(warned)
