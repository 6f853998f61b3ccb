"""What a sweep costs beside as many single runs, what a run costs besides predicting, and what a step costs.

    python tests/speed/sweep_overhead.py [--submissions 3] [--folder results/overhead]

The submissions are submissions/tiny-llama under other names, on a few items of the embedded sample: next to nothing is
predicted. Single runs and the sweep take turns. Seconds of the processor are those of all processes of a command, and
tell more than the clock on a machine that others use as well. A step is what the runner's own process does around the
model: to encode 32 prompts for the pipe, to check 32 answers, and to write them to the journal (with fsync).
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.core import resources
from runner.core.types import Prediction
from runner.evaluation.journal import Journal
from runner.models.worker import protocol
from runner.tasks.predictions import from_row, to_line
from runner.tasks.selection import RunConfig, prompts, select

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "runner"]
OPTIONS = ["--suite", "sample", "--task", "dilemmas", "--limit", "4", "--device", "cpu", "--threads", "1", "--quiet"]
STEP, STEPS = 32, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--submissions", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as moment:
        folder = arguments.folder or Path(moment)
        paths = [_submission(folder, number) for number in range(arguments.submissions)]
        single, sweep, cached = _runs(folder, paths)
        timings = [json.loads(file.read_text("utf-8"))["timing"] for file in folder.glob("single/*/*/environment.json")]
    print("| a submission | seconds of the clock | of the processor |")
    print("| --- | --- | --- |")
    for name, (clock, processor) in {
        "`benchmark evaluate`, each by itself": single,
        "in `benchmark sweep --no-cache`": sweep,
        "in `benchmark sweep`, answers from the cache": cached,
    }.items():
        print(f"| {name} | {clock / len(paths):.1f} | {processor / len(paths):.1f} |")
    for name in ("load_seconds", "predict_seconds"):
        print(f"median {name}: {statistics.median(timing[name] for timing in timings):.2f}")
    for name, seconds in _steps().items():
        print(f"{name}: {seconds * 1e3:.2f} ms a step of {STEP} prompts")


def _submission(folder: Path, number: int) -> Path:
    source, made = ROOT / "submissions" / "tiny-llama", folder / "submissions" / str(number)
    shutil.copytree(source / "model", made / "model")
    text = (source / "submission.yaml").read_text("utf-8").replace("name: tiny-llama", f"name: tiny-{number}")
    (made / "submission.yaml").write_text(text, "utf-8")
    return made / "submission.yaml"


def _runs(folder: Path, paths: list[Path]) -> list[tuple[float, float]]:
    """Seconds of the clock and of the processor: single runs, a sweep of the same, a sweep whose answers are cached."""

    def run(*words: object) -> tuple[float, float]:
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([*COMMAND, *map(str, words)], check=True, stdout=subprocess.DEVNULL, env=environment, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.monotonic() - started, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    singles = [run("evaluate", path, *OPTIONS, "-o", folder / "single") for path in paths]
    plain = run("sweep", *paths, *OPTIONS, "--no-cache", "-o", folder / "sweep")
    run("sweep", paths[0], *OPTIONS, "--cache-dir", folder / "cache", "-o", folder / "first")
    cached = run("sweep", *paths, *OPTIONS, "--cache-dir", folder / "cache", "-o", folder / "again")
    return [(sum(clock for clock, _ in singles), sum(processor for _, processor in singles)), plain, cached]


def _steps() -> dict[str, float]:
    """Seconds of each part of a step, the least of many."""
    selection = select(RunConfig(resources.benchmark_file(), suite="sample", tasks=("anecdotes",)))
    asked = prompts(selection)[:STEP]
    answers = [
        Prediction(
            prompt.task, prompt.item_id, (-0.5,) * len(prompt.options), split=prompt.split, prompt_id=prompt.prompt_id,
            order=prompt.order, prompt_sha256="0" * 64, prompt_tokens=400, token_counts=(1,) * len(prompt.options),
        )
        for prompt in asked
    ]  # fmt: skip
    rows: list[Any] = [json.loads(to_line(answer)) for answer in answers]
    with tempfile.TemporaryDirectory() as folder, Journal.create(Path(folder), {"key": ""}) as journal:
        return {
            "encode prompts": _least(lambda: [json.dumps(part) for part in protocol.in_chunks(asked)]),
            "check answers": _least(lambda: [from_row(row) for row in rows]),
            "journal": _least(lambda: journal.append(answers)),
        }


def _least(action: Callable[[], object]) -> float:
    seconds = []
    for _ in range(STEPS):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


if __name__ == "__main__":
    main()
