"""What a plain (unquoted) YAML scalar means, if it means the same to every YAML reader."""

import math
import re
from decimal import Decimal

import yaml

MAX_INTEGER = 2**53 - 1

_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)((?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")
_LONGEST_NUMBER = 40

# A number to a reader of YAML 1.1 or of the core schema of YAML 1.2 (where 1.1 is looser than PyYAML takes it).
_NUMBER = re.compile(
    r"[-+]?(?:"
    r"0b[01_]+|0o[0-7_]+|0x[0-9a-f_]+"
    r"|[0-9][0-9_]*(?::[0-5]?[0-9])*(?:\.[0-9_]*)?(?:e[-+]?[0-9]+)?"
    r"|\.[0-9][0-9_]*(?:e[-+]?[0-9]+)?"
    r"|\.inf|\.nan)",
    re.IGNORECASE,
)
_BOOLEANS = {
    form
    for word in ("y", "n", "yes", "no", "on", "off", "true", "false")
    for form in (word, word.title(), word.upper())
}
_NULLS = {"", "~", "null", "Null", "NULL"}
_KIND_OF_TAG = {
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:null": "null",
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:timestamp": "a date",
    "tag:yaml.org,2002:merge": "a merge key",
    "tag:yaml.org,2002:value": "a default value",
}
_HINT = {
    "true or false": "Put it in quotes if text is meant; otherwise write true or false.",
    "null": "Put it in quotes if text is meant; otherwise write null.",
    "a number": "Put it in quotes if text is meant; otherwise write a decimal number as JSON does.",
}
_YAML_1_1 = yaml.resolver.Resolver()


class ScalarFault(ValueError):
    """Why a plain scalar was refused, and what to write instead."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def plain(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar: `true`, `false`, `null`, a number as JSON writes it, or text.

    Raises `ScalarFault` for what YAML 1.1 or the core schema of YAML 1.2 would read as anything but text (`no`,
    `1:30`, `0123`, `0o17`, `1_000`, `.nan`, `2020-01-01`, `~`, nothing at all), for integers beyond 2^53 − 1, and for
    numbers that a double does not give back as they were written.
    """
    match text:
        case "true":
            return True
        case "false":
            return False
        case "null":
            return None
        case "":
            raise ScalarFault("No value is given.", 'Write the value, or "" for empty text.')
    if number := _JSON_NUMBER.fullmatch(text):
        return _fraction(text) if number[1] else _integer(text)
    kind = _kind(text)
    if kind is None:
        return text
    raise ScalarFault(
        f"{shown(text)} without quotes is {kind} to some YAML readers and text to others.",
        _HINT.get(kind, "Put it in quotes if text is meant."),
    )


def shown(value: object, longest: int = 60) -> str:
    """A value as it is quoted in a message: on one line, cut short, control and direction characters escaped."""
    written = repr(value)
    return written if len(written) <= longest else f"{written[: longest - 1]}…"


def _kind(text: str) -> str | None:
    if text in _BOOLEANS:
        return "true or false"
    if text in _NULLS:
        return "null"
    if _NUMBER.fullmatch(text):
        return "a number"
    tag = _YAML_1_1.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return None if tag == "tag:yaml.org,2002:str" else _KIND_OF_TAG[tag]


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER or abs(int(text)) > MAX_INTEGER:
        raise ScalarFault(
            f"The integer {text[:_LONGEST_NUMBER]} is beyond 2^53 − 1, where other programs round it.",
            "Put it in quotes if text is meant; otherwise write a smaller number.",
        )
    return int(text)


def _fraction(text: str) -> float:
    value = float(text)
    if len(text) > _LONGEST_NUMBER or not math.isfinite(value) or not _gives_back(value, text):
        raise ScalarFault(
            f"The number {text[:_LONGEST_NUMBER]} has more digits or a larger exponent than a double keeps.",
            "Put it in quotes if text is meant; otherwise write fewer digits.",
        )
    return value


def _gives_back(value: float, text: str) -> bool:
    """Whether the shortest decimal form of `value` is the number that was written."""
    if value == 0:  # an exponent may be beyond what Decimal takes: look at the digits alone
        return not re.search("[1-9]", re.split("[eE]", text)[0])
    return Decimal(repr(value)) == Decimal(text)
