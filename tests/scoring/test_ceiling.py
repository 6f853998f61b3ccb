"""The human ceiling: published values, simulate then recover, draws and quadrature as oracles, degenerate counts."""

import json
import subprocess
import sys
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import approx_fprime
from scipy.stats import gamma

from runner.scoring import dirichlet, posterior, rules
from runner.scoring.ceiling import ceiling, fit_dirichlet, has_ceiling
from runner.scoring.f1 import macro_f1_score
from runner.scoring.metrics import METRICS

WITH_CEILING = [name for name in METRICS if has_ceiling(name)]


def simulate(alpha, votes, seed=0):
    """True distributions `(items, labels)` and counts; `votes` is an array of numbers of votes."""
    generator = np.random.default_rng(seed)
    truth = np.maximum(generator.dirichlet(alpha, len(votes)), 1e-12)
    truth /= truth.sum(axis=1, keepdims=True)
    return truth, generator.multinomial(votes, truth)


def test_what_is_made_from_other_metrics_or_bounded_by_definition_has_no_ceiling():
    assert {name for name in METRICS if not has_ceiling(name)} == {"gap_to_ceiling", "skill", "entropy_correlation"}


# --- the prior ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [(1.0, 1.0), (0.05, 0.4, 0.02), (8.0, 3.0, 1.0, 0.5, 0.1), (40.0, 60.0)])
def test_prior_is_recovered(alpha):
    votes = np.random.default_rng(1).integers(2, 60, 6000)
    fit = fit_dirichlet(simulate(alpha, votes)[1])
    assert fit.notes == ()
    assert fit.alpha == pytest.approx(alpha, rel=0.12)


def test_prior_gradient_is_the_derivative_of_the_loss():
    counts = simulate((0.5, 2.0, 1.0), np.random.default_rng(2).integers(1, 30, 50))[1].astype(float)
    histograms = dirichlet._histograms(counts)
    for alpha in ([0.5, 2.0, 1.0], [0.01, 30.0, 0.2]):
        numeric = approx_fprime(np.array(alpha), lambda a: dirichlet._loss_and_slope(a, histograms, 50)[0], 1e-7)
        assert dirichlet._loss_and_slope(np.array(alpha), histograms, 50)[1] == pytest.approx(
            numeric, rel=1e-3, abs=1e-5
        )


def test_prior_is_a_maximum_and_its_loss_that_of_the_rule():
    counts = simulate((0.5, 2.0, 1.0), np.random.default_rng(2).integers(1, 30, 300))[1]

    def loss(alpha):
        logs = np.log(np.tile(alpha / alpha.sum(), (len(counts), 1)))
        return rules.dirichlet_multinomial(logs, counts, alpha.sum()).mean()

    fit = fit_dirichlet(counts)
    assert fit.loss == pytest.approx(loss(fit.alpha))
    generator = np.random.default_rng(3)
    for _ in range(30):
        assert fit.loss <= loss(fit.alpha * np.exp(generator.normal(0, 0.05, 3)))


@pytest.mark.parametrize(("labels", "items"), [(2, 2340), (5, 2500), (5, 20), (2, 30)])
def test_prior_is_known_to_the_last_digits(labels, items):
    """The search alone leaves slopes of 1e-9, and with them digits that another machine rounds otherwise."""
    votes = np.random.default_rng(3).integers(2, 30, items)
    counts = simulate((0.9, 1.4, 0.6, 1.1, 0.8)[:labels], votes, seed=2)[1].astype(float)
    alpha = fit_dirichlet(counts).alpha
    slope = dirichlet._loss_and_slope(alpha, dirichlet._histograms(counts), items)[1]
    assert np.abs(alpha * slope).max() < 1e-14


@pytest.mark.parametrize(
    ("counts", "note"),
    [
        ([[5, 0], [0, 5], [7, 0]], "lower limit"),
        ([[4, 1], [8, 2], [12, 3]], "upper limit"),
        ([[5, 0], [9, 0]], "only one label"),
        ([[1, 0], [0, 1]], "no item has two votes"),
        ([[3, 2, 0], [1, 9, 0], [8, 1, 0]], "never chosen"),
        ([[1000, 0, 0], [0, 999, 1], [0, 1, 1000]], None),
        ([[10**6, 3], [2, 10**6]], None),
        ([[10**12, 3], [2, 10**9]], None),
    ],
)
def test_degenerate_counts_are_fitted_and_said(counts, note):
    fit = fit_dirichlet(counts)
    assert np.isfinite(fit.alpha).all()
    assert (fit.alpha > 0).all()
    assert np.isfinite(fit.loss)
    assert fit.determined is (note not in ("only one label", "no item has two votes"))
    assert (note is None and fit.notes == ()) or any(note in each for each in fit.notes)
    scores = ceiling(counts, WITH_CEILING, 50, seed=1)
    assert all(np.isfinite(score.value) for score in scores.values())


