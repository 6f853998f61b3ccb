"""The walk through a sweep: each entry once, the state on disk after each, until the end or a stop."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from runner.core import clock
from runner.core.canonical import sha256_file
from runner.scorecard import filenames
from runner.sweep import state
from runner.sweep.plan import Entry
from runner.sweep.process import EvaluateOne, Outcome
from runner.sweep.state import Record

Observe = Callable[[Mapping[str, Any]], None]
"""Called with each event: a mapping with `event` (start, progress, result) and `name`, fit for JSON."""

_STATES = {0: "done", 5: "interrupted"}


def run_sweep(
    entries: Sequence[Entry],
    folder: Path,
    evaluate_one: EvaluateOne,
    observe: Observe,
    *,
    primary: str,
    baseline: str | None = None,
) -> tuple[list[Record], bool]:
    """Evaluate what is not done yet; the records of all entries, and whether the sweep was stopped before its end.

    An entry that fails stops no other. One that failed or was interrupted before is tried again. `primary` is the
    metric that is printed of each. Raises `OutputError` where another sweep holds the folder or it cannot be written,
    `InvalidInput` for a sweep.json that is not ours.
    """
    with state.locked(folder):
        finished = state.read_finished(folder)
        records = [replace(finished.get(entry.key, state.new_record(entry)), name=entry.name) for entry in entries]
        started_at = clock.now()

        def note(number: int, **changes: Any) -> Record:
            records[number] = replace(records[number], **changes)
            state.write_state(folder, records, baseline, started_at, clock.now())
            return records[number]

        for number, entry in enumerate(entries):
            record = records[number]
            if record.state == "done":
                observe(_result(record, _card(folder, record), None, primary) | {"again": True})
                continue
            observe({"event": "start", "name": entry.name, "number": number + 1, "of": len(entries)})
            note(number, state="running")
            outcome = evaluate_one(entry, _progress(entry, observe))
            record = note(number, **_changes(outcome, folder))
            observe(_result(record, outcome.card, outcome.timing, primary))
            if outcome.stopped and any(record.state != "done" for record in records[number:]):
                return records, True
        state.write_state(folder, records, baseline, started_at, clock.now())
    return records, False


def exit_code(records: Sequence[Record]) -> int:
    """The worst of the entries', which is the largest."""
    return max((record.exit_code or 0 for record in records), default=0)


def _progress(entry: Entry, observe: Observe) -> Callable[[str, int, int], None]:
    return lambda stage, done, total: observe(
        {"event": "progress", "name": entry.name, "stage": stage, "done": done, "total": total}
    )


def _changes(outcome: Outcome, folder: Path) -> dict[str, Any]:
    """What an outcome makes of a record."""
    cache = (outcome.timing or {}).get("cache")
    faults = [{name: value for name, value in asdict(fault).items() if value is not None} for fault in outcome.faults]
    if cache is not None and cache["reason"]:
        faults.append({"code": "CACHE", "message": f"Computed anew: {cache['reason']}."})
    return {
        "state": _STATES.get(outcome.exit_code, "failed"),
        "exit_code": outcome.exit_code,
        "seconds": round(outcome.seconds, 3),
        "run": outcome.folder and str(outcome.folder.relative_to(folder)),
        "card_sha256": outcome.folder and sha256_file(outcome.folder / filenames.BUNDLE),
        "cache": cache and cache["state"],
        "faults": tuple(faults),
    }


def _result(
    record: Record, card: Mapping[str, Any] | None, timing: Mapping[str, Any] | None, primary: str
) -> dict[str, Any]:
    tasks = {} if card is None else card["tasks"]
    values = {name: (task["metrics"].get(primary) or {}).get("value") for name, task in tasks.items()}
    return {
        "event": "result",
        **asdict(record),
        "metric": primary,
        "values": values,
        "prompts": (timing or {}).get("prompts"),
        "prompts_per_second": (timing or {}).get("prompts_per_second"),
        "again": False,
    }


def _card(folder: Path, record: Record) -> Mapping[str, Any]:
    card: Mapping[str, Any] = json.loads((folder / str(record.run) / filenames.CARD).read_text(encoding="utf-8"))
    return card
