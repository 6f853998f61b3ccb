"""The config.json that the library is given: the keys that its configuration class takes, and no other.

config_keys.json is written by `pytest tests/artifacts/test_config_keys.py --update-golden` from the classes of
transformers, for every architecture of `config.FAMILIES`: a new one is named there and needs nothing here.
"""

import json
import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from runner.artifacts.reading import shown
from runner.core.errors import Fault

MAX_LABELS = 1000
# No size, count or id is larger, none but ids is negative; sizes that decide tensors have narrower bounds in config.py.
_MAX_INTEGER = 16_777_216
_MAX_NUMBER = 1e12
_MAX_ITEMS = 4096
_MAX_TEXT = 256
_MAX_DEPTH = 3
_TYPES: Mapping[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


@cache
def _table() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(files("runner.artifacts").joinpath("config_keys.json").read_bytes())
    return document


def known_keys(model_type: str) -> Mapping[str, list[str]]:
    """The keys that the configuration of an architecture takes, each with the JSON types of its value."""
    keys: Mapping[str, list[str]] = _table()[model_type]["keys"]
    return keys


def classes(model_type: str) -> tuple[str, ...]:
    """The names of the library's own classes that compute an architecture."""
    return tuple(_table()[model_type]["classes"])


def base_prefix(model_type: str) -> str:
    """What the names of tensors begin with, before a dot; files without it are read as well."""
    return str(_table()[model_type]["prefix"])


def reduce_config(model_type: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """`document` with the known keys alone, as the library is given it."""
    known = known_keys(model_type)
    return {"model_type": model_type, **{key: value for key, value in document.items() if key in known}}


def unknown_keys(model_type: str, document: Mapping[str, Any]) -> list[str]:
    """The keys of `document` that are not read, in order."""
    known = known_keys(model_type)
    return [key for key in document if key not in known and key != "model_type"]


def value_faults(model_type: str, document: Mapping[str, Any], file: str) -> list[Fault]:
    """`CONFIG_BOUNDS` for each known key whose value is of another type, or beyond what any model has."""
    faults = []
    for key, types in known_keys(model_type).items():
        if key not in document:
            continue
        value = document[key]
        wanted = " or ".join(sorted(types))
        if not any(
            isinstance(value, _TYPES[name]) and (name == "boolean" or type(value) is not bool) for name in types
        ):
            problem: str | None = f"It is {shown(value)}, {wanted} was expected."
        elif key in ("id2label", "label2id") and len(value) > MAX_LABELS:
            problem = f"It names {len(value):,} labels, at most {MAX_LABELS:,} were expected."
        elif key == "num_labels" and not 1 <= value <= MAX_LABELS:
            problem = f"It is {shown(value)}, a whole number from 1 to {MAX_LABELS:,} was expected."
        else:
            # Positions turn by powers of a base, which some models have in the billions as a whole number.
            upper = _MAX_NUMBER if "number" in types else _MAX_INTEGER
            problem = _out_of_bounds(value, -1 if key.endswith("_id") else 0, upper)
        if problem is not None:
            faults.append(Fault("CONFIG_BOUNDS", problem, file=file, path=f"$.{key}"))
    return faults


def _out_of_bounds(value: Any, lowest: float, highest: float, depth: int = 0) -> str | None:
    """What is too large in a value, or too deep; None where nothing is."""
    match value:
        case bool() | None:
            return None
        case int():
            return (
                None
                if lowest <= value <= highest
                else f"It is {value:,}, at least {lowest:g} and at most {highest:g} was expected."
            )
        case float():
            inside = math.isfinite(value) and abs(value) <= _MAX_NUMBER
            return None if inside else f"It is {value}, a number of at most {_MAX_NUMBER:g} was expected."
        case str():
            return None if len(value) <= _MAX_TEXT else f"It is a text of {len(value):,} characters."
        case list() | dict():
            if len(value) > _MAX_ITEMS or depth == _MAX_DEPTH:
                return f"It holds {shown(value)}, at most {_MAX_ITEMS:,} values in {_MAX_DEPTH} levels were expected."
            inner = value.values() if isinstance(value, dict) else value
            return next(
                (
                    problem
                    for entry in inner
                    if (problem := _out_of_bounds(entry, -_MAX_NUMBER, _MAX_NUMBER, depth + 1))
                ),
                None,
            )
        case _:
            return f"It is {shown(value)}."
