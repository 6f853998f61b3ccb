"""The human ceiling without a Dirichlet: a prior of any shape, fitted to the votes (Kiefer and Wolfowitz 1956).

The distribution of the items' true shares is taken as weights on a fixed set of points of the simplex and fitted by
maximum likelihood (EM, whose likelihood never falls). It needs no family, and so shows how much of a ceiling is owed
to the Dirichlet. Few votes say little about a shape: between it and the Dirichlet's ceiling lies what they leave open.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from runner.core.types import Array
from runner.scoring import rules
from runner.scoring.dirichlet import fit_dirichlet

_POINTS = 400
_STEPS = 2000
_NEAR = 1e-9


def fit_npmle(counts: ArrayLike) -> tuple[Array, Array]:
    """Points `(points, labels)`, inside the simplex, and their weights `(points,)`."""
    votes = np.asarray(counts, dtype=np.float64)
    points = _points(votes)
    rows, items = np.unique(votes, axis=0, return_counts=True)
    logs = rows @ np.log(points).T
    likelihood = np.exp(logs - logs.max(axis=1, keepdims=True))
    weights = np.full(len(points), 1.0 / len(points))
    before = -np.inf
    for _ in range(_STEPS):
        mixed = likelihood @ weights
        weights *= (items / mixed) @ likelihood / items.sum()
        now = float(items @ np.log(mixed)) / items.sum()
        if now - before < _NEAR:
            break
        before = now
    return points, weights


def npmle_ceiling(counts: ArrayLike, names: Iterable[str]) -> dict[str, float]:
    """The ceiling under that prior of each metric of `names` that needs nothing but shares and votes."""
    votes = np.asarray(counts, dtype=np.float64)
    points, weights = fit_npmle(votes)
    rows, items = np.unique(votes, axis=0, return_counts=True)
    logs = rows @ np.log(points).T + np.log(np.maximum(weights, 1e-300))
    posterior = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    ceilings = {}
    for name in names:
        if (rule := rules.RULES.get(name)) is None:
            continue
        losses = np.array([rule(np.log(points), np.broadcast_to(row, points.shape)) for row in rows])
        ceilings[name] = float(items @ (posterior * losses).sum(axis=1) / items.sum())
    return ceilings


def _points(votes: Array) -> Array:
    """With two labels a grid, denser at its ends; with more smoothed shares of the items and draws of a Dirichlet."""
    labels = votes.shape[1]
    if labels == 2:
        share = 1.0 / (1.0 + np.exp(-np.linspace(-9.0, 9.0, _POINTS)))
        return np.column_stack([share, 1.0 - share])
    alpha = fit_dirichlet(votes).alpha
    own = np.unique((votes + alpha) / (votes + alpha).sum(axis=1, keepdims=True), axis=0)
    own = own[:: -(-len(own) // _POINTS)]
    drawn = np.random.default_rng(0).dirichlet(np.maximum(alpha, 1e-3), _POINTS)
    points = np.maximum(np.concatenate([own, drawn]), 1e-6)
    return np.asarray(points / points.sum(axis=1, keepdims=True))