def test_a_sum_of_alpha_close_to_its_limit_is_not_at_it():
    """Of items of two votes, S / (2 (S + 1)) differ where both labels are alike: here one of 10,001."""
    fit = fit_dirichlet([[2, 0], [0, 2]] * 5000 + [[1, 1]])
    assert fit.alpha == pytest.approx([1 / 9999] * 2, rel=1e-6)
    assert fit.notes == ()


def test_proportions_survive_at_both_limits():
    assert fit_dirichlet([[4, 1], [8, 2], [12, 3]]).alpha[0] / 1e6 == pytest.approx(0.8, rel=1e-4)
    low = fit_dirichlet([[5, 0], [0, 5], [7, 0]]).alpha
    assert low[0] / low.sum() == pytest.approx(2 / 3, rel=1e-3)


# --- published values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "accuracy", "f1"), [([[1, 3], [4, 0]], 0.8878, 0.8486), ([[3, 2], [0, 5]], 0.7626, 0.6836)]
)
def test_published_examples(counts, accuracy, f1):
    scores = ceiling(counts, ["accuracy", "macro_f1"], 40_000, seed=7)
    # Theirs carry Monte-Carlo noise as well; by the number of draws they name it is several times ours.
    assert scores["accuracy"].value == pytest.approx(accuracy, abs=0.004)
    assert scores["macro_f1"].value == pytest.approx(f1, abs=0.004)


# --- simulate, then recover ---------------------------------------------------------------------------------------


def corpus():
    votes = np.minimum(3 + np.random.default_rng(4).geometric(0.04, 3000), 400)
    return simulate((1.2, 2.5, 0.5, 0.7, 0.1), votes, seed=5)


def three_annotations():
    return simulate((1.2, 2.5, 0.5, 0.7, 0.1), np.full(3000, 3), seed=6)


