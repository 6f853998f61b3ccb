"""Hold a stranger's JSON value against one of our schemas, and say in words where and why it does not fit."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A value that does not fit its schema."""

    steps: tuple[str | int, ...]
    """Keys and indexes that lead to the value from the top."""
    path: str
    """The same as a JSON path."""
    message: str
    """A sentence on what was expected."""


def mismatches(schema: Mapping[str, Any], value: Any, limit: int | None = None) -> list[Mismatch]:
    """Where `value` does not fit `schema` (draft 2020-12), in the order of the document; the first `limit` found."""
    # Where two paths part, both go on by keys of one object or both by indexes of one array.
    errors = sorted(islice(validator(schema).iter_errors(value), limit), key=lambda error: list(error.absolute_path))
    # Of an anyOf, the branch that was meant. jsonschema tells each missing key apart; the sentence names them all.
    return list(dict.fromkeys(_mismatch(best_match([error]) or error) for error in errors))


def validator(schema: Mapping[str, Any]) -> Any:
    """A validator of jsonschema (draft 2020-12) for `schema`, with `pattern` as JSON Schema means it."""
    return _VALIDATOR(schema)


def shown(value: object) -> str:
    """A stranger's value for people: JSON with everything but printable ASCII escaped, cut to 80 characters."""
    text = json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f")
    return text if len(text) <= 80 else f"{text[:79]}…"


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
    """`pattern` as JSON Schema means it: in Python a final `$` also matches before a line break, in ECMA 262 not."""
    if pattern.endswith("$"):
        pattern = rf"{pattern[:-1]}\Z"
    if isinstance(value, str) and not re.search(pattern, value):
        yield ValidationError("does not match")


_VALIDATOR: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


def _mismatch(error: ValidationError) -> Mismatch:
    steps = tuple(error.absolute_path)
    return Mismatch(steps, "$" + "".join(map(_step, steps)), _sentence(error))


def _step(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,80}", part) else f"[{shown(part)}]"


def _sentence(error: ValidationError) -> str:
    """The actual and the expected value, from the keyword that failed."""
    instance: Any = error.instance
    expected: Any = error.validator_value
    match error.validator:
        case "required":
            return f"lacks {', '.join(shown(name) for name in expected if name not in instance)}."
        case "additionalProperties" if isinstance(error.schema, Mapping):
            unknown = [shown(name) for name in instance if name not in error.schema.get("properties", {})]
            return f"has unknown {', '.join(unknown[:5])}."
        case "const" | "enum" | "type" | "pattern" as keyword:
            return f"is {shown(instance)}; {keyword} {shown(expected)} was expected."
        case keyword:
            return f"is {shown(instance)}, which {keyword} ({shown(expected)}) does not allow."
