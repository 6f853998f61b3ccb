"""Write the rows of the benchmarks in this folder: made-up items and votes drawn at random, in three published shapes.

    python tests/benchmarks/make_rows.py [FOLDER]

Nobody was asked anything. A vote is drawn with the probabilities written beside each item, by a seeded generator; the
files are kept beside this script, and a test holds them against it.
"""

import csv
import io
import json
import random
import sys
from pathlib import Path
from typing import Any

# Dish, and the weights of mild, warm, hot, very hot.
DISHES = [
    ("plain rice porridge with spring onions", (9, 1, 0, 0)),
    ("a cheese sandwich with a little mustard", (8, 2, 0, 0)),
    ("tomato soup with one chilli in the pot", (4, 5, 1, 0)),
    ("chicken korma", (6, 4, 1, 0)),
    ("a bean chilli from a family cookbook", (2, 5, 3, 0)),
    ("kimchi fried rice", (1, 5, 4, 1)),
    ("a green curry as it is served to tourists", (2, 4, 4, 1)),
    ("a green curry as it is served to locals", (0, 2, 5, 4)),
    ("vindaloo", (0, 1, 5, 5)),
    ("arrabbiata", (2, 5, 3, 1)),
    ("gingerbread", (6, 4, 0, 0)),
    ("raw onion rings in vinegar", (4, 4, 2, 0)),
    ("horseradish cream with beetroot", (2, 4, 4, 1)),
    ("wasabi peas", (0, 3, 5, 3)),
    ("a jalapeño straight from the jar", (0, 3, 6, 2)),
    ("a habanero, whole", (0, 0, 2, 9)),
    ("mapo tofu", (0, 4, 5, 2)),
    ("a lentil dal without chilli", (7, 3, 0, 0)),
    ("jerk chicken", (0, 3, 5, 3)),
    ("black pepper crab", (1, 4, 5, 1)),
    ("a radish sandwich", (6, 4, 1, 0)),
    ("harissa on toast, thinly spread", (1, 5, 4, 1)),
    ("harissa on toast, thickly spread", (0, 1, 5, 5)),
    ("ginger tea with honey", (6, 4, 0, 0)),
]

# Premise, hypothesis, and the weights of e, n, c.
PAIRS = [
    ("A boy pushes a red bicycle up the hill.", "The boy is tired.", (2, 8, 0)),
    ("A boy pushes a red bicycle up the hill.", "A child is outdoors.", (9, 1, 0)),
    ("Two women share an umbrella.", "It is raining.", (6, 4, 0)),
    ("Two women share an umbrella.", "The women are sisters.", (0, 9, 1)),
    ("The bakery closes at noon on Sundays.", "The bakery is open on Sunday evening.", (0, 1, 9)),
    ("The bakery closes at noon on Sundays.", "One can buy bread on Sunday morning.", (7, 3, 0)),
    ("Nobody answered the phone.", "The house was empty.", (2, 7, 1)),
    ("Nobody answered the phone.", "Someone picked up.", (0, 0, 9)),
    ("She has visited almost every museum in town.", "She has not visited every museum in town.", (7, 2, 1)),
    ("She has visited almost every museum in town.", "She likes art.", (4, 6, 0)),
    ("The dog sleeps under the table while we eat.", "The dog is hungry.", (0, 8, 2)),
    ("The dog sleeps under the table while we eat.", "The dog is awake.", (0, 0, 9)),
    ("Most of the seats were taken.", "Some seats were free.", (6, 3, 1)),
    ("Most of the seats were taken.", "The hall was nearly full.", (7, 2, 1)),
    ("He can lift the box with one hand.", "The box is light.", (6, 4, 1)),
    ("He can lift the box with one hand.", "He is strong.", (4, 6, 0)),
    ("The train was late again.", "The train had been late before.", (8, 2, 0)),
    ("The train was late again.", "The train was cancelled.", (0, 2, 8)),
    ("A man in a suit waits at a bus stop.", "The man is going to work.", (1, 9, 0)),
    ("A man in a suit waits at a bus stop.", "A man is standing.", (5, 5, 0)),
    ("The children painted the fence green.", "The fence used to be white.", (0, 9, 1)),
    ("The children painted the fence green.", "The fence is green.", (7, 3, 0)),
    ("I would have come if you had asked.", "I did not come.", (7, 2, 1)),
    ("I would have come if you had asked.", "You asked me to come.", (0, 1, 8)),
]

# Weather, season, and the chance of a coat.
WEATHER = [
    ("18 degrees and sunny, no wind", "spring", 0.05),
    ("14 degrees, clouds and some wind", "spring", 0.45),
    ("9 degrees and drizzle", "spring", 0.85),
    ("12 degrees in the morning, 20 at noon", "spring", 0.35),
    ("25 degrees, thunder is announced", "summer", 0.1),
    ("17 degrees after a week of 30", "summer", 0.3),
    ("13 degrees, a summer night by a lake", "summer", 0.6),
    ("21 degrees and light rain", "summer", 0.2),
    ("11 degrees, fog until noon", "autumn", 0.7),
    ("15 degrees and strong wind", "autumn", 0.65),
    ("7 degrees, clear sky", "autumn", 0.85),
    ("16 degrees, you are cycling", "autumn", 0.3),
    ("3 degrees and sunny", "winter", 0.95),
    ("8 degrees in January, which feels warm", "winter", 0.7),
    ("minus 5 degrees, only across the yard", "winter", 0.5),
    ("10 degrees on a ski slope", "winter", 0.35),
]


def dishes_csv(draw: random.Random) -> str:
    """An ordinal scale with counts in columns; ids are whole numbers."""
    rows: list[list[Any]] = [["", "dish", "mild", "warm", "hot", "very hot"]]
    for number, (dish, weights) in enumerate(DISHES, start=101):
        votes = draw.choices(range(4), weights, k=draw.randint(8, 12))
        rows.append([number, dish, *(votes.count(place) for place in range(4))])
    return _csv(rows)


def pairs_jsonl(draw: random.Random) -> str:
    """A counter without the labels that nobody chose, and texts within an object."""
    lines = []
    for number, (premise, hypothesis, weights) in enumerate(PAIRS):
        votes = draw.choices("enc", weights, k=100)
        counter = {label: votes.count(label) for label in "enc" if label in votes}
        texts = {"premise": premise, "hypothesis": hypothesis, "source": "made up"}
        lines.append(json.dumps({"uid": f"{number:03d}e", "label_counter": counter, "example": texts}))
    return "\n".join(lines) + "\n"


def coats_csv(draw: random.Random) -> str:
    """One row a person: whoever is asked about a day answers yes or no, or skips it."""
    rows: list[list[Any]] = [["response", "worker", "day", "weather", "season", "coat"]]
    for number, (weather, season, chance) in enumerate(WEATHER, start=1):
        for worker in draw.sample(range(30), k=draw.randint(7, 10)):
            answer = "skip" if draw.random() < 0.05 else "Yes" if draw.random() < chance else "No"
            rows.append([None, f"w{worker:02d}", f"day-{number}", weather, season, answer])
    body = rows[1:]
    draw.shuffle(body)
    return _csv([rows[0], *([place, *row[1:]] for place, row in enumerate(body, start=1))])


def _csv(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


FILES = {"dishes.csv": dishes_csv, "pairs.jsonl": pairs_jsonl, "coats.csv": coats_csv}


def main(folder: Path) -> None:
    """Write every file into `folder`."""
    for name, make in FILES.items():
        (folder / name).write_text(make(random.Random(name)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data")
