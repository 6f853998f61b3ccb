"""How far one distribution over the labels is from another: labels on the FIRST axis, everything else broadcasts.

The rules call these with `(labels, items)`, the human ceiling with `(labels, draws, items)`. Labels come first
because a sum over a short last axis is several times slower. `q` is a model's distribution (or a draw standing in for
one), `h` the shares of the human votes.
"""

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from runner.core.types import Array

# Multiplied by a probability of 0 its logarithm gives 0, as the limit of p·log p does.
_TINY = float(np.finfo(np.float64).tiny)


def entropy(p: Array) -> Array:
    """Shannon entropy in nats over the first axis, with 0·log 0 = 0."""
    logs = np.maximum(p, _TINY)
    np.log(logs, out=logs)
    logs *= p
    return np.asarray(-logs.sum(axis=0))


def total_variation(q: Array, h: Array) -> Array:
    """½ Σ |q − h|, in [0, 1]."""
    gap = q - h
    np.abs(gap, out=gap)
    return np.asarray(0.5 * gap.sum(axis=0))


def jensen_shannon(q: Array, h: Array) -> Array:
    """H((q+h)/2) − (H(q)+H(h))/2 in bits, in [0, 1] (Lin 1991, IEEE Trans. Inf. Theory 37(1), section IV)."""
    middle = q + h
    middle *= 0.5
    nats = entropy(middle) - 0.5 * (entropy(q) + entropy(h))
    # Rounding may leave −1e−17 where q = h.
    return np.asarray(np.clip(nats / np.log(2.0), 0.0, 1.0))


def wasserstein(q: Array, h: Array) -> Array:
    """Σ |Q − H| over the cumulated shares, in steps between neighbouring labels, from 0 to labels − 1.

    The 1-Wasserstein (earth mover's) distance between distributions on 0, 1, …, labels − 1.
    """
    gap = np.cumsum(q - h, axis=0)[:-1]
    np.abs(gap, out=gap)
    return np.asarray(gap.sum(axis=0))


def brier(q: Array, h: Array) -> Array:
    """Σ (q − h)², in [0, 2] (Brier 1950, with shares in place of one outcome)."""
    gap = q - h
    gap *= gap
    return np.asarray(gap.sum(axis=0))


def entropy_gap(q: Array, h: Array) -> Array:
    """H(q) − H(h) in nats, signed (EntCE of Baan et al. 2022, section 5)."""
    return np.asarray(entropy(q) - entropy(h))


def ranking_agreement(scores: Array, h: Array) -> Array:
    """1 where `scores` order every pair of labels that people order strictly the same way, else 0.

    After RankCS of Baan et al. 2022 (section 5), which compares whole rankings; here pairs on which people are tied are
    not counted, since with few votes their order would only be the order of the labels.
    """
    agrees = np.ones(np.broadcast_shapes(scores.shape[1:], h.shape[1:]), dtype=bool)
    for first, second in permutations(range(len(h)), 2):
        agrees &= (scores[first] > scores[second]) | (h[first] <= h[second])
    return agrees.astype(np.float64)


def top_label(scores: Array) -> NDArray[np.intp]:
    """Index of the largest entry over the first axis; ties go to the first label."""
    return np.asarray(scores.argmax(axis=0))


def seed_cross_entropy(masses: Array, h: Array) -> Array:
    """−Σ h · log softmax(masses): probabilities given where logits are expected (improper: docs/scoring.md)."""
    normaliser = np.log(np.exp(masses).sum(axis=0))
    return np.asarray(normaliser - (h * masses).sum(axis=0))
