"""Tables and pictures of docs/experiment.md from the signed cards: `python docs/experiment/tables.py [DATA]`.

Nothing is typed by hand: the boards come from `leaderboard` and the cards, differences from `compare`, both over the
archive beside this file. With the data the comparisons are made anew and written to comparisons.json; without it they
are read from there. The same cards give the same bytes.
"""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from pictures import pictures
from results import HERE, METRICS, TASK, Json, Results, difference, load

PAGE = HERE.parent / "experiment.md"


def cell(value: object) -> str:
    """A value in a table; a dash where there is none."""
    return "–" if value is None else str(value)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *[[cell(value) for value in row] for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def grouped(values: Sequence[float | None], places: int = 4) -> str | None:
    """Mean, and the standard deviation between seeds where there are several."""
    numbers = [value for value in values if value is not None]
    if not numbers:
        return None
    mean = f"{round(float(np.mean(numbers)), places) + 0.0:.{places}f}".replace("-", "−")
    return mean if len(numbers) == 1 else f"{mean} ± {np.std(numbers, ddof=1):.{places}f}"


def board(results: Results, suite: str) -> str:
    """All systems of a suite, seeds grouped, best first; then the ceiling."""
    columns = (*METRICS[:4], "accuracy", "skill")
    measured = {name: [results.block(run)["metrics"] for run in runs] for name, runs in results.recipes(suite).items()}
    order = sorted(measured, key=lambda name: np.mean([each["cross_entropy"]["value"] for each in measured[name]]))
    rows: list[list[object]] = [
        [
            name,
            len(measured[name]),
            *(grouped([each[column]["value"] for each in measured[name]]) for column in columns),
        ]
        for name in order
    ]
    uniform = results.block(results.recipes(suite)["uniform-" + suite][0])
    for name, values in (("prior", uniform["baselines"]["prior"]), ("human ceiling", uniform["ceiling"])):
        known = [f"{values[column]['value']:.4f}" if column in values else None for column in columns[:-1]]
        rows.append([name, None, *known, "1" if name == "human ceiling" else None])
    return table(["system", "n", "cross-entropy", "calibrated", "Dirichlet", "calibrated", "accuracy", "skill"], rows)


def tracks(results: Results) -> str:
    """SmolLM2 as it is, in three tracks, and what learned to write, written."""
    rows = []
    for name, card in sorted(results.cards.items()):
        if not name.startswith("smollm2-base-") and not name.endswith("-written"):
            continue
        block = card["tasks"][TASK]
        value, unread = block["metrics"]["cross_entropy"], block["failures"] or {"rows": 0}
        interval = value.get("confidence_interval")
        rows.append(
            [
                name,
                f"{card['benchmark']['name']} {card['benchmark']['version']}",
                block["elicitation"],
                f"{block['items']:,}",
                unread["rows"],
                None if value["value"] is None else f"{value['value']:.4f}",
                interval and f"{interval['lower']:.4f} … {interval['upper']:.4f}",
                block["order"]["gap"] and f"{block['order']['gap']:.3f}",
                block["answer_mass"]["mean"] and f"{block['answer_mass']['mean']:.3f}",
            ]
        )
    head = ["run", "benchmark", "track", "items", "rows unread", "cross-entropy", "95 %", "order gap", "answer mass"]
    return table(head, rows)


GAINS = METRICS[:4]
OBJECTIVES = ("soft-cross-entropy", "dirichlet-multinomial", "hard", "text")


def gains(results: Results) -> str:
    """What training changed on fold 5, by objective."""
    rows: list[list[object]] = []
    for objective in OBJECTIVES:
        a, b = "smollm2-base-fold-5", f"smollm2-{objective}-fold-5-seed-*"
        found = [difference(results, a, b, metric) for metric in GAINS]
        if found[0] is not None:
            rows.append([objective, found[0].seeds, *found])
    written = difference(results, "smollm2-base-fold-5-written", "smollm2-text-fold-5-seed-*-written", "cross_entropy")
    if written is not None:
        rows.append(["text, written", written.seeds, written, None, None, None])
    return table(["objective", "n", *TITLES], rows)


TITLES = ("cross-entropy", "calibrated", "Dirichlet-multinomial", "calibrated")


def pooled(results: Results) -> str:
    """The same on all items, each answered by the model that was trained without its fold."""
    names = {
        "SmolLM2 tuned less as it is": ("smollm2-base-all", "smollm2-soft-cross-entropy-crossfit"),
        "MiniLM trained less SmolLM2 as it is": ("smollm2-base-all", "minilm-soft-cross-entropy-crossfit"),
        "MiniLM trained less SmolLM2 tuned": (
            "smollm2-soft-cross-entropy-crossfit",
            "minilm-soft-cross-entropy-crossfit",
        ),
    }
    rows: list[list[object]] = []
    for title, (a, b) in names.items():
        if f"{a} | {b}" in results.comparisons:
            rows.append([title, *(difference(results, a, b, metric) for metric in GAINS)])
    return table(["all 2,340 items", *TITLES], rows)


def ways(results: Results) -> str:
    """Shares of the way to the ceiling that training gained, and whether the Dirichlet loss gained more."""
    rows: list[list[object]] = []
    chosen = [
        ("cross_entropy", "dirichlet_multinomial", "as it is"),
        ("cross_entropy_calibrated", "dirichlet_multinomial_calibrated", "calibrated"),
    ]
    sources = [(f"{one}, fold 5", "smollm2-base-fold-5", f"smollm2-{one}-fold-5-seed-*") for one in OBJECTIVES]
    sources.append(("soft-cross-entropy, all", "smollm2-base-all", "smollm2-soft-cross-entropy-crossfit"))
    for title, a, b in sources:
        for first, second, how in chosen:
            found = [difference(results, a, b, name, "skills") for name in (first, second)]
            if any(found):
                beside = difference(results, a, b, second, "beside") if first == "cross_entropy" else None
                rows.append([title, how, *found, beside])
    return table(["objective", "", "cross-entropy", "Dirichlet-multinomial", "the latter less the former"], rows)


def encoders(results: Results) -> str:
    """MiniLM less SmolLM2 tuned with the same loss and seed: true losses, and those of the paper's code."""
    rows: list[list[object]] = []
    metrics = ("cross_entropy", "cross_entropy_calibrated", "seed_cross_entropy", "seed_dirichlet")
    for objective in OBJECTIVES[:3]:
        a, b = (f"{kind}-{objective}-fold-5-seed-*" for kind in ("smollm2", "minilm"))
        found = [difference(results, a, b, metric) for metric in metrics]
        if found[0] is not None:
            rows.append([f"{objective}, fold 5", found[0].seeds, *found])
    a, b = (f"{kind}-soft-cross-entropy-crossfit" for kind in ("smollm2", "minilm"))
    if f"{a} | {b}" in results.comparisons:
        rows.append(["soft-cross-entropy, all", 1, *(difference(results, a, b, metric) for metric in metrics)])
    head = ["objective", "n", "cross-entropy", "calibrated", "the paper's cross-entropy", "the paper's Dirichlet loss"]
    return table(head, rows)


def losses(results: Results) -> str:
    """Both forms of both losses, for every system on fold 5 in the order of the true one, with ranks."""
    recipes = results.recipes("fold-5")
    own = {name: [results.block(run)["metrics"] for run in runs] for name, runs in recipes.items()}
    columns = ("cross_entropy", "seed_cross_entropy", "dirichlet_multinomial", "seed_dirichlet")
    means = {
        name: [grouped_mean([each[column]["value"] for each in metrics]) for column in columns]
        for name, metrics in own.items()
    }
    rows: list[list[object]] = []
    for name in sorted(means, key=lambda name: means[name][0] or np.inf):
        cells: list[object] = [name]
        for at, value in enumerate(means[name]):
            others = [mean[at] for mean in means.values() if mean[at] is not None]
            cells.append(None if value is None else f"{value:.4f} ({1 + sum(other < value for other in others)})")
        rows.append(cells)
    head = ["system", "cross-entropy (rank)", "the paper's", "Dirichlet-multinomial", "the paper's"]
    return table(head, rows)


def grouped_mean(values: Sequence[float | None]) -> float | None:
    """The mean; None where a value is missing."""
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if len(numbers) == len(values) else None


def calibration(results: Results) -> str:
    """What a temperature gains, and how certain the systems are, on fold 5."""
    rows: list[list[object]] = []
    for system, runs in results.recipes("fold-5").items():
        blocks = [results.block(run) for run in runs]
        metrics = [block["metrics"] for block in blocks]
        gain = [
            None
            if each["cross_entropy_calibrated"]["value"] is None
            else each["cross_entropy"]["value"] - each["cross_entropy_calibrated"]["value"]
            for each in metrics
        ]
        rows.append(
            [
                system,
                len(runs),
                grouped(gain),
                *(grouped([each[name]["value"] for each in metrics]) for name in ("class_calibration", "entropy_gap")),
                grouped([block["order"]["gap"] for block in blocks], 3),
                grouped([block["answer_mass"]["mean"] for block in blocks], 3),
            ]
        )
    head = ["system", "n", "gained by temperature", "class calibration", "entropy gap", "order gap", "answer mass"]
    return table(head, rows)


def rates(results: Results) -> str:
    """What the learning rate was chosen by: cross-entropy on the inner fold."""
    rows = [
        [name.split("-rate-")[1], f"{results.block(name)['metrics']['cross_entropy']['value']:.4f}"]
        for name in sorted(results.cards)
        if "-rate-" in name
    ]
    return table(["learning rate", "cross-entropy on fold 4"], rows)


def claims(results: Results) -> str:
    """Each claim of the abstract with what was seen, by the rules of the plan."""
    tuned = ("smollm2-base-fold-5", "smollm2-soft-cross-entropy-fold-5-seed-*")
    dirichlet = ("smollm2-base-fold-5", "smollm2-dirichlet-multinomial-fold-5-seed-*")
    whole = ("smollm2-base-all", "smollm2-soft-cross-entropy-crossfit")
    encoder = ("smollm2-soft-cross-entropy-fold-5-seed-*", "minilm-soft-cross-entropy-fold-5-seed-*")
    both = ("smollm2-soft-cross-entropy-crossfit", "minilm-soft-cross-entropy-crossfit")
    asked = [
        ("1. tuning lowers cross-entropy", "fold 5, `soft_cross_entropy`", *tuned, "cross_entropy", "metrics"),
        ("", "all items, `soft_cross_entropy`", *whole, "cross_entropy", "metrics"),
        ("1. tuning lowers the Dirichlet loss", "fold 5, `dirichlet_multinomial`", *dirichlet, METRICS[2], "metrics"),
        ("", "all items, `soft_cross_entropy`", *whole, METRICS[2], "metrics"),
        ("1b. the Dirichlet loss gains more", "fold 5, `dirichlet_multinomial`", *dirichlet, METRICS[2], "beside"),
        ("", "all items, `soft_cross_entropy`", *whole, METRICS[2], "beside"),
        ("3. encoders have the lower one", "fold 5, `soft_cross_entropy`", *encoder, "cross_entropy", "metrics"),
        ("", "all items, `soft_cross_entropy`", *both, "cross_entropy", "metrics"),
        ("3. the same in the paper's own form", "fold 5", *encoder, "seed_cross_entropy", "metrics"),
        ("", "all items", *both, "seed_cross_entropy", "metrics"),
    ]
    rows: list[list[object]] = []
    for claim, where, a, b, metric, part in asked:
        found = difference(results, a, b, metric, part)
        rows.append([claim, where, found and found.seeds, found, found.sign if found else "not run"])
    return table(["claim", "tested on", "n", "difference, 95 %", "verdict"], rows)


_PARAMETERS = 134_515_008
_PEAK = 989e12  # bfloat16 operations a second of one H200, dense, as its maker states them
_SHARES = (0.2, 0.6)
_PAPER = {"Llama-3.1-8B": 8.0e9, "Zephyr-7b-beta": 7.2e9, "Mistral-7B-v0.3": 7.2e9}
_TRAIN_ITEMS = 23_596


_HEADS = ("soft-cross-entropy", "counts", "hard", "dirichlet-multinomial")
_PLANNED_SEEDS = 5


def run_of_plan(results: Results) -> str:
    """How much of the plan the archive holds."""
    planned: dict[str, list[str]] = {}
    for kind, objectives in (("smollm2", OBJECTIVES), ("minilm", _HEADS)):
        for one in objectives:
            names = [f"{kind}-{one}-fold-5-seed-{seed}" for seed in range(1, _PLANNED_SEEDS + 1)]
            planned[f"{kind}, {one}, fold 5, seeds"] = names
        names = [f"{kind}-soft-cross-entropy-fold-{fold}-seed-1" for fold in range(1, 6)]
        planned[f"{kind}, soft-cross-entropy, folds of the cross-fit"] = names
    tracks = ("released", "all", "fold-5", "fold-5-written", "sampled")
    planned["smollm2 as it is"] = [f"smollm2-base-{track}" for track in tracks]
    suites = ("fold-5", "all")
    planned["uniform and second panel"] = [f"{name}-{suite}" for name in ("uniform", "panel") for suite in suites]
    rows = [[what, len(names), sum(name in results.cards for name in names)] for what, names in planned.items()]
    return table(["what", "cards planned", "cards here"], rows)


def costs(results: Results) -> str:
    """Processor hours by kind of work, of runs that ended."""
    kinds: dict[str, list[Json]] = {}
    for row in results.costs:
        model = row["name"].split("-")[0] if row["command"] in ("evaluate", "finetune") else "no model"
        kinds.setdefault(f"{row['command']}, {model}", []).append(row)
    rows: list[list[object]] = []
    for kind, own in sorted(kinds.items()):
        used = [row["processor_seconds"] for row in own]
        rows.append([kind, len(own), f"{sum(used) / 3600:.2f}", f"{np.mean(used):.0f}"])
    whole = sum(row["processor_seconds"] for row in results.costs)
    rows.append(["all", len(results.costs), f"{whole / 3600:.2f}", None])
    return table(["command", "runs", "processor hours", "processor seconds each"], rows)


def estimate(results: Results) -> str:
    """What the plan costs for the paper's language models on one H200: counted tokens, two shares of its peak."""
    asked = results.tokens_per_prompt
    name = "smollm2-soft-cross-entropy-fold-5-seed-1"
    prompts = results.trainings[name]["trained_on"][TASK]["examples"]
    own = [row for row in results.costs if row["name"] == name and row["command"] == "finetune"]
    seconds = sum(row["processor_seconds"] for row in own)
    rows: list[list[object]] = []
    for title, items in (("the plan, 320 items", prompts / 2), (f"all {_TRAIN_ITEMS:,} training items", _TRAIN_ITEMS)):
        # 20 runs on fold 5 and 4 on the others; 2 operations a parameter and token that is read, 4 more to train.
        training = 24 * 2 * items * asked * 6
        reading = (14_040 + 4_680 + 936 * 24 + 4 * 936) * asked * 2
        operations = sum(_PAPER.values()) * (training + reading)
        hours = [operations / (_PEAK * share) / 3600 for share in sorted(_SHARES, reverse=True)]
        rows.append([title, f"{operations:.1e}", f"{hours[0]:.1f} to {hours[1]:.1f}"])
    rate = prompts * asked / seconds
    done = rate * 6 * _PARAMETERS / 1e9
    here = (
        f"SmolLM2 trained here at {rate:.0f} tokens a processor second, starts included: {done:.0f} · 10⁹ operations."
    )
    words = f"An estimate: no GPU was used. The prompts have {asked:.0f} tokens on average (counted). {here}"
    head = ["what is trained", "operations, three models", "hours of one H200 at 60 to 20 % of its peak"]
    return f"{words}\n\n{table(head, rows)}"


TABLES: Mapping[str, Callable[[Results], str]] = {
    "runs": run_of_plan,
    "claims": claims,
    "board": lambda results: board(results, "fold-5"),
    "board-all": lambda results: board(results, "all"),
    "gains": gains,
    "pooled": pooled,
    "ways": ways,
    "encoders": encoders,
    "losses": losses,
    "tracks": tracks,
    "calibration": calibration,
    "rates": rates,
    "costs": costs,
    "estimate": estimate,
}


def filled(page: str, results: Results) -> str:
    """The page with each table between its marks; `KeyError` for a mark of no table."""
    mark = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)
    return mark.sub(lambda found: f"{found[1]}{TABLES[found[2]](results)}\n{found[3]}", page)


def main() -> None:
    """Write the tables into the page, and the pictures beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", help="folder of dev.scruples-dilemmas.jsonl, to compare anew")
    results = load(data=parser.parse_args().data)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    for name, text in pictures(results).items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
