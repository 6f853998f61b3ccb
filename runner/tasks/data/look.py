"""What the first rows of a file tell of its shape: a guess for a person to check, never a reading."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from runner.core.errors import Fault, InvalidInput
from runner.core.text import name_of
from runner.tasks.data.cells import is_absent, value_of_cell
from runner.tasks.data.forms import BLANK, read_rows, textual
from runner.tasks.data.paths import written

ROWS = 2000
_MOST_LABELS = 20
_MOST_LETTERS = 50
"""Of a name that is made; the schema allows 64."""
_ID_NAMES = ("id", "uid", "item_id", "item", "uuid", "idx", "guid", "pairid", "post_id", "comment_id")
_INDEX_NAMES = ('""', '"Unnamed: 0"', "Unnamed: 0")
"""The column of row numbers that a data frame writes."""
_NOT_VOTES = ("index", "year", "age", "length", "count", "total", "split", "fold", "")
_ANSWER_NAMES = ("answer", "label", "annotation", "rating", "vote", "choice", "response", "judgment", "judgement")


@dataclass(frozen=True, slots=True)
class Guess:
    """A guess at how a file holds its items."""

    id: str
    """Dotted path to the id."""
    fields: Mapping[str, str]
    """Name of a text field to its dotted path."""
    votes: Mapping[str, Any] | None
    """The votes as a benchmark describes them; None where there is no guess."""
    labels: Mapping[str, str]
    """Label to the file's name for it."""
    missing_text: bool
    """Whether some row lacks a text."""
    doubts: tuple[str, ...]
    """Sentences on what could not be decided."""


@dataclass(slots=True)
class _Column:
    """The values at one path, of the rows that were looked at."""

    values: list[Any] = field(default_factory=list)
    """The values, in row order."""


def look_at(path: Path) -> Guess:
    """Guess the shape of a file from its first rows.

    Raises `InvalidInput` where the first rows cannot be read, and `OSError`.
    """
    rows = list(islice(read_rows(path), ROWS))
    broken = [row for row in rows if row.fault is not None and row.fault[1] != BLANK]
    if broken and broken[0].fault is not None:
        code, message, hint = broken[0].fault
        raise InvalidInput(Fault(code, message, str(path), broken[0].line, hint=hint))
    values = [row.value for row in rows if isinstance(row.value, dict)]
    if not values:
        raise InvalidInput(Fault("DATA_ROWS", "The file has no rows that are objects.", str(path)))
    as_text = textual(path)
    if as_text:
        values = [{name: value_of_cell(cell) for name, cell in value.items()} for value in values]
    columns: dict[str, _Column] = {}
    for value in values:
        for name, leaf in _leaves(value, ()):
            columns.setdefault(name, _Column()).values.append(leaf)
    doubts: list[str] = []
    id_path, repeats = _identifier(columns, len(values), keyed=rows[0].key is not None)
    votes, labels = _votes(columns, values, id_path, repeats, as_text)
    if votes is None and (item := _item_of_people(columns, len(values))) is not None:
        votes, labels = _of_people(columns, item)
        id_path, repeats = (item, True) if votes is not None else (id_path, repeats)
    if votes is None:
        doubts.append("Where the votes stand could not be told.")
    if repeats and (votes is None or "rows" not in votes):
        id_path = "$line"
    if id_path == "$line":
        doubts.append("No column names each row, so rows are known by their number.")
    used = {id_path, *_paths_in(votes)}
    texts = _texts(columns, used)
    if not texts:
        doubts.append("No column of texts was found.")
    missing = any(len(columns[path].values) < len(values) or None in columns[path].values for path in texts.values())
    return Guess(id_path, texts, votes, labels, missing, tuple(doubts))


