"""What each number of a scorecard means, in a sentence for somebody who is no statistician."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from runner.scoring.metrics import METRICS


@dataclass(frozen=True, slots=True)
class Words:
    """What a page says of a metric."""

    title: str
    """Title."""
    meaning: str
    """Meaning, in one sentence."""
    heading: str
    """Heading of its part of the table."""


DISTRIBUTION = "How close to the distribution of people’s answers"
MAJORITY = "Against the answer that most people chose"
WAY = "On the way to the human ceiling"
CALIBRATED = "After one temperature, fitted on other items"
SEED = "As the seed paper’s public code has it"
ABLATION = "Ablations"
OTHER = "Other metrics"

HEADINGS = (DISTRIBUTION, WAY, CALIBRATED, MAJORITY, SEED, ABLATION, OTHER)
"""In the order in which a page shows them."""

_WORDS = {
    "cross_entropy": Words(
        "Cross-entropy",
        "How surprised the model is, on average, by what a person answers.",
        DISTRIBUTION,
    ),
    "dirichlet_multinomial": Words(
        "Dirichlet-multinomial",
        "How surprised the model is by all the votes on an item together, when votes may scatter around its shares.",
        DISTRIBUTION,
    ),
    "dirichlet_multinomial_per_vote": Words(
        "Dirichlet-multinomial per vote",
        "The same divided by the number of votes, so that an item with many votes weighs no more than others.",
        DISTRIBUTION,
    ),
    "total_variation": Words(
        "Total variation",
        "The share of votes that would have to move to turn people’s split into the model’s.",
        DISTRIBUTION,
    ),
    "jensen_shannon": Words(
        "Jensen–Shannon",
        "How much an answer gives away, in bits, about whether a person or the model gave it.",
        DISTRIBUTION,
    ),
    "brier": Words(
        "Brier score",
        "Squared distance between the model’s shares and people’s, added up over the answers.",
        DISTRIBUTION,
    ),
    "kl": Words(
        "Kullback–Leibler",
        "The surprise that is left after taking off what the votes’ own disagreement explains.",
        DISTRIBUTION,
    ),
    "class_calibration": Words(
        "Class calibration",
        "The total variation once more, under the name it has in work on calibration to people.",
        DISTRIBUTION,
    ),
    "entropy_gap": Words(
        "Entropy gap",
        "Above zero the model is less certain than the votes, below zero more; the value to be near is the ceiling’s.",
        DISTRIBUTION,
    ),
    "entropy_correlation": Words(
        "Entropy correlation",
        "Whether the model is less certain where people disagree, freed of the noise of few votes.",
        DISTRIBUTION,
    ),
    "gap_to_ceiling": Words(
        "Gap to the ceiling",
        "How much more surprised the model is than a forecaster who knows the true shares.",
        WAY,
    ),
    "skill": Words(
        "Skill",
        "The share of the way from the better of prior and equal shares to the ceiling that the model has come.",
        WAY,
    ),
    "accuracy": Words(
        "Accuracy",
        "How often the model’s most probable answer is the one that most people chose.",
        MAJORITY,
    ),
    "macro_f1": Words(
        "Macro F1",
        "Hits on the most chosen answer, with rare answers counting as much as frequent ones.",
        MAJORITY,
    ),
    "wasserstein": Words(
        "Wasserstein distance",
        "How many steps along the scale the model’s answers lie from people’s, where answers have an order.",
        DISTRIBUTION,
    ),
    "ranking_agreement": Words(
        "Ranking agreement",
        "How often the model contradicts none of the orders in which people rank the answers.",
        MAJORITY,
    ),
    "seed_cross_entropy": Words(
        "Seed cross-entropy",
        "Only for comparison with the seed paper’s numbers: it does not reward honest predictions.",
        SEED,
    ),
    "seed_dirichlet": Words(
        "Seed Dirichlet",
        "Only for comparison with the seed paper’s numbers: it does not reward honest predictions.",
        SEED,
    ),
}


def words(name: str) -> Words:
    """The words for a metric; one that is not known keeps its name and says so."""
    if name in _WORDS:
        return _WORDS[name]
    base = METRICS[name].base if name in METRICS else None
    if base is None:
        return Words(name, "A metric that this version of the page has no words for.", OTHER)
    title = _WORDS[base].title
    if name.endswith("_calibrated"):
        meaning = "The same, once the model’s overall confidence is set right by one number fitted elsewhere."
        return Words(title, meaning, CALIBRATED)
    meaning = "The same, once the model’s general liking for each answer, whatever the item, is divided out."
    return Words(f"{title}, liking divided out", meaning, ABLATION)


def in_order(names: Iterable[str]) -> list[str]:
    """Metrics in the order in which they are explained here, the unknown last: a signed card sorts its names."""
    places = {name: index for index, name in enumerate(_WORDS)}
    return sorted(names, key=lambda name: (places.get(_plain(name), len(places)), name))


def _plain(name: str) -> str:
    return name.removesuffix("_calibrated").removesuffix("_pmi")


WARNINGS = {
    "order_gap": "the order of the options matters",
    "position_bias": "a place in the list is preferred",
    "answer_mass": "little probability on the options",
    "prompt_spread": "the prompts give different scores",
    "worse_than_uniform": "worse than equal shares",
    "prior_worse_than_uniform": "label shares are a worse guess than equal shares",
    "at_a_limit": "scored at the limit of a fitted value",
    "items": "few items",
    "units": "few items that do not depend on each other",
    "votes_per_item": "few votes",
    "ceiling_prior": "the ceiling’s prior is uncertain",
    "panels_differ": "two groups of people differ",
    "truncated": "texts were cut",
    "unread": "written answers could not be read",
}
"""Code of a warning → what it is about, in a few words; the card has the sentence with its numbers."""


def warning(code: str) -> str:
    """The words for the code of a warning; one that is not known is shown as it is."""
    return WARNINGS.get(code, code)


STRATA = {
    "panel_unanimity": "By how split other people were",
    "unanimity": "By how split people were",
    "entropy_tertiles": "By how much people disagree",
    "group": "By kind of item",
}
"""Title of each kind of strata."""


def strata_in_order(names: Iterable[str]) -> list[str]:
    """Parts of the items from agreement to disagreement (`5-0`, `4-1`, `3-2`; low, middle, high); others by name."""
    order = {"low": 0, "middle": 1, "high": 2}
    names = list(names)
    if all(re.fullmatch(r"\d+(-\d+)+", name) for name in names):
        return sorted(names, key=lambda name: [-int(votes) for votes in name.split("-")])
    return sorted(names, key=lambda name: (order.get(name, len(order)), name))
