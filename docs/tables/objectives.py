"""The tiny model trained with each objective on the sample, a table: `python docs/tables/objectives.py [OBJECTIVE…]`.

The sample's votes are synthetic: the table shows that the machinery learns, and says nothing about morals. Each row is
one `benchmark finetune` and one `benchmark evaluate` on the test split, in a folder that is removed afterwards.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

HOME = Path(__file__).resolve().parents[2]
BASE = HOME / "submissions" / "tiny-llama"
RECIPE = BASE / "recipe.yaml"
OBJECTIVES: dict[str, dict[str, Any]] = {
    "soft_cross_entropy": {"kind": "soft_cross_entropy"},
    "soft_cross_entropy, no mass": {"kind": "soft_cross_entropy", "answer_mass": 0},
    "dirichlet_multinomial": {"kind": "dirichlet_multinomial"},
    "hard": {"kind": "hard"},
    "text": {"kind": "text"},
}
TASKS = yaml.safe_load(RECIPE.read_bytes())["data"]["tasks"]
METRICS = ("cross_entropy", "cross_entropy_calibrated", "dirichlet_multinomial", "accuracy")


def benchmark(*arguments: object) -> str:
    """The last line that the command writes."""
    program = Path(sys.executable).with_name("benchmark")
    ran = subprocess.run([program, *map(str, arguments), "--quiet"], check=True, stdout=subprocess.PIPE, text=True)
    return ran.stdout.splitlines()[-1]


def tasks(submission: Path, folder: Path, *more: str) -> dict[str, Any]:
    """The tasks of the card of a submission on the sample's test split."""
    chosen = [word for task in TASKS for word in ("--task", task)]
    run = benchmark("evaluate", submission, "--suite", "sample", *chosen, "--output-dir", folder, *more)
    found: dict[str, Any] = json.loads((Path(run) / "scorecard.json").read_bytes())["tasks"]
    return found


def row(name: str, found: dict[str, Any]) -> str:
    """A line of the table for each task."""
    lines = []
    for task, part in found.items():
        values = (part["metrics"][metric]["value"] for metric in METRICS)
        mass = part["answer_mass"]["mean"]
        cells = ["–" if value is None else f"{value:.4f}" for value in (*values, mass)]
        lines.append(f"| {name} | {task} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(chosen: list[str]) -> None:
    """Print the table, row by row as they come."""
    print(f"| objective | task | {' | '.join(METRICS)} | answer mass |\n| --- | --- |{' --- |' * (len(METRICS) + 1)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print(row("before", tasks(BASE / "submission.yaml", folder)), flush=True)
        for number, (name, objective) in enumerate(OBJECTIVES.items()):
            if chosen and name not in chosen:
                continue
            recipe = yaml.safe_load(RECIPE.read_bytes())
            recipe |= {"name": f"objective-{number}", "objective": objective}
            recipe["base"]["path"] = str(BASE / "model")
            path = folder / "recipe.yaml"
            path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
            trained = Path(benchmark("finetune", path, "--output-dir", folder / "trained")) / "submission.yaml"
            print(row(name, tasks(trained, folder)), flush=True)
            if objective["kind"] == "text":
                print(row("text, written", tasks(trained, folder, "--elicitation", "verbalized")), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
