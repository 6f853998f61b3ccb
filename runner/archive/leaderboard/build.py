"""From an archive to a leaderboard: groups of comparable cards, each ranked, with what is not ranked beside them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from runner.archive import benchmarks
from runner.archive.index import opened, read_index
from runner.archive.leaderboard.candidates import Candidate, candidates
from runner.archive.leaderboard.losses import Rebuilt, rebuild
from runner.archive.leaderboard.ranking import standings
from runner.archive.leaderboard.references import SECTIONS, data_references, repeated_files, with_files
from runner.archive.leaderboard.values import (
    CardWarning,
    ComparisonKey,
    Group,
    Leaderboard,
    Row,
    Run,
    Section,
    Unranked,
)
from runner.archive.store import Store
from runner.config.released import is_released
from runner.core.benchmark_types import Benchmark
from runner.scorecard import isolation
from runner.scoring.metrics import METRICS
from runner.signing.keyring import Keyring
from runner.signing.verifier import ASSURANCE


def leaderboard(
    store: Store,
    keyring: Keyring,
    *,
    task: str | None = None,
    split: str | None = None,
    data_dir: Path | None = None,
    benchmark: Benchmark | None = None,
    include_trial: bool = False,
    refused: Mapping[str, str] | None = None,
    observe: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Leaderboard:
    """The leaderboard of `task` on `split` (all of them by default).

    Ranked are cards of released benchmarks; with `benchmark` those of that one alone, by its digest, released or not.
    With `include_trial`, runs on a suite for trying things and limited runs are ranked too, in groups of their own.
    `refused` (digest → reason) are cards that are not ranked, whatever they say.

    With `data_dir`, the primary metric of every ranked card is rebuilt from its archived predictions: a card whose
    number does not come out is refused, and ranks are bounded by the paired bootstrap. Otherwise, and for cards
    without predictions, by the cards' own intervals. `observe` gets a stage, how many cards are done, and of how
    many. Raises `InvalidInput` if there is no archive.
    """
    index = read_index(opened(store))

    def selects(name: str, part: str) -> bool:
        return task in (None, name) and split in (None, part)

    ranked, apart, damage = candidates(
        store,
        index,
        keyring,
        selects,
        lambda done, total: observe("read", done, total),
        None if benchmark is None else benchmark.digest,
        include_trial=include_trial,
        refused=refused,
    )
    by_measures: dict[ComparisonKey, list[Candidate]] = {}
    for candidate in ranked:
        by_measures.setdefault(candidate.measures, []).append(candidate)
    groups = []
    repeated = repeated_files(store, by_measures)
    for measures, members in sorted(by_measures.items(), key=lambda pair: _order(pair[0])):
        own = [member for member in members if member not in repeated.get(measures, ())]
        if not own:
            continue
        group, not_rebuilt = _group(store, measures, own, by_measures, data_dir, observe)
        groups.append(group)
        apart.extend(not_rebuilt)
    return Leaderboard(
        archive=store.address,
        head=index.head,
        cards=len(index.by_card()),
        groups=tuple(groups),
        apart=tuple(sorted(apart, key=lambda row: (row.kind, row.name, row.card))),
        damage=(*(str(fault) for fault in index.faults), *damage),
    )


def _order(measures: ComparisonKey) -> tuple[object, ...]:
    """Trials last; the newest benchmark first; groups whose prompts are not known after those whose are."""
    version = tuple(-int(part) for part in measures.version.split(".") if part.isdecimal())
    return (
        measures.trial,
        measures.benchmark,
        version,
        measures.benchmark_digest,
        measures.task,
        measures.split,
        measures.prompts is None,
        str(measures),
    )


def _group(
    store: Store,
    measures: ComparisonKey,
    members: Sequence[Candidate],
    by_measures: Mapping[ComparisonKey, Sequence[Candidate]],
    data_dir: Path | None,
    observe: Callable[[str, int, int], None],
) -> tuple[Group, list[Unranked]]:
    benchmark = benchmarks.benchmark(store, members[0].benchmark_file)
    runs: dict[tuple[str, str, str], list[Candidate]] = {}
    for candidate in sorted(members, key=lambda candidate: candidate.sequence):
        runs.setdefault((candidate.assurance, candidate.submission, candidate.settings), []).append(candidate)
    latest = {key: own[-1] for key, own in runs.items()}
    rebuilt = Rebuilt({}, {}, ())
    notes: list[str] = []
    if data_dir is not None:
        rebuilt = rebuild(
            store, measures, list(latest.values()), data_dir, lambda done, total: observe("rebuild", done, total)
        )
        notes.extend(rebuilt.notes)
    refused = [
        Unranked(
            "refused",
            candidate.name,
            candidate.card,
            candidate.submission,
            (measures.task,),
            (rebuilt.refused[candidate.card],),
        )
        for candidate in latest.values()
        if candidate.card in rebuilt.refused
    ]
    sections = []
    for assurance in SECTIONS:
        own = [
            candidate
            for (kind, *_), candidate in latest.items()
            if kind == assurance and candidate.card not in rebuilt.refused
        ]
        if own:
            sections.append(Section(assurance, tuple(_rows(own, runs, rebuilt, benchmark))))
    references, disagreement = data_references(members, benchmark)
    notes.extend(disagreement)
    notes.extend(
        f"{candidate.name}: {isolation.sentence(candidate.unprotected)}"
        for candidate in latest.values()
        if candidate.unprotected
    )
    references = with_files(references, measures, by_measures, benchmark)
    rows = [row for section in sections for row in section.rows]
    return (
        Group(
            measures=measures,
            metric=benchmark.scoring.primary,
            lower_is_better=_lower(benchmark),
            level=benchmark.scoring.intervals.level,
            sections=tuple(sections),
            references=tuple(
                sorted(references, key=lambda reference: reference.value if _lower(benchmark) else -reference.value)
            ),
            notes=tuple(notes),
            released=is_released(benchmark),
            warnings=_shared_warnings(rows),
        ),
        refused,
    )


def _lower(benchmark: Benchmark) -> bool:
    return METRICS[benchmark.scoring.primary].lower_is_better is not False


def _rows(
    own: Sequence[Candidate],
    runs: Mapping[tuple[str, str, str], Sequence[Candidate]],
    rebuilt: Rebuilt,
    benchmark: Benchmark,
) -> Iterable[Row]:
    """Ranked rows of one section, best first."""
    with_draws = [candidate.card for candidate in own if candidate.card in rebuilt.draws]
    column = {card: position for position, card in enumerate(with_draws)}
    draws = np.column_stack([rebuilt.draws[card] for card in with_draws]) if with_draws else np.empty((0, 0))
    by_signer: dict[str, set[str]] = {}
    for candidate in own:
        by_signer.setdefault(candidate.keyid, set()).add(candidate.submission)
    # Equal values are listed in the order in which they came to the archive.
    own = sorted(own, key=lambda candidate: candidate.sequence)
    for standing in standings(
        [candidate.value for candidate in own],
        [candidate.bounds or (-np.inf, np.inf) for candidate in own],
        draws,
        [column.get(candidate.card) for candidate in own],
        lower_is_better=_lower(benchmark),
        level=benchmark.scoring.intervals.level,
    ):
        candidate = own[standing.row]
        claims = (
            runs.get((ASSURANCE["lab"], candidate.submission, candidate.settings))
            if candidate.assurance == ASSURANCE["verifier"]
            else None
        )
        yield Row(
            rank=standing.rank,
            best=standing.best,
            worst=standing.worst,
            tied=standing.tied,
            paired=candidate.card in column,
            name=candidate.name,
            kind=candidate.kind,
            model=candidate.model,
            submission=candidate.submission,
            card=candidate.card,
            value=candidate.value,
            standard_error=candidate.standard_error,
            lower=candidate.bounds[0] if candidate.bounds else None,
            upper=candidate.bounds[1] if candidate.bounds else None,
            finished_at=candidate.finished_at,
            added_at=candidate.added_at,
            keyid=candidate.keyid,
            signed_by=candidate.owner,
            submissions_of_signer=len(by_signer[candidate.keyid]),
            runs=tuple(
                Run(run.card, run.sequence, run.finished_at, run.value)
                for run in runs[candidate.assurance, candidate.submission, candidate.settings]
            ),
            claimed=claims[-1].value if claims else None,
            skill=candidate.skill,
            skill_lower=candidate.skill_bounds[0] if candidate.skill_bounds else None,
            skill_upper=candidate.skill_bounds[1] if candidate.skill_bounds else None,
            warnings=candidate.warnings,
            format=candidate.format,
        )


def _shared_warnings(rows: Sequence[Row]) -> tuple[CardWarning, ...]:
    """What every one of several rows is warned of in the same words: it is of the data, not of a model."""
    if len(rows) < 2:
        return ()
    others = [set(row.warnings) for row in rows[1:]]
    return tuple(warning for warning in rows[0].warnings if all(warning in own for own in others))
