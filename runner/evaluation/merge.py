"""Unite the shards of one run: check that they belong together, score all answers, sign once."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runner.core import clock, environment
from runner.core.errors import Fault, InvalidInput, raise_faults
from runner.core.files import write_whole
from runner.core.types import Prediction
from runner.evaluation import run_dir
from runner.evaluation.shards import ShardFolder, find_shards, read_shard
from runner.evaluation.thoughts import read_thoughts, write_thoughts
from runner.scorecard import filenames
from runner.scorecard.build import assemble, build_tasks
from runner.tasks.predictions import read
from runner.tasks.selection import RunConfig, align_predictions, prompts, select

_SHOWN = 10


def merge(
    paths: Sequence[Path],
    output_dir: Path,
    data_dir: Path | None,
    signing_key: Callable[[], Ed25519PrivateKey],
) -> tuple[Path, dict[str, Any]]:
    """Leave the signed card of the run whose shards are `paths`; its folder and the card.

    A path is a shard's folder, or a folder that holds shards. predictions.jsonl is equal to the byte to that of a run
    on one machine. Raises `InvalidInput`: SHARD_MISSING names every part that is not there, SHARD_MISMATCH what
    differs between shards of different runs, SHARD_DIFFERS a part that was computed twice with different answers.
    """
    shards = _read_all(paths)
    raise_faults(_mismatches(shards) or _missing(shards))
    first = shards[0]
    selection = select(_config(first, data_dir))
    by_shard = [(shard.path, list(read(shard.path / filenames.PREDICTIONS))) for shard in shards]
    rows = {row.key: row for _, own in by_shard for row in own}
    answers: list[Prediction] = [rows[prompt.key] for prompt in prompts(selection) if prompt.key in rows]
    tasks = build_tasks(selection, align_predictions(selection, answers))
    has_thoughts = True in {row.thoughts is not None for path, own in by_shard for row in read_thoughts(path, own)}
    order = [answer.key for answer in answers]
    machine = environment.describe()
    folder = run_dir.new_folder(output_dir / str(first.submission["name"]))
    try:
        parts = [{**shard.environment, "shard": shard.shard.index} for shard in shards]
        card = assemble(
            selection,
            submission=dict(first.submission),
            run={
                "id": str(uuid.uuid4()),
                "nonce": first.run["nonce"],
                "started_at": min(shard.run["started_at"] for shard in shards),
                "finished_at": clock.now(),
                "limit": selection.limit,
                "self_check": unite_self_checks([shard.run["self_check"] for shard in shards]),
                "isolation": _isolation([shard.run["isolation"] for shard in shards]),
                "bytes_bound": first.run["bytes_bound"],
                "shards": first.shard.count,
            },
            machine=machine,
            predictions=run_dir.write_predictions(folder, answers),
            environment=run_dir.write_environment(folder, {**machine, "shards": parts}),
            tasks=tasks,
        )
        for name in (filenames.SUBMISSION, filenames.BENCHMARK):
            write_whole(folder / name, (first.path / name).read_bytes())
        if has_thoughts:
            thoughts = (row for path, own in by_shard for row in read_thoughts(path, own) if row.key in order)
            write_thoughts(folder, order, thoughts)
        run_dir.write_card(folder, card, signing_key())
    except OSError as problem:
        raise run_dir.unwritable(folder, problem) from None
    return folder, card


def unite_self_checks(checks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One self-check of all: the largest differences, passed only where every part passed."""
    passed = [check["passed"] for check in checks]
    effects = [check["adapter_effect"] for check in checks if check["adapter_effect"] is not None]
    united = dict(checks[0])
    united["prompts"] = sum(check["prompts"] for check in checks)
    united["largest_difference"] = {
        name: max(check["largest_difference"][name] for check in checks) for name in checks[0]["largest_difference"]
    }
    united["passed"] = None if None in passed else all(passed)
    united["adapter_effect"] = max(effects, default=None)
    if "changed_texts" in united:
        united["changed_texts"] = max(check["changed_texts"] for check in checks)
    return united


