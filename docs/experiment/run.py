"""Run the experiment of docs/experiment/plan.md: `make experiment DATA=FOLDER`.

Every number comes from a command of the product; this file says which, in which order, and keeps what is finished. A
run that is there is not repeated, a killed one goes on: repeat the command. One that fails stops no other. `--fast`
goes the whole way in minutes with next to no training, in a folder of its own; its numbers mean nothing.
"""

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from keep import restore, trainings, trust

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COMMAND = Path(sys.executable).with_name("benchmark")
OWN = HERE / "benchmark.yaml"
FOLDS = (1, 2, 3, 4, 5)
OUTER = "fold-5"
RATES = (0.0005, 0.001, 0.002)
LORA = ("soft_cross_entropy", "dirichlet_multinomial", "hard", "text")
HEADS = ("soft_cross_entropy", "counts", "hard", "dirichlet_multinomial")
BASELINES = ("uniform", "panel")  # the prior is on every card


@dataclass(frozen=True)
class Experiment:
    """Where it is done, on which data, and how much of it."""

    data: Path
    """Folder of dev.scruples-dilemmas.jsonl."""
    out: Path
    """Folder for recipes, submissions, runs and the archive."""
    seeds: int
    """How many seeds, from 1."""
    fast: bool
    """Two steps of training, half of the objectives, few prompts, no grid and no cross-fit."""

    @property
    def key(self) -> Path:
        """The private key, which is deleted once all is archived."""
        return self.out / "key.pem"


@dataclass(frozen=True)
class Job:
    """One card, and what it is made from."""

    name: str
    """Of the submission or predictions; the run is in runs/NAME."""
    work: Callable[[], None]
    """Makes it; nothing is done again that is done."""


