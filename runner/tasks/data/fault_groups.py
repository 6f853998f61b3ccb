"""Equal faults of many rows reported once, with how many rows they are in and on which lines."""

from dataclasses import dataclass, field, replace

from runner.core.errors import Fault

_SHOWN = 20
_LINES = 5
_SAID_ALONE = 2


@dataclass(slots=True)
class _Group:
    """Faults that say the same of several rows."""

    many: str | None
    """The sentence for several rows; None where there is none."""
    first: list[Fault] = field(default_factory=list)
    """The first two faults, in full."""
    lines: list[int] = field(default_factory=list)
    """Lines of the first faults."""
    rows: int = 0
    """Number of rows."""


@dataclass(slots=True)
class FaultGroups:
    """The faults of one file, grouped while they accumulate."""

    file: str
    """Name of the file."""
    groups: dict[tuple[str, ...], _Group] = field(default_factory=dict)
    """Faults by what they have in common."""

    def __bool__(self) -> bool:
        return bool(self.groups)

    def add(
        self,
        code: str,
        message: str,
        line: int | None = None,
        where: str | None = None,
        *,
        hint: str | None = None,
        many: str | None = None,
        cause: str | None = None,
    ) -> None:
        """A fault on `line`; `many` says in the plural what it says, without what differs from row to row."""
        key = (code, many or message, cause or where or "")
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = _Group(many)
        if line is None or line not in group.lines[-1:]:
            group.rows += 1
            if line is not None and len(group.lines) < _LINES:
                group.lines.append(line)
            if len(group.first) < _SAID_ALONE:
                group.first.append(Fault(code, message, self.file, line, path=where, hint=hint))

    def faults(self, rows: int) -> tuple[Fault, ...]:
        """The first 20 in the order of the file, and the number of the others; three equal ones or more are one."""
        faults = [fault for group in self.groups.values() for fault in _describe(group, rows)]
        faults.sort(key=lambda fault: fault.line or 0)
        if len(faults) > _SHOWN:
            more = Fault("DATA_MORE", f"… and {len(faults) - _SHOWN:,} more.", file=self.file)
            return (*faults[:_SHOWN], more)
        return tuple(faults)


def _describe(group: _Group, rows: int) -> list[Fault]:
    if group.rows <= _SAID_ALONE:
        return group.first
    first = group.first[0]
    lines = ", ".join(f"{line:,}" for line in group.lines) + (", …" if group.rows > len(group.lines) else "")
    of_all = f"{group.rows:,} of {rows:,} rows"
    if group.many:
        message = f"{of_all} {group.many.removesuffix('.')}"
        message += f" (lines {lines})" if message.endswith("?") else f" (lines {lines})."
    else:
        message = f"{first.message} So it is in {of_all} (lines {lines})."
    return [replace(first, message=message)]