def _read_all(paths: Sequence[Path]) -> list[ShardFolder]:
    """Every shard once, in order; of a part that was computed twice with equal answers the first."""
    faults: list[Fault] = []
    shards: dict[int, ShardFolder] = {}
    for path in paths:
        folders = find_shards(path)
        if not folders:
            message = "There is no finished shard here."
            hint = "A shard that was stopped is resumed by the same `evaluate --shard` command."
            faults.append(Fault("SHARD_MISSING", message, str(path), hint=hint))
        for folder in folders:
            try:
                shard = read_shard(folder)
            except InvalidInput as problem:
                faults += problem.faults
                continue
            other = shards.setdefault(shard.shard.index, shard)
            if other.content == shard.content and other.predictions != shard.predictions:
                message = f"Part {shard.shard.index} was computed twice with different answers: see {other.path}."
                faults.append(Fault("SHARD_DIFFERS", message, str(folder), hint="Find out which machine is wrong."))
            elif other.content != shard.content:
                faults += _different(other, shard)
    raise_faults(faults)
    return [shards[index] for index in sorted(shards)]


def _mismatches(shards: Sequence[ShardFolder]) -> list[Fault]:
    return [fault for shard in shards[1:] for fault in _different(shards[0], shard)]


def _different(first: ShardFolder, other: ShardFolder) -> list[Fault]:
    """What makes two shards parts of different runs, by name."""
    pairs = {
        "number of parts": (first.shard.count, other.shard.count),
        "nonce": (first.run["nonce"], other.run["nonce"]),
        **{name: (first.config.get(name), other.config.get(name)) for name in sorted({*first.config, *other.config})},
        **dict(_leaves("", first.content, other.content)),
    }
    names = [f"{name} ({_short(a)} against {_short(b)})" for name, (a, b) in pairs.items() if a != b]
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    message = f"It is no part of the same run as {first.path}: {', '.join(names[:_SHOWN])}{more} differ."
    hint = "Run every shard with the same files, options and versions on equal devices."
    return [Fault("SHARD_MISMATCH", message, str(other.path), hint=hint)]


def _leaves(path: str, first: Any, other: Any) -> list[tuple[str, tuple[Any, Any]]]:
    if isinstance(first, Mapping) and isinstance(other, Mapping):
        names = sorted({*first, *other})
        return [leaf for name in names for leaf in _leaves(f"{path}.{name}", first.get(name), other.get(name))]
    return [(path.lstrip("."), (first, other))]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _missing(shards: Sequence[ShardFolder]) -> list[Fault]:
    count = shards[0].shard.count
    missing = sorted(set(range(count)) - {shard.shard.index for shard in shards})
    if not missing:
        return []
    names = ", ".join(f"{index}/{count}" for index in missing[:_SHOWN])
    more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
    message = f"{len(missing)} of {count} parts are missing: {names}{more}."
    return [Fault("SHARD_MISSING", message, hint="Run each with `benchmark evaluate … --shard I/N`, then merge again.")]


def _config(shard: ShardFolder, data_dir: Path | None) -> RunConfig:
    config = shard.config
    return RunConfig(
        benchmark=shard.path / filenames.BENCHMARK,
        suite=config["suite"],
        tasks=tuple(config["tasks"]),
        split=config["split"],
        data_dir=data_dir,
        limit=config["limit"],
        prompts=tuple(config["prompts"]),
        elicitation=config["elicitation"],
    )


def _isolation(parts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The protections that all parts had; of one that some lacked, why."""
    names = sorted({name for part in parts for name in part})
    states = {name: [part.get(name, "unavailable") for part in parts] for name in names}
    return {name: next((state for state in values if state != "active"), "active") for name, values in states.items()}
