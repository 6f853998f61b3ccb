"""The human ceiling: the best score that votes of this number and scatter allow (BEST, Scruples, arXiv 2008.09094).

A Dirichlet prior is fitted to the counts; each item's true distribution is then uncertain as Dirichlet(α + n), and an
oracle that knows it is scored like a model. Most metrics have an exact expectation (`posterior`); macro F1, and with
more than two labels also ranking agreement and the seed's cross-entropy, are averaged over draws. It is an estimate
under that prior, not a bound on a sample, and for an improper loss not a bound at all.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runner.core.types import Array
from runner.scoring import distances, posterior, rules
from runner.scoring.dirichlet import DirichletFit as DirichletFit
from runner.scoring.dirichlet import fit_dirichlet as fit_dirichlet
from runner.scoring.f1 import macro_f1
from runner.scoring.metrics import METRICS

# Numbers in one block of draws: 4 MB, near the size of a core's cache, several blocks alive per thread.
_BLOCK = 1 << 19

# Each takes draws (labels, items, draws) and shares (labels, items, 1), and gives (items, draws).
_DRAWN: Mapping[str, Callable[[Array, Array], Array]] = {
    "ranking_agreement": distances.ranking_agreement,
    "seed_cross_entropy": distances.seed_cross_entropy,
}


@dataclass(frozen=True, slots=True)
class Ceiling:
    """A metric's ceiling. Three uncertainties are three things; none of them is the error of sampling items."""

    value: float
    """The expected value of the metric for a perfect model."""
    monte_carlo_error: float
    """The error of `value` itself; 0 where nothing was drawn."""
    spread: float | None
    """How much one draw's score scatters; None where nothing was drawn."""
    per_item: Array | None
    """`(items,)` means that average to `value`; None for macro F1."""


def has_ceiling(name: str) -> bool:
    """Whether the metric `name` has a ceiling of its own; a correlation of entropies has 1 by its definition."""
    return METRICS[name].kind != "derived" and name != "entropy_correlation"


