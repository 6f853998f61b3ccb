"""How people voted on one row, in any of the ways in which a benchmark can say where that stands."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from runner.core.benchmark_types import VoteSpec
from runner.core.text import name_of
from runner.tasks.data.cells import canonical_name, is_absent, value_of_cell
from runner.tasks.data.paths import Nowhere, describe, follow, in_yaml, json_path, shorten, written

Counts = tuple[int, ...]

Report = Callable[..., None]
"""Called with the code, the sentence and the JSON path of each fault, and with `hint` and `many` where there are any;
`many` says in the plural what the sentence says of one row: "have no count for 'e'"."""

_WHOLE = re.compile(r"\+?[0-9]{1,15}(\.0*)?", re.ASCII)
_SEPARATED = re.compile(r"[0-9]{1,3}([.,' \u00a0\u202f][0-9]{3})+")
_SHARES_WITHIN = 1e-6
_MAX_COUNT = 2**53 - 1


def read_votes(
    row: Any, spec: str | VoteSpec, labels: tuple[str, ...], report: Report, *, textual: bool, may_be_null: bool = False
) -> Counts | None:
    """Counts in label order, shape `(labels,)`; None after a report, or silently for an allowed null.

    `spec` is the short form, a path to a list of counts in the labels' order or to a mapping from label to count, or
    one that says its kind. With `textual` numbers and lists are read from their text. A row of the kind `rows` is one
    person's: one vote, or none where the answer is to be ignored. Codes: DATA_VOTES, DATA_LABEL.
    """
    if isinstance(spec, VoteSpec) and spec.kind == "columns":
        return _columns(row, spec, labels, report, textual)
    path = spec if isinstance(spec, str) else spec.path or ""
    try:
        value = follow(row, path)
    except Nowhere as missing:
        where, why, hint = missing.args
        report("DATA_VOTES", f"`{path}` leads to no votes: {why}.", where, hint=hint)
        return None
    if value is None and may_be_null:
        return None
    if textual and isinstance(value, str):
        value = value_of_cell(value)
    where = json_path(row, path)
    if isinstance(spec, str):
        return _counts(value, VoteSpec("counts", spec), labels, report, where, textual, short=True)
    match spec.kind:
        case "counts":
            return _counts(value, spec, labels, report, where, textual)
        case "shares":
            return _shares(row, value, spec, labels, report, where, textual)
        case "answers":
            return _answers(value, spec, labels, report, where, textual)
        case _:
            return _tally([(where, value)], spec, labels, report, textual)


def two_readings(row: Any, path: str, labels: Sequence[str], textual: bool) -> tuple[int, bool] | None:
    """Of a list that can be read as counts and as answers alike, its sum and whether it has a number above 1.

    It is as long as there are labels, and each number in it could be the index of a label. None for anything else:
    the short form has then one meaning.
    """
    try:
        value = follow(row, path)
    except Nowhere:
        return None
    if textual and isinstance(value, str):
        value = value_of_cell(value)
    if not isinstance(value, list) or len(value) != len(labels):
        return None
    numbers = [_whole(entry, textual) for entry in value]
    if any(number is None or number >= len(labels) for number in numbers):
        return None
    return sum(number or 0 for number in numbers), any((number or 0) > 1 for number in numbers)


def short_form_hint(path: str, labels: Sequence[str]) -> str:
    """The two ways to say what a list is that is as long as the labels."""
    keys = ", ".join(f"{label}: {number}" for number, label in enumerate(labels))
    answers = f"`votes: {{answers: {path}, keys: {{{keys}}}}}` (check which is which)"
    return f"Say `votes: {{counts: {path}}}`, or {answers}."


# --- counts --------------------------------------------------------------------------------------------------------


def _counts(
    value: Any,
    spec: VoteSpec,
    labels: tuple[str, ...],
    report: Report,
    where: str,
    textual: bool,
    *,
    short: bool = False,
) -> Counts | None:
    if isinstance(value, list):
        values = _list_by_label(value, spec, labels, report, where)
    elif isinstance(value, dict):
        values = _mapping_by_label(value, spec, labels, report, where, short=short)
    else:
        message = f"An array of counts, or an object from label to count, was expected; {describe(value)} was found."
        hint = None
        if isinstance(value, str) and value[:1] in ("[", "{"):
            hint = "A list or mapping in a cell is read where it is written as JSON or as Python writes it."
        elif isinstance(value, str | int) and not isinstance(value, bool):
            hint = f"If this is one person's answer: `votes: {{rows: {spec.path}}}`."
        report("DATA_VOTES", message, where, hint=hint, many=f"have no array or object of counts at `{spec.path}`")
        return None
    if values is None:
        return None
    # A text of digits is a count where the benchmark says that there are counts; the short form may hold answers.
    return _all_whole(values, spec, labels, report, textual or not short)


def _list_by_label(
    value: list[Any], spec: VoteSpec, labels: tuple[str, ...], report: Report, where: str
) -> dict[str, Any] | None:
    """Index → value, in label order."""
    if len(value) != len(labels):
        message = f"{len(value)} counts were found, {len(labels)} were expected: {', '.join(labels)}."
        hint = f"If these are answers, one a person: `votes: {{answers: {spec.path}}}`, with `keys` for their names."
        report("DATA_VOTES", message, where, hint=hint, many=f"have another number of counts than {len(labels)}")
        return None
    return {f"{where}[{index}]": entry for index, entry in enumerate(value)}


def _mapping_by_label(
    value: dict[str, Any], spec: VoteSpec, labels: tuple[str, ...], report: Report, where: str, *, short: bool
) -> dict[str, Any] | None:
    """Index → value, in label order; what is missing is 0 where the benchmark says so."""
    names = {spec.keys.get(label, label): label for label in labels}
    unknown = [name for name in value if name not in names and name not in spec.ignore]
    for name in unknown:
        message = f"{shorten(repr(name))} is not a label of the task ({', '.join(names)})."
        if names.keys() & value.keys():
            hint = f"To leave it out, say `{_said(spec, short, f'ignore: [{in_yaml(name)}]')}`."
        elif all(name_of(answer) in names for answer in value.values()):
            hint = f"If this maps a person to an answer: `votes: {{answers: {spec.path}}}`."
        else:
            theirs = ", ".join(f"{label}: {in_yaml(key)}" for label, key in zip(labels, value, strict=False))
            keys = _said(spec, short, f"keys: {{{theirs}}}")
            hint = f"If the data has other names for the labels, say `{keys}` (check which is which)."
        report(
            "DATA_LABEL", message, where, hint=hint, many=f"have a count for {shorten(repr(name))}, which is no label"
        )
    absent = [name for name in names if value.get(name) is None]
    for name in absent if spec.missing == "refuse" else ():
        hint = f"If nobody chose it there, say `{_said(spec, short, 'missing: zero')}`."
        report(
            "DATA_LABEL",
            f"There is no count for the label {name!r}.",
            where,
            hint=hint,
            many=f"have no count for {name!r}: `missing: zero`?",
        )
    if unknown or (absent and spec.missing == "refuse"):
        return None
    return {f"{where}.{name}": 0 if value.get(name) is None else value[name] for name in names}


def _said(spec: VoteSpec, short: bool, more: str) -> str:
    """The key to add, or the whole of what to write where the short form has no room for a key."""
    return f"votes: {{{spec.kind}: {spec.path}, {more}}}" if short else more


def _columns(row: Any, spec: VoteSpec, labels: tuple[str, ...], report: Report, textual: bool) -> Counts | None:
    values: dict[str, Any] = {}
    for label in labels:
        path = spec.columns[label]
        try:
            value = follow(row, path)
        except Nowhere as missing:
            where, why, hint = missing.args
            report("DATA_VOTES", f"`{path}` leads to no count of {label!r}: {why}.", where, hint=hint)
            return None
        if value is None or (textual and is_absent(value)):
            if spec.missing == "refuse":
                hint = "If nobody chose it there, say `missing: zero`."
                many = f"have no count for {label!r}: `missing: zero`?"
                where = json_path(row, path)
                report("DATA_LABEL", f"There is no count for the label {label!r}.", where, hint=hint, many=many)
                return None
            value = 0
        values[json_path(row, path)] = value
    return _all_whole(values, spec, labels, report, textual)


def _all_whole(
    values: Mapping[str, Any], spec: VoteSpec, labels: tuple[str, ...], report: Report, textual: bool
) -> Counts | None:
    counts = {path: _whole(value, textual) for path, value in values.items()}
    wrong = [path for path, count in counts.items() if count is None]
    for path in wrong:
        hint = _no_count_hint(values, path, spec, textual)
        message = f"A whole number of votes, 0 or more, was expected; {describe(values[path])} was found."
        report("DATA_VOTES", message, path, hint=hint, many=f"have no whole number of votes, 0 or more, at {path}")
    return None if wrong else tuple(count or 0 for count in counts.values())


def _no_count_hint(values: Mapping[str, Any], path: str, spec: VoteSpec, textual: bool) -> str | None:
    """What a value may be that is no count."""
    value = values[path]
    if all(_share(value, textual) is not None for value in values.values()):
        return "If these are shares: `votes: {shares: …, total: …}`; `total` is the number of people, or its path."
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return f"If these are counts: `votes: {{counts: {spec.path}}}`; if answers: `votes: {{answers: {spec.path}}}`."
    if isinstance(value, str) and _SEPARATED.fullmatch(value.strip()):
        return "Write numbers in the file without a separator of thousands."
    if spec.path and isinstance(value, str) and not textual:
        return f"If these are answers, one a person: `votes: {{answers: {spec.path}}}`, with `keys` for their names."
    return None


def _whole(value: Any, textual: bool) -> int | None:
    """A number of people: 3, 3.0, or their text in a table of texts."""
    # type() and not isinstance(): true is an int to Python, and no number of people.
    if type(value) is int:
        return value if 0 <= value <= _MAX_COUNT else None
    if type(value) is float:
        return int(value) if value.is_integer() and 0 <= value <= _MAX_COUNT else None
    if textual and isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(float(value))
    return None


# --- shares --------------------------------------------------------------------------------------------------------


def _shares(
    row: Any, value: Any, spec: VoteSpec, labels: tuple[str, ...], report: Report, where: str, textual: bool
) -> Counts | None:
    total = _total(row, spec, report, textual)
    if isinstance(value, list):
        values = _list_by_label(value, spec, labels, report, where)
    elif isinstance(value, dict):
        values = _mapping_by_label(value, spec, labels, report, where, short=False)
    else:
        message = f"An array of shares, or an object from label to share, was expected; {describe(value)} was found."
        report("DATA_VOTES", message, where)
        return None
    if values is None or total is None:
        return None
    counts: list[int] = []
    for path, entry in values.items():
        share = _share(entry, textual)
        if share is None:
            message = f"A share from 0 to 1 was expected; {describe(entry)} was found."
            hint = "If these are counts: `votes: {counts: …}`." if _whole(entry, textual) is not None else None
            report("DATA_VOTES", message, path, hint=hint, many=f"have no share from 0 to 1 at {path}")
            return None
        count = round(share * total)
        if abs(share * total - count) > _SHARES_WITHIN:
            message = f"{share:g} × {total:,} people is {share * total:.7g}, which is no number of people."
            hint = "Is `total` the number of people who answered this row? Rounded shares cannot be turned into counts."
            report("DATA_VOTES", message, path, hint=hint, many="have a share that is no whole number of people")
            return None
        counts.append(count)
    if sum(counts) != total and not spec.ignore:
        message = f"The shares add up to {sum(counts):,} of {total:,} people."
        hint = "Name in `ignore` the further answers that the other people gave."
        report("DATA_VOTES", message, where, hint=hint, many="have shares that do not add up to all people")
        return None
    return tuple(counts)


def _total(row: Any, spec: VoteSpec, report: Report, textual: bool) -> int | None:
    if isinstance(spec.total, int):
        return spec.total
    path = spec.total or ""
    try:
        value = follow(row, path)
    except Nowhere as missing:
        where, why, hint = missing.args
        report("DATA_VOTES", f"`{path}` leads to no number of people: {why}.", where, hint=hint)
        return None
    total = _whole(value, textual)
    if total is None:
        message = f"A whole number of people was expected; {describe(value)} was found."
        report("DATA_VOTES", message, json_path(row, path), many=f"have no whole number of people at `{path}`")
    return total


def _share(value: Any, textual: bool) -> float | None:
    if textual and isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    good = type(value) in (int, float) and math.isfinite(value) and 0 <= value <= 1 + _SHARES_WITHIN
    return float(value) if good else None


# --- answers -------------------------------------------------------------------------------------------------------


def _answers(
    value: Any, spec: VoteSpec, labels: tuple[str, ...], report: Report, where: str, textual: bool
) -> Counts | None:
    if isinstance(value, list):
        given = [(f"{where}[{index}]", answer) for index, answer in enumerate(value)]
    elif isinstance(value, dict):
        given = [(f"{where}[{person!r}]", answer) for person, answer in value.items()]
    else:
        message = f"A list of answers, or an object from person to answer, was expected; {describe(value)} was found."
        hint = f"If each row is one person's answer: `votes: {{rows: {spec.path}}}`."
        report("DATA_VOTES", message, where, hint=hint, many=f"have no list or object of answers at `{spec.path}`")
        return None
    return _tally(given, spec, labels, report, textual)


def _tally(
    given: Sequence[tuple[str, Any]], spec: VoteSpec, labels: tuple[str, ...], report: Report, textual: bool
) -> Counts | None:
    names = {spec.keys.get(label, label): path for path, label in enumerate(labels)}
    counts = [0] * len(labels)
    faults = 0
    for path, hint, answer in _strangers(given, spec, names, counts, textual):
        faults += 1
        name = name_of(answer)
        # What is no name at all is one fault, whatever is in it.
        shown = describe(answer) if name is None else shorten(repr(name))
        message = (
            f"{describe(answer)[0].upper()}{describe(answer)[1:]} is none of the answers {', '.join(map(repr, names))}."
        )
        report("DATA_LABEL", message, path, hint=hint, many=f"have the answer {shown}, which is no label", cause=shown)
    return None if faults else tuple(counts)


def _strangers(
    given: Sequence[tuple[str, Any]], spec: VoteSpec, names: Mapping[str, int], counts: list[int], textual: bool
) -> Iterator[tuple[str, str | None, Any]]:
    """Counts what is known into `counts`; gives path, hint and answer of what is not."""
    for path, answer in given:
        name = name_of(answer)
        if textual and name is not None and name not in names and name not in spec.ignore:
            name = canonical_name(name)
        if name is not None and name in names:
            counts[names[name]] += 1
        elif name not in spec.ignore or (name is None and answer is not None):
            yield path, _stranger_hint(name, answer, spec), answer


def _stranger_hint(name: str | None, answer: Any, spec: VoteSpec) -> str | None:
    if isinstance(answer, dict) and spec.kind == "answers" and answer:
        inner = " or ".join(f"`{spec.path}.*.{written(key)}`" for key in list(answer)[:3])
        return f"If the answer stands in each of these objects, say where: {inner}."
    if isinstance(answer, list):
        return "Several labels from one annotator are out of scope."
    if name is None and answer is not None:
        return None
    ignored = "null" if name is None else in_yaml(name)
    return f"Say with `keys` which label it stands for, or leave it out with `ignore: [{ignored}]`."
