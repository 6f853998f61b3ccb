"""Per-item values: nothing that is fitted sees the row it scores, and each number is one computed by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp
from support import factories

from runner.scorecard.task_metrics import PARAMETERS, baseline_prior, baseline_uniform, counts_of, fit, measure
from runner.scoring import calibration, rules
from runner.tasks.selection import TaskAnswers


def measured(counts, scores, fitting=None, **more):
    selection = factories.selection(counts, fitting=None if fitting is None else fitting[0])
    answers = factories.answers(selection, scores, None if fitting is None else fitting[1], **more)
    return measure(answers["dilemmas"], selection.benchmark.scoring)


def flipped(counts, number):
    """The counts with one item's votes given to the other label, all of them."""
    changed = counts.copy()
    changed[number] = [0, 5] if counts[number, 0] >= counts[number, 1] else [5, 0]
    return changed


def prior_of(counts, fitting=None):
    selection = factories.selection(counts, fitting=fitting)
    return baseline_prior(selection.tasks[0], selection.benchmark.scoring)


# --- nothing sees the row it scores -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 17, 59])
def test_cross_fitted_values_of_an_item_do_not_depend_on_its_votes(number):
    counts, scores = factories.simulated(60)
    before, after = measured(counts, scores), measured(flipped(counts, number), scores)
    assert before.fitted.method == "cross-fitted"
    for name in PARAMETERS:
        one, other = before.fitted.values[name], after.fitted.values[name]
        assert one[number] == other[number], name
        assert (one != other).sum() == 48, name  # the four folds that it is fitted on
    assert (before.fitted.values["marginal"] == after.fitted.values["marginal"]).all()  # no votes in it at all


@pytest.mark.parametrize("number", [0, 17, 59])
def test_cross_fitted_values_of_an_item_do_not_depend_on_its_answer(number):
    counts, scores = factories.simulated(60)
    other_scores = scores.copy()
    other_scores[number] = -other_scores[number]
    before, after = measured(counts, scores), measured(counts, other_scores)
    for name in (*PARAMETERS, "marginal"):
        one, other = before.fitted.values[name], after.fitted.values[name]
        assert np.array_equal(one[number], other[number]), name
        assert not np.array_equal(one, other), name


@pytest.mark.parametrize("number", [3, 44])
def test_the_cross_fitted_prior_of_an_item_does_not_depend_on_its_votes(number):
    counts, _ = factories.simulated(60)
    before, _ = prior_of(counts)
    after, method = prior_of(flipped(counts, number))
    assert method == "cross-fitted"
    assert (before.log_probs[number] == after.log_probs[number]).all()
    assert (before.log_probs != after.log_probs).any()


def test_held_out_values_depend_on_the_fitting_split_alone():
    counts, scores = factories.simulated(60)
    fitting = factories.simulated(40, seed=1)
    before = measured(counts, scores, fitting)
    assert (before.fitted.method, before.fitted.split, before.fitted.items) == ("held-out", "dev", 40)
    for changed in (measured(flipped(counts, 0), scores, fitting), measured(counts, -scores, fitting)):
        for name in (*PARAMETERS, "marginal"):
            assert np.array_equal(before.fitted.values[name], changed.fitted.values[name]), name
    other = measured(counts, scores, factories.simulated(40, seed=2))
    assert all(before.fitted.values[name][0] != other.fitted.values[name][0] for name in PARAMETERS)


def test_held_out_values_are_those_of_the_fit_on_that_split():
    counts, scores = factories.simulated(30)
    fitting = factories.simulated(50, seed=1)
    found = measured(counts, scores, fitting).fitted
    logs = scores_to_logs(fitting[1])
    temperature = calibration.fit_temperature(logs, fitting[0]).value
    assert found.by_fit[0]["temperature"] == pytest.approx(temperature, rel=1e-12)
    assert (found.values["temperature"] == found.by_fit[0]["temperature"]).all()
    concentration = calibration.fit_concentration(logs, fitting[0]).value
    assert found.by_fit[0]["concentration"] == pytest.approx(concentration, rel=1e-11)


def test_the_held_out_prior_is_that_of_the_fitting_split():
    counts, _ = factories.simulated(30)
    fitting, _ = factories.simulated(50, seed=1)
    found, method = prior_of(counts, fitting)
    assert method == "held-out"
    shares = (fitting / fitting.sum(axis=1, keepdims=True)).sum(axis=0) + 0.5
    assert np.exp(found.log_probs) == pytest.approx(np.tile(shares / shares.sum(), (30, 1)))


@pytest.mark.slow
def test_the_temperature_of_an_order_that_lies_is_recovered_off_the_scored_items():
    """Scores three times too sharp: the fitting split says so, whatever the scored split holds."""
    counts, scores = factories.simulated(20)
    fitting = factories.simulated(3000, seed=1)
    plain = measured(counts, scores, fitting).fitted.values["temperature"][0]
    # Both orders alike, so that averaging views and multiplying scores can be exchanged.
    once = (fitting[0], np.repeat(fitting[1][:, :1], 2, axis=1))
    sharp = (fitting[0], np.repeat(3 * fitting[1][:, :1], 2, axis=1))
    one, three = (measured(counts, scores, each).fitted.values["temperature"][0] for each in (once, sharp))
    assert three == pytest.approx(3 * one, rel=1e-6)
    assert plain != one