def mixture():
    votes = np.minimum(3 + np.random.default_rng(7).geometric(0.04, 3000), 400)
    parts = [(2, 1, 1, 1, 1), (1, 1, 3, 1, 1), (1, 1, 1, 1, 2)]
    halves = [
        simulate(alpha, part, seed=8 + i) for i, (alpha, part) in enumerate(zip(parts, np.split(votes, 3), strict=True))
    ]
    return tuple(np.concatenate(each) for each in zip(*halves, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [corpus, three_annotations, mixture])
def test_estimate_meets_the_oracle(scenario):
    """The three designs of the Scruples simulation: score the known truth, then estimate that score from the votes."""
    truth, counts = scenario()
    logs = np.log(truth)
    scores = ceiling(counts, WITH_CEILING, 300, seed=1)
    oracle = macro_f1_score(rules.predicted_label(logs), rules.plurality(counts), 5)
    assert scores["macro_f1"].value == pytest.approx(oracle, abs=0.025)
    assert scores["accuracy"].value == pytest.approx(rules.accuracy(logs, counts).mean(), abs=0.025)
    for name in (
        "cross_entropy",
        "kl",
        "total_variation",
        "jensen_shannon",
        "brier",
        "wasserstein",
        "entropy_gap",
        "ranking_agreement",
    ):
        values = rules.RULES[name](logs, counts)
        # Sampling error of 3,000 items, and a prior that is fitted, or, in the mixture, not of the right family.
        tolerance = 4 * values.std() / np.sqrt(len(values)) + 0.015 * abs(values.mean())
        assert scores[name].value == pytest.approx(values.mean(), abs=tolerance), name
    per_vote = rules.cross_entropy(logs, counts) * counts.sum(axis=1)
    assert scores["dirichlet_multinomial"].value == pytest.approx(per_vote.mean(), rel=0.03)


# --- exact expectations against draws and against quadrature -------------------------------------------------------


def scores_of_draws(name, draws, votes):
    """The rules' score of each draw `(draws, labels)` on one item with these votes."""
    counts = np.tile(votes, (len(draws), 1))
    if name.startswith("seed_"):
        return getattr(rules, name)(draws, counts)
    if name == "dirichlet_multinomial":  # the oracle knows q: concentration without limit
        return -(counts * np.log(draws)).sum(axis=1)
    if name == "dirichlet_multinomial_per_vote":
        return scores_of_draws("dirichlet_multinomial", draws, votes) / sum(votes)
    logs = np.log(np.maximum(draws, 1e-300))
    return rules.RULES[name](logs, counts)


@pytest.mark.parametrize(
    "votes",
    [(3, 2), (2, 3), (4, 4), (5, 0), (0, 1), (60, 200), (3, 0, 0), (2, 2, 1), (0, 9, 1), (30, 30, 30), (1, 0, 0, 0, 4)],
)
def test_expectations_agree_with_draws(votes):
    labels = len(votes)
    alpha = np.array([0.6, 1.7, 0.9, 0.4, 0.3][:labels])
    counts = np.array([votes], dtype=float)
    draws = np.random.default_rng(5).dirichlet(counts[0] + alpha, 40_000)
    exact = posterior.EXACT_OF_TWO if labels == 2 else posterior.EXACT
    for name, expected in exact.items():
        sampled = scores_of_draws(name, draws, votes)
        error = sampled.std() / np.sqrt(len(sampled)) + 1e-12
        assert abs(expected(counts + alpha, counts)[0] - sampled.mean()) < 4.5 * error, name


def beta_mean(function, strength, rest, kink):
    """E function(q, 1 − q) for q ~ Beta(strength, rest), in twenty digits, by tanh-sinh quadrature in the log-odds."""
    with mpmath.workdps(20):
        strength, rest = mpmath.mpf(strength), mpmath.mpf(rest)
        scale = mpmath.log(mpmath.beta(strength, rest))

        def integrand(odds):
            low, high = -mpmath.log1p(mpmath.exp(-odds)), -mpmath.log1p(mpmath.exp(odds))
            return mpmath.exp(strength * low + rest * high - scale) * function(mpmath.exp(low), mpmath.exp(high))

        centre = mpmath.log(strength / rest)
        width = mpmath.sqrt(1 / strength + 1 / rest)
        ends = [centre - 60 / min(strength, 1) * min(width, 1), centre + 60 / min(rest, 1) * min(width, 1)]
        ends += [centre + width * step for step in (-6, -2, 0, 2, 6)]
        ends += [mpmath.log(kink / (1 - kink))] if 0 < kink < 1 else []
        return float(mpmath.quad(integrand, sorted(ends)))


def part_entropy(p):
    return -p * mpmath.log(p) if p > 0 else mpmath.mpf(0)


def entropy_of(p, q):
    return part_entropy(p) + part_entropy(q)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("votes", "alpha"),
    [
        ((3, 2), (0.978, 0.9487)),
        ((5, 0), (0.978, 0.9487)),
        ((1, 0), (0.3, 0.2)),
        ((0, 4), (0.05, 0.01)),
        ((5000, 4990), (1.2, 3.4)),
        ((2, 7000), (0.5, 40.0)),
        ((4, 1), (8e5, 2e5)),
    ],
)
def test_two_labels_agree_with_another_quadrature(votes, alpha):
    counts = np.array([votes], dtype=float)
    strengths = counts + np.array(alpha)
    total = mpmath.mpf(sum(votes))
    h = [mpmath.mpf(n) / total for n in votes]
    functions = {
        "total_variation": lambda q, r: abs(q - h[0]),
        "wasserstein": lambda q, r: abs(q - h[0]),
        "brier": lambda q, r: (q - h[0]) ** 2 + (r - h[1]) ** 2,
        "entropy_gap": lambda q, r: entropy_of(q, r) - entropy_of(*h),
        "jensen_shannon": lambda q, r: (
            (entropy_of((q + h[0]) / 2, (r + h[1]) / 2) - (entropy_of(q, r) + entropy_of(*h)) / 2) / mpmath.log(2)
        ),
        "seed_cross_entropy": lambda q, r: mpmath.log(mpmath.exp(q) + mpmath.exp(r)) - h[0] * q - h[1] * r,
        "seed_dirichlet": lambda q, r: (
            mpmath.loggamma(1 + total)
            - sum(mpmath.loggamma(p + n) - mpmath.loggamma(p) for p, n in zip((q, r), votes, strict=True) if n)
        ),
        "accuracy": lambda q, r: mpmath.mpf((q >= r) == (votes[0] >= votes[1])),
    }
    for name, function in functions.items():
        expected = beta_mean(function, *strengths[0], kink=mpmath.mpf("0.5") if name == "accuracy" else h[0])
        found = posterior.EXACT_OF_TWO[name](strengths, counts)[0]
        assert found == pytest.approx(expected, rel=2e-9, abs=1e-12), name


