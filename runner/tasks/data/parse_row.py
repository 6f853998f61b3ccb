"""One row of data to one item, or everything that is wrong with it."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from runner.core.types import Item, Task

Report = Callable[[str, str, str], None]
"""Called with the code, the sentence and the JSON path of each fault."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


class _Nowhere(Exception):
    """A dotted path leads to nothing; the arguments are the JSON path where it ended and why."""


def read_item(row: Any, task: Task, report: Report) -> Item | None:
    """The item that `task.item` finds in a parsed row; None after reporting at least one fault.

    `counts` is in label order and may be all zero: what becomes of an item without votes is the caller's to decide.
    A panel that is null or all zero is None (in Scruples only dev and test have one). Fault codes: DATA_FIELD,
    DATA_ENCODING, DATA_VOTES, DATA_LABEL.
    """
    faults = 0

    def report_fault(code: str, message: str, where: str) -> None:
        nonlocal faults
        faults += 1
        report(code, message, where)

    if not isinstance(row, dict):
        report_fault("DATA_FIELD", f"A row is an object, {_describe(row)} was found.", "$")
        return None
    item_id = _text(row, task.item.id, report_fault, may_be_empty=False)
    fields = {name: _text(row, path, report_fault, may_be_empty=True) for name, path in task.item.fields.items()}
    if fields and not any(text is None or text for text in fields.values()):
        report_fault("DATA_FIELD", f"Nothing to ask about: {' and '.join(fields)} are all empty.", "$")
    counts = _votes(row, task.item.votes, task.labels, report_fault, may_be_null=False)
    panel = task.item.panel and _votes(row, task.item.panel, task.labels, report_fault, may_be_null=True)
    group = task.item.group and _text(row, task.item.group, report_fault, may_be_empty=False)
    if faults or item_id is None or counts is None:
        return None
    texts = {name: text for name, text in fields.items() if text is not None}
    shared = tuple(json.dumps(value) for path in task.item.clusters for value in value_at(row, path))
    return Item(item_id, texts, counts, panel if panel and any(panel) else None, group or None, shared)


def _follow(row: Any, dotted: str) -> tuple[Any, str]:
    """The value at a dotted path and its JSON path; a segment into an array is an index from 0."""
    value, where = row, "$"
    for segment in dotted.split("."):
        if isinstance(value, dict):
            if segment not in value:
                raise _Nowhere(where, f"there is no {segment!r} here")
            value = value[segment]
            where += f".{segment}" if _PLAIN_KEY.fullmatch(segment) else f"[{segment!r}]"
        elif isinstance(value, list):
            if not _INDEX.fullmatch(segment):
                raise _Nowhere(where, f"{segment!r} is no index of an array")
            if int(segment) >= len(value):
                raise _Nowhere(where, f"there is no element {segment} in an array of {len(value)}")
            value = value[int(segment)]
            where += f"[{segment}]"
        else:
            raise _Nowhere(where, f"there is no {segment!r} in {_describe(value)}")
    return value, where


def value_at(row: Any, dotted: str) -> list[Any]:
    """The value at a dotted path of a row as a list of one, or an empty list where the path leads to nothing."""
    try:
        return [_follow(row, dotted)[0]]
    except _Nowhere:
        return []


def _text(row: Any, dotted: str, report: Report, *, may_be_empty: bool) -> str | None:
    try:
        value, where = _follow(row, dotted)
    except _Nowhere as missing:
        where, why = missing.args
        report("DATA_FIELD", f"`{dotted}` leads to nothing: {why}.", where)
        return None
    if not isinstance(value, str):
        report("DATA_FIELD", f"Text was expected, {_describe(value)} was found.", where)
        return None
    if not value and not may_be_empty:
        report("DATA_FIELD", "Text was expected, an empty text was found.", where)
        return None
    return value


def _votes(
    row: Any, dotted: str, labels: tuple[str, ...], report: Report, *, may_be_null: bool
) -> tuple[int, ...] | None:
    """Counts in label order, shape `(labels,)`; None after a report, or silently for an allowed null."""
    try:
        value, where = _follow(row, dotted)
    except _Nowhere as missing:
        where, why = missing.args
        report("DATA_VOTES", f"`{dotted}` leads to no votes: {why}.", where)
        return None
    if value is None and may_be_null:
        return None
    if isinstance(value, list):
        if len(value) != len(labels):
            message = f"{len(value)} counts were found, {len(labels)} were expected: {', '.join(labels)}."
            report("DATA_VOTES", message, where)
            return None
        counts = {f"{where}[{index}]": count for index, count in enumerate(value)}
    elif isinstance(value, dict):
        if not _has_exactly(value, labels, report, where):
            return None
        counts = {f"{where}.{label}": value[label] for label in labels}
    else:
        message = f"An array of counts, or an object from label to count, was expected; {_describe(value)} was found."
        report("DATA_VOTES", message, where)
        return None
    # type() and not isinstance(): true is an int to Python, and no number of people.
    wrong = {path: count for path, count in counts.items() if type(count) is not int or count < 0}
    for path, count in wrong.items():
        report("DATA_VOTES", f"A whole number of votes, 0 or more, was expected; {_describe(count)} was found.", path)
    return None if wrong else tuple(counts.values())


def _has_exactly(votes: Mapping[str, Any], labels: tuple[str, ...], report: Report, where: str) -> bool:
    unknown = [name for name in votes if name not in labels]
    missing = [label for label in labels if label not in votes]
    for name in unknown:
        report("DATA_LABEL", f"{_shorten(repr(name))} is not a label of the task ({', '.join(labels)}).", where)
    for label in missing:
        report("DATA_LABEL", f"There is no count for the label {label!r}.", where)
    return not unknown and not missing


def _describe(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text {_shorten(repr(value))}" if value else "an empty text"
        case list():
            return f"an array of {len(value)}"
        case dict():
            return f"an object of {len(value)}"
        case _:
            return f"the number {value}"


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
