"""The seam: predictions as a file of JSON lines, read strictly and written whole."""

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from io import BufferedReader
from pathlib import Path
from typing import Any

from runner.core.errors import Fault, InvalidInput
from runner.core.files import open_regular
from runner.core.strict_json import JsonFault, parse
from runner.core.types import Prediction

_FIELDS = {field.name: field.default for field in fields(Prediction) if field.name != "thoughts"}
_INTERNED = ("task", "split", "prompt_id")
"""Fields with few values, each of which is stored once: there may be a million rows."""
_INDEX_COLUMNS = ("index", "level_0", "Unnamed: 0", "__index_level_0__")
"""What pandas calls the number of a row, which says nothing and is left out."""
_MAX_FAULTS = 20
_NO_ROWS = 5
"""Lines at the beginning, all of them no JSON, that make a file one of another kind."""
_MAX_ROW = 1 << 20
_SLACK = 10_000
_MAX_SCORE = 1e6
"""Largest size of a log-score: far beyond any sum of token log-probabilities, and short of the −1e9 or −3e38 by which
code masks, whose mean over items would mean nothing and whose differences would no longer be exact."""
_MAX_CONCENTRATION = 1e9
MAX_TEXT = 1000
"""Longest stored written answer, in characters; a line of 64 options is no longer."""
MOST_FAILED_TEXTS = 3
"""Largest number of a row's failed answers whose texts are stored."""
_MAX_LABELS = 64
_MAX_NAME = 150
"""Longest task, split or prompt name, in characters; they become names in the scorecard."""
_PRINTABLE = re.compile(r"[ -~]{1,200}")
"""The name of a version that a service tells; they come into the scorecard as well."""


def to_row(prediction: Prediction) -> dict[str, Any]:
    """The prediction as a JSON object; fields at their defaults are left out, save `order` beside a `prompt_id`."""
    row = {name: getattr(prediction, name) for name in _FIELDS}
    return {
        name: value
        for name, value in row.items()
        if value != _FIELDS[name] or (name == "order" and prediction.prompt_id is not None)
    }


def to_line(prediction: Prediction) -> str:
    """`to_row` as one JSON line with its newline."""
    return json.dumps(to_row(prediction), ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def from_row(row: Any) -> Prediction:
    """A prediction from a parsed row; `ValueError` says what is wrong with it."""
    if not isinstance(row, dict):
        raise ValueError(f"a row is an object, found {_kind(row)}")
    row = {name: value for name, value in row.items() if name not in _INDEX_COLUMNS}
    if unknown := sorted(set(row) - set(_FIELDS)):
        raise ValueError(f"unknown field {unknown[0]!r}; known are {', '.join(_FIELDS)}")
    for name in ("task", "item_id", "log_scores"):
        if name not in row:
            raise ValueError(f"{name!r} is missing; a row needs task, item_id and log_scores")
    for name, value in row.items():
        if name == "log_scores" and value is None and row.get("text") is not None:
            continue  # a written answer that could not be read
        if name == "log_scores" and value is None and row.get("samples") is not None:
            continue  # more drawn answers failed than could be read
        if problem := _problem(name, value):
            raise ValueError(f"{name}: {problem}, found {_kind(value)}")
    if row["log_scores"] is not None:
        row["log_scores"] = tuple(float(score) for score in row["log_scores"])
    for name in _INTERNED:
        if isinstance(row.get(name), str):
            row[name] = sys.intern(row[name])
    for name in ("token_counts", "bounded", "usage", "failed"):
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
            good = isinstance(value, str) and _PRINTABLE.fullmatch(value) is not None
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
        case "samples":
            good = isinstance(value, dict) and 2 <= len(value) <= _MAX_LABELS
            good = good and all(len(name) <= _MAX_NAME and _is_count(number) for name, number in value.items())
            return None if good else "label names with counts of samples are needed"
        case "failed":
            good = isinstance(value, list) and 1 <= len(value) <= MOST_FAILED_TEXTS
            good = good and all(isinstance(text, str) and len(text) <= MAX_TEXT for text in value)
            return None if good else f"a list of at most {MOST_FAILED_TEXTS} texts is needed"
        case "order" | "prompt_tokens" | "text_tokens" | "failures":
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


def sha256_of_rows(path: Path, rows: int) -> str | None:
    """Lower-case hex sha256 of a predictions file, or None for one that is far from what a card says of it.

    `rows` is what the card says. The file is read no further than twice that and `_SLACK` rows, so that a card that
    miscounts still gets that message, and not beyond a row of more than 1 MiB. Raises `OSError` as `open_regular` does.
    """
    sha256 = hashlib.sha256()
    with BufferedReader(open_regular(path)) as stream:
        for _ in range(2 * rows + _SLACK):
            line = stream.readline(_MAX_ROW + 1)
            if len(line) > _MAX_ROW:
                return None
            if not line:
                return sha256.hexdigest()
            sha256.update(line)
    return None


def _other_kind(path: Path) -> Fault:
    message = "The first lines are not JSON, so these are no predictions."
    hint = 'Each line is one object, as in {"task": "dilemmas", "item_id": "…", "log_scores": [-0.7, -0.7]}.'
    return Fault("PREDICTION_ROW", message, str(path), 1, hint=hint)


def read(path: Path, parse_row: Callable[[Any], Prediction] = from_row) -> Iterator[Prediction]:
    """The rows of a predictions file, one at a time; `InvalidInput` with up to 20 faults, each with its line.

    After a row of more than 1 MiB nothing is read, and a file whose first lines are no JSON is one fault. Blank lines
    at the end are no rows. `parse_row` raises `ValueError` for a row that is none.
    """
    faults: list[Fault] = []
    blank: list[int] = []
    no_json = blanks = 0
    try:
        with BufferedReader(open_regular(path)) as stream:
            # Not line by line as Python does it: a file may be one line of any size.
            for number, line in enumerate(iter(lambda: stream.readline(_MAX_ROW + 1), b""), start=1):
                if line.isspace():
                    blank.append(number)
                    continue
                faults.extend(
                    Fault("PREDICTION_ROW", "Expecting value: the line is blank.", str(path), before)
                    for before in blank
                )
                blanks += len(blank)
                blank.clear()
                try:
                    yield parse_row(parse(line, max_bytes=_MAX_ROW))
                except (JsonFault, ValueError) as problem:
                    no_json += isinstance(problem, JsonFault)
                    if no_json >= _NO_ROWS and no_json + blanks == number:
                        raise InvalidInput(_other_kind(path)) from None
                    faults.append(Fault("PREDICTION_ROW", f"{problem}.", str(path), number))
                    if len(faults) >= _MAX_FAULTS or len(line) > _MAX_ROW:
                        break
    except OSError as problem:
        raise InvalidInput(
            Fault("FILE_MISSING", f"The predictions cannot be read: {problem.strerror}.", str(path))
        ) from None
    if faults:
        raise InvalidInput(*faults)
