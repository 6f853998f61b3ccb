"""Time `--engine ray` on nodes of this machine: its start, what a step costs, two nodes of a core beside one of two.

    python tests/speed/ray_engine.py [--rounds N]

All take turns in every round; what is told are medians with the least and the greatest, over rounds or over exchanges.
Nothing is asserted. The table is that of docs/scale.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import tiny_models
from support.command import Command
from support.ray_nodes import RayNodes

from runner.artifacts import model_manifest
from runner.models.base import Cluster, LoadOptions
from runner.models.cluster import open_cluster
from runner.models.worker import open_isolated

DOCUMENT = """\
schema_version: "1"
name: large
model: {backend: causal, path: large, format: plain, dtype: float32}
"""
OPTIONS = ("--suite", "sample", "--task", "dilemmas", "--limit", "40", "--batch-tokens", "1024", "--device", "cpu,cpu")
# 19 million weights in the layers: some seconds of one core.
SHAPE = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 8}
EXCHANGES = 300


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and the result."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def speed(command: Command, submission: Path, nodes: RayNodes) -> float:
    """Prompts a second of two replicas on `nodes`, loading not counted."""
    with tempfile.TemporaryDirectory() as output:
        done = subprocess.run(
            [
                *(*command.program, "evaluate", submission, *OPTIONS, "--no-resume", "-q", "-o", output),
                *("--engine", "ray", "--ray-address", nodes.address),
            ],
            env=command.environment(nodes.variables),
            cwd=command.home,
            capture_output=True,
            check=True,
            encoding="utf-8",
        )
        folder = Path(done.stdout.splitlines()[-1])
        found: dict[str, Any] = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
        return float(found["timing"]["prompts_per_second"])


def spread(values: Sequence[float], digits: int) -> str:
    """The median with the least and the greatest."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def measure(command: Command, rounds: int) -> list[tuple[str, str]]:
    """Rows of the table."""
    tokenizer = tiny_models.byte_tokenizer()
    for name, changes in (("small", {}), ("large", SHAPE)):
        made = tiny_models.model("llama", len(tokenizer), max_position_embeddings=2048, **changes)
        tiny_models.save(command.home / name, made, tokenizer)
    (command.home / "large.yaml").write_text(DOCUMENT, encoding="utf-8")
    small = command.home / "small"
    submission, manifests = tiny_models.submission(small), {"model": model_manifest(small)}
    load = LoadOptions("cpu", threads=1)
    start: dict[str, list[float]] = {"local": [], "own": [], "there": []}
    exchange: dict[str, list[float]] = {"local": [], "there": []}
    ratio: list[float] = []

    def open_and_ask(name: str, work: Callable[[], Any]) -> None:
        seconds, backend = timed(work)
        start[name].append(seconds)
        with closing(backend):
            if name in exchange:
                exchange[name] += [1000 * timed(backend.describe)[0] for _ in range(EXCHANGES)]

    for number in range(rounds):
        open_and_ask("local", lambda: open_isolated(submission, small, None, load))
        open_and_ask("own", lambda: open_cluster(submission, manifests, load, Cluster()))
        speeds = {}
        for cores in ((1, 1), (2,)):
            nodes = RayNodes(command.environment(), cores)
            try:
                if cores == (2,):
                    os.environ.update(nodes.variables)
                    there = Cluster(nodes.address)
                    open_and_ask("there", lambda there=there: open_cluster(submission, manifests, load, there))  # type: ignore[misc]
                speeds[cores] = speed(command, command.home / "large.yaml", nodes)
            finally:
                nodes.close()
                for name in nodes.variables:
                    os.environ.pop(name, None)
        ratio.append(speeds[1, 1] / speeds[2,])
        shown = " ".join(f"{name} {values[-1]:.1f} s" for name, values in start.items())
        print(f"  round {number + 1}: {shown}, ratio {ratio[-1]:.2f}", flush=True)
    return [
        ("start of the local engine, s: one worker, a small model", spread(start["local"], 1)),
        ("start on a cluster that is there, s", spread(start["there"], 1)),
        ("start with a cluster of its own, s", spread(start["own"], 1)),
        ("an exchange with a local worker, ms", spread(exchange["local"], 2)),
        ("an exchange with a worker on a node, ms", spread(exchange["there"], 2)),
        ("prompts/s of two nodes with one core each, over one node with two", spread(ratio, 2)),
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
