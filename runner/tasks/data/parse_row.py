"""One row of data to one item, or everything that is wrong with it."""

import json
from collections.abc import Iterable
from typing import Any

from runner.core.benchmark_types import ItemFields, Task, VoteSpec
from runner.core.text import name_of
from runner.core.types import Item
from runner.tasks.data.paths import Nowhere, describe, follow, json_path, segments, value_at
from runner.tasks.data.rows import Row
from runner.tasks.data.votes import Report, read_votes

LINE_ID, KEY_ID = "$line", "$key"
"""Identifiers that are no path: the number of the row, and its name in an object of rows."""


class MissingText(Exception):
    """A row has no text in one of its fields, and the task says to skip such rows; the argument is the row's id."""


def paths_of(item: ItemFields) -> tuple[str, ...]:
    """Every path into a row that the parts of an item have."""
    votes: list[str] = []
    for spec in (item.votes, item.panel):
        if isinstance(spec, VoteSpec):
            votes += [path for path in (spec.path, spec.total, *spec.columns.values()) if isinstance(path, str)]
        elif spec is not None:
            votes.append(spec)
    named = [item.id] if item.id not in (LINE_ID, KEY_ID) else []
    return (*named, *item.fields.values(), *votes, *([item.group] if item.group else []), *item.clusters)


def columns_of(paths: Iterable[str]) -> frozenset[str]:
    """The first keys of paths: what of a table they need."""
    return frozenset(segments(path)[0] for path in paths)


def read_item(row: Row, task: Task, report: Report, *, textual: bool) -> Item | None:
    """The item that `task.item` finds in a parsed row; None after reporting at least one fault.

    `counts` is in label order and may be all zero: what becomes of an item without votes is the caller's to decide.
    A panel that is null or all zero is None (in Scruples only dev and test have one). Fault codes: DATA_FIELD,
    DATA_VOTES, DATA_LABEL. Raises `MissingText`.
    """
    faults = 0

    def report_fault(code: str, message: str, where: str, **more: Any) -> None:
        nonlocal faults
        faults += 1
        report(code, message, where, **more)

    if not isinstance(row.value, dict):
        report_fault("DATA_FIELD", f"A row is an object, {describe(row.value)} was found.", "$", hint=_no_row_hint(row))
        return None
    item_id = _id(row, task.item.id, report_fault)
    skips = task.item.missing_text == "skip"
    fields = {name: _text(row.value, path, report_fault, skips=skips) for name, path in task.item.fields.items()}
    if skips and item_id is not None and None in fields.values():
        raise MissingText(item_id)
    if fields and not any(text is None or text for text in fields.values()):
        report_fault("DATA_FIELD", f"Nothing to ask about: {' and '.join(fields)} are all empty.", "$")
    counts = read_votes(row.value, task.item.votes, task.labels, report_fault, textual=textual)
    panel = task.item.panel and read_votes(
        row.value, task.item.panel, task.labels, report_fault, textual=textual, may_be_null=True
    )
    group = _group(row.value, task.item.group, report_fault, textual) if task.item.group else None
    if faults or item_id is None or counts is None:
        return None
    texts = {name: text for name, text in fields.items() if text is not None}
    clusters = tuple(json.dumps(value) for path in task.item.clusters for value in value_at(row.value, path))
    return Item(item_id, texts, counts, panel if panel and any(panel) else None, group, clusters)


def _no_row_hint(row: Row) -> str | None:
    """Where the rows may be, if objects lie where a row should be."""
    if row.key and isinstance(row.value, list) and all(isinstance(entry, dict) for entry in row.value):
        return f"If the rows are in {row.key!r}, put that list alone into the file."
    return None


def _id(row: Row, path: str, report: Report) -> str | None:
    """A text or a whole number as its decimal text; the row's number or key where the benchmark says so."""
    if path == LINE_ID:
        return str(row.number)
    if path == KEY_ID:
        if row.key:
            return row.key
        message = "The row has no key: only the rows of a JSON object have one."
        report("DATA_FIELD", message, "$", hint=f"Say `id: {LINE_ID}`, or the path to a name.", many=message)
        return None
    try:
        value = follow(row.value, path)
    except Nowhere as missing:
        where, why, hint = missing.args
        hint = f"{hint or ''} Where rows have no name of their own, say `id: {LINE_ID}`.".strip()
        report("DATA_FIELD", f"`{path}` leads to nothing: {why}.", where, hint=hint)
        return None
    name = None if isinstance(value, bool) else name_of(value)
    if name:
        return name
    where = json_path(row.value, path)
    message = "Text was expected, an empty text was found." if value == "" else ""
    message = message or f"Text or a whole number was expected, {describe(value)} was found."
    report("DATA_FIELD", message, where, hint=f"Where rows have no name of their own, say `id: {LINE_ID}`.")
    return None


def _text(row: Any, path: str, report: Report, *, skips: bool) -> str | None:
    """A text, which may be empty; None after a report, or silently where what is missing is skipped."""
    try:
        value = follow(row, path)
    except Nowhere as missing:
        where, why, hint = missing.args
        if not skips:
            report("DATA_FIELD", f"`{path}` leads to nothing: {why}.", where, hint=hint)
        return None
    if isinstance(value, str):
        return value
    if value is None and skips:
        return None
    where = json_path(row, path)
    hint = "To leave such rows out, say `missing_text: skip`." if value is None else None
    many = f"have {'null' if value is None else 'no text'} at {where}"
    report("DATA_FIELD", f"Text was expected, {describe(value)} was found.", where, hint=hint, many=many)
    return None


def _group(row: Any, path: str, report: Report, textual: bool) -> str | None:
    """A text, or a number as its text; None for null, or for an empty cell."""
    try:
        value = follow(row, path)
    except Nowhere as missing:
        where, why, hint = missing.args
        report("DATA_FIELD", f"`{path}` leads to nothing: {why}.", where, hint=hint)
        return None
    if value is None or (textual and value == ""):
        return None
    name = name_of(value) if not isinstance(value, float) or value.is_integer() else repr(value)
    if name:
        return name
    where = json_path(row, path)
    message = f"Text was expected, {describe(value)} was found." if value == "" else ""
    message = message or f"Text, a number or null was expected, {describe(value)} was found."
    report("DATA_FIELD", message, where, many=f"have neither text, number nor null at {where}")
    return None
