"""Draw the sample's synthetic votes from the writer's ratings: `python make_votes.py [FOLDER]` writes the six files.

Only `random.Random.random()` is drawn from, the one method whose sequence Python promises to keep for a seed, and
every item has a generator of its own, so the files come out byte for byte the same and one item never moves another.
"""

import json
import math
import sys
from pathlib import Path
from random import Random
from statistics import NormalDist
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
SEED = "moral-ambiguity sample 1"
LABELS = ("AUTHOR", "OTHER", "EVERYBODY", "NOBODY", "INFO")
DILEMMAS = {"train": 600, "dev": 80, "test": 80}

ANNOTATORS = 5  # as in Scruples: five gold and five other votes per dilemma
STEEPNESS = 1.0  # log-odds for one point of difference between two ratings
ITEM_NOISE = 0.5  # standard deviation, in log-odds, of what the two ratings do not say about a pair
CONCENTRATION = 15.0  # of the Dirichlet around a story's shares
FEWEST, MOST = 5, 60  # votes per story


def generator(*name: object) -> Random:
    """The generator of one item, seeded from its name."""
    return Random("/".join(map(str, (SEED, *name))))


def below(random: Random, limit: int) -> int:
    """A whole number from 0 to `limit` - 1, evenly."""
    return int(random.random() * limit)


def largest(counts: list[int]) -> int:
    """Index of the largest count; of equal ones the first."""
    return counts.index(max(counts))


def pairs(split: str, actions: int, count: int) -> list[tuple[int, int]]:
    """`count` different pairs of different actions, in either order but never in both."""
    random = generator("pairs", split)
    distinct: dict[frozenset[int], tuple[int, int]] = {}
    while len(distinct) < count:
        first, second = below(random, actions), below(random, actions)
        if first != second:
            distinct.setdefault(frozenset((first, second)), (first, second))
    return list(distinct.values())


def five_votes(random: Random, chance_first: float) -> list[int]:
    """How many of five people chose the first and the second action as the less ethical one."""
    first = sum(random.random() < chance_first for _ in range(ANNOTATORS))
    return [first, ANNOTATORS - first]


def dilemma(split: str, number: int, pair: tuple[int, int], actions: list[tuple[str, float]]) -> dict[str, Any]:
    """One row in the field layout of Scruples Dilemmas; train rows have no second group of people, as there."""
    name = f"sample-dilemma-{split}-{number:04d}"
    random = generator(name)
    severities = [actions[index][1] for index in pair]
    noise = ITEM_NOISE * NormalDist().inv_cdf(min(max(random.random(), 1e-9), 1 - 1e-9))
    log_odds = STEEPNESS * (severities[0] - severities[1]) + noise
    chance_first = 1 / (1 + math.exp(-log_odds))
    gold = five_votes(random, chance_first)
    panel = [0, 0] if split == "train" else five_votes(random, chance_first)
    return {
        "id": name,
        "actions": [
            {"id": f"sample-action-{split}-{index + 1:03d}", "description": actions[index][0]} for index in pair
        ],
        "gold_annotations": gold,
        "gold_label": largest(gold),
        "human_perf_annotations": panel,
        "human_perf_label": largest(panel) if any(panel) else None,
        "controversial": 0 not in gold,
    }


def urn(random: Random, shares: list[float], votes: int) -> list[int]:
    """A Dirichlet-multinomial draw around `shares`, as a Pólya urn: every vote makes its label a little more likely."""
    counts = [0] * len(shares)
    for drawn in range(votes):
        weights = [CONCENTRATION * share + count for share, count in zip(shares, counts, strict=True)]
        point = random.random() * (CONCENTRATION + drawn)
        label = 0
        while label < len(weights) - 1 and point >= weights[label]:
            point -= weights[label]
            label += 1
        counts[label] += 1
    return counts


def anecdote(split: str, number: int, story: dict[str, Any]) -> dict[str, Any]:
    """One row in the field layout of Scruples Anecdotes."""
    name = f"sample-anecdote-{split}-{number:03d}"
    random = generator(name)
    # The square makes short threads common and long ones rare, as they are in a forum.
    votes = FEWEST + int((MOST - FEWEST + 1) * random.random() ** 2)
    counts = urn(random, story["shares"], votes)
    author, other, everybody, nobody, _ = counts
    right, wrong = other + nobody, author + everybody
    return {
        "id": name,
        "post_id": f"sample-post-{split}-{number:03d}",
        "action": {
            "description": story["action"],
            "pronormative_score": right,
            "contranormative_score": wrong,
        },
        "title": story["title"],
        "text": story["text"],
        "post_type": story["post_type"],
        "label_scores": dict(zip(LABELS, counts, strict=True)),
        "label": LABELS[largest(counts)],
        "binarized_label_scores": {"RIGHT": right, "WRONG": wrong},
        "binarized_label": ("RIGHT", "WRONG")[largest([right, wrong])],
    }


def stories(split: str, document: dict[str, Any]) -> list[dict[str, Any]]:
    """Every opening with each of its turns: all the first turns, then all the second ones, then the third."""
    composed = []
    used = dict.fromkeys(LABELS, 0)
    openings = document["stories"][split]
    for turn_number in range(3):
        for story in openings:
            turn = story["turns"][turn_number]
            post_type = story.get("post_type", "HISTORICAL")
            parts = [story["opening"], turn["text"]]
            if post_type == "HISTORICAL":
                judgement = LABELS[largest(turn["shares"])]
                closings = document["closings"][split][judgement]
                parts.append(closings[used[judgement] % len(closings)])
                used[judgement] += 1
            question = "Am I" if post_type == "HISTORICAL" else "Would I be"
            composed.append(
                {
                    "action": turn["action"],
                    "title": f"{question} in the wrong for {turn['action']}?",
                    "text": " ".join(parts),
                    "post_type": post_type,
                    "shares": [percent / 100 for percent in turn["shares"]],
                }
            )
    return composed


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """JSON lines in UTF-8 with LF line ends on every system."""
    path.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())


def main(folder: Path) -> None:
    """Write `{train,dev,test}.sample-{dilemmas,anecdotes}.jsonl` into `folder`."""
    ratings = yaml.safe_load((HERE / "actions.yaml").read_text(encoding="utf-8"))
    document = yaml.safe_load((HERE / "stories.yaml").read_text(encoding="utf-8"))
    for split, count in DILEMMAS.items():
        actions = list(ratings[split].items())
        write(
            folder / f"{split}.sample-dilemmas.jsonl",
            [
                dilemma(split, number, pair, actions)
                for number, pair in enumerate(pairs(split, len(actions), count), start=1)
            ],
        )
        write(
            folder / f"{split}.sample-anecdotes.jsonl",
            [anecdote(split, number, story) for number, story in enumerate(stories(split, document), start=1)],
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
