"""One run in parts on several machines: which steps a part takes, and the folder that it leaves.

A step is a batch of prompts of the one plan, which depends on the prompts and the batch size alone. Shard I of N takes
the steps I, I + N, I + 2N, …, so that whoever computes a step gives the same answers as one machine would.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.core import strict_json
from runner.core.canonical import sha256_file
from runner.core.errors import Fault, InvalidInput
from runner.core.files import read_regular, write_whole
from runner.scorecard import filenames

NAME = "shard.json"
_FIELDS = {
    "schema_version", "shard", "content", "config", "submission", "run", "environment", "predictions",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` of `count` parts of a run."""

    index: int
    """Which part, from 0."""
    count: int
    """How many parts there are."""

    def steps(self, steps: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        """Its own of the steps of the plan."""
        return list(steps[self.index :: self.count])


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """`I/N` with I from 0 to N − 1, or `auto`: from the variables of a Slurm array or a Kubernetes Indexed Job.

    Raises `ValueError` that says what was expected.
    """
    if text == "auto":
        return _from_environment(environment)
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count) <= 100_000):
        raise ValueError(f"{text!r} is not I/N with I from 0 to N − 1, as in 0/4.")
    return Shard(int(index), int(count))


def _from_environment(environment: Mapping[str, str]) -> Shard:
    def number(name: str, default: str | None = None) -> int:
        value = environment.get(name, default)
        if value is None or not value.isdecimal():
            raise ValueError(f"auto needs the variable {name} with a whole number, found {value!r}.")
        return int(value)

    if "SLURM_ARRAY_TASK_ID" in environment:
        first, step = number("SLURM_ARRAY_TASK_MIN", "0"), number("SLURM_ARRAY_TASK_STEP", "1")
        shard = Shard((number("SLURM_ARRAY_TASK_ID") - first) // max(step, 1), number("SLURM_ARRAY_TASK_COUNT"))
    elif "JOB_COMPLETION_INDEX" in environment:
        shard = Shard(number("JOB_COMPLETION_INDEX"), number("JOB_COMPLETIONS"))
    else:
        raise ValueError("auto needs SLURM_ARRAY_TASK_ID, or JOB_COMPLETION_INDEX and JOB_COMPLETIONS.")
    if not 0 <= shard.index < shard.count:
        raise ValueError(f"auto found part {shard.index} of {shard.count}, which there is not.")
    return shard


@dataclass(frozen=True, slots=True)
class ShardFolder:
    """A finished shard, as it lies on disk."""

    path: Path
    """Its folder: shard.json, predictions.jsonl, submission.yaml, benchmark.yaml."""
    shard: Shard
    """Which part it is."""
    content: Mapping[str, Any]
    """Everything that determines the predictions of the whole run; equal in all its shards."""
    config: Mapping[str, Any]
    """Suite, tasks, split, limit, prompts and elicitation of the run."""
    submission: Mapping[str, Any]
    """The `submission` block of the card."""
    run: Mapping[str, Any]
    """Nonce, times, self-check and isolation of this part."""
    environment: Mapping[str, Any]
    """What environment.json of a whole run holds, of this part."""
    predictions: Mapping[str, Any]
    """sha256 and number of rows of predictions.jsonl."""


def write_shard(folder: Path, shard: Shard, **blocks: Any) -> None:
    """Write shard.json, with the blocks of `ShardFolder`: once it is there the shard is complete."""
    value = {"schema_version": "1", "shard": {"index": shard.index, "count": shard.count}, **blocks}
    write_whole(folder / NAME, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def find_shards(path: Path) -> list[Path]:
    """The folder `path` itself if it is a finished shard, or else the finished shards in it, by name."""
    if (path / NAME).is_file():
        return [path]
    return sorted(file.parent for file in path.glob(f"*/{NAME}")) if path.is_dir() else []


def read_shard(folder: Path) -> ShardFolder:
    """The shard in `folder`; `InvalidInput` (SHARD_DAMAGED) unless its files are as they were written."""
    file = folder / NAME
    try:
        value = strict_json.parse(read_regular(file, strict_json.MAX_BYTES))
        good = set(value) == _FIELDS and value["schema_version"] == "1"
        shard = Shard(int(value["shard"]["index"]), int(value["shard"]["count"]))
    except (strict_json.JsonFault, OSError, TypeError, KeyError, ValueError, AttributeError):
        good = False
    if not good:
        raise InvalidInput(Fault("SHARD_DAMAGED", "This is not what `evaluate --shard` writes.", str(file)))
    blocks = {name: value[name] for name in _FIELDS - {"schema_version", "shard"}}
    predictions = folder / filenames.PREDICTIONS
    if not predictions.is_file() or sha256_file(predictions) != blocks["predictions"].get("sha256"):
        message = "The predictions are missing, or not those that the shard was finished with."
        hint = "Run this shard again with --no-resume."
        raise InvalidInput(Fault("SHARD_DAMAGED", message, str(predictions), hint=hint))
    return ShardFolder(path=folder, shard=shard, **blocks)
