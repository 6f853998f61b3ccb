"""The simulations behind docs/scoring.md: make simulate. Figures go between its markers; sizes stand beside them.

What is simulated is like the data: two labels, five votes, a Dirichlet of α = (.98, .95), and items that share actions
in a ring, as Dilemmas do (each action stands in two items). Models are the truth with noise on its log-odds.
"""

import argparse
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.special import log_expit, logit, ndtr
from scipy.stats import beta

from runner.archive.leaderboard.ranking import standings
from runner.core.types import Array
from runner.scoring import calibration, comparison, intervals, rules
from runner.scoring.ceiling import ceiling
from runner.scoring.ceiling_error import prior_influence
from runner.scoring.dependence import Dependence, dependence
from runner.scoring.dirichlet import fit_dirichlet
from runner.scoring.entropy_correlation import entropy_columns, entropy_correlation
from runner.scoring.verdicts import PRIMARY, decide

DOCS = Path(__file__).resolve().parents[1] / "docs" / "scoring.md"
ALPHA = (0.98, 0.95)
VOTES = 5


def shares(generator: np.random.Generator, items: int, dependent: bool) -> Array:
    """(items,) true shares of the first label, Beta(α); in a ring, neighbours' log-odds correlate by one half."""
    if not dependent:
        return np.asarray(generator.beta(*ALPHA, items))
    return np.clip(beta.ppf(ndtr(ring_noise(generator, items)), *ALPHA), 1e-9, 1 - 1e-9)


def ring_noise(generator: np.random.Generator, items: int) -> Array:
    """(items,) standard normal numbers of which neighbours share one of two parts: a ring of actions."""
    action = generator.normal(size=items)
    return np.asarray((action - np.roll(action, -1)) / np.sqrt(2))


def noise(generator: np.random.Generator, items: int, dependent: bool) -> Array:
    """(items,) a model's errors, standard normal; dependent ones belong half to the actions."""
    own = generator.normal(size=items)
    if not dependent:
        return own
    action = generator.normal(size=items)
    return np.asarray((own + (action + np.roll(action, -1)) / np.sqrt(2)) / np.sqrt(2))


def logs(odds: Array) -> Array:
    """(items, 2) log-probabilities from log-odds."""
    return np.column_stack([log_expit(odds), log_expit(-odds)])


def vote(generator: np.random.Generator, share: Array, votes: int = VOTES) -> Array:
    first = generator.binomial(votes, share)
    return np.column_stack([first, votes - first]).astype(float)


def ring(items: int) -> Dependence | None:
    return dependence([(f"a{item}", f"a{(item + 1) % items}") for item in range(items)])


def percent(hits: float, number: int) -> str:
    share = hits / number
    return f"{share:.1%} ± {np.sqrt(share * (1 - share) / number):.1%}"


def limits(sets: int) -> Iterator[str]:
    """Finding 1: who has every metric."""
    generator = np.random.default_rng(1)
    for name in ("oracle", "model that knows nothing"):
        before, after, at_limit = 0, 0, 0
        for _ in range(sets):
            share = shares(generator, 500, False)
            counts = vote(generator, share)
            odds = logit(share) if name == "oracle" else generator.normal(0, 1, 500)
            scores = logs(odds)
            old = (
                calibration.fit_temperature_within(scores, counts),
                calibration.fit_concentration_within(scores, counts),
            )
            new = calibration.fit_temperature(scores, counts), calibration.fit_concentration(scores, counts)
            before += all(one.value is not None for one in old)
            after += all(one.value is not None for one in new)
            at_limit += any(one.reason is not None for one in new)
        what = f"{name}: has every metric, of {sets} data sets of 500 items"
        yield f"| {what} | {before} | {after} ({at_limit} at a limit) |"