def ceiling(
    counts: ArrayLike, names: Iterable[str], draws: int, seed: int, alpha: ArrayLike | None = None
) -> dict[str, Ceiling]:
    """The ceiling of each metric in `names` for votes `(items, labels)`.

    `alpha` `(labels,)` is the prior; by default it is fitted to `counts` itself (Scruples' resource fits it on more
    votes than it conditions on: pass `fit_dirichlet(more).alpha`). A calibrated metric has the ceiling of its base.
    Derived metrics have none: `ValueError`. The same seed gives the same draws whatever the names or threads.
    """
    base_names = {name: METRICS[name].base or name for name in names}
    if derived := [name for name in base_names if not has_ceiling(name)]:
        raise ValueError(f"{', '.join(derived)} have no ceiling of their own")
    votes = np.asarray(counts, dtype=np.float64)
    prior = fit_dirichlet(votes).alpha if alpha is None else np.asarray(alpha, dtype=np.float64)
    # Items with equal votes have equal posteriors, and of few votes there are few kinds.
    rows, inverse = np.unique(votes, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    # The same number by definition: computed once.
    bases = {"total_variation" if base == "class_calibration" else base for base in base_names.values()}
    exact = posterior.EXACT_OF_TWO if votes.shape[1] == 2 else posterior.EXACT
    ceilings = {base: _exact(exact[base](rows + prior, rows)[inverse]) for base in bases & exact.keys()}
    drawn = sorted(bases - ceilings.keys())
    if drawn and draws < 2:
        raise ValueError("a Monte-Carlo error needs two draws or more")
    if not {"accuracy", "macro_f1"}.isdisjoint(drawn):
        chances = posterior.top_label_probabilities(rows + prior)
        people = distances.top_label(rows.T)
        ceilings["accuracy"] = _exact(chances[np.arange(len(rows)), people][inverse])
        if "macro_f1" in bases:
            ceilings["macro_f1"] = _macro_f1(chances[inverse], people[inverse], draws, seed)
    if drawn := [name for name in drawn if name in _DRAWN]:
        ceilings |= _drawn(votes + prior, votes, drawn, draws, seed)
    ceilings |= {"class_calibration": ceilings["total_variation"]} if "total_variation" in ceilings else {}
    return {name: ceilings[base] for name, base in base_names.items()}


def _exact(per_item: Array) -> Ceiling:
    return Ceiling(float(per_item.mean()), 0.0, None, per_item)


def _macro_f1(chances: Array, people: NDArray[np.intp], draws: int, seed: int) -> Ceiling:
    """Macro F1 of labels drawn for every item with its `chances` `(items, labels)`, against the labels of `people`."""
    items, labels = chances.shape
    order = np.argsort(people, kind="stable")
    ends = np.searchsorted(people[order], np.arange(labels + 1))
    reach = chances[order].cumsum(axis=1).T[:-1, None, :].astype(np.float32)
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // items)
    values = []
    for start in range(0, draws, block):
        size = min(block, draws - start)
        uniform = generator.random((size, items), dtype=np.float32)
        # (draws, people's label, how many of the first labels): items that drew one of these.
        among = np.zeros((size, labels, labels + 1), dtype=np.intp)
        for label, (first, last) in enumerate(pairwise(ends)):
            among[:, label, -1] = last - first
            for number, limit in enumerate(reach, start=1):
                among[:, label, number] = np.count_nonzero((uniform < limit)[:, first:last], axis=1)
        values.append(macro_f1(np.diff(among, axis=2).reshape(size, labels * labels)))
    return _summary(np.concatenate(values), None)


def _drawn(strengths: Array, votes: Array, names: list[str], draws: int, seed: int) -> dict[str, Ceiling]:
    """Means over draws of the whole table of votes."""
    # In double precision: single would take two thirds of the time, but its rounding differs between processors by more
    # than what two computations of a card may differ.
    h = rules.shares(votes).T[:, :, None]

    def block(items_and_seed: tuple[slice, np.random.SeedSequence]) -> dict[str, tuple[Array, Array]]:
        """By name: the sum over items of each draw's score `(draws,)` and the mean over draws of each item's."""
        items, own_seed = items_and_seed
        generator = np.random.default_rng(own_seed)
        # One call for each number: drawing many of one strength is twice as fast as drawing one each of many.
        q = np.stack(
            [[_gamma(generator, strength, draws) for strength in of_label] for of_label in strengths[items].T.tolist()]
        )
        q /= q.sum(axis=0)
        scores = {name: _DRAWN[name](q, h[:, items]) for name in names}
        return {name: (score.sum(axis=0), score.mean(axis=1)) for name, score in scores.items()}

    size = max(1, _BLOCK // (draws * strengths.shape[1]))
    blocks = [slice(start, start + size) for start in range(0, len(votes), size)]
    # A seed of its own for each block: the draws then do not depend on which thread is faster.
    work = list(zip(blocks, np.random.SeedSequence(seed).spawn(len(blocks)), strict=True))
    sums = {name: np.zeros(draws) for name in names}
    means: dict[str, list[Array]] = {name: [] for name in names}
    with ThreadPoolExecutor(posterior.THREADS) as pool:
        for part in pool.map(block, work):
            for name, (of_draws, of_items) in part.items():
                sums[name] += of_draws
                means[name].append(of_items)
    return {name: _summary(sums[name] / len(votes), np.concatenate(means[name])) for name in names}


def _gamma(generator: np.random.Generator, strength: float, draws: int) -> Array:
    if strength >= 1.0:
        return generator.standard_gamma(strength, draws)
    # Marsaglia and Tsang 2000 (ACM TOMS 26(3), section 6): faster than the generator's own way for less than 1.
    power = generator.standard_exponential(draws)
    power /= -strength
    np.exp(power, out=power)
    power *= generator.standard_gamma(strength + 1.0, draws)
    return power


def _summary(values: Array, per_item: Array | None) -> Ceiling:
    spread = float(values.std(ddof=1))
    return Ceiling(float(values.mean()), spread / float(np.sqrt(len(values))), spread, per_item)