# --- too little to fit on -----------------------------------------------------------------------------------------


def test_too_few_items_for_folds_are_not_fitted_on():
    counts, scores = factories.simulated(9)
    found = measured(counts, scores)
    assert found.fitted.method is None
    assert found.fitted.by_fit == ()
    needs = ("cross_entropy_calibrated", "total_variation_calibrated", "dirichlet_multinomial", "cross_entropy_pmi")
    for name in (*needs, "dirichlet_multinomial_calibrated"):
        assert name not in found.values
        assert "9 items are too few for 5 folds" in found.unavailable[name]
    assert {"cross_entropy", "seed_cross_entropy"} <= found.values.keys()
    assert measured(*factories.simulated(10)).fitted.method == "cross-fitted"


def test_a_prior_without_items_to_fit_on_is_uniform_and_says_so():
    found, method = prior_of(np.array([[5, 0]] * 9))
    assert np.exp(found.log_probs) == pytest.approx(0.5)
    assert method.startswith("none: too few")


def test_what_a_fold_cannot_fit_is_scored_at_its_limit_with_the_reason():
    counts, _ = factories.simulated(60)
    found = measured(counts, np.zeros((60, 2, 2)))
    assert "uniform" in found.notes["cross_entropy_calibrated"]
    assert found.fitted.limits["temperature"] in found.notes["cross_entropy_calibrated"]
    assert found.values["cross_entropy_calibrated"] == pytest.approx(np.log(2))
    assert not found.unavailable


def test_cards_of_the_first_statistics_have_no_value_at_a_limit():
    counts, _ = factories.simulated(60)
    selection = factories.selection(counts, inference=1)
    answers = factories.answers(selection, np.zeros((60, 2, 2)))
    found = measure(answers["dilemmas"], selection.benchmark.scoring)
    assert "uniform" in found.unavailable["cross_entropy_calibrated"]
    assert found.fitted.reasons["temperature"] == found.unavailable["cross_entropy_calibrated"]
    assert "temperature" not in found.fitted.values
    assert "dirichlet_multinomial" in found.values  # a concentration can be fitted to equal shares


def test_a_models_own_concentration_is_used_and_needs_no_fit():
    counts, scores = factories.simulated(8)
    found = measured(counts, scores, concentration=3.5)
    assert found.fitted.method is None
    assert found.values["dirichlet_multinomial"] == pytest.approx(
        rules.dirichlet_multinomial(found.log_probs, counts, 3.5)
    )
    assert "dirichlet_multinomial_calibrated" in found.unavailable
    many = measured(*factories.simulated(60), concentration=3.5)
    assert (many.fitted.values["concentration"] == 3.5).all()
    assert "dirichlet_multinomial_calibrated" in many.values  # fitted all the same


# --- values by hand -----------------------------------------------------------------------------------------------


def scores_to_logs(scores):
    logs = scores - logsumexp(scores, axis=2, keepdims=True)
    return logsumexp(logs, axis=1) - math.log(scores.shape[1])


def test_the_mean_share_of_a_label_is_taken_out_by_pmi():
    counts, scores = factories.simulated(12)
    fitting = (np.array([[3, 2], [1, 4]]), np.log([[[0.9, 0.1], [0.7, 0.3]], [[0.5, 0.5], [0.7, 0.3]]]))
    found = measured(counts, scores, fitting)
    marginal = np.array([(0.8 + 0.6) / 2, (0.2 + 0.4) / 2])
    shares = np.exp(scores_to_logs(scores)) / marginal
    corrected = shares / shares.sum(axis=1, keepdims=True)
    by_hand = -(counts / 5 * np.log(corrected)).sum(axis=1)
    assert found.values["cross_entropy_pmi"] == pytest.approx(by_hand)


def test_a_model_that_always_says_the_same_has_nothing_left_after_pmi():
    counts, _ = factories.simulated(40)
    found = measured(counts, np.tile(np.log([0.8, 0.2]), (40, 2, 1)))
    assert found.values["cross_entropy_pmi"] == pytest.approx(math.log(2))


def test_legacy_losses_see_the_mass_before_normalising():
    counts = np.array([[3, 2]] * 4)
    logs = np.log([[[0.6, 0.4], [0.2, 0.8]]] * 4)
    found = measured(counts, logs, answer_mass=0.1)
    masses = [(0.06 + 0.02) / 2, (0.04 + 0.08) / 2]
    expected = -(0.6 * masses[0] + 0.4 * masses[1]) + math.log(math.exp(masses[0]) + math.exp(masses[1]))
    assert found.values["seed_cross_entropy"] == pytest.approx(expected)
    assert measured(counts, logs).values["seed_cross_entropy"][0] == pytest.approx(
        -(0.6 * 0.4 + 0.4 * 0.6) + math.log(math.exp(0.4) + math.exp(0.6))
    )