def coverage(sets: int, draws: int) -> Iterator[str]:
    """Findings 2 and 3: coverage of nominal 95 % intervals, errors of items taken as independent beside."""
    generator = np.random.default_rng(2)
    for items in (200, 2000):
        for dependent in (False, True):
            shared = ring(items) if dependent else None
            truths, ends = [], []
            for number in range(sets):
                share = shares(generator, items, dependent)
                counts = vote(generator, share)
                odds = logit(np.clip(share, 1e-6, 1 - 1e-6))
                good = logs(odds + 0.3 * noise(generator, items, dependent))
                other = logs(odds + 0.6 * noise(generator, items, dependent))
                best = fit_dirichlet(counts)
                limit = ceiling(counts, ["cross_entropy"], 2, 0, best.alpha)
                own = limit["cross_entropy"].per_item
                assert own is not None
                moved = own + prior_influence(counts, limit, best, ["cross_entropy"])["cross_entropy"]
                loss, second = rules.cross_entropy(good, counts), rules.cross_entropy(other, counts)
                columns = np.column_stack([loss, loss - second, loss - moved, loss - own])
                found = [
                    np.array(
                        intervals.percentile_interval(
                            intervals.bootstrap_means(columns, draws, number, kind), 0.95, kind
                        )
                    )
                    for kind in ((shared, None) if dependent else (shared,))
                ]
                ends.append(found)
                truths.append(columns.mean(axis=0) * 0 + _expected(share, good, other))
            target = np.mean(truths, axis=0)
            for at, name in enumerate(("cross-entropy", "paired difference", "gap to ceiling")):
                inside = sum(one[0][0, at] <= target[at] <= one[0][1, at] for one in ends)
                naive = 3 if at == 2 else at
                old = sum(one[-1][0, naive] <= target[naive] <= one[-1][1, naive] for one in ends)
                how = "items in a ring" if dependent else "independent items"
                yield f"| {name}, {items:,} {how}, {sets} data sets | {percent(old, sets)} | {percent(inside, sets)} |"


def _expected(share: Array, good: Array, other: Array) -> Array:
    """Expected values given these items' true shares, whose mean over data sets is the target."""
    p = np.column_stack([share, 1 - share])
    loss, second = -(p * good).sum(axis=1).mean(), -(p * other).sum(axis=1).mean()
    floor = -(p * np.log(np.clip(p, 1e-12, 1))).sum(axis=1).mean()
    return np.array([loss, loss - second, loss - floor, loss - floor])


def verdicts(sets: int, permutations: int) -> Iterator[str]:
    """Finding 4: size, and power at "detect", of the verdict on the primary metric."""
    generator = np.random.default_rng(3)
    for items in (200, 2000):
        for dependent in (False, True):
            shared = ring(items) if dependent else None
            hits = {"size": 0, "naive": 0, "power": 0}
            for number in range(sets):
                share = shares(generator, items, dependent)
                counts = vote(generator, share)
                odds = logit(np.clip(share, 1e-6, 1 - 1e-6))
                a, b = (
                    rules.cross_entropy(logs(odds + 0.5 * noise(generator, items, dependent)), counts) for _ in range(2)
                )
                gaps = (a - b)[:, None]
                null = _verdict(gaps, shared, number, permutations)
                hits["size"] += null.verdict != "undecided"
                hits["naive"] += _verdict(gaps, None, number, permutations).verdict != "undecided"
                assert null.minimum_detectable is not None
                moved = _verdict(gaps + null.minimum_detectable, shared, number, permutations)
                hits["power"] += moved.verdict == "worse"
            how = "items in a ring" if dependent else "independent items"
            yield (
                f"| size, {items:,} {how}, {sets} data sets | {percent(hits['naive'], sets)} "
                f"| {percent(hits['size'], sets)} |"
            )
            yield f"| power at “detect”, {items:,} {how}, {sets} data sets | – | {percent(hits['power'], sets)} |"


def _verdict(gaps: Array, shared: Dependence | None, seed: int, permutations: int) -> object:
    error = intervals.standard_error(gaps, shared)
    assert error is not None
    p_value = comparison.sign_flip(gaps if shared is None else shared.unit_sums(gaps), permutations, seed)
    return decide(gaps.mean(axis=0), error, p_value, [PRIMARY], [True], 0.95, None if shared is None else shared.units)[
        0
    ]


