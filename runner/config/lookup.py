"""Names in a benchmark that lead to another part of it."""

from collections.abc import Callable, Mapping
from typing import Any

from runner.config.scalars import shown
from runner.config.schema import did_you_mean
from runner.config.source import Document, JsonPath, fault_at
from runner.core.errors import Fault

Sound = Callable[[JsonPath], bool]
"""Whether the part of a document at a path has no fault that the schema sees."""


def section_of(document: Document, name: str) -> Mapping[str, Any] | None:
    """A part of the benchmark by its key, or None where it is missing: then names that lead into it are not judged."""
    section = document.value.get(name)
    return section if isinstance(section, dict) else None


def unknown_name(
    document: Document, path: JsonPath, kind: str, name: str, known: Mapping[str, Any] | list[str], *, key: bool = False
) -> Fault:
    """The fault (`UNKNOWN_` and the kind) that there is no `kind` called `name`, with the nearest of `known`."""
    message = f"There is no {kind} {shown(name)}."
    return fault_at(document, f"UNKNOWN_{kind.upper()}", path, message, did_you_mean(name, known), key=key)
