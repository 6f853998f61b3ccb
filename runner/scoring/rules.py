"""Scoring rules: from predicted log-probabilities and human votes to one number per item.

A `Rule` takes `log_probs` and `counts`, both `(items, labels)`, and gives `(items,)`. `log_probs` are natural logs,
finite, each row summing to 1 as probabilities; `counts` are votes ≥ 0 with at least one per row; h = counts / row sum.
Anything else is a mistake of the calling code and raises `ValueError`. Formulas, units and caveats: docs/scoring.md.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, gammaln, logsumexp, xlogy

from runner.core.types import Array
from runner.scoring import distances

Rule = Callable[[Array, Array], Array]

# How far a row may be from summing to one: float32 scores of thousands of labels stay well inside.
_NORMALISED_WITHIN = 1e-6


def shares(counts: ArrayLike) -> Array:
    """h, `(items, labels)`: each row of `counts` over its sum. Raises `ValueError` for a row without a vote."""
    votes = np.asarray(counts, dtype=np.float64)
    if votes.ndim != 2 or votes.shape[1] < 2:
        raise ValueError(f"counts have the shape {votes.shape}; expected (items, labels) with two labels or more")
    totals = votes.sum(axis=1, keepdims=True)
    if not np.isfinite(votes).all() or (votes < 0).any() or (totals < 1).any():
        raise ValueError("counts must be finite and not negative, with at least one vote for each item")
    return np.asarray(votes / totals)


def cross_entropy(log_probs: Array, counts: Array) -> Array:
    """−Σ h log q, nats. Strictly proper; smallest, with the entropy of h, at q = h."""
    logs, h = _pair(log_probs, counts)
    return np.asarray(-(h * logs).sum(axis=1))


def kl(log_probs: Array, counts: Array) -> Array:
    """KL(h ‖ q) = Σ h log(h/q), nats, with 0·log 0 = 0. Cross-entropy less the entropy of h."""
    logs, h = _pair(log_probs, counts)
    return np.asarray(np.maximum((xlogy(h, h) - h * logs).sum(axis=1), 0.0))


def total_variation(log_probs: Array, counts: Array) -> Array:
    """½ Σ |q − h|, in [0, 1]."""
    logs, h = _pair(log_probs, counts)
    return distances.total_variation(np.exp(logs).T, h.T)


def jensen_shannon(log_probs: Array, counts: Array) -> Array:
    """Jensen–Shannon divergence in bits, in [0, 1]; the square of the distance of the same name."""
    logs, h = _pair(log_probs, counts)
    return distances.jensen_shannon(np.exp(logs).T, h.T)


def brier(log_probs: Array, counts: Array) -> Array:
    """Σ (q − h)² over all labels, in [0, 2]. Strictly proper."""
    logs, h = _pair(log_probs, counts)
    return distances.brier(np.exp(logs).T, h.T)


def wasserstein(log_probs: Array, counts: Array) -> Array:
    """Σ over label boundaries of |cumulated q − cumulated h|, in label steps, in [0, labels − 1]; labels in order.

    Its mean over items is the average Wasserstein distance of the Learning-With-Disagreements tasks on ordinal scales.
    Divide by labels − 1 for a number in [0, 1]. Has a meaning only where the labels have an order.
    """
    logs, h = _pair(log_probs, counts)
    return distances.wasserstein(np.exp(logs).T, h.T)


def accuracy(log_probs: Array, counts: Array) -> Array:
    """1 where the most probable label is the people's plurality label, else 0; ties go to the first label in both."""
    _pair(log_probs, counts)
    return np.asarray(predicted_label(log_probs) == plurality(counts), dtype=np.float64)


def class_calibration(log_probs: Array, counts: Array) -> Array:
    """DistCE of Baan et al. 2022 (section 5): total variation per item, by definition equal to `total_variation`.

    It stands under its own name as the first of their three instance-level measures (frequency, ranking, entropy).
    """
    return total_variation(log_probs, counts)


def entropy_gap(log_probs: Array, counts: Array) -> Array:
    """H(q) − H(h), nats, signed (EntCE of Baan et al. 2022): above 0 the model is less certain than the votes.

    The entropy of few votes is biased low (about (labels − 1)/(2·votes), Miller 1955), so a perfect model scores above
    0; the number to be near is the ceiling's.
    """
    logs, h = _pair(log_probs, counts)
    model = -(np.exp(logs) * logs).sum(axis=1)
    return np.asarray(model - distances.entropy(h.T))


def ranking_agreement(log_probs: Array, counts: Array) -> Array:
    """1 where every two labels that people order strictly are ordered the same by the model, else 0.

    After RankCS of Baan et al. 2022. A pair tied among people is not counted; a pair tied in the model only counts
    as wrong; an item on which all labels are tied counts as 1, since no order can contradict it.
    """
    logs, h = _pair(log_probs, counts)
    return distances.ranking_agreement(logs.T, h.T)