def boards(sets: int) -> Iterator[str]:
    """Finding 5: boards of twenty equal models of which all ranks hold."""
    generator = np.random.default_rng(4)
    pairwise = simultaneous = 0
    for number in range(sets):
        losses = generator.normal(size=(1000, 1)) + 0.5 * generator.normal(size=(1000, 20))
        drawn = intervals.bootstrap_means(losses, 1000, number)
        values = losses.mean(axis=0)
        ranks = standings(values.tolist(), [(-9.0, 9.0)] * 20, drawn, list(range(20)), lower_is_better=True, level=0.95)
        simultaneous += all(one.best == 1 and one.worst == 20 for one in ranks)
        pairs = drawn[:, :, None] - drawn[:, None, :]
        lower, upper = np.quantile(pairs, [0.025, 0.975], axis=0)
        pairwise += not ((lower > 0) | (upper < 0)).any()
    what = f"boards of 20 equal models, 1,000 items, whose ranks all hold, {sets} boards"
    yield f"| {what} | {percent(pairwise, sets)} | {percent(simultaneous, sets)} |"


def uncertainty(sets: int) -> Iterator[str]:
    """Finding 11: what is recovered of the correlation of entropies."""
    generator = np.random.default_rng(5)
    for name, scale in (("oracle", 0.0), ("noisy", 1.5), ("confidence that is noise", None)):
        found, plain, truths = [], [], []
        for _ in range(sets):
            share = np.clip(shares(generator, 2340, False), 1e-9, 1 - 1e-9)
            odds = logit(share)
            model = generator.normal(0, 2, 2340) if scale is None else odds + scale * generator.normal(size=2340)
            scores = logs(model)
            counts, panel = vote(generator, share), vote(generator, share)
            columns = entropy_columns(scores, counts, panel, 1).columns
            assert columns is not None
            x = [-(np.exp(one) * one).sum(axis=1) for one in (scores, logs(odds))]
            h = counts / VOTES
            votes_entropy = -np.sum(np.where(h > 0, h * np.log(np.where(h > 0, h, 1)), 0), axis=1)
            found.append(float(entropy_correlation(columns.sum(axis=0))))
            plain.append(np.corrcoef(x[0], votes_entropy)[0, 1])
            truths.append(np.corrcoef(x[0], x[1])[0, 1])
        yield (
            f"| correlation of entropies, {name}: truth {np.mean(truths):.3f}, 2,340 items, {sets} data sets "
            f"| {np.mean(plain):.3f} | {np.mean(found):.3f} ± {np.std(found):.3f} |"
        )


PARTS: dict[str, Callable[[float], Iterator[str]]] = {
    "limits": lambda size: limits(max(5, int(200 * size))),
    "coverage": lambda size: coverage(max(5, int(300 * size)), 400),
    "verdicts": lambda size: verdicts(max(5, int(1000 * size)), 399),
    "boards": lambda size: boards(max(5, int(200 * size))),
    "uncertainty": lambda size: uncertainty(max(5, int(100 * size))),
}


def main() -> None:
    """Run all parts, or those named, and write the table into docs/scoring.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parser.add_argument("--size", type=float, default=1.0, help="share of the data sets that are simulated")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/scoring.md")
    chosen = parser.parse_args()
    lines = ["| what | before | now |", "| --- | ---: | ---: |"]
    for name in chosen.parts or PARTS:
        began = time.process_time()
        for line in PARTS[name](chosen.size):
            print(line, flush=True)
            lines.append(line)
        print(f"{name}: {time.process_time() - began:.0f} s of processor time", flush=True)
    if chosen.write:
        text = DOCS.read_text(encoding="utf-8")
        table = "\n".join(lines)
        block = re.sub(r"(<!-- simulated -->\n).*?(\n<!-- /simulated -->)", rf"\1{table}\2", text, flags=re.S)
        DOCS.write_text(block, encoding="utf-8")


if __name__ == "__main__":
    main()
