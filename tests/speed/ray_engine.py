"""Time `--engine ray` on nodes of this machine: its start, what a step costs, two nodes of a core beside one of two.

    python tests/speed/ray_engine.py [--rounds N]

All runs take turns in every round; what is told are medians with the least and the greatest. Nothing is asserted. The
table is that of docs/scale.md.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import tiny_models
from support.command import Command
from support.ray_nodes import RayNodes

DOCUMENT = """\
schema_version: "1"
name: {name}
model: {{backend: causal, path: {name}, format: plain, dtype: float32}}
"""
SAMPLE = ("--suite", "sample", "--task", "dilemmas", "--limit", "40", "--no-resume", "-q")
# A prompt is a step: whatever a step costs, it costs most here. Then steps as they are in a run.
ALONE, USUAL = (*SAMPLE, "--batch-tokens", "1"), (*SAMPLE, "--batch-tokens", "1024")
# 19 million weights in the layers: some seconds of one core.
SHAPE = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 8}


def timing(command: Command, submission: Path, options: Sequence[str], nodes: RayNodes | None = None) -> dict[str, Any]:
    """The `timing` of a run; on `nodes` if there are any."""
    where = () if nodes is None else ("--engine", "ray", "--ray-address", nodes.address)
    with tempfile.TemporaryDirectory() as output:
        done = subprocess.run(
            [*command.program, "evaluate", submission, *options, *where, "-o", output],
            env=command.environment(None if nodes is None else nodes.variables),
            cwd=command.home,
            capture_output=True,
            check=True,
            encoding="utf-8",
        )
        folder = Path(done.stdout.splitlines()[-1])
        found: dict[str, Any] = json.loads((folder / "environment.json").read_text(encoding="utf-8"))["timing"]
        return found


def spread(values: Sequence[float], digits: int) -> str:
    """The median with the least and the greatest."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def measure(command: Command, rounds: int) -> list[tuple[str, str]]:
    """Rows of the table."""
    tokenizer = tiny_models.byte_tokenizer()
    for name, changes in (("small", {}), ("large", SHAPE)):
        made = tiny_models.model("llama", len(tokenizer), max_position_embeddings=2048, **changes)
        tiny_models.save(command.home / name, made, tokenizer)
        (command.home / f"{name}.yaml").write_text(DOCUMENT.format(name=name), encoding="utf-8")
    small, large = command.home / "small.yaml", command.home / "large.yaml"
    start, own, step, ratio, local = [], [], [], [], []
    for number in range(rounds):
        here = timing(command, small, (*ALONE, "--device", "cpu"))
        alone = timing(command, small, (*ALONE, "--device", "cpu", "--engine", "ray"))
        both = timing(command, large, (*USUAL, "--device", "cpu,cpu"))
        speeds = {}
        for cores in ((1, 1), (2,)):
            nodes = RayNodes(command.environment(), cores)
            try:
                if cores == (2,):
                    there = timing(command, small, (*ALONE, "--device", "cpu"), nodes)
                speeds[cores] = timing(command, large, (*USUAL, "--device", "cpu,cpu"), nodes)["prompts_per_second"]
            finally:
                nodes.close()
        start.append(there["load_seconds"] - here["load_seconds"])
        own.append(alone["load_seconds"] - here["load_seconds"])
        step.append(1000 * (there["predict_seconds"] - here["predict_seconds"]) / here["prompts"])
        ratio.append(speeds[1, 1] / speeds[2,])
        local.append(speeds[2,] / both["prompts_per_second"])
        print(f"  round {number + 1}: {start[-1]:.1f} {own[-1]:.1f} {step[-1]:.2f} {ratio[-1]:.2f} {local[-1]:.2f}")
    return [
        ("start of a run on a cluster that is there, beside the local engine, seconds more", spread(start, 1)),
        ("the same with a cluster of its own, seconds more", spread(own, 1)),
        ("a step, beside the local engine, milliseconds more", spread(step, 2)),
        ("prompts/s of two nodes with one core each, over one node with two", spread(ratio, 2)),
        ("prompts/s of one node with two cores, over the local engine with two replicas", spread(local, 2)),
    ]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        command = Command(Path(home))
        command("keys", "new")
        rows = measure(command, options.rounds)
    print("| what | median (least–greatest) |\n| --- | --- |")
    print("\n".join(f"| {what} | {value} |" for what, value in rows))


if __name__ == "__main__":
    main()
