"""Rules against closed forms, published values, other implementations and their defining properties."""

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax, rel_entr
from scipy.stats import dirichlet_multinomial as scipy_dm
from scipy.stats import entropy as scipy_entropy
from scipy.stats import multinomial, wasserstein_distance

from runner.scoring import rules
from runner.scoring.metrics import METRICS, gap_to_ceiling, skill, skill_draws

EVERY_RULE = {
    **rules.RULES,
    "dirichlet_multinomial": lambda logs, counts: rules.dirichlet_multinomial(logs, counts, 3.7),
    "dirichlet_multinomial_per_vote": lambda logs, counts: (
        rules.dirichlet_multinomial(logs, counts, 3.7) / counts.sum(axis=1)
    ),
    "seed_cross_entropy": lambda logs, counts: rules.seed_cross_entropy(np.exp(logs), counts),
    "seed_dirichlet": lambda logs, counts: rules.seed_dirichlet(np.exp(logs), counts),
}


def random_case(seed, items=40, labels=4, votes=9):
    generator = np.random.default_rng(seed)
    logs = log_softmax(generator.normal(0, 2, (items, labels)), axis=1)
    counts = generator.multinomial(generator.integers(1, votes + 1, items), generator.dirichlet(np.ones(labels)))
    return logs, counts.astype(float)


@st.composite
def cases(draw):
    return random_case(draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 20)), draw(st.integers(2, 6)))


# --- published and hand-computed values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("h", "masses", "legacy", "true"),
    [
        ((3, 2), (0.6, 0.4), 0.678139, 0.673012),
        ((4, 1), (0.3, 0.1), 0.638139, 0.507405),
        ((5, 0), (0.05, 0.02), 0.678260, 0.336472),
    ],
)
def test_seed_cross_entropy_golden(h, masses, legacy, true):
    counts, mass = np.array([h]), np.array([masses])
    assert rules.seed_cross_entropy(mass, counts)[0] == pytest.approx(legacy, abs=5e-7)
    normalised = np.log(mass / mass.sum())
    assert rules.cross_entropy(normalised, counts)[0] == pytest.approx(true, abs=5e-7)


@pytest.mark.parametrize(
    ("masses", "counts", "value"),
    [
        ((0.6, 0.4), (3, 2), 4.452621),
        ((0.05, 0.02), (3, 2), 6.782590),
        ((0.5, 0.5), (5, 0), 1.402043),
        ((5 / 7, 2 / 7), (3, 2), 4.587887),
        ((0.9, 0.1), (5, 0), 0.236076),
        ((0.5, 0.5), (6, 2), 5.802088),
        ((0.1, 0.9), (5, 0), 3.710440),
        ((0.7, 0.3), (31, 10), 24.850193),
    ],
)
def test_seed_dirichlet_golden(masses, counts, value):
    assert rules.seed_dirichlet(np.array([masses]), np.array([counts]))[0] == pytest.approx(value, abs=5e-7)


def test_seed_cross_entropy_is_bounded_and_blind_to_equal_masses():
    ends = rules.seed_cross_entropy(
        np.array([[1.0, 0], [1, 0], [0, 0], [0.3, 0.3]]), np.array([[1, 0], [0, 1], [1, 0], [2, 3]])
    )
    assert ends == pytest.approx([0.313262, 1.313262, 0.693147, 0.693147], abs=5e-7)


def test_seed_dirichlet_at_mass_zero():
    masses = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    values = rules.seed_dirichlet(masses, np.array([[2, 1], [3, 0], [1, 0]]))
    assert values[[0, 2]].tolist() == [np.inf, np.inf]
    assert values[1] == pytest.approx(0, abs=1e-12)


def test_values_by_hand():
    logs, counts = np.log([[0.5, 0.25, 0.25]]), np.array([[2, 2, 0]])
    assert rules.cross_entropy(logs, counts)[0] == pytest.approx(1.5 * np.log(2))
    assert rules.kl(logs, counts)[0] == pytest.approx(0.5 * np.log(2))
    assert rules.total_variation(logs, counts)[0] == pytest.approx(0.25)
    assert rules.brier(logs, counts)[0] == pytest.approx(0.125)
    assert rules.entropy_gap(logs, counts)[0] == pytest.approx(0.5 * np.log(2))


# --- other implementations ----------------------------------------------------------------------------------------


