"""What the committed archive of the experiment holds: verified cards, boards, and differences over seeds."""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

import runner
from runner.archive.get import get
from runner.archive.index import opened
from runner.archive.leaderboard import Group, leaderboard
from runner.archive.store import Store, open_store
from runner.core.errors import UserError
from runner.signing.keyring import load_keyring

HERE = Path(__file__).resolve().parent
OWN = HERE / "benchmark.yaml"
TASK = "dilemmas"
LETTERS = "dilemmas-letters"
SEED = re.compile(r"-seed-\d+")
METRICS = (
    "cross_entropy",
    "cross_entropy_calibrated",
    "dirichlet_multinomial",
    "dirichlet_multinomial_calibrated",
    "total_variation",
    "accuracy",
    "seed_cross_entropy",
    "seed_dirichlet",
)

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """What the archive holds, verified."""

    cards: Mapping[str, Json]
    """Name of the submission → its card."""
    groups: Mapping[str, Group]
    """Suite of the experiment's benchmark → its board."""
    comparisons: Mapping[str, Json]
    """`A | B` → differences and skills of B less A."""
    trainings: Mapping[str, Json]
    """Name → recipe and record of a training."""
    costs: Sequence[Json]
    """What each command took."""
    tokens_per_prompt: float
    """Of the letters prompt in plain text, on average, as counted by a run of SmolLM2."""

    def block(self, name: str) -> Json:
        """The task's part of a card."""
        block: Json = self.cards[name]["tasks"][TASK]
        return block

    def recipes(self, suite: str) -> dict[str, list[str]]:
        """Name without seed → the names of its runs on a suite, by seed."""
        grouped: dict[str, list[str]] = {}
        for name in sorted(self.cards):
            card = self.cards[name]
            if card["suite"] == suite and card["tasks"][TASK]["elicitation"] in (None, "logprob"):
                grouped.setdefault(SEED.sub("", name), []).append(name)
        return grouped


def load(folder: Path = HERE, data: Path | None = None) -> Results:
    """Every card of the archive in `folder`, its signature checked; with `data` compared anew.

    Raises `VerificationError` for a card that no key of keyring.json signed.
    """
    keyring, store = load_keyring(folder / "keyring.json"), open_store(str(folder / "archive"))
    cards = {}
    for file in sorted((folder / "archive" / "cards").glob("*/*.sigstore.json")):
        card = runner.load_card(file, keyring=folder / "keyring.json")
        cards[str(card["submission"]["name"])] = card.content
    environment = cards["smollm2-base-fold-5"]["environment"]["sha256"]
    file = folder / "archive" / "environments" / environment[:2] / f"{environment}.json"
    timing = json.loads(file.read_text(encoding="utf-8"))["timing"]
    board = leaderboard(store, keyring, benchmark=runner.load_benchmark(OWN))
    recorded = folder / "comparisons.json"
    if data is not None:
        found = compared(store, cards, folder / "keyring.json", data)
        recorded.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return Results(
        cards=cards,
        groups={group.measures.suite: group for group in board.groups if LETTERS in dict(group.measures.prompts or ())},
        comparisons=json.loads(recorded.read_text(encoding="utf-8")),
        trainings=json.loads((folder / "trainings.json").read_text(encoding="utf-8")),
        costs=json.loads((folder / "costs.json").read_text(encoding="utf-8")),
        tokens_per_prompt=timing["tokens"] / timing["prompts"],
    )


def pairs(cards: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    """A and B of each comparison of the plan of which both cards are there."""
    wanted = [
        ("smollm2-base-all", "smollm2-soft-cross-entropy-crossfit"),
        ("smollm2-base-all", "minilm-soft-cross-entropy-crossfit"),
        ("smollm2-soft-cross-entropy-crossfit", "minilm-soft-cross-entropy-crossfit"),
    ]
    for name in sorted(cards):
        if not name.startswith("smollm2-") or "-fold-5-seed-" not in name:
            continue
        wanted.append(("smollm2-base-fold-5-written" if name.endswith("-written") else "smollm2-base-fold-5", name))
        wanted.append((name, name.replace("smollm2-", "minilm-", 1)))
    yield from ((a, b) for a, b in wanted if a in cards and b in cards)


def compared(store: Store, cards: Mapping[str, Json], keyring: Path, data: Path) -> dict[str, Json]:
    """`benchmark compare` of every pair, of the runs as the archive has them."""
    results: dict[str, Json] = {}
    with tempfile.TemporaryDirectory() as folder:
        index = opened(store)
        needed = sorted({name for pair in pairs(cards) for name in pair})
        runs = {name: get(index, name, Path(folder)) for name in needed}
        for a, b in pairs(cards):
            try:
                found = runner.compare(runs[a], runs[b], keyring=keyring, benchmark=OWN, data_dir=data)
            except UserError as refused:
                results[f"{a} | {b}"] = {"refused": [fault.message for fault in refused.faults]}
                continue
            block = found["tasks"][TASK]
            skills = {name: block["skills"][name] for name in METRICS if name in block["skills"]}
            metrics = {name: block["metrics"][name] for name in METRICS}
            results[f"{a} | {b}"] = {"items": block["items"], "metrics": metrics, "skills": skills}
    return results


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval at 95 %."""

    value: float
    lower: float
    upper: float
    seeds: int

    def __str__(self) -> str:
        return f"{self.value:+.4f} [{self.lower:+.4f}, {self.upper:+.4f}]".replace("-", "−")

    @property
    def sign(self) -> str:
        """lower, higher, or undecided."""
        return "lower" if self.upper < 0 else "higher" if self.lower > 0 else "undecided"


def over_seeds(entries: Sequence[Json], units: int) -> Estimate:
    """The mean of differences of several seeds; see docs/experiment/plan.md, Intervals. `units` is of the items."""
    values = np.array([entry["difference"] for entry in entries])
    if len(values) == 1:
        return Estimate(float(values[0]), entries[0]["lower"], entries[0]["upper"], 1)
    items = float(np.mean([entry["standard_error"] for entry in entries])) ** 2
    seeds = float(values.var(ddof=1)) / len(values)
    degrees = (items + seeds) ** 2 / (items**2 / (units - 1) + seeds**2 / (len(values) - 1))
    reach = float(student.ppf(0.975, degrees)) * (items + seeds) ** 0.5
    return Estimate(float(values.mean()), float(values.mean()) - reach, float(values.mean()) + reach, len(values))


def difference(results: Results, a: str, b: str, metric: str, part: str = "metrics") -> Estimate | None:
    """B less A over all seeds; `a` and `b` are names with `*` where the seed is. `part`: metrics, skills, beside."""
    form = re.compile(re.escape(f"{a} | {b}").replace(r"\*", r"\d+") + "$")
    entries = []
    for pair, found in results.comparisons.items():
        if form.match(pair) and "refused" not in found:
            entry = found["metrics" if part == "metrics" else "skills"].get(metric)
            entries.append(entry if part != "beside" or entry is None else entry.get("beside_primary"))
    entries = [entry for entry in entries if entry is not None and entry["difference"] is not None]
    name = b.replace("*", "1")
    return over_seeds(entries, results.block(name)["dependence"]["units"]) if entries else None