def test_legacy_losses_are_missing_where_some_rows_do_not_know_their_mass():
    selection = factories.selection(np.array([[3, 2]] * 4))
    part = selection.tasks[0]
    rows = factories.rows("dilemmas", part.scored, np.zeros((4, 1, 2)), answer_mass=0.1)
    rows[2] = replace(rows[2], answer_mass=None)
    from runner.tasks.answers import align

    answers = TaskAnswers(part, align(part.scored, part.task.labels, rows))
    found = measure(answers, selection.benchmark.scoring)
    for name in ("seed_cross_entropy", "seed_dirichlet"):
        assert name not in found.values
        assert "some rows do not say" in found.unavailable[name]


def test_a_chosen_label_without_any_mass_is_missing_not_infinite():
    found = measured(np.array([[3, 2]] * 4), np.array([[[0.0, -1e5]]] * 4), answer_mass=1.0)
    assert "seed_dirichlet" not in found.values
    assert "infinite on 4 items" in found.unavailable["seed_dirichlet"]
    assert found.values["cross_entropy"] == pytest.approx(0.4 * 1e5)
    empty = measured(np.array([[3, 2]] * 4), np.zeros((4, 1, 2)), answer_mass=0.0)
    assert "infinite on 4 items" in empty.unavailable["seed_dirichlet"]
    assert empty.values["seed_cross_entropy"] == pytest.approx(math.log(2))


def test_calibrated_values_are_those_of_the_tempered_answers():
    counts, scores = factories.simulated(60)
    found = measured(counts, scores)
    logs = scores_to_logs(scores)
    for number in (0, 30):
        temperature = found.fitted.values["temperature"][number]
        shares = np.exp(logs[number] / temperature)
        shares /= shares.sum()
        h = counts[number] / 5
        assert found.values["cross_entropy_calibrated"][number] == pytest.approx(-(h * np.log(shares)).sum())
        assert found.values["total_variation_calibrated"][number] == pytest.approx(0.5 * np.abs(shares - h).sum())
        strength = found.fitted.values["concentration_calibrated"][number]
        assert found.values["dirichlet_multinomial_calibrated"][number] == pytest.approx(
            rules.dirichlet_multinomial(np.log(shares)[None], counts[number][None], strength)[0]
        )


def test_calibration_helps_where_it_is_fitted():
    counts, scores = factories.simulated(2000, seed=4)
    found = measured(counts, 4 * scores)
    assert found.values["cross_entropy_calibrated"].mean() < found.values["cross_entropy"].mean() - 0.05


def test_baselines_have_no_temperature():
    counts, _ = factories.simulated(40)
    selection = factories.selection(counts)
    uniform = baseline_uniform(selection.tasks[0], selection.benchmark.scoring)
    assert uniform.values["cross_entropy"] == pytest.approx(math.log(2))
    assert "a baseline is not tempered" in uniform.unavailable["cross_entropy_calibrated"]
    assert "dirichlet_multinomial" in uniform.values


def test_baselines_are_fitted_where_a_model_is():
    """Else a model whose concentration is held out would stand beside a baseline that saw the scored votes."""
    counts, _ = factories.simulated(40)
    fitting, _ = factories.simulated(50, seed=1)
    selection = factories.selection(counts, fitting=fitting)
    part, scoring = selection.tasks[0], selection.benchmark.scoring
    for found in (baseline_uniform(part, scoring), baseline_prior(part, scoring)[0]):
        assert (found.fitted.method, found.fitted.split, found.fitted.items) == ("held-out", "dev", 50)
        logs = np.broadcast_to(found.log_probs[0], fitting.shape)
        expected = calibration.fit_concentration(logs, fitting).value
        assert found.fitted.values["concentration"] == pytest.approx(expected, rel=1e-10)


def test_folds_hold_every_item_once_and_depend_on_the_seed():
    counts, scores = factories.simulated(61)
    logs = scores_to_logs(scores)
    scoring = factories.benchmark().scoring
    found = fit(logs, counts.astype(float), scoring, split="test")
    assert found.items == 61
    assert len(found.by_fit) == scoring.fit.folds
    assert len(set(found.values["temperature"].tolist())) == scoring.fit.folds
    other = fit(logs, counts.astype(float), replace(scoring, fit=replace(scoring.fit, seed=1)), split="test")
    assert (found.values["temperature"] != other.values["temperature"]).any()


def test_counts_are_in_the_order_of_the_items():
    assert counts_of(factories.items([[1, 2, 3], [4, 5, 6]])).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_the_marginal_is_the_mean_of_the_distributions_that_it_was_fitted_on():
    """A distribution itself: the correction by it must not change with the number of items."""
    counts, scores = factories.simulated(40)
    logs = scores_to_logs(scores)
    found = fit(
        logs,
        counts,
        factories.selection(counts).benchmark.scoring,
        split="dev",
        held_out=(logs[:7], counts[:7], "train"),
    )
    assert np.exp(found.values["marginal"]) == pytest.approx(np.tile(np.exp(logs[:7]).mean(axis=0), (40, 1)))