def run(experiment: Experiment, name: str, *arguments: object) -> None:
    """A command of the product on one thread; it must succeed. What it costs goes to costs.jsonl."""
    started = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    log = experiment.out / "log.txt"
    with log.open("a", encoding="utf-8") as lines:
        process = subprocess.Popen([COMMAND, *map(str, arguments)], stdout=lines, stderr=lines, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{name}: benchmark {arguments[0]} ended with {process.returncode}; see {log}")
    row = {
        "name": name,
        "command": str(arguments[0]),
        "seconds": round(time.monotonic() - started, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
    }
    with (experiment.out / "costs.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")


def finished(experiment: Experiment, name: str) -> Path | None:
    """The folder of the finished run of that name, if there is one."""
    cards = sorted((experiment.out / "runs" / name).glob("*/scorecard.sigstore.json"))
    return cards[-1].parent if cards else None


def asked(experiment: Experiment, suite: str) -> list[object]:
    """Options that say what is scored: a suite of the experiment's benchmark, or dev of the released one."""
    where: list[object] = ["--data-dir", experiment.data, "--suite", suite]
    return [*where, "--split", "dev", "--task", "dilemmas"] if suite == "full" else [*where, "--benchmark", OWN]


def evaluate(experiment: Experiment, name: str, submission: Path, suite: str, *more: object) -> None:
    """`benchmark evaluate` of a submission, under the name that the submission has."""
    if finished(experiment, name):
        return
    signed = ("--key", experiment.key, "--output-dir", experiment.out / "runs", "--threads", 1)
    run(experiment, name, "evaluate", submission, *asked(experiment, suite), *signed, *more)


def base_job(experiment: Experiment, suffix: str, suite: str, *more: object) -> Job:
    """SmolLM2 as it is, in plain text."""
    name = f"smollm2-base-{suffix}"

    def work() -> None:
        path = experiment.out / "submissions" / name / "submission.yaml"
        model = {"backend": "causal", "path": "../smollm2", "format": "plain", "dtype": "bfloat16"}
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, {"schema_version": "1", "name": name, "model": model})
        evaluate(experiment, name, path, suite, *more)

    return Job(name, work)


def recipe_of(experiment: Experiment, kind: str, objective: str, suite: str, seed: int, rate: float) -> dict[str, Any]:
    """The recipe of one training; `kind` is smollm2 or minilm."""
    head = {"task": "dilemmas", "kind": "ranking", "max_tokens": 92}
    bases = {
        "smollm2": {"backend": "causal", "path": "../submissions/smollm2", "format": "plain", "dtype": "bfloat16"},
        "minilm": {"backend": "encoder", "path": "../submissions/minilm", "dtype": "float32", "head": head},
    }
    methods = {
        "smollm2": {
            "kind": "lora",
            "rank": 16,
            "alpha": 32,
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
        },
        "minilm": {"kind": "full"},
    }
    epochs = {"epochs": 1 if kind == "smollm2" else 2}
    training = {
        "learning_rate": rate if kind == "smollm2" else 0.0001,
        "warmup": 0.1,
        "weight_decay": 0.0 if kind == "smollm2" else 0.01,
        **({"steps": 2} if experiment.fast else epochs),
        "batch_size": 8 if kind == "smollm2" else 32,
        "seed": seed,
    }
    data = {"benchmark": str(OWN), "suite": suite, "train": "train", "evaluate": "validation", "leaks": "drop"}
    return {
        "schema_version": "1",
        "name": "",
        "base": bases[kind],
        "data": {**data, **({"items": 320} if kind == "smollm2" else {})},
        "objective": {"kind": objective},
        "method": methods[kind],
        "training": training,
        "evaluation": {"keep": "last"},
    }


def trained_job(
    experiment: Experiment, kind: str, objective: str, suite: str, seed: int, rate: float, mark: str = ""
) -> Job:
    """Train by a recipe and score the fold that was held out; what learned to write is asked in both ways."""
    name = f"{kind}-{objective.replace('_', '-')}-{suite}-seed-{seed}{mark}"

    def work() -> None:
        if finished(experiment, f"{name}-written" if objective == "text" else name):
            return
        recipe = experiment.out / "recipes" / f"{name}.yaml"
        recipe.parent.mkdir(parents=True, exist_ok=True)
        write(recipe, {**recipe_of(experiment, kind, objective, suite, seed, rate), "name": name})
        submission = experiment.out / "submissions" / name / "submission.yaml"
        if not submission.exists():
            folders = ("--data-dir", experiment.data, "--output-dir", submission.parents[1])
            run(experiment, name, "finetune", recipe, *folders)
        evaluate(experiment, name, submission, suite)
        if objective == "text":
            written = submission.with_name("written.yaml")
            document = yaml.safe_load(submission.read_text(encoding="utf-8"))
            write(written, {**document, "name": f"{name}-written"})
            evaluate(experiment, f"{name}-written", written, suite, "--elicitation", "verbalized")

    return Job(name, work)


def baseline_job(experiment: Experiment, baseline: str, suite: str) -> Job:
    """A baseline as a card."""
    name = f"{baseline}-{suite}"

    def work() -> None:
        rows = experiment.out / "rows" / f"{name}.jsonl"
        rows.parent.mkdir(parents=True, exist_ok=True)
        run(experiment, name, "baseline", baseline, *asked(experiment, suite), "--output", rows)
        score(experiment, name, rows, suite)

    return Job(name, work if finished(experiment, name) is None else lambda: None)


def score(experiment: Experiment, name: str, rows: Path, suite: str) -> None:
    """`benchmark score` of a file of predictions."""
    signed = ("--key", experiment.key, "--output-dir", experiment.out / "runs", "--name", name)
    run(experiment, name, "score", rows, *asked(experiment, suite), *signed)


def crossfit(experiment: Experiment, kind: str) -> None:
    """The five runs of seed 1 as one card: every item is answered by the model that was trained without its fold."""
    name = f"{kind}-soft-cross-entropy-crossfit"
    runs = [finished(experiment, f"{kind}-soft-cross-entropy-fold-{fold}-seed-1") for fold in FOLDS]
    if finished(experiment, name) or None in runs:
        return
    rows = experiment.out / "rows" / f"{name}.jsonl"
    rows.write_bytes(b"".join((folder / "predictions.jsonl").read_bytes() for folder in runs if folder))
    score(experiment, name, rows, "all")


def write(path: Path, document: dict[str, Any]) -> None:
    """YAML, written only where it differs: a training goes on only from the recipe that it began with."""
    text = yaml.safe_dump(document, sort_keys=False)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def work_through(experiment: Experiment, jobs: Sequence[Job], lanes: int) -> None:
    """Do the jobs in order, so many at a time; `SystemExit` at the end where some failed, or at a file named `stop`."""
    waiting: queue.Queue[tuple[int, Job]] = queue.Queue()
    for numbered in enumerate(jobs, start=1):
        waiting.put(numbered)
    failures: list[str] = []
    stop = experiment.out / "stop"

    def lane() -> None:
        while not stop.exists():
            try:
                number, job = waiting.get_nowait()
            except queue.Empty:
                return
            started = time.monotonic()
            try:
                job.work()
                end = f"{time.monotonic() - started:.0f} s"
            except (SystemExit, Exception) as failure:
                failures.append(end := f"failed: {failure}")
            print(f"{time.strftime('%H:%M:%S')}  {number}/{len(jobs)}  {job.name}  {end}", flush=True)

    threads = [threading.Thread(target=lane) for _ in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures or stop.exists():
        raise SystemExit("\n".join(failures) or f"stopped, since {stop} is there")


def rate_of(experiment: Experiment) -> float:
    """The learning rate whose run has the lowest cross-entropy on the inner held-out fold."""

    def loss(rate: float) -> float:
        folder = finished(experiment, f"smollm2-soft-cross-entropy-inner-seed-1-rate-{rate}")
        assert folder is not None
        card = json.loads((folder / "scorecard.json").read_text(encoding="utf-8"))
        return float(card["tasks"]["dilemmas"]["metrics"]["cross_entropy"]["value"])

    return min(RATES, key=loss)


def first_jobs(experiment: Experiment) -> list[Job]:
    """What needs no learning rate, and what chooses it."""
    grid = [
        trained_job(experiment, "smollm2", "soft_cross_entropy", "inner", 1, rate, f"-rate-{rate}")
        for rate in ([] if experiment.fast else RATES)
    ]
    suites = [OUTER, *([] if experiment.fast else ["all"])]
    baselines = [baseline_job(experiment, baseline, suite) for suite in suites for baseline in BASELINES]
    return [*grid, base_job(experiment, OUTER, OUTER), *baselines]


def main_jobs(experiment: Experiment, rate: float) -> list[Job]:
    """In the order in which they are of use when time ends: first what the claims need, then more seeds."""
    fast = experiment.fast
    limit, few = (("--limit", 10), 10) if fast else ((), 100)

    def jobs(kind: str, objectives: Sequence[str], seed: int, suite: str = OUTER) -> list[Job]:
        return [trained_job(experiment, kind, objective, suite, seed, rate) for objective in objectives]

    def folds(kind: str) -> list[Job]:
        return [job for fold in FOLDS if fold != 5 for job in jobs(kind, LORA[:1], 1, f"fold-{fold}")]

    written = [
        base_job(experiment, f"{OUTER}-written", OUTER, "--elicitation", "verbalized", "--limit", few),
        base_job(experiment, "sampled", "full", "--elicitation", "sampled", "--limit", few),
    ]
    released = base_job(experiment, "released", "full", *limit)
    if fast:
        return [*jobs("minilm", HEADS[::3], 1), *jobs("smollm2", LORA[::3], 1), *written, released]
    seeds = range(2, experiment.seeds + 1)
    both = [[*jobs("smollm2", LORA[:2], seed), *jobs("minilm", LORA[:2], seed)] for seed in seeds]
    rest = [[*jobs("minilm", HEADS, seed), *jobs("smollm2", LORA, seed)] for seed in seeds]
    order = [
        *jobs("minilm", HEADS, 1),
        *jobs("smollm2", LORA[:3], 1),
        *chain(*both[:1]),
        *written,
        base_job(experiment, "all", "all"),
        *folds("minilm"),
        *chain(*both[1:2]),
        *folds("smollm2"),
        *jobs("smollm2", LORA[3:], 1),
        released,
        *chain(*rest),
    ]
    return list({job.name: job for job in order}.values())


def collect(experiment: Experiment, folder: Path) -> None:
    """All cards into the archive in `folder`, with the public key, the recipes and the costs beside it."""
    archive, keyring = folder / "archive", folder / "keyring.json"
    folder.mkdir(parents=True, exist_ok=True)
    before = keyring.read_bytes() if keyring.exists() else None
    entries = len([*archive.glob("index/*/*")])
    trust(experiment.out / "key.pub.pem", keyring)
    runs = [card.parent for card in sorted((experiment.out / "runs").glob("*/*/scorecard.sigstore.json"))]
    released = [path for path in runs if path.parent.name in ("smollm2-base-released", "smollm2-base-sampled")]
    trusted = ("--keyring", keyring, "--data-dir", experiment.data, "--recompute", "--key", experiment.key, "--quiet")
    for paths, benchmark in ((released, ()), ([path for path in runs if path not in released], ("--benchmark", OWN))):
        if paths:
            run(experiment, "archive", "archive", "add", archive, *paths, *benchmark, *trusted)
    if before is not None and len([*archive.glob("index/*/*")]) == entries:
        keyring.write_bytes(before)  # nothing was signed with the new key, and no card cost anything
        return
    costs = [json.loads(line) for line in (experiment.out / "costs.jsonl").read_text(encoding="utf-8").splitlines()]
    recipes = trainings(experiment.out / "submissions")
    if (folder / "trainings.json").exists():
        recipes = json.loads((folder / "trainings.json").read_text(encoding="utf-8")) | recipes
    for name, value in (("trainings", recipes), ("costs", costs)):
        text = json.dumps(value, indent=1, sort_keys=True) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Run what is not done yet, then archive it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of dev.scruples-dilemmas.jsonl")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "experiment")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--lanes", type=int, default=os.cpu_count() or 1, help="runs at a time, one thread each")
    parser.add_argument("--fast", action="store_true", help="the way through, in FOLDER-fast")
    parser.add_argument("--models", type=Path, help="folder that holds smollm2 and minilm [default: from the packages]")
    parser.add_argument("--collect", action="store_true", help="only archive what is finished")
    given = parser.parse_args()
    out = given.out.resolve().with_name(given.out.name + ("-fast" if given.fast else ""))
    experiment = Experiment(given.data.resolve(), out, given.seeds, given.fast)
    if not given.collect:
        prepare(experiment, given.models)
        work_through(experiment, first_jobs(experiment), given.lanes)
        rate = RATES[0] if given.fast else rate_of(experiment)
        work_through(experiment, main_jobs(experiment, rate), given.lanes)
    for kind in ("smollm2", "minilm"):
        crossfit(experiment, kind)
    collect(experiment, out / "kept" if given.fast else HERE)
    experiment.key.unlink()  # no card can be added in its name: a later run signs with a key of its own


def prepare(experiment: Experiment, models: Path | None) -> None:
    """The folders of both models, and a key for this experiment."""
    folder = experiment.out / "submissions"
    folder.mkdir(parents=True, exist_ok=True)
    makers = {
        "smollm2": ROOT / "submissions" / "smollm2-135m-instruct" / "make_model.py",
        "minilm": ROOT / "tests" / "encoders" / "base.py",
    }
    for name, maker in makers.items():
        if (folder / name / "model.safetensors").exists():
            continue
        if models is not None:
            shutil.copytree(models / name, folder / name)
        else:
            subprocess.run([sys.executable, maker, folder / name], check=True)
    if not experiment.fast:
        restore(HERE, experiment.out)
    if not experiment.key.exists():
        experiment.key.with_name("key.pub.pem").unlink(missing_ok=True)
        subprocess.run(
            [COMMAND, "keys", "new", "--no-passphrase", "--path", experiment.key], check=True, stdout=subprocess.DEVNULL
        )


if __name__ == "__main__":
    main()
