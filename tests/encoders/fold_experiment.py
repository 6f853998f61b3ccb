"""Train a small pretrained encoder on four fifths of the real dev Dilemmas, score the last fifth, compare with uniform.

`make encoders DATA=FOLDER` runs it. The settings below were chosen in the benchmark's suite `inner` (folds 1 to 3
against fold 4); nothing about fold 5 was looked at for them.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from base import make

ROOT = Path(__file__).resolve().parents[2]
BENCHMARK = ROOT / "tests" / "benchmarks" / "dilemmas-folds.yaml"
COMMAND = Path(sys.executable).with_name("benchmark")
OBJECTIVES = ("hard", "soft_cross_entropy", "counts", "dirichlet_multinomial")
TRAINING: dict[str, Any] = {
    "learning_rate": 0.0001,
    "warmup": 0.1,
    "weight_decay": 0.01,
    "epochs": 2,
    "batch_size": 32,
}
SHOWN = (
    "cross_entropy",
    "cross_entropy_calibrated",
    "dirichlet_multinomial",
    "dirichlet_multinomial_calibrated",
    "total_variation",
    "accuracy",
)


def benchmark(*arguments: object) -> str:
    """What a command says; it must succeed. Its progress goes to the screen."""
    done = subprocess.run([COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, encoding="utf-8")
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


def trained(out: Path, data: Path, suite: str, objective: str, seed: int) -> Path:
    """The submission's folder; what is there already is kept, what was begun is gone on with."""
    recipe = {
        "schema_version": "1",
        "name": f"minilm-{suite}-{objective.replace('_', '-')}-{seed}",
        "base": {
            "backend": "encoder",
            "path": "minilm",
            "dtype": "float32",
            "head": {"task": "dilemmas", "kind": "ranking", "max_tokens": 92},
        },
        # One pair of actions stands in the data twice: what is also scored is left out of the training.
        "data": {
            "benchmark": str(BENCHMARK),
            "suite": suite,
            "train": "train",
            "evaluate": "held-out",
            "leaks": "drop",
        },
        "objective": {"kind": objective},
        "method": {"kind": "full"},
        "training": {**TRAINING, "seed": seed},
        # What is kept is what stands at the end: nothing is chosen by the held-out fold.
        "evaluation": {"keep": "last"},
    }
    path = out / f"{recipe['name']}.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    folder = out / "submissions" / str(recipe["name"])
    if not (folder / "submission.yaml").exists():
        benchmark("finetune", path, "--data-dir", data, "--output-dir", out / "submissions")
    return folder


def scored(folder: Path, uniform: Path, out: Path, data: Path, suite: str) -> dict[str, Any]:
    """Evaluate a submission on the held-out fold and compare it with equal probabilities, item by item."""
    where = ("--benchmark", BENCHMARK, "--data-dir", data)
    results = out / "results"
    asked = ("--suite", suite, "--output-dir", results, "--quiet")
    runs = sorted((results / folder.name).glob("*/scorecard.json"))
    run = (
        runs[-1].parent if runs else Path(last_line(benchmark("evaluate", folder / "submission.yaml", *where, *asked)))
    )
    card = json.loads((run / "scorecard.json").read_text(encoding="utf-8"))
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    against = json.loads(benchmark("compare", uniform, run, *where, "--format", "json"))
    return {
        "name": folder.name,
        "items": record["trained_on"]["dilemmas"]["items"],
        "seconds": record["training"]["seconds"],
        "metrics": {name: card["tasks"]["dilemmas"]["metrics"][name]["value"] for name in SHOWN},
        "against_uniform": {name: against["tasks"]["dilemmas"]["metrics"][name] for name in SHOWN},
    }


def uniform_run(out: Path, data: Path, suite: str) -> Path:
    """The run of equal probabilities on the held-out fold."""
    where = ("--benchmark", BENCHMARK, "--data-dir", data, "--suite", suite)
    rows = out / f"uniform-{suite}.jsonl"
    benchmark("baseline", "uniform", *where, "--output", rows)
    return Path(last_line(benchmark("score", rows, *where, "--output-dir", out / "results", "--quiet")))


def last_line(text: str) -> str:
    return text.splitlines()[-1]


def main() -> None:
    """Train, evaluate, compare, and show one row for each objective and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder that holds dev.scruples-dilemmas.jsonl")
    parser.add_argument("--out", type=Path, default=Path("results/encoders"))
    parser.add_argument("--suite", choices=("inner", "outer", "apart"), default="outer")
    parser.add_argument("--objective", choices=OBJECTIVES, action="append")
    parser.add_argument("--seed", type=int, action="append")
    given = parser.parse_args()
    out = given.out.resolve()
    make(out / "minilm")
    uniform = uniform_run(out, given.data, given.suite)
    rows = [
        scored(trained(out, given.data, given.suite, objective, seed), uniform, out, given.data, given.suite)
        for objective in given.objective or OBJECTIVES
        for seed in given.seed or [1]
    ]
    (out / f"{given.suite}.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    heads = (name.replace("_calibrated", "*").replace("dirichlet_multinomial", "dirichlet") for name in SHOWN)
    print("submission".ljust(42), *(head.rjust(16) for head in heads))
    for row in rows:
        print(row["name"].ljust(42), *(f"{value:16.4f}" for value in row["metrics"].values()))
        change = row["against_uniform"]["cross_entropy"]
        interval = f"{change['difference']:+.4f} [{change['lower']:+.4f}, {change['upper']:+.4f}]"
        print(f"  cross-entropy against uniform: {interval}; {row['items']:,} items in {row['seconds']:.0f} s")
    print("* with temperature and concentration fitted on the other folds of the held-out items")


if __name__ == "__main__":
    main()