def _leaves(value: Mapping[str, Any], above: tuple[str, ...], depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Paths and values of a row: objects are gone into, and are themselves values too, as what all of a list have."""
    for key, inner in value.items():
        path = (*above, written(key))
        yield ".".join(path), inner
        if isinstance(inner, dict) and depth < 2 and len(inner) <= _MOST_LABELS:
            yield from _leaves(inner, path, depth + 1)
        elif isinstance(inner, list) and inner and all(isinstance(entry, dict) for entry in inner):
            for name in inner[0]:
                if all(name in entry for entry in inner):
                    yield ".".join((*path, "*", written(name))), [entry[name] for entry in inner]


def _identifier(columns: Mapping[str, _Column], rows: int, *, keyed: bool) -> tuple[str, bool]:
    """The path of the id, and whether its values repeat, as where each row is one person's answer."""
    if keyed:
        return "$key", False
    names = sorted(
        (name for name in columns if name.rpartition(".")[2].lower() in _ID_NAMES),
        key=lambda name: _ID_NAMES.index(name.rpartition(".")[2].lower()),
    )
    names += [name for name in columns if name.lower().endswith(("_id", "id")) and name not in names]
    names += [name for name in _INDEX_NAMES if name in columns]
    known = {name: [name_of(value) for value in columns[name].values] for name in names}
    whole = [name for name in names if len(known[name]) == rows and all(known[name])]
    for name in whole:
        if len(set(known[name])) == rows:
            return name, False
    for name in whole:
        if 1 < rows / len(set(known[name])) <= 1000 and len(set(known[name])) > 1:
            return name, True
    return "$line", False


def _item_of_people(columns: Mapping[str, _Column], rows: int) -> str | None:
    """What names an item where each row is one person's answer: what is one with a text that repeats, or the text."""
    for text in _texts(columns, set()).values():
        values = columns[text].values
        if len(values) != rows or not 1 < rows / len(set(values)) <= 1000:
            continue
        for path, column in columns.items():
            names = [name_of(value) for value in column.values]
            pairs = set(zip(names, values, strict=False))
            if path != text and len(names) == rows and all(names) and len(pairs) == len(set(names)) == len(set(values)):
                return path
        return text
    return None


def _votes(
    columns: Mapping[str, _Column], rows: Sequence[Any], id_path: str, repeats: bool, as_text: bool
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    # Of what stands in the objects of a list, the answer is likelier than, say, the person.
    for path in sorted(columns, key=lambda path: "*" in path and not any(word in path for word in _ANSWER_NAMES)):
        column = columns[path]
        present = [value for value in column.values if value is not None]
        guess = None
        if present and all(isinstance(value, dict) for value in present):
            guess = _of_mappings(path, present, len(rows))
        elif present and all(isinstance(value, list) and value for value in present):
            guess = _of_lists(path, present)
        if guess is not None:
            return guess
    if repeats:
        return _of_people(columns, id_path)
    return _of_columns(columns, id_path, as_text)


def _of_mappings(
    path: str, present: Sequence[Mapping[str, Any]], rows: int
) -> tuple[dict[str, Any], dict[str, str]] | None:
    """Counts or shares by label, or answers by person."""
    keys = Counter(key for value in present for key in value)
    inner = [entry for value in present for entry in value.values() if entry is not None]
    if not inner or len(keys) < 2:
        return None
    if len(keys) <= _MOST_LABELS and all(_number(entry, as_text=True) is not None for entry in inner):
        if not all(float(_number(entry, as_text=True) or 0).is_integer() for entry in inner):
            return {"shares": path, "total": "FILL IN: the number of people, or the path to it"}, _labels(sorted(keys))
        sparse = any(set(value) != set(keys) or None in value.values() for value in present)
        return {"counts": path, **({"missing": "zero"} if sparse else {})}, _labels(sorted(keys))
    answers = Counter(name_of(entry) for entry in inner)
    if None not in answers and 1 < len(answers) <= _MOST_LABELS:
        return {"answers": path}, _labels(sorted(str(name) for name in answers))
    return None


def _of_lists(path: str, present: Sequence[Sequence[Any]]) -> tuple[dict[str, Any], dict[str, str]] | None:
    """Answers, one a person, or counts in an order that only a person can know."""
    lengths = {len(value) for value in present}
    answers = Counter(name_of(entry) for value in present for entry in value)
    if None in answers or len(answers) < 2:
        return None
    numbers = all(name is not None and name.isdigit() for name in answers)
    if (
        len(lengths) == 1
        and numbers
        and "*" not in path
        and (max(int(name or 0) for name in answers) >= next(iter(lengths)))
    ):
        return {"counts": path}, {f"FILL-IN-{number}": "" for number in range(1, next(iter(lengths)) + 1)}
    if len(answers) <= _MOST_LABELS:
        return {"answers": path}, _labels(sorted(str(name) for name in answers))
    return None


def _of_people(columns: Mapping[str, _Column], id_path: str) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """The column of one person's answers: few values, none of them alone."""
    best: list[tuple[bool, int, str, list[str]]] = []
    items = [name_of(value) for value in columns[id_path].values]
    for path, column in columns.items():
        names = Counter(name_of(value) for value in column.values)
        said = {(item, name_of(value)) for item, value in zip(items, column.values, strict=False)}
        if (
            path == id_path
            # What all rows of an item say alike is no answer.
            or len(said) == len(set(items))
            or None in names
            or not 1 < len(names) <= _MOST_LABELS
            or 2 * len(names) > len(column.values)
        ):
            continue
        named = any(word in path.lower() for word in _ANSWER_NAMES)
        best.append((not named, len(names), path, sorted(str(name) for name in names)))
    if not best:
        return None, {}
    _, _, path, label_names = min(best)
    return {"rows": path}, _labels(label_names)


def _of_columns(
    columns: Mapping[str, _Column], id_path: str, as_text: bool
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """A column of counts for each label; one that is the sum of the others is their total."""
    counts: dict[str, list[float]] = {}
    for path, column in columns.items():
        name = path.rpartition(".")[2].strip('"').lower()
        if path == id_path or name in _NOT_VOTES or name.endswith("id"):
            continue
        numbers = [0.0 if _is_blank(value, as_text) else _number(value, as_text) for value in column.values]
        if any(number is None or number < 0 or not number.is_integer() for number in numbers):
            continue
        if all(_is_blank(value, as_text) for value in column.values):
            continue
        counts[path] = [number or 0.0 for number in numbers]
    for path in list(counts):
        others = [values for name, values in counts.items() if name != path]
        if len(others) > 1 and counts[path] == [sum(row) for row in zip(*others, strict=False)]:
            del counts[path]
    if not 1 < len(counts) <= _MOST_LABELS:
        return None, {}
    labels = _labels([path.strip('"') for path in counts])
    sparse = any(_is_blank(value, as_text) for path in counts for value in columns[path].values)
    votes = {"columns": dict(zip(labels, counts, strict=True)), **({"missing": "zero"} if sparse else {})}
    return votes, dict.fromkeys(labels, "")


def _is_blank(value: Any, as_text: bool) -> bool:
    return value is None or (as_text and isinstance(value, str) and is_absent(value))


def _number(value: Any, as_text: bool = False) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if as_text and isinstance(value, str):
        try:
            return float(value) if value.strip() else None
        except ValueError:
            return None
    return None


def _texts(columns: Mapping[str, _Column], used: set[str]) -> dict[str, str]:
    """The columns of texts that differ from row to row, by a name that a template can use; the longest first."""
    columns_of_text: list[tuple[float, str]] = []
    for path, column in columns.items():
        texts = [value for value in column.values if isinstance(value, str)]
        if path in used or not texts or any(not isinstance(value, str | None) for value in column.values):
            continue
        mean = sum(map(len, texts)) / len(texts)
        if mean >= 8 and len(set(texts)) > min(3, len(texts) - 1) and any(" " in text for text in texts):
            columns_of_text.append((mean, path))
    fields: dict[str, str] = {}
    for _, path in sorted(columns_of_text, reverse=True)[:4]:
        name = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in path.rpartition(".")[2])
        name = name.strip("_")[:_MOST_LETTERS] or "text"
        fields.setdefault(name if not name[0].isdigit() and not name.startswith("option_") else f"text_{name}", path)
    return fields


def _labels(names: Sequence[str]) -> dict[str, str]:
    """A label of the benchmark's form for each name in the data, and that name where it is another."""
    labels: dict[str, str] = {}
    for name in names:
        made = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-") else "-" for letter in name)
        made = made.strip("-") or "label"
        made = (made if made[0].isalpha() else f"label-{made}")[:_MOST_LETTERS]
        while made in labels:
            made += "-2"
        labels[made] = "" if made == name else name
    return labels


def _paths_in(votes: Mapping[str, Any] | None) -> set[str]:
    if votes is None:
        return set()
    columns = votes.get("columns", {})
    return {str(value) for value in (*votes.values(), *columns.values()) if isinstance(value, str)}
