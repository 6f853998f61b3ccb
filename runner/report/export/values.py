"""What an export is: a file, and what of the card is not in it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from runner.core.errors import Fault, InvalidInput, NotComparable
from runner.scorecard.load import OpenCard

UNVERIFIED = "unverified"
"""The assurance of a card whose signature nobody checked."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file to write."""

    path: PurePosixPath
    """Path below the output folder."""
    content: str
    """Text of the file."""
    lost: tuple[str, ...]
    """Sentences on what the format cannot hold."""


def assurance(opened: OpenCard) -> str:
    """What the signer's role says about the numbers, or that nobody looked."""
    return UNVERIFIED if opened.report is None else opened.report.assurance


def refuse_equal_paths(files: Sequence[Exported]) -> None:
    """`InvalidInput` when one file would take another's place."""
    for path, number in Counter(file.path for file in files).items():
        if number > 1:
            message = f"{number} of the cards would become the same file: {path}."
            raise InvalidInput(Fault("SAME_FILE", message, hint="Export them one by one, each to a folder of its own."))


def refuse_not_comparable(cards: Sequence[OpenCard]) -> None:
    """`NotComparable` for cards that may not be compared: in another format their reasons are soon lost."""
    faults = [
        Fault(
            "NOT_COMPARABLE",
            f"This card may not be compared: {'; '.join(opened.card['not_comparable'])}.",
            str(opened.file),
            hint="Give --force to export it all the same.",
        )
        for opened in cards
        if not opened.card["comparable"]
    ]
    if faults:
        raise NotComparable(*faults)


def portable(name: str) -> str:
    """A stranger's name as one part of a path that every file system takes and that cannot lead elsewhere."""
    safe_name = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "-" for letter in name
    )
    safe_name = safe_name.strip(".-") or "unnamed"
    return f"{safe_name}-" if safe_name.split(".")[0].upper() in _RESERVED else safe_name


_RESERVED = frozenset(
    {"CON", "PRN", "AUX", "NUL", "DATA"} | {f"{device}{number}" for device in ("COM", "LPT") for number in range(1, 10)}
)
"""Names that Windows keeps for devices, and `data`, which Every Eval Ever keeps for itself."""
