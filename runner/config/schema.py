"""Validate a document against its JSON Schema and report every fault with its location."""

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from functools import cache
from typing import Any

from jsonschema import ValidationError

from runner.config.foreign_words import hint_for_key, hint_for_value
from runner.config.scalars import shown
from runner.config.source import Document, JsonPath, fault_at
from runner.core import resources
from runner.core.errors import Fault
from runner.core.json_schema import validator

_LISTED = 12


def schema_faults(document: Document, name: str) -> tuple[list[Fault], set[JsonPath]]:
    """Every fault of `document` against the schema `name` (`benchmark`, `submission`), each with code SCHEMA.

    Also returned: the paths that are not to be relied on, those that could not be read (`document.spoiled`) included.
    A missing key makes its own path bad, not its parent's; and it is not reported where an unknown key beside it is
    evidently the same key misspelt.
    """
    faults: list[Fault] = []
    bad: set[JsonPath] = set(document.spoiled)
    parents: set[JsonPath] = set()
    for error in _validator(name).iter_errors(document.value):
        path: JsonPath = tuple(error.absolute_path)
        if not document.spoiled.isdisjoint(_beginnings(path)):
            continue
        if error.validator in ("additionalProperties", "required") and isinstance(error.schema, Mapping):
            if path not in parents:  # both keywords, and every missing key, in one go
                parents.add(path)
                faults.extend(_wrong_keys(document, path, error, bad))
        elif "propertyNames" in error.absolute_schema_path:
            to = (*path, str(error.instance))
            bad.add(to)
            message = f"The name {shown(error.instance)} is not usable."
            faults.append(fault_at(document, "SCHEMA", to, message, _expected(error), key=True))
        elif error.validator == "uniqueItems":
            bad.add(path)
            faults.extend(_repeated(document, path, error.instance))
        else:
            bad.add(path)
            faults.append(fault_at(document, "SCHEMA", path, _message(error), _hint(error)))
    return faults, bad


def soundness(bad: Set[JsonPath]) -> Callable[[JsonPath], bool]:
    """Whether nothing at, above or below a path is bad, so that a check may rely on its shape."""
    broken = {beginning for path in bad for beginning in _beginnings(path)}
    return lambda path: path not in broken and bad.isdisjoint(_beginnings(path))


def in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """`faults` from the top of the file to its end."""
    return tuple(sorted(faults, key=lambda fault: (fault.line or 0, fault.column or 0)))


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """A hint: the known name that is nearest to `word`, or the known names where none is near."""
    names = list(known)
    if (near := nearest(word, names)) is not None:
        return f"Did you mean {near!r}?"
    if not names:
        return "There are none."
    return f"Known: {', '.join(names[:_LISTED])}{' …' if len(names) > _LISTED else ''}."


def nearest(word: object, known: Iterable[str]) -> str | None:
    """The known name that `word` is probably meant to be, or None."""
    if not isinstance(word, str):
        return None
    by_folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word[:200].casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[near[0]] if near else None


def _beginnings(path: JsonPath) -> list[JsonPath]:
    return [path[:length] for length in range(len(path) + 1)]


@cache
def _validator(name: str) -> Any:
    schema = json.loads((resources.schema_folder() / f"{name}.schema.json").read_text(encoding="utf-8"))
    return validator(schema)


def _wrong_keys(document: Document, path: JsonPath, error: ValidationError, bad: set[JsonPath]) -> Iterator[Fault]:
    schema: Any = error.schema
    instance: Any = error.instance
    properties = schema.get("properties", {})
    missing = [key for key in schema.get("required", ()) if key not in instance]
    absent = [key for key in properties if key not in instance]
    suggested = set()
    for key in instance:
        if key not in properties and schema.get("additionalProperties") is False:
            bad.add((*path, key))
            hint = hint_for_key(key)
            if hint is None:
                near = nearest(key, absent)
                suggested.add(near)
                hint = did_you_mean(key, absent if near else properties)
            yield fault_at(document, "SCHEMA", (*path, key), f"The key {shown(key)} is not known here.", hint, key=True)
    for key in missing:
        bad.add((*path, key))
        if key not in suggested:
            yield fault_at(document, "SCHEMA", (*path, key), f"The key {key!r} is missing.", _describe(properties[key]))


def _repeated(document: Document, path: JsonPath, items: list[Any]) -> Iterator[Fault]:
    for number, item in enumerate(items):
        if item in items[:number]:
            message = f"{shown(item)} is listed twice, each may be listed once."
            yield fault_at(document, "SCHEMA", (*path, number), message)


def _describe(schema: Mapping[str, Any]) -> str | None:
    """The description of a property, where it stands in the property itself rather than behind a `$ref`."""
    return schema.get("description")


def _expected(error: ValidationError) -> str | None:
    return _describe(error.schema) if isinstance(error.schema, Mapping) else None


_KINDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def _described(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {shown(value)}"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _message(error: ValidationError) -> str:
    value: Any = error.instance
    limit: Any = error.validator_value
    match error.validator:
        case "type":
            kinds = [limit] if isinstance(limit, str) else limit
            expected = " or ".join(filter(None, [", ".join(_KINDS[kind] for kind in kinds[:-1]), _KINDS[kinds[-1]]]))
            return f"Found {_described(value)}, {expected} was expected."
        case "const":
            return f"Found {_described(value)}, {shown(limit)} was expected."
        case "enum" if len(limit) == 1:
            return f"Found {_described(value)}, {shown(limit[0])} was expected."
        case "enum":
            return f"Found {_described(value)}, one of {len(limit)} names was expected."
        case "pattern":
            return f"The text {shown(value)} has not the expected form."
        case "minimum":
            return f"The number {value} is too small, at least {limit} was expected."
        case "maximum":
            return f"The number {value} is too large, at most {limit} was expected."
        case "exclusiveMinimum":
            return f"The number {value} is too small, more than {limit} was expected."
        case "exclusiveMaximum":
            return f"The number {value} is too large, less than {limit} was expected."
        case "minLength":
            return f"The text has {len(value)} characters, at least {limit} was expected."
        case "maxLength":
            return f"The text has {len(value)} characters, at most {limit} were expected."
        case "minItems":
            return f"The list has {len(value)} entries, at least {limit} were expected."
        case "maxItems":
            return f"The list has {len(value)} entries, at most {limit} were expected."
        case "minProperties":
            return f"The mapping has {len(value)} keys, at least {limit} was expected."
    raise AssertionError(f"the schemas use the keyword {error.validator!r}, which has no words yet")


def _hint(error: ValidationError) -> str | None:
    value: Any = error.instance
    limit: Any = error.validator_value
    wants_text = isinstance(limit, str) and (
        error.validator == "const" or (error.validator == "type" and limit == "string")
    )
    if wants_text and isinstance(value, bool | int | float):
        return "Put it in quotes."
    if error.validator == "enum":
        if error.absolute_path and (known := hint_for_value(error.absolute_path[-1], value)) is not None:
            return known
        return did_you_mean(value, limit) if len(limit) > 1 or nearest(value, limit) else None
    return _expected(error) if error.validator in ("type", "pattern") else None