@given(cases())
def test_against_scipy(case):
    logs, counts = case
    q, h = np.exp(logs), counts / counts.sum(axis=1, keepdims=True)
    assert rules.kl(logs, counts) == pytest.approx(rel_entr(h, q).sum(axis=1), abs=1e-12)
    assert rules.jensen_shannon(logs, counts) == pytest.approx(jensenshannon(q, h, base=2, axis=1) ** 2, abs=1e-10)
    assert rules.cross_entropy(logs, counts) == pytest.approx(rules.kl(logs, counts) + scipy_entropy(h, axis=1))
    assert rules.entropy_gap(logs, counts) == pytest.approx(scipy_entropy(q, axis=1) - scipy_entropy(h, axis=1))


@given(cases(), st.floats(1e-2, 1e3))
def test_dirichlet_multinomial_is_scipys_without_the_coefficient(case, concentration):
    logs, counts = case
    ours = rules.dirichlet_multinomial(logs, counts, concentration)
    for loss, log_q, votes in zip(ours, logs, counts.astype(int), strict=True):
        coefficient = multinomial(votes.sum(), np.full(len(votes), 1 / len(votes))).logpmf(
            votes
        ) + votes.sum() * np.log(len(votes))
        theirs = scipy_dm(concentration * np.exp(log_q), votes.sum()).logpmf(votes)
        assert loss == pytest.approx(coefficient - theirs, rel=1e-8, abs=1e-8)


@given(cases())
def test_dirichlet_multinomial_tends_to_the_multinomial(case):
    logs, counts = case
    limit = counts.sum(axis=1) * rules.cross_entropy(logs, counts)
    assert rules.dirichlet_multinomial(logs, counts, 1e14) == pytest.approx(limit, rel=1e-6, abs=1e-6)
    # One vote says nothing about scatter: any concentration gives the plain log loss.
    single = np.eye(logs.shape[1])[counts.argmax(axis=1)]
    assert rules.dirichlet_multinomial(logs, single, 0.3) == pytest.approx(rules.cross_entropy(logs, single))


def test_dirichlet_multinomial_takes_one_concentration_per_item():
    logs, counts = random_case(1)
    each = np.geomspace(1e-3, 1e5, len(logs))
    together = rules.dirichlet_multinomial(logs, counts, each)
    alone = [rules.dirichlet_multinomial(logs[[i]], counts[[i]], c)[0] for i, c in enumerate(each)]
    assert together == pytest.approx(alone)
    with pytest.raises(ValueError, match="above 0"):
        rules.dirichlet_multinomial(logs, counts, 0.0)


def test_dirichlet_multinomial_far_below_the_range_of_floats():
    # a = 1e−300 with one vote of two: ln a is exactly what the second label adds (Γ(a+1)/Γ(a) = a).
    for log_tiny in (np.log(1e-300), -5000.0):
        value = rules.dirichlet_multinomial(np.array([[0.0, log_tiny]]), np.array([[1, 1]]), 1.0)[0]
        assert value == pytest.approx(np.log(2.0) - log_tiny, rel=1e-12)


def test_log_rising_is_continuous_where_its_forms_meet():
    votes = np.array([1.0, 2.0, 5.0, 1000.0, 0.5])
    below, above = (rules.log_rising(np.full(5, np.log(a)), votes) for a in (1 - 1e-12, 1 + 1e-12))
    assert below == pytest.approx(above, abs=1e-8)
    # Γ(a+3)/Γ(a) = a(a+1)(a+2), at any size of a.
    for a in (1e-12, 1e-3, 0.7, 3.0, 1e4, 1e8, 1e12):
        assert rules.log_rising(np.log([a]), np.array([3.0]))[0] == pytest.approx(
            np.log(a) + np.log1p(a) + np.log(a + 2), rel=1e-9
        )


# --- properties ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(EVERY_RULE))
@given(case=cases(), seed=st.integers(0, 1000))
@settings(max_examples=25)
def test_labels_have_no_order(name, case, seed):
    logs, counts = case
    if name == "wasserstein":  # the one rule that knows an order: it is the same from either end
        assert rules.wasserstein(logs[:, ::-1], counts[:, ::-1]) == pytest.approx(rules.wasserstein(logs, counts))
        return
    if name == "accuracy":  # ties go by label order: keep the items without one
        keep = ~rules.tied(counts)
        logs, counts = logs[keep], counts[keep]
    if len(logs) == 0:
        return
    order = np.random.default_rng(seed).permutation(logs.shape[1])
    before, after = EVERY_RULE[name](logs, counts), EVERY_RULE[name](logs[:, order], counts[:, order])
    assert after == pytest.approx(before, abs=1e-10)


