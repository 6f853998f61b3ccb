"""Answers of finished runs, by the digest of all that determines them, so that an equal run need not compute them.

An entry is a line with its key and the sha256 of the rest, which are the rows of predictions.jsonl. It is not trusted:
the line has a checksum, its key must be the one that was looked for, the answers must have that sha256, and whoever
takes them asks the model some prompts again (`run_self_check`). Who may write into the folder is trusted as far as that
goes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from runner.core import environment, strict_json
from runner.core.canonical import digest, sha256_bytes
from runner.core.files import read_whole, write_whole
from runner.core.types import Prediction, Prompt, Submission
from runner.evaluation.journal import decode_record, encode_record
from runner.tasks.predictions import from_row, to_line

_MAX_BYTES = 4 << 30
_FIELDS = {"schema_version", "key", "run", "predictions"}


@dataclass(frozen=True, slots=True)
class CachedAnswers:
    """What the cache has for a run."""

    answers: Sequence[Prediction] | None
    """One for each prompt, in the order of the prompts; None where there is no entry that can be used."""
    run: str | None = None
    """Id of the run that computed them."""
    self_check: Mapping[str, Any] | None = None
    """The self-check that the answers passed now; None where none was made."""
    damage: str | None = None
    """What is wrong with the entry; None where nothing is, or where there is none."""


def cache_key(submission: Submission, content: Mapping[str, Any]) -> dict[str, Any]:
    """All that determines a run's answers: its journal's `content`, what submission.yaml says, and the processor.

    `content` has the digests of the files that are loaded, benchmark, data, prompts and plan, the backend's own
    description with device, number format and batch size, and the versions of the libraries. Names are no part of it.
    """
    model = submission.model
    return {
        "content": dict(content),
        "model": {
            "backend": model.backend,
            "format": model.format,
            "dtype": model.dtype,
            "quantization": model.quantization,
            "template_arguments": dict(model.template_arguments),
            "head": None if model.head is None else json.loads(json.dumps(asdict(model.head))),
        },
        "adapter": submission.adapter is not None,
        "processor": environment.describe()["system"]["processor"],
    }


def load_answers(folder: Path, key: Mapping[str, Any], prompts: Sequence[Prompt]) -> CachedAnswers:
    """The answers to `prompts` in the entry of `key`; an entry that is not as it was written has `damage` instead."""
    file = _entry(folder, key)
    try:
        header_line, _, rows = read_whole(file, _MAX_BYTES).partition(b"\n")
    except FileNotFoundError:
        return CachedAnswers(None)
    except OSError as problem:
        return CachedAnswers(None, damage=f"it cannot be read: {problem.strerror}")
    try:
        header = decode_record(header_line + b"\n")
        if not isinstance(header, dict) or set(header) != _FIELDS or header["schema_version"] != "1":
            return CachedAnswers(None, damage="its first line is not that of an entry of this version")
        if digest(header["key"]) != digest(key) or not isinstance(header["run"], str):
            return CachedAnswers(None, damage="it is the entry of something else")
        if header["predictions"] != {"sha256": sha256_bytes(rows), "rows": len(prompts)}:
            return CachedAnswers(None, damage="its answers are not those that it was written with")
        answers = [from_row(strict_json.parse(row)) for row in rows.splitlines()]
    except (strict_json.JsonFault, ValueError) as problem:
        return CachedAnswers(None, damage=f"it is no entry: {str(problem)[:200]}")
    if [answer.key for answer in answers] != [prompt.key for prompt in prompts]:
        return CachedAnswers(None, damage="its answers are to other prompts")
    return CachedAnswers(answers, run=header["run"])


def checked_answers(
    folder: Path,
    key: Mapping[str, Any],
    prompts: Sequence[Prompt],
    self_check: Callable[[Sequence[Prediction]], Mapping[str, Any]],
) -> CachedAnswers:
    """`load_answers`, and only if the model answers some of the prompts as the entry does, within the self-check."""
    cached = load_answers(folder, key, prompts)
    if cached.answers is None:
        return cached
    check = self_check(cached.answers)
    if check["passed"] is not True:
        return CachedAnswers(None, damage="the model does not answer some prompts as it says, within the self-check")
    return replace(cached, self_check=check)


def finish(
    folder: Path,
    key: Mapping[str, Any],
    cached: CachedAnswers,
    run: str,
    answers: Sequence[Prediction],
    self_check: Mapping[str, Any],
) -> dict[str, Any]:
    """Keep what was computed for equal runs, if its self-check passed; what environment.json says about the cache.

    `state` is used, stored or not stored; `prompts` the answers that were taken, `run` the id of the run that computed
    them, and `reason` why an entry that is there was not taken, or why none was stored.
    """
    if cached.answers is not None:
        return {"state": "used", "prompts": len(cached.answers), "run": cached.run, "reason": None}
    if self_check["passed"] is not True:
        return {"state": "not stored", "prompts": 0, "run": None, "reason": "the self-check did not pass"}
    reason = None if cached.damage is None else f"an entry was not used: {cached.damage}"
    try:
        _store_answers(folder, key, run, answers)
    except OSError as problem:  # a run that is finished is not lost for it
        reason = "; ".join(filter(None, [reason, f"it cannot be written: {problem.strerror}"]))
        return {"state": "not stored", "prompts": 0, "run": None, "reason": reason}
    return {"state": "stored", "prompts": 0, "run": None, "reason": reason}


def _store_answers(folder: Path, key: Mapping[str, Any], run: str, answers: Sequence[Prediction]) -> None:
    """Write the entry of `key`, whole or not at all; one that is there is replaced. Raises `OSError`."""
    rows = "".join(to_line(answer) for answer in answers).encode()
    predictions = {"sha256": sha256_bytes(rows), "rows": len(answers)}
    header = {"schema_version": "1", "key": dict(key), "run": run, "predictions": predictions}
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(_entry(folder, key), encode_record(json.dumps(header, allow_nan=False)) + rows)


def _entry(folder: Path, key: Mapping[str, Any]) -> Path:
    return folder / f"{digest(key).removeprefix('sha256:')}.jsonl"
