"""What can go wrong that is not our bug, each with the exit code DESIGN fixes for it.

    UserError
     ├─ InvalidInput          1   the submission, the benchmark or the data is wrong
     ├─ BackendError          3   the model, the device or the service failed
     ├─ OutputError           3   results could not be written, and nothing was there to keep
     ├─ VerificationError     4   a scorecard does not verify
     ├─ NotComparable         4   two scorecards measure different things
     └─ Interrupted           5   stopped before the end; run the same command again

Exit code 2 is Click's (usage). Anything else that escapes is a bug and keeps its traceback.
"""

from collections.abc import Iterable
from dataclasses import dataclass

MOST_FAULTS = 20
"""Faults of one kind that are listed singly, where a file or a run may have thousands."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and its location."""

    code: str
    """Stable upper-case name, such as `SCHEMA`, `YAML_ALIAS` or `DATA_VOTES`."""
    message: str
    """One sentence: what is there, and what was expected."""
    file: str | None = None
    """Name of the file."""
    line: int | None = None
    """Line, counted from 1."""
    column: int | None = None
    """Column, counted from 1."""
    path: str | None = None
    """JSON path, such as `$.tasks.dilemmas.labels[1]`."""
    hint: str | None = None
    """What to do about it."""

    def place(self) -> str:
        """`file:line:column`, as far as it is known."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)

    def __str__(self) -> str:
        """One line: location, JSON path, message, hint and code."""
        location = self.place()
        where = f"{location}: " if location else ""
        path = f"{self.path}: " if self.path else ""
        hint = f" {self.hint}" if self.hint else ""
        return f"{where}{path}{self.message}{hint} [{self.code}]"


class UserError(Exception):
    """A failure with a message for the user: all faults at once, and an exit code."""

    exit_code = 1

    def __init__(self, *faults: Fault) -> None:
        if not faults:
            raise ValueError("an error needs at least one fault")
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


class InvalidInput(UserError):
    """The submission, the benchmark or the data is wrong."""

    exit_code = 1


class BackendError(UserError):
    """The model, the device or the service failed."""

    exit_code = 3


class OutputError(UserError):
    """The output folder or a file in it could not be written."""

    exit_code = 3


class VerificationError(UserError):
    """A scorecard does not verify."""

    exit_code = 4


class NotComparable(UserError):
    """Two scorecards do not measure the same thing."""

    exit_code = 4


class Interrupted(UserError):
    """Stopped before the end; finished work stays, and the same command resumes."""

    exit_code = 5


def raise_faults(faults: Iterable[Fault]) -> None:
    """Raise `InvalidInput` with all of `faults`, or do nothing when there are none."""
    collected = tuple(faults)
    if collected:
        raise InvalidInput(*collected)