def test_labels_nobody_chose_add_nothing():
    """α = 10⁻¹⁰ beside others: as if the label were not there."""
    two, three = np.array([[3.0, 2.0], [9.0, 0.0]]), np.array([[3.0, 2.0, 0.0], [9.0, 0.0, 0.0]])
    for name, expected in posterior.EXACT.items():
        without = expected(two + np.array([0.7, 0.4]), two)
        assert expected(three + np.array([0.7, 0.4, 1e-10]), three) == pytest.approx(without, abs=1e-8), name


def test_more_certain_posteriors_come_near_their_mean():
    """With ever more votes in the same shares, q = h: distances fall to 0, the rest to the score of h itself."""
    h = np.array([[0.5, 0.3, 0.2]])
    for name in ("total_variation", "wasserstein", "jensen_shannon", "brier", "kl"):
        values = [posterior.EXACT[name](h * n + 1.0, h * n)[0] for n in (1e2, 1e4, 1e6, 1e9, 1e12)]
        assert all(later < 0.2 * earlier for earlier, later in pairwise(values)), (name, values)
    assert posterior.entropy_gap(h * 1e12 + 1.0, h * 1e12) == pytest.approx([0.0], abs=1e-9)


# --- accuracy and macro F1: which label is the most probable one --------------------------------------------------


@pytest.mark.parametrize(
    "strengths",
    [
        (1.0, 1.0, 1.0, 1.0, 1.0),
        (3.2, 2.1, 2.4),
        (1.05, 0.05, 0.3),
        (40.0, 41.5, 39.0, 0.2),
        (5000.0, 5040.0, 4990.0),
        (1.2, 0.1, 900.0),
        (4e5, 4.01e5, 2.0, 1e-9),
    ],
)
def test_top_label_probabilities_agree_with_another_quadrature(strengths):
    """By adaptive Gauss–Kronrod, over the probability of each gamma variable instead of its logarithm."""

    def inside(share, label):
        at = gamma.ppf(share, strengths[label])
        return np.prod([gamma.cdf(at, other) for place, other in enumerate(strengths) if place != label])

    found = posterior.top_label_probabilities(np.array([strengths]))[0]
    assert found.sum() == pytest.approx(1.0, abs=1e-12)
    for label in range(len(strengths)):
        assert found[label] == pytest.approx(quad(inside, 0, 1, args=(label,), limit=400)[0], abs=2e-7)


@given(
    st.lists(st.floats(0.01, 60), min_size=3, max_size=6).filter(lambda strengths: max(strengths) >= 1), st.randoms()
)
def test_top_label_probabilities_go_with_their_labels(strengths, random):
    """Labels in another order have their probabilities in that order; of two labels the stronger one is ahead."""
    order = random.sample(range(len(strengths)), len(strengths))
    found = posterior.top_label_probabilities(np.array([strengths]))[0]
    other = posterior.top_label_probabilities(np.array([[strengths[place] for place in order]]))[0]
    assert other == pytest.approx(found[order], abs=1e-12)
    assert (np.diff(found[np.argsort(strengths)]) > -1e-12).all()


@pytest.mark.parametrize("alpha", [(0.9, 1.1), (0.9, 0.3, 1.1)])
def test_macro_f1_is_that_of_drawn_distributions(alpha):
    counts = simulate(alpha, np.full(300, 5), seed=3)[1]
    scores = ceiling(counts, ["macro_f1", "accuracy"], 4000, seed=2, alpha=alpha)
    score = scores["macro_f1"]
    generator = np.random.default_rng(9)
    human = counts.argmax(axis=1)
    drawn = generator.standard_gamma(counts + np.array(alpha), size=(4000, *counts.shape)).argmax(axis=2)
    sampled = np.array([macro_f1_score(row, human, len(alpha)) for row in drawn])
    hits = (drawn == human).mean(axis=1)
    assert abs(scores["accuracy"].value - hits.mean()) < 4.5 * hits.std() / np.sqrt(4000)
    error = np.hypot(sampled.std() / np.sqrt(4000), score.monte_carlo_error)
    assert abs(score.value - sampled.mean()) < 4.5 * error
    assert score.spread == pytest.approx(sampled.std(), rel=0.06)
    assert score.per_item is None


