"""Open one submitted file without following a link, and show what a stranger wrote without trusting it."""

from collections.abc import Iterable
from functools import partial

from runner.core import files
from runner.core.errors import Fault
from runner.core.files import read_exactly as read_exactly

_SHOWN = 80
_FAULTS_OF_A_KIND = 8


open_regular = partial(files.open_regular, follow=False)
"""A file of a submission: a link is refused too."""


def shown(value: object) -> str:
    """A short form of a foreign value for a message: no control character, no lone surrogate, no great length."""
    match value:
        case str():
            return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "…")
        case None | bool() | int() | float():
            return repr(value)
        case list():
            return f"a list of {len(value)}"
        case dict():
            return f"an object of {len(value)}"
        case _:
            return type(value).__name__


def shown_some(names: Iterable[str], some: int = 3) -> str:
    """The first few of `names`, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - some:,} more" if len(ordered) > some else ""
    return ", ".join(shown(name) for name in ordered[:some]) + more


def capped(faults: list[Fault]) -> list[Fault]:
    """`faults` in order, with no more than a few of one code in one file: a hostile file can hold a million."""
    reported: list[Fault] = []
    counts: dict[tuple[str, str | None], int] = {}
    for fault in faults:
        kind = (fault.code, fault.file)
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] <= _FAULTS_OF_A_KIND:
            reported.append(fault)
    for (code, file), times in counts.items():
        if times > _FAULTS_OF_A_KIND:
            reported.append(
                Fault(code, f"{times - _FAULTS_OF_A_KIND:,} more faults of this kind are not listed.", file=file)
            )
    return reported
