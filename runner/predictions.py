"""The seam: predictions as a file of JSON lines, read strictly, written whole, aligned with the items they answer."""

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from runner.errors import Fault, InvalidInput
from runner.records import Array, Item, Prediction
from runner.served import Served, served
from runner.strict_json import JsonFault, parse

_FIELDS = {field.name: field.default for field in fields(Prediction)}
_FEW = ("task", "split", "prompt_id")
"""Fields with few values, each of which is kept once: there may be a million rows."""
_MAX_FAULTS = 20
_MAX_ROW = 1 << 20
_MAX_SCORE = 1e6
"""Largest size of a log-score: far beyond any sum of token log-probabilities, and short of the −1e9 or −3e38 by which
code masks, whose mean over items would mean nothing and whose differences would no longer be exact."""
_MAX_CONCENTRATION = 1e9
MAX_TEXT = 1000
"""Longest written answer that is kept, in characters; a line of 64 options is no longer."""
_MAX_NAME = 150
"""Longest task, split or prompt name, in characters; they become names in the scorecard."""
_TOLD = re.compile(r"[ -~]{1,200}")
"""The name of a version that a service tells; they come into the scorecard as well."""

View = tuple[str | None, int]
"""A way of asking: prompt id and order."""


def to_line(prediction: Prediction) -> str:
    """One JSON line with its newline; fields at their defaults are left out, save `order` beside a `prompt_id`."""
    row = {name: getattr(prediction, name) for name in _FIELDS}
    kept = {
        name: value
        for name, value in row.items()
        if value != _FIELDS[name] or (name == "order" and prediction.prompt_id is not None)
    }
    return json.dumps(kept, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def from_row(row: Any) -> Prediction:
    """A prediction from a parsed row; `ValueError` says what is wrong with it."""
    if not isinstance(row, dict):
        raise ValueError(f"a row is an object, found {_kind(row)}")
    if unknown := sorted(set(row) - set(_FIELDS)):
        raise ValueError(f"unknown field {unknown[0]!r}; known are {', '.join(_FIELDS)}")
    for name in ("task", "item_id", "log_scores"):
        if name not in row:
            raise ValueError(f"{name!r} is missing; a row needs task, item_id and log_scores")
    for name, value in row.items():
        if name == "log_scores" and value is None and row.get("text") is not None:
            continue  # a written answer that could not be read
        if problem := _problem(name, value):
            raise ValueError(f"{name}: {problem}, found {_kind(value)}")
    if row["log_scores"] is not None:
        row["log_scores"] = tuple(float(score) for score in row["log_scores"])
    for name in _FEW:
        if isinstance(row.get(name), str):
            row[name] = sys.intern(row[name])
    for name in ("token_counts", "bounded", "usage"):
        if row.get(name) is not None:
            row[name] = tuple(row[name])
    return Prediction(**row)


def _problem(name: str, value: Any) -> str | None:
    """What the field `name` should have been, or None when `value` is that."""
    if value is None:
        return None if _FIELDS.get(name, ...) is None else "a value is needed"
    match name:
        case "item_id" | "prompt_sha256":
            return None if isinstance(value, str) and value else "a non-empty string is needed"
        case "task" | "split" | "prompt_id":
            good = isinstance(value, str) and 1 <= len(value) <= _MAX_NAME
            return None if good else f"a string of 1 to {_MAX_NAME} characters is needed"
        case "log_scores":
            if not (isinstance(value, list) and len(value) >= 2 and all(_is_number(score) for score in value)):
                return "a list of finite numbers, one per label, is needed"
            largest = max(value, key=abs)
            good = abs(largest) <= _MAX_SCORE
            return None if good else f"natural logs within ±{_MAX_SCORE:,.0f} are needed, one is {largest:g}"
        case "model_version" | "system_fingerprint":
            good = isinstance(value, str) and _TOLD.fullmatch(value) is not None
            return None if good else "a string of 1 to 200 printable ASCII characters is needed"
        case "token_counts":
            good = isinstance(value, list) and all(_is_count(count) for count in value)
            return None if good else "a list of counts is needed"
        case "bounded":
            good = isinstance(value, list) and all(_is_count(label) for label in value)
            return None if good and len(set(value)) == len(value) else "a list of different label indexes is needed"
        case "usage":
            good = isinstance(value, list) and len(value) == 2 and all(_is_count(count) for count in value)
            return None if good else "two counts are needed, tokens in and out"
        case "text":
            good = isinstance(value, str) and len(value) <= MAX_TEXT
            return None if good else f"a string of at most {MAX_TEXT:,} characters is needed"
        case "text_log_prob":
            good = _is_number(value) and -_MAX_SCORE <= value <= 0.001
            return None if good else f"a natural log between -{_MAX_SCORE:,.0f} and 0 is needed"
        case "order" | "prompt_tokens" | "text_tokens":
            return None if _is_count(value) else "a whole number from 0 is needed"
        case "truncated":
            return None if isinstance(value, bool) else "true or false is needed"
        case "answer_mass":
            return None if _is_number(value) and 0 <= value <= 1 + 1e-4 else "a probability is needed"
        case _:
            good = _is_number(value) and 1 / _MAX_CONCENTRATION <= value <= _MAX_CONCENTRATION
            return None if good else f"a number between {1 / _MAX_CONCENTRATION:g} and {_MAX_CONCENTRATION:g} is needed"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _kind(value: Any) -> str:
    if isinstance(value, str | int | float | bool) or value is None:
        return json.dumps(value)[:60]
    return f"a list of {len(value)}" if isinstance(value, list) else f"a {type(value).__name__}"


def read(path: Path) -> Iterator[Prediction]:
    """The rows of a predictions file, one at a time; `InvalidInput` with up to 20 faults, each with its line.

    After a row of more than 1 MiB nothing is read.
    """
    faults: list[Fault] = []
    try:
        with path.open("rb") as stream:
            # Not line by line as Python does it: a file may be one line of any size.
            for number, line in enumerate(iter(lambda: stream.readline(_MAX_ROW + 1), b""), start=1):
                try:
                    yield from_row(parse(line, max_bytes=_MAX_ROW))
                except (JsonFault, ValueError) as problem:
                    faults.append(Fault("PREDICTION_ROW", f"{problem}.", str(path), number))
                    if len(faults) >= _MAX_FAULTS or len(line) > _MAX_ROW:
                        break
    except OSError as problem:
        raise InvalidInput(
            Fault("FILE_MISSING", f"The predictions cannot be read: {problem.strerror}.", str(path))
        ) from None
    if faults:
        raise InvalidInput(*faults)


@dataclass(frozen=True, slots=True)
class Answers:
    """A model's answers to some items of one task, in item order.

    `log_probs` (items, views, labels), each view normalised; `answer_mass` (items, views), NaN where not measured;
    `concentration` (items,) or None when the model supplies none; `truncated` ids in item order; `served` is what the
    rows say of a service, None without one; `unread` are the rows, in item order, whose text could not be read; their
    log-probabilities are NaN.
    """

    views: tuple[View, ...]
    log_probs: Array
    answer_mass: Array
    concentration: Array | None
    truncated: tuple[str, ...]
    served: Served | None = None
    unread: tuple[Prediction, ...] = ()

    def read(self) -> NDArray[np.bool_]:
        """(items,) whether every view of an item has an answer that could be read."""
        return np.logical_not(np.isnan(self.log_probs).any(axis=(1, 2)))

    def only(self, where: NDArray[np.bool_]) -> "Answers":
        """The answers to the items of `where` (items,)."""
        own = None if self.concentration is None else self.concentration[where]
        return replace(
            self, log_probs=self.log_probs[where], answer_mass=self.answer_mass[where], concentration=own, unread=()
        )

    def averaged(self) -> Array:
        """(items, labels) log-probabilities: the views averaged as probabilities."""
        mean: Array = logsumexp(self.log_probs, axis=1) - math.log(len(self.views))
        return mean


def align(items: Sequence[Item], labels: Sequence[str], rows: Iterable[Prediction], file: str | None = None) -> Answers:
    """Rows of one task put in the order of `items`, or `InvalidInput` when they do not answer each item exactly once.

    Every item must be answered in the same views (prompt and order), once each, with one score per label; a row for
    an item that is not among `items` is a fault, as is an item without rows. Rows that name a prompt do not go with
    rows that name none, nor rows with a concentration of their own with rows without, nor rows with a text with rows
    without.
    """
    place = {item.id: number for number, item in enumerate(items)}
    rows = list(rows)
    views = tuple(dict.fromkeys((row.prompt_id, row.order) for row in rows)) or ((None, 0),)
    view_place = {view: number for number, view in enumerate(views)}
    shape = (len(items), len(views))
    scores = np.full((*shape, len(labels)), np.nan)
    mass = np.full(shape, np.nan)
    concentration = np.full(shape, np.nan)
    answered = np.zeros(shape, dtype=bool)
    cut: set[str] = set()
    unread: list[tuple[tuple[int, int], Prediction]] = []
    problems: list[str] = []
    for row in rows:
        where = f"item {row.item_id!r}"
        if row.item_id not in place:
            problems.append(f"{where} is not an item of the task's split")
            continue
        if row.log_scores is not None and len(row.log_scores) != len(labels):
            problems.append(f"{where} has {len(row.log_scores)} scores, the task has {len(labels)} labels")
            continue
        if row.bounded and max(row.bounded) >= len(labels):
            problems.append(f"{where} bounds label {max(row.bounded)}, the task has {len(labels)} labels")
            continue
        at = (place[row.item_id], view_place[row.prompt_id, row.order])
        if answered[at]:
            problems.append(f"{where} is answered twice for prompt {row.prompt_id!r}, order {row.order}")
            continue
        answered[at] = True
        if row.log_scores is None:
            unread.append((at, row))
        else:
            scores[at] = row.log_scores
        mass[at] = np.nan if row.answer_mass is None else row.answer_mass
        concentration[at] = np.nan if row.concentration is None else row.concentration
        if row.truncated:
            cut.add(row.item_id)
    prompts = {prompt_id for prompt_id, _ in views}
    if None in prompts and len(prompts) > 1:
        problems.append(f"some rows name a prompt ({min(filter(None, prompts))!r}), others none")
    if 0 < (written := sum(row.text is not None for row in rows)) < len(rows):
        problems.append(f"{written:,} of {len(rows):,} rows have a text, all or none were expected")
    given = ~np.isnan(concentration[answered])
    if given.any() and not given.all():
        problems.append(f"{given.sum():,} of {given.size:,} rows have a concentration, all or none were expected")
    for number, view in zip(*np.nonzero(~answered), strict=True):
        prompt_id, order = views[view]
        asked = "" if prompt_id is None else f" for prompt {prompt_id!r}, order {order}"
        problems.append(f"item {items[number].id!r} has no answer{asked}")
    if problems:
        shown = [Fault("RUN_INCONSISTENT", f"{problem[0].upper()}{problem[1:]}.", file) for problem in problems[:20]]
        if len(problems) > len(shown):
            shown.append(Fault("RUN_INCONSISTENT", f"… and {len(problems) - len(shown):,} more.", file))
        raise InvalidInput(*shown)
    own = concentration.mean(axis=1)
    return Answers(
        views=views,
        log_probs=log_softmax(scores, axis=2),
        answer_mass=mass,
        concentration=None if np.isnan(own).any() else own,
        truncated=tuple(item.id for item in items if item.id in cut),
        served=served(rows),
        unread=tuple(row for _, row in sorted(unread, key=lambda one: one[0])),
    )


def by_task_and_split(
    rows: Iterable[Prediction],
    items: Mapping[tuple[str, str], Sequence[Item]],
    file: str | None = None,
) -> dict[tuple[str, str], list[Prediction]]:
    """Rows sorted by (task, split); a row without a split belongs to the one split of its task that has its item."""
    homes = {(task, item.id): split for (task, split), members in reversed(list(items.items())) for item in members}
    sorted_rows: dict[tuple[str, str], list[Prediction]] = {}
    faults: list[Fault] = []
    for number, row in enumerate(rows, start=1):
        split = row.split or homes.get((row.task, row.item_id))
        if split is None or (row.task, split) not in items:
            known = ", ".join(sorted({f"{task} ({name})" for task, name in items}))
            message = f"Task {row.task!r}, item {row.item_id!r} is not among what is scored: {known}."
            faults.append(Fault("RUN_INCONSISTENT", message, file, number))
            if len(faults) >= _MAX_FAULTS:
                break
            continue
        sorted_rows.setdefault((row.task, split), []).append(row)
    if faults:
        raise InvalidInput(*faults)
    return sorted_rows
