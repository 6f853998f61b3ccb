"""The expected score of an oracle on an item whose true distribution is Dirichlet(α + n), without drawing any.

The probability of one label alone is a Beta variable, so whatever is a sum over labels needs integrals over one number
only. Some have a closed form; the others are smooth in the log-odds, where the trapezoidal rule converges exponentially
(Trefethen and Weideman 2014, SIAM Review 56(3)).

Each function takes `strengths` α + n > 0 and `votes` n, both `(items, labels)`, and gives `(items,)`.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.special import betainc, betaln, digamma, expit, gammainc, gammaln, log_expit, xlogy

from runner.core.types import Array
from runner.scoring import distances, rules

Expected = Callable[[Array, Array], Array]

# Where a density has fallen this many nats below its peak, or a probability is this near to 0 or 1 in log-odds, what is
# left adds about 1e-16.
_REACH = 38.0
_NODES = 144
# The functions of NumPy and SciPy let other threads run.
THREADS = min(8, os.cpu_count() or 1)


def cross_entropy(strengths: Array, votes: Array) -> Array:
    """Σ h [ψ(S+N) − ψ(α+n)], nats."""
    surprise = digamma(strengths.sum(axis=1, keepdims=True)) - digamma(strengths)
    return np.asarray((rules.shares(votes) * surprise).sum(axis=1))


def kl(strengths: Array, votes: Array) -> Array:
    """Expected KL(h ‖ q): the cross-entropy less the entropy of the votes."""
    return cross_entropy(strengths, votes) - distances.entropy(rules.shares(votes).T)


def dirichlet_multinomial(strengths: Array, votes: Array) -> Array:
    """Expected loss of the vote sequence for an oracle that knows q and so needs no scatter: N times cross-entropy."""
    return np.asarray(votes.sum(axis=1) * cross_entropy(strengths, votes))


def total_variation(strengths: Array, votes: Array) -> Array:
    """½ Σ E|q − h|, through the incomplete beta function."""
    h, rest = rules.shares(votes), _rest(strengths)
    mean = strengths / (strengths + rest)
    gap = h * (2 * betainc(strengths, rest, h) - 1) + mean * (1 - 2 * betainc(strengths + 1, rest, h))
    return np.asarray(0.5 * gap.sum(axis=1))


def wasserstein(strengths: Array, votes: Array) -> Array:
    """Σ E|Q − H| over the cumulated shares: that of the first k labels is Beta(Σ first strengths, Σ the others)."""
    below = strengths.cumsum(axis=1)[:, :-1]
    above = strengths[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    # A sum of shares may pass 1 by a rounding error, which no Beta variable does.
    people = np.minimum(rules.shares(votes).cumsum(axis=1)[:, :-1], 1.0)
    mean = below / (below + above)
    gap = people * (2 * betainc(below, above, people) - 1) + mean * (1 - 2 * betainc(below + 1, above, people))
    return np.asarray(gap.sum(axis=1))


def brier(strengths: Array, votes: Array) -> Array:
    """Σ E(q − h)²: variance and squared distance of the mean."""
    rest = _rest(strengths)
    total = strengths + rest
    mean = strengths / total
    return np.asarray((mean * (rest / total) / (total + 1) + (mean - rules.shares(votes)) ** 2).sum(axis=1))


def entropy_gap(strengths: Array, votes: Array) -> Array:
    """E H(q) − H(h), nats: ψ(S+1) − Σ E[q] ψ(α+n+1) − H(h)."""
    total = strengths.sum(axis=1)
    expected = digamma(total + 1) - (strengths * digamma(strengths + 1)).sum(axis=1) / total
    return np.asarray(expected - distances.entropy(rules.shares(votes).T))


def jensen_shannon(strengths: Array, votes: Array) -> Array:
    """Expected Jensen–Shannon divergence in bits: a sum over labels of ½ [q ln 2q/(q+h) + h ln 2h/(q+h)] / ln 2."""

    def part(q: Array, h: Array) -> Array:
        both = np.maximum(q + h, np.finfo(np.float64).tiny)
        return np.asarray(0.5 * (xlogy(q, 2 * q / both) + xlogy(h, 2 * h / both)))

    return np.asarray(_sum_over_labels(part, strengths, rules.shares(votes)) / np.log(2.0))


def seed_dirichlet(strengths: Array, votes: Array) -> Array:
    """Expected Dirichlet-multinomial loss with a = q. The pole of ln Γ(q) is taken out: E ln q = ψ(α+n) − ψ(S+N)."""

    def smooth(q: Array, n: Array) -> Array:
        return np.asarray(np.where(n > 0, gammaln(q + np.maximum(n, 1.0)) - gammaln(q + 1.0), 0.0))

    logs = digamma(strengths) - digamma(strengths.sum(axis=1, keepdims=True))
    log_mass = np.where(votes > 0, logs, 0.0).sum(axis=1)
    return np.asarray(gammaln(1.0 + votes.sum(axis=1)) - log_mass - _sum_over_labels(smooth, strengths, votes))


def seed_cross_entropy_of_two(strengths: Array, votes: Array) -> Array:
    """E[ln(e^q + e^(1−q))] − Σ h E[q], for two labels: with more the normaliser is no sum over labels."""
    mean = strengths / strengths.sum(axis=1, keepdims=True)
    normaliser = _beta_mean(lambda q, _: np.logaddexp(q, 1.0 - q), strengths[:, 0], strengths[:, 1], strengths[:, 0])
    return np.asarray(normaliser - (rules.shares(votes) * mean).sum(axis=1))


def top_label_probabilities(strengths: Array) -> Array:
    """P(label k is the most probable one), `(items, labels)`.

    A Dirichlet variable is a vector of gamma variables over their sum, so this is ∫ f_k Π_{j≠k} F_j: one integral over
    the logarithm of the largest. Needs a strength of 1 or more in each row, as a vote gives.
    """
    if strengths.shape[1] == 2:
        first = _first_is_more_probable(strengths)
        return np.stack([first, 1.0 - first], axis=1)
    block = max(1, (1 << 20) // (_NODES * strengths.shape[1]))
    with ThreadPoolExecutor(THREADS) as pool:
        return np.concatenate(
            list(pool.map(_largest_gamma, (strengths[at : at + block] for at in range(0, len(strengths), block))))
        )


def _largest_gamma(strengths: Array) -> Array:
    largest = strengths.max(axis=1)
    # The log of a gamma variable lies d from ln(strength) with a density that has fallen by strength·(e^d − 1 − d).
    below, above = -np.ones_like(largest), np.ones_like(largest)
    below, above = below * _REACH / largest - np.sqrt(2 * _REACH / largest), above * _REACH / largest
    for _ in range(60):
        below = below - (largest * (np.expm1(below) - below) - _REACH) / (largest * np.expm1(below))
        above = above - (largest * (np.expm1(above) - above) - _REACH) / (largest * np.expm1(above))
    step = (above - below) / (_NODES - 1)
    logs = np.log(largest)[:, None, None] + (below[:, None] + step[:, None] * np.arange(_NODES))[:, None, :]
    at = np.exp(logs)
    shape = strengths[:, :, None]
    smaller = gammainc(shape, at)
    density = np.exp(shape * logs - at - gammaln(shape))
    chances = np.empty_like(strengths)
    for label in range(strengths.shape[1]):
        others = np.delete(smaller, label, axis=1).prod(axis=1)
        chances[:, label] = (density[:, label] * others).sum(axis=1)
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def accuracy_of_two(strengths: Array, votes: Array) -> Array:
    """P(the plurality label is the more probable one), for two labels; among tied votes that is the first label."""
    first = _first_is_more_probable(strengths)
    return np.asarray(np.where(votes[:, 0] >= votes[:, 1], first, 1.0 - first))


def ranking_agreement_of_two(strengths: Array, votes: Array) -> Array:
    """P(the two labels are ordered as people order them), for two labels; 1 where people are tied."""
    return np.asarray(np.where(votes[:, 0] == votes[:, 1], 1.0, accuracy_of_two(strengths, votes)))


def _first_is_more_probable(strengths: Array) -> Array:
    return np.asarray(betainc(strengths[:, 1], strengths[:, 0], 0.5))


EXACT: Mapping[str, Expected] = {
    "cross_entropy": cross_entropy,
    "kl": kl,
    "dirichlet_multinomial": dirichlet_multinomial,
    "dirichlet_multinomial_per_vote": cross_entropy,
    "total_variation": total_variation,
    "brier": brier,
    "wasserstein": wasserstein,
    "entropy_gap": entropy_gap,
    "jensen_shannon": jensen_shannon,
    "seed_dirichlet": seed_dirichlet,
}
"""What has an exact expectation for any number of labels."""

EXACT_OF_TWO: Mapping[str, Expected] = {
    **EXACT,
    "seed_cross_entropy": seed_cross_entropy_of_two,
    "accuracy": accuracy_of_two,
    "ranking_agreement": ranking_agreement_of_two,
}
"""And for two labels."""


# --- integrals over one Beta variable ------------------------------------------------------------------------------


def _rest(strengths: Array) -> Array:
    """For each label the strength of all others; a sum, since a difference loses a small one beside a large one."""
    others = 1.0 - np.eye(strengths.shape[1])
    return np.asarray(strengths @ others)


def _sum_over_labels(score: Callable[[Array, Array], Array], strengths: Array, votes: Array) -> Array:
    """Σ E score(q, votes), `(items,)`; equal triples of strength, rest and `votes` are integrated once."""
    triples = np.stack([strengths, _rest(strengths), votes], axis=-1).reshape(-1, 3)
    cells, inverse = np.unique(triples, axis=0, return_inverse=True)
    block = 1 << 14
    means = np.concatenate([_beta_mean(score, *cells[at : at + block].T) for at in range(0, len(cells), block)])
    return np.asarray(means[inverse.reshape(strengths.shape)].sum(axis=1))


def _beta_mean(score: Callable[[Array, Array], Array], strength: Array, rest: Array, votes: Array) -> Array:
    """E score(q, votes) for q ~ Beta(strength, rest), all `(cells,)`, and a score smooth in q with finite ends.

    The straight line between the ends has a known mean. What deviates from it vanishes at 0 and 1, and so does the
    integrand, even where the density in the log-odds falls as slowly as that of a strength near 0.
    """
    at_zero, at_one = score(np.zeros_like(votes), votes), score(np.ones_like(votes), votes)
    total = strength + rest
    left = np.maximum(np.log(strength / rest) - _reach(strength, rest), -_REACH)
    right = np.minimum(np.log(strength / rest) + _reach(rest, strength), _REACH)
    step = (right - left) / (_NODES - 1)
    odds = left[:, None] + step[:, None] * np.arange(_NODES)
    logs = strength[:, None] * log_expit(odds) + rest[:, None] * log_expit(-odds)
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    # All of the density is in reach unless a strength is small; then lnB is accurate, and else their sum is.
    by_function = np.exp(logs.max(axis=1) - betaln(strength, rest)) * step
    by_sum = 1.0 / weights.sum(axis=1)
    weights *= np.where(np.minimum(strength, rest) < 1.0, by_function, by_sum)[:, None]
    q = expit(odds)
    bend = score(q, votes[:, None]) - at_zero[:, None] * expit(-odds) - at_one[:, None] * q
    straight = at_zero * (rest / total) + at_one * (strength / total)
    return np.asarray(straight + (weights * bend).sum(axis=1))


def _reach(down: Array, up: Array) -> Array:
    """How far from its mode the density of the log-odds has fallen by `_REACH`, towards where `down` pulls it down.

    Newton's method from beyond: the fall is convex in the distance, so every step stays on the far side.
    """
    total = down + up
    share = down / total
    distance = (_REACH - total * np.log(up / total)) / down
    for _ in range(60):
        lost = np.expm1(-distance)
        fall = down * distance + total * np.log1p(share * lost)
        slope = -down * lost * (up / total) / (1.0 + share * lost)
        distance = distance - (fall - _REACH) / slope
    return np.asarray(distance)
