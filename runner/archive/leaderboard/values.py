"""What a leaderboard is made of: plain values that a page, a table or a program can show.

Every name, model and signer is a stranger's text and has to be escaped by whoever shows it.
"""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Run:
    """One archived card of a submission."""

    card: str
    """Its digest."""
    sequence: int
    """Its number in the archive's index."""
    finished_at: str
    """When its run ended, UTC."""
    value: float
    """Of the primary metric."""


@dataclass(frozen=True, slots=True)
class CardWarning:
    """What a card says must be known before its numbers are read."""

    code: str
    """As the benchmark's `warnings` name it."""
    message: str
    """The sentence on the card."""


@dataclass(frozen=True, slots=True)
class Row:
    """A ranked submission, by its latest run."""

    rank: int
    """From 1, by the value alone; equal values share one."""
    best: int
    """The lower bound of the rank: 1 and the rows shown to be better."""
    worst: int
    """The upper bound: all rows less those shown to be worse."""
    tied: bool
    """The row above is not shown to be better."""
    paired: bool
    """Whether the paired bootstrap over the items, against every other paired row, shows it; else the cards' own
    intervals being apart."""
    name: str
    """Of the submission."""
    kind: str
    """`model`, or `file` for predictions whose maker is not known."""
    model: str | None
    """Repository or folder of the model; None for other systems."""
    submission: str
    """Digest of the submission's files."""
    card: str
    """Digest of its card."""
    value: float
    """Of the primary metric."""
    standard_error: float | None
    """Of `value`; None where the card has none."""
    lower: float | None
    """The lower end of the card's interval; None where it has none."""
    upper: float | None
    """The upper end."""
    finished_at: str
    """When the run ended, UTC."""
    added_at: str
    """When the card was archived, UTC."""
    keyid: str
    """Of the key that signed it."""
    signed_by: str | None
    """The owner that the keyring names; None where it names none."""
    submissions_of_signer: int
    """How many different submissions that key has in the group."""
    runs: tuple[Run, ...]
    """All archived cards of the submission, run with the same settings, under this assurance, in the order of the
    index; the last is the one ranked."""
    claimed: float | None
    """The self-reported value of a submission that was independently reproduced; None where there is none."""
    skill: float | None = None
    """The share of the way from the better baseline to the ceiling; None where the card has none."""
    skill_lower: float | None = None
    """The lower end of its interval; None where the card has none."""
    skill_upper: float | None = None
    """The upper end."""
    warnings: tuple[CardWarning, ...] = ()
    """All of the card for this task."""
    format: str | None = None
    """`plain` or `chat`; None for other systems."""


@dataclass(frozen=True, slots=True)
class Section:
    """Rows of one assurance, ranked among themselves."""

    assurance: str
    """`independently reproduced` or `self-reported`."""
    rows: tuple[Row, ...]
    """Best first."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A value to hold the rows against, without a rank."""

    name: str
    """Of the reference, or of the file's submission."""
    kind: str
    """`ceiling`, `baseline` or `panel` (a second group of people; as the cards of the group have it), or `file`:
    predictions without prompts."""
    value: float
    """Of the primary metric."""
    lower: float | None = None
    """The lower end of its interval; None where there is none."""
    upper: float | None = None
    """The upper end."""
    card: str | None = None
    """Digest of a card with this value, if there is one; a baseline or panel that was also scored from a file is one
    reference."""
    skill: float | None = None
    """None where it says nothing."""


@dataclass(frozen=True, slots=True)
class ComparisonKey:
    """What a value is a value of: only cards that are equal in all of this are ranked together."""

    benchmark: str
    """Its name."""
    version: str
    """Of the benchmark."""
    benchmark_digest: str
    """Of the benchmark's content."""
    suite: str
    """Its name."""
    task: str
    """Its name."""
    split: str
    """That was scored."""
    dataset: str
    """Its name."""
    data_sha256: str
    """Of the data file."""
    items: int
    """How many were scored."""
    labels: tuple[str, ...]
    """In the task's order."""
    prompts: tuple[tuple[str, str], ...] | None
    """Each prompt with its digest; None for predictions from files that name none."""
    views: tuple[str, ...]
    """The prompts with the orders of presentation of each item (`letters/0`)."""
    limit: int | None = None
    """The run covers that many first items only; None for all."""
    trial: bool = False
    """The run shows nothing but that the machinery works: on a suite for trying things, or with a `limit`."""
    system_prompt: str | None = None
    """The system prompt before each question; None for none."""


@dataclass(frozen=True, slots=True)
class Group:
    """Cards that measure the same thing, and by which metric they are ranked."""

    measures: ComparisonKey
    """What they measure."""
    metric: str
    """The benchmark's primary metric."""
    lower_is_better: bool
    """Its direction."""
    level: float
    """Of the intervals."""
    sections: tuple[Section, ...]
    """By assurance."""
    references: tuple[Reference, ...]
    """Ceiling, baselines, panel and files."""
    notes: tuple[str, ...]
    """Sentences for the reader."""
    released: bool = True
    """False where the benchmark is somebody's own."""
    warnings: tuple[CardWarning, ...] = ()
    """Those that every row shares."""

    def own_warnings(self, row: Row) -> tuple[CardWarning, ...]:
        """The warnings of `row` that not every row of the group shares."""
        return tuple(warning for warning in row.warnings if warning not in self.warnings)


@dataclass(frozen=True, slots=True)
class Unranked:
    """A card that is not ranked."""

    kind: str
    """`not comparable` (it says so itself), `not measured`, or `refused`."""
    name: str
    """Of the submission."""
    card: str
    """Digest of its card."""
    submission: str
    """Digest of the submission's files."""
    tasks: tuple[str, ...]
    """That are not ranked."""
    reasons: tuple[str, ...]
    """Sentences."""


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """All that an archive's cards can be ranked by."""

    archive: str
    """Where it is."""
    head: str | None
    """Digest of the newest entry of its index; None for an empty one."""
    cards: int
    """How many it holds."""
    groups: tuple[Group, ...]
    """Of comparable cards."""
    apart: tuple[Unranked, ...]
    """The cards that are not ranked."""
    damage: tuple[str, ...]
    """What is wrong with the archive itself."""

    def to_json(self) -> dict[str, Any]:
        """The leaderboard as a JSON value."""
        return asdict(self)
