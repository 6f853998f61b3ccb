"""What a leaderboard is made of: plain values that a page, a table or a program can show.

Every name, model and signer is a stranger's text and has to be escaped by whoever shows it.
"""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Run:
    """One archived card of a submission: its digest, place in the index, time and value."""

    card: str
    sequence: int
    finished_at: str
    value: float


@dataclass(frozen=True, slots=True)
class CardWarning:
    """What a card says must be known before its numbers are read: a code of the benchmark, and the sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Row:
    """A ranked submission, by its latest run.

    `rank` counts from 1 by the value alone, equal values sharing a rank. `best` and `worst` bound the rank: 1 + the
    rows shown to be better, and all rows − those shown to be worse. `tied` says that the row above is not shown to be
    better. `paired` tells what shows it: the paired bootstrap over the items against every other paired row, or the
    cards' own intervals being apart. `lower` and `upper` are the card's interval, None where it has none.

    `kind` is `model`, or `file` for predictions whose maker is not known. `runs` are all archived cards of the
    submission, run with the same settings, under this assurance, in the order of the index, the last of them being the
    one ranked. `claimed` is the self-reported value of a submission that was independently reproduced. `signed_by` is
    the owner that the keyring names (None where it names none), `submissions_of_signer` how many different submissions
    that key has in the group. `skill` is the share of the way from the better baseline to the ceiling with its
    interval, each None where the card has none; `warnings` are all those of the card for this task. `format` is
    `plain` or `chat`, None for other systems.
    """

    rank: int
    best: int
    worst: int
    tied: bool
    paired: bool
    name: str
    kind: str
    model: str | None
    submission: str
    card: str
    value: float
    standard_error: float | None
    lower: float | None
    upper: float | None
    finished_at: str
    added_at: str
    keyid: str
    signed_by: str | None
    submissions_of_signer: int
    runs: tuple[Run, ...]
    claimed: float | None
    skill: float | None = None
    skill_lower: float | None = None
    skill_upper: float | None = None
    warnings: tuple[CardWarning, ...] = ()
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """Rows of one assurance (`independently reproduced` or `self-reported`), ranked among themselves, best first."""

    assurance: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A value to hold the rows against, without a rank.

    `kind` is `ceiling`, `baseline` or `panel` (a second group of people; as the cards of the group have it), or `file`:
    predictions that say nothing of how they were asked for. `card` is the digest of a card with this value, if there is
    one; a baseline or panel that was also scored from a file is one reference. `skill` is None where it says nothing.
    """

    name: str
    kind: str
    value: float
    lower: float | None = None
    upper: float | None = None
    card: str | None = None
    skill: float | None = None


@dataclass(frozen=True, slots=True)
class ComparisonKey:
    """What a value is a value of: only cards that are equal in all of this are ranked together.

    `prompts` maps each prompt to its digest, None for predictions from files that name none; `views` are the prompts
    with the orders of presentation in which each item was asked (`letters/0`). `trial` marks runs that show nothing but
    that the machinery works: on a suite for trying things, or on the first `limit` items. `system_prompt` is what the
    models were told before each question.
    """

    benchmark: str
    version: str
    benchmark_digest: str
    suite: str
    task: str
    split: str
    dataset: str
    data_sha256: str
    items: int
    labels: tuple[str, ...]
    prompts: tuple[tuple[str, str], ...] | None
    views: tuple[str, ...]
    limit: int | None = None
    trial: bool = False
    system_prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Cards that measure the same thing, and by which metric they are ranked; `level` is that of the intervals.

    `released` is false where the benchmark is somebody's own. `warnings` are those that every row shares.
    """

    measures: ComparisonKey
    metric: str
    lower_is_better: bool
    level: float
    sections: tuple[Section, ...]
    references: tuple[Reference, ...]
    notes: tuple[str, ...]
    released: bool = True
    warnings: tuple[CardWarning, ...] = ()

    def own_warnings(self, row: Row) -> tuple[CardWarning, ...]:
        """The warnings of `row` that not every row of the group shares."""
        return tuple(warning for warning in row.warnings if warning not in self.warnings)


@dataclass(frozen=True, slots=True)
class Unranked:
    """A card that is not ranked: `kind` is `not comparable` (it says so itself), `not measured`, or `refused`."""

    kind: str
    name: str
    card: str
    submission: str
    tasks: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Groups of comparable cards, the cards apart, and `damage`: what is wrong with the archive itself."""

    archive: str
    head: str | None
    cards: int
    groups: tuple[Group, ...]
    apart: tuple[Unranked, ...]
    damage: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The leaderboard as a JSON value."""
        return asdict(self)
