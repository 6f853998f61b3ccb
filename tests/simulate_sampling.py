"""Coverage of intervals over drawn answers, by simulation: `python tests/simulate_sampling.py` writes the table's rows.

Two labels; people's shares p ~ Beta(.98, .95) and five votes; a model whose logit is the people's less 40 % and with
noise of 1; n answers drawn of each item. An interval should hold the expected score of n drawn answers (over items,
votes and draws), and is also held against the expected score of the model's own probabilities, which n answers
approach: the difference is the bias of drawing.
"""

import numpy as np
from scipy.special import expit, logit

from runner.scoring import intervals
from runner.scoring.rules import cross_entropy
from runner.tasks.sampled import log_posterior_mean

ITEMS, DATA_SETS, DRAWS, REDRAWS = 200, 400, 400, 20


def population(random: np.random.Generator, items: int) -> tuple[np.ndarray, np.ndarray]:
    """(items,) the model's probability of the first label, and (items, 2) votes."""
    people = random.beta(0.98, 0.95, size=items).clip(1e-9, 1 - 1e-9)
    votes = random.binomial(5, people)
    model = expit(0.6 * logit(people) + random.normal(size=items))
    return model, np.stack([votes, 5 - votes], axis=1).astype(float)


def scores(drawn: np.ndarray, n: int, votes: np.ndarray) -> np.ndarray:
    return cross_entropy(log_posterior_mean(np.stack([drawn, n - drawn], axis=1).astype(float)), votes)


def simulate(n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    model, votes = population(random, 2_000_000)
    target = scores(random.binomial(n, model), n, votes).mean()
    exact = cross_entropy(np.log(np.stack([model, 1 - model], axis=1).clip(1e-300)), votes).mean()
    held = {"items": 0, "items, then draws": 0, "items, then draws, of the exact score": 0}
    told = []
    for number in range(DATA_SETS):
        model, votes = population(random, ITEMS)
        drawn = random.binomial(n, model)
        losses = scores(drawn, n, votes)
        again = np.stack([scores(random.binomial(n, drawn / n), n, votes) for _ in range(REDRAWS)])
        told.append(again.mean() - losses.mean())
        first = intervals.bootstrap_means(losses[:, None], DRAWS, number)
        both = first + intervals.second_stage(again[:, :, None], DRAWS, number)
        for name, draws, truth in (
            ("items", first, target),
            ("items, then draws", both, target),
            ("items, then draws, of the exact score", both, exact),
        ):
            lower, upper = intervals.percentile_interval(draws, 0.95)
            held[name] += bool(lower[0] <= truth <= upper[0])
    for name, number in held.items():
        share = number / DATA_SETS
        print(f"| {name} | {n} | {share:.1%} ± {np.sqrt(share * (1 - share) / DATA_SETS):.1%} |")
    print(f"| bias: true / told on average | {n} | {target - exact:+.4f} / {np.mean(told):+.4f} |")


if __name__ == "__main__":
    for count in (4, 16, 64):
        simulate(count, count)
