"""What `benchmark init` leaves for a person to say."""

from collections.abc import Iterator
from typing import Any

from runner.config.scalars import shown
from runner.config.source import Document, JsonPath, fault_at
from runner.core.errors import Fault

GAP = "FILL IN:"
"""What `benchmark init` writes where a person has to say something."""


def find_gaps(document: Document, value: Any, path: JsonPath) -> Iterator[Fault]:
    """A fault (`GAP`) for each text in `value`, which lies at `path`, that is still to be said."""
    if isinstance(value, str) and GAP in value:
        what = value.partition(GAP)[2].strip().splitlines()
        message = f"Here something is still to be said: {shown(what[0] if what else '')[1:-1]}"
        yield fault_at(document, "GAP", path, message, f"Write it in place of {GAP.rstrip(':')!r}.")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from find_gaps(document, inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from find_gaps(document, inner, (*path, number))