def test_two_labels_draw_nothing_but_macro_f1():
    counts = simulate((0.9, 1.1), np.full(300, 5), seed=3)[1]
    scores = ceiling(counts, WITH_CEILING, 20, seed=2)
    assert [name for name, score in scores.items() if score.spread is not None] == ["macro_f1"]
    assert all(score.monte_carlo_error == 0 for name, score in scores.items() if name != "macro_f1")
    other = ceiling(counts, WITH_CEILING, 20, seed=3)
    assert [name for name in scores if scores[name].value != other[name].value] == ["macro_f1"]


def test_equal_rows_share_their_posterior_and_keep_their_place():
    counts = simulate((1.0, 2.0, 0.5), np.full(200, 4))[1]
    for name in posterior.EXACT:
        score = ceiling(counts, [name], 2, seed=0, alpha=[1.0, 2.0, 0.5])[name]
        one_by_one = [posterior.EXACT[name](row[None] + np.array([1.0, 2.0, 0.5]), row[None])[0] for row in counts]
        assert score.per_item == pytest.approx(one_by_one, rel=1e-12)
        assert score.value == pytest.approx(np.mean(one_by_one), rel=1e-12)


# --- the machinery ------------------------------------------------------------------------------------------------


def test_draws_are_seeded_whatever_the_names_and_threads(monkeypatch):
    counts = simulate((1.0, 2.0, 0.5), np.full(200, 5))[1]
    monkeypatch.setattr("runner.scoring.ceiling._BLOCK", 10_000)
    together = ceiling(counts, WITH_CEILING, 100, seed=4)
    monkeypatch.setattr("runner.scoring.posterior.THREADS", 1)
    for name in ("ranking_agreement", "macro_f1", "seed_cross_entropy", "brier"):
        assert ceiling(counts, [name], 100, seed=4)[name].value == together[name].value
    other = ceiling(counts, WITH_CEILING, 100, seed=5)
    changed = {name for name in WITH_CEILING if other[name].value != together[name].value}
    assert changed == {"macro_f1", "ranking_agreement", "seed_cross_entropy"}


@pytest.mark.slow
def test_monte_carlo_error_is_the_scatter_of_repeated_estimates():
    alpha = np.array([1.0, 2.0, 0.5])
    counts = simulate(alpha, np.full(60, 5))[1]
    for name in ("seed_cross_entropy", "ranking_agreement", "macro_f1"):
        repeats = [ceiling(counts, [name], 50, seed=seed, alpha=alpha)[name] for seed in range(200)]
        scatter = np.std([each.value for each in repeats], ddof=1)
        assert np.mean([each.monte_carlo_error for each in repeats]) == pytest.approx(scatter, rel=0.2)
        assert repeats[0].spread == pytest.approx(repeats[0].monte_carlo_error * np.sqrt(50))


def test_names_that_share_a_ceiling():
    counts = simulate((1.0, 2.0, 0.5), np.full(50, 5))[1]
    scores = ceiling(counts, WITH_CEILING, 20, seed=4)
    assert list(scores) == WITH_CEILING
    assert scores["cross_entropy_calibrated"] == scores["cross_entropy"]
    assert scores["class_calibration"] == scores["total_variation"]
    with pytest.raises(ValueError, match="skill"):
        ceiling(counts, ["skill"], 20, seed=4)
    with pytest.raises(ValueError, match="two draws"):
        ceiling(counts, ["ranking_agreement"], 1, seed=4)
    with pytest.raises(ValueError, match="two draws"):
        ceiling(counts[:, :2] + 1, ["macro_f1"], 1, seed=4)


@pytest.mark.slow
def test_many_draws_of_the_largest_split(tmp_path):
    counts = simulate((1.2, 2.5, 0.5, 0.7, 0.1), np.random.default_rng(1).integers(3, 60, 27_766))[1]
    (tmp_path / "counts.json").write_text(json.dumps(counts.tolist()))
    # In a process of its own, which tells its peak in kilobytes behind the result; `getrusage` would tell that of the
    # process which started it, where that is higher.
    program = "import sys; from runner.cli import main; sys.argv[0] = 'benchmark'\ntry: main()\nfinally: "
    program += "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0], file=sys.stderr)"
    command = [sys.executable, "-c", program, "ceiling", "counts.json", "--draws", "1000", "--format", "json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    (found,) = json.loads(done.stdout)
    for name in ("ranking_agreement", "seed_cross_entropy", "macro_f1"):
        assert 0 < found["ceiling"][name]["monte_carlo_error"] < 2e-4
    assert int(done.stderr.split()[-1]) < 400 << 10  # all draws of one metric at once are 222 MB more than the 208 here