@given(cases())
def test_wasserstein_is_scipys(case):
    logs, counts = case
    places = np.arange(logs.shape[1])
    expected = [wasserstein_distance(places, places, q, n) for q, n in zip(np.exp(logs), counts, strict=True)]
    assert rules.wasserstein(logs, counts) == pytest.approx(expected, abs=1e-12)
    assert (rules.wasserstein(logs, counts) >= rules.total_variation(logs, counts) - 1e-12).all()
    assert (rules.wasserstein(logs, counts) <= (len(places) - 1) * rules.total_variation(logs, counts) + 1e-12).all()


@given(cases())
def test_ranges(case):
    logs, counts = case
    for name, top in {
        "total_variation": 1,
        "jensen_shannon": 1,
        "brier": 2,
        "accuracy": 1,
        "ranking_agreement": 1,
    }.items():
        values = rules.RULES[name](logs, counts)
        assert values.shape == (len(logs),)
        assert ((values >= 0) & (values <= top + 1e-12)).all()
    assert (rules.kl(logs, counts) >= 0).all()


def votes_of(n, labels):
    """Every count row of `n` votes, and how many sequences lead to it."""
    from math import factorial

    def rows(left, places):
        if places == 1:
            yield (left,)
            return
        for here in range(left + 1):
            yield from ((here, *rest) for rest in rows(left - here, places - 1))

    table = np.array(list(rows(n, labels)), dtype=float)
    ways = np.array([factorial(n) / np.prod([factorial(int(c)) for c in row]) for row in table])
    return table, ways


def expected(rule, q, truth, n=5):
    """Exact expectation of a rule over n ~ Multinomial(truth)."""
    table, ways = votes_of(n, len(truth))
    chance = ways * np.prod(np.asarray(truth) ** table, axis=1)
    assert chance.sum() == pytest.approx(1)
    return float(chance @ rule(np.log(np.tile(q, (len(table), 1))), table))