def dirichlet_multinomial(log_probs: Array, counts: Array, concentration: ArrayLike) -> Array:
    """−[lnΓ(S) − lnΓ(S+N) + Σ lnΓ(a+n) − lnΓ(a)] with a = c·q, S = c, N = Σn, nats per item.

    The probability of the sequence of votes (no multinomial coefficient), as in Scruples (arXiv 2008.09094).
    `concentration` c > 0 is one number or `(items,)`; c = ∞ is the multinomial, N times the cross-entropy. Computed
    from log q, so that a label of probability 1e−300 that people chose costs about 690 nats rather than infinity.
    """
    logs, _ = _pair(log_probs, counts)
    votes = np.asarray(counts, dtype=np.float64)
    strength = np.broadcast_to(np.asarray(concentration, dtype=np.float64), logs.shape[:1])
    if not (strength > 0).all():
        raise ValueError("a concentration must be above 0")
    infinite = np.isinf(strength)
    log_strength = np.log(np.where(infinite, 1.0, strength))
    loss = log_rising(log_strength, votes.sum(axis=1)) - log_rising(log_strength[:, None] + logs, votes).sum(axis=1)
    return np.asarray(np.where(infinite, -(votes * logs).sum(axis=1), loss))


def seed_cross_entropy(masses: Array, counts: Array) -> Array:
    """−Σ h log softmax(m) for option masses m, not renormalised, `(items, labels)`: the seed code's "cross-entropy".

    Improper: a certain prediction of the majority beats the truth. Only for comparison with the seed's numbers.
    """
    mass, h = _masses(masses, counts)
    return distances.seed_cross_entropy(mass.T, h.T)


def seed_dirichlet(masses: Array, counts: Array) -> Array:
    """Dirichlet-multinomial loss with a = m, the option masses not renormalised, `(items, labels)`; label sequence.

    Improper (see docs/scoring.md). Infinite where people chose a label of mass 0, as in the seed code; where neither
    has anything (mass 0, no vote) the label adds nothing, while the seed code gives no number.
    """
    mass, _ = _masses(masses, counts)
    votes = np.asarray(counts, dtype=np.float64)
    impossible = ((mass == 0) & (votes > 0)).any(axis=1)
    with np.errstate(divide="ignore"):
        logs = np.log(mass)
    logs[impossible] = 0.0  # any number: these rows are overwritten
    total = logsumexp(logs, axis=1)
    loss = log_rising(total, votes.sum(axis=1)) - log_rising(logs, votes).sum(axis=1)
    return np.asarray(np.where(impossible, np.inf, loss))


RULES: Mapping[str, Rule] = {
    "cross_entropy": cross_entropy,
    "kl": kl,
    "total_variation": total_variation,
    "jensen_shannon": jensen_shannon,
    "brier": brier,
    "wasserstein": wasserstein,
    "accuracy": accuracy,
    "class_calibration": class_calibration,
    "entropy_gap": entropy_gap,
    "ranking_agreement": ranking_agreement,
}
"""The rules that need nothing but `log_probs` and `counts`."""


def predicted_label(log_probs: ArrayLike) -> NDArray[np.intp]:
    """The most probable label of each item, `(items,)`; ties go to the first label."""
    return distances.top_label(np.asarray(log_probs, dtype=np.float64).T)


def plurality(counts: ArrayLike) -> NDArray[np.intp]:
    """The label most people chose, `(items,)`; ties go to the first label."""
    return distances.top_label(np.asarray(counts, dtype=np.float64).T)


def tied(counts: ArrayLike) -> NDArray[np.bool_]:
    """Where more than one label has the most votes, `(items,)`: there the plurality label is a convention."""
    votes = np.asarray(counts, dtype=np.float64)
    return np.asarray((votes == votes.max(axis=1, keepdims=True)).sum(axis=1) > 1)


def log_rising(log_a: Array, n: Array) -> Array:
    """ln[Γ(a+n)/Γ(a)] elementwise for a = exp(log_a) ≥ 0 and n ≥ 0; exactly 0 for n = 0.

    Two forms, each accurate where it is used: below 1 the pole at a = 0 is taken out as log_a; above, the beta function
    avoids the difference of two huge lnΓ.
    """
    a = np.exp(log_a)
    votes = np.where(n > 0, n, 1.0)
    low = np.minimum(a, 1.0)
    near_pole = log_a + gammaln(low + votes) - gammaln(low + 1.0)
    beyond = gammaln(votes) - betaln(np.maximum(a, 1.0), votes)
    return np.asarray(np.where(n > 0, np.where(a < 1.0, near_pole, beyond), 0.0))


def _pair(log_probs: ArrayLike, counts: ArrayLike) -> tuple[Array, Array]:
    h = shares(counts)
    logs = np.asarray(log_probs, dtype=np.float64)
    if logs.shape != h.shape:
        raise ValueError(f"log_probs have the shape {logs.shape}, counts {h.shape}; expected the same")
    if not np.isfinite(logs).all() or (np.abs(logsumexp(logs, axis=1)) > _NORMALISED_WITHIN).any():
        raise ValueError("log_probs must be finite, with probabilities that sum to 1 for each item")
    return logs, h


def _masses(masses: ArrayLike, counts: ArrayLike) -> tuple[Array, Array]:
    h = shares(counts)
    mass = np.asarray(masses, dtype=np.float64)
    if mass.shape != h.shape:
        raise ValueError(f"masses have the shape {mass.shape}, counts {h.shape}; expected the same")
    if not ((mass >= 0) & (mass <= 1 + _NORMALISED_WITHIN)).all():
        raise ValueError("masses must be probabilities, from 0 to 1")
    return mass, h