@pytest.mark.parametrize("name", ["cross_entropy", "kl", "brier"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_proper_rules_are_best_at_the_truth(name, seed):
    truth, other = np.random.default_rng(seed).dirichlet(np.ones(3), 2) * 0.97 + 0.01
    assert METRICS[name].proper
    assert expected(EVERY_RULE[name], truth, truth) < expected(EVERY_RULE[name], other, truth)


def test_dirichlet_multinomial_is_proper_as_a_forecast_of_the_votes():
    # Votes drawn from a Dirichlet-multinomial: expectation over all five-vote rows is least at its own parameters.
    table, ways = votes_of(5, 3)
    truth = np.array([1.2, 0.5, 0.8])

    def loss(a):
        logs = np.log(np.tile(a / a.sum(), (len(table), 1)))
        return rules.dirichlet_multinomial(logs, table, a.sum())

    chance = ways * np.exp(-loss(truth))
    assert chance.sum() == pytest.approx(1)
    generator = np.random.default_rng(0)
    for _ in range(50):
        assert chance @ loss(truth) < chance @ loss(truth * np.exp(generator.normal(0, 0.5, 3)))


def test_dirichlet_multinomial_at_a_fixed_concentration_is_not_proper_in_q_alone():
    def rule(logs, counts):
        return rules.dirichlet_multinomial(logs, counts, 1.0)

    assert expected(rule, (0.62, 0.38), (0.7, 0.3)) != pytest.approx(expected(rule, (0.7, 0.3), (0.7, 0.3)), abs=1e-4)
    grid = np.linspace(0.05, 0.95, 181)
    best = min(grid, key=lambda p: expected(rule, (p, 1 - p), (0.7, 0.3)))
    assert abs(best - 0.7) > 0.02


@pytest.mark.parametrize(
    ("name", "truth", "better"),
    [
        ("total_variation", (0.7, 0.3), (0.79, 0.21)),
        ("jensen_shannon", (0.9, 0.1), (0.96, 0.04)),
        ("wasserstein", (0.7, 0.3), (0.79, 0.21)),
        ("class_calibration", (0.7, 0.3), (0.79, 0.21)),
        ("seed_cross_entropy", (0.7, 0.3), (1 - 1e-9, 1e-9)),
        ("seed_dirichlet", (0.7, 0.3), (0.6, 0.4)),
    ],
)
def test_improper_rules_reward_something_else_than_the_truth(name, truth, better):
    assert not METRICS[name].proper
    assert expected(EVERY_RULE[name], better, truth) < expected(EVERY_RULE[name], truth, truth) - 1e-4


@pytest.mark.parametrize("name", ["accuracy", "ranking_agreement"])
def test_rules_of_order_only_do_not_tell_the_truth_from_a_caricature(name):
    assert not METRICS[name].proper
    assert expected(EVERY_RULE[name], (0.99, 0.01), (0.6, 0.4)) == expected(EVERY_RULE[name], (0.6, 0.4), (0.6, 0.4))


def test_true_entropy_exceeds_that_of_five_votes():
    # Why the entropy gap of a perfect model is not 0: about (labels − 1)/(2·votes) = 0.1 nats.
    assert expected(EVERY_RULE["entropy_gap"], (0.5, 0.5), (0.5, 0.5)) == pytest.approx(0.1, abs=0.03)


@given(cases())
def test_with_shares_fixed_every_distance_is_least_at_them(case):
    logs, counts = case
    h = counts + 0.0
    at_truth = np.log((h + 1e-13) / (h + 1e-13).sum(axis=1, keepdims=True))
    for name in ("cross_entropy", "kl", "total_variation", "jensen_shannon", "brier"):
        assert (rules.RULES[name](at_truth, counts) <= rules.RULES[name](logs, counts) + 1e-9).all()


# --- ties and agreement -------------------------------------------------------------------------------------------


def test_ties_go_to_the_first_label():
    counts = np.array([[2, 2, 1], [1, 2, 2], [0, 1, 4]])
    logs = np.log([[0.4, 0.4, 0.2], [0.1, 0.45, 0.45], [0.2, 0.4, 0.4]])
    assert rules.plurality(counts).tolist() == [0, 1, 2]
    assert rules.predicted_label(logs).tolist() == [0, 1, 1]
    assert rules.accuracy(logs, counts).tolist() == [1, 1, 0]
    assert rules.tied(counts).tolist() == [True, True, False]


def test_ranking_agreement_asks_only_what_people_order():
    logs = np.log([[0.5, 0.3, 0.2]] * 4 + [[1 / 3] * 3] * 2)
    counts = np.array([[3, 1, 1], [2, 2, 0], [3, 0, 1], [1, 1, 1], [2, 1, 0], [1, 1, 1]])
    assert rules.ranking_agreement(logs, counts).tolist() == [1, 1, 0, 1, 0, 1]


# --- mistakes of the caller ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(EVERY_RULE))
def test_bad_arrays_are_refused(name):
    logs, counts = random_case(3)
    none = counts.copy()
    none[2] = 0
    with pytest.raises(ValueError, match="at least one vote"):
        EVERY_RULE[name](logs, none)
    with pytest.raises(ValueError, match="shape"):
        EVERY_RULE[name](logs[:, :3], counts)
    with pytest.raises(ValueError, match=r"sum to 1|from 0 to 1"):
        EVERY_RULE[name](logs + 3, counts)
    broken = logs.copy()
    broken[1, 1] = np.nan
    with pytest.raises(ValueError, match=r"finite|from 0 to 1"):
        EVERY_RULE[name](broken, counts)


# --- the table ----------------------------------------------------------------------------------------------------


def test_every_metric_of_the_benchmark_is_described(root):
    named = yaml.safe_load((root / "benchmark.yaml").read_text())["scoring"]["metrics"]
    assert set(named) <= set(METRICS)
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.base is None or metric.base in METRICS
    assert set(EVERY_RULE) == {name for name, metric in METRICS.items() if metric.kind == "item" and not metric.base}


def test_direction_agrees_with_the_rule():
    truth, counts = np.log([[0.8, 0.15, 0.05]]), np.array([[16, 3, 1]])
    wrong = np.log([[0.05, 0.15, 0.8]])
    for name, rule in EVERY_RULE.items():
        if METRICS[name].lower_is_better is not None:
            assert (rule(truth, counts)[0] < rule(wrong, counts)[0]) == METRICS[name].lower_is_better, name


def test_derived_metrics():
    assert gap_to_ceiling(0.6, 0.5) == pytest.approx(0.1)
    assert skill(0.69, 0.69, 0.49) == 0
    assert skill(0.49, 0.69, 0.49) == 1
    assert skill(0.59, 0.69, 0.49) == pytest.approx(0.5)
    assert skill(0.6, 0.5, 0.5) is None
    assert skill(0.6, 0.5 + 1e-15, 0.5) is None
    draws = skill_draws(np.array([0.6, 0.5]), np.array([0.7, 0.7]), np.array([0.5, 0.5]))
    assert draws == pytest.approx([0.5, 1.0])
    assert skill_draws(np.array([0.6, 0.5]), np.array([0.7, 0.5]), np.array([0.5, 0.5])) is None
