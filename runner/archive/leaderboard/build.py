"""From an archive to a leaderboard: groups of comparable cards, each ranked, with what is not ranked beside them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from runner.archive import benchmarks
from runner.archive.index import opened, read_index
from runner.archive.leaderboard.candidates import Candidate, candidates
from runner.archive.leaderboard.losses import Rebuilt, rebuild
from runner.archive.leaderboard.ranking import standings
from runner.archive.leaderboard.values import ComparisonKey, Group, Leaderboard, Reference, Row, Run, Section, Unranked
from runner.archive.store import Store
from runner.core.types import Benchmark
from runner.scorecard import isolation
from runner.scoring.metrics import METRICS
from runner.signing.keyring import Keyring
from runner.signing.verifier import ASSURANCE

_SECTIONS = (ASSURANCE["verifier"], ASSURANCE["lab"])


def leaderboard(
    store: Store,
    keyring: Keyring,
    *,
    task: str | None = None,
    split: str | None = None,
    data_dir: Path | None = None,
    observe: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Leaderboard:
    """The leaderboard of `task` on `split` (all of them by default).

    With `data_dir`, the primary metric of every ranked card is rebuilt from its archived predictions: a card whose
    number does not come out is refused, and ranks are bounded by the paired bootstrap. Otherwise, and for cards
    without predictions, by the cards' own intervals. `observe` is told a stage, how many cards are done, and of how
    many. Raises `InvalidInput` if there is no archive.
    """
    index = read_index(opened(store))

    def wanted(name: str, part: str) -> bool:
        return task in (None, name) and split in (None, part)

    ranked, apart, damage = candidates(store, index, keyring, wanted, lambda done, total: observe("read", done, total))
    by_measures: dict[ComparisonKey, list[Candidate]] = {}
    for one in ranked:
        by_measures.setdefault(one.measures, []).append(one)
    groups = []
    for measures, members in sorted(by_measures.items(), key=lambda pair: _order(pair[0])):
        group, refused = _group(store, measures, members, by_measures, data_dir, observe)
        groups.append(group)
        apart.extend(refused)
    return Leaderboard(
        archive=store.address,
        head=index.head,
        cards=len(index.by_card()),
        groups=tuple(groups),
        apart=tuple(sorted(apart, key=lambda one: (one.kind, one.name, one.card))),
        damage=(*(str(fault) for fault in index.faults), *damage),
    )


def _order(measures: ComparisonKey) -> tuple[object, ...]:
    """The newest benchmark first; groups whose prompts are not known after those whose are."""
    version = tuple(-int(part) for part in measures.version.split(".") if part.isdecimal())
    return (
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
    runs: dict[tuple[str, str], list[Candidate]] = {}
    for one in sorted(members, key=lambda one: one.sequence):
        runs.setdefault((one.assurance, one.submission), []).append(one)
    latest = {key: own[-1] for key, own in runs.items()}
    rebuilt = Rebuilt({}, {}, ())
    notes: list[str] = []
    if data_dir is not None:
        rebuilt = rebuild(
            store, measures, list(latest.values()), data_dir, lambda done, total: observe("rebuild", done, total)
        )
        notes.extend(rebuilt.notes)
    refused = [
        Unranked("refused", one.name, one.card, one.submission, (measures.task,), (rebuilt.refused[one.card],))
        for one in latest.values()
        if one.card in rebuilt.refused
    ]
    sections = []
    for assurance in _SECTIONS:
        own = [one for (kind, _), one in latest.items() if kind == assurance and one.card not in rebuilt.refused]
        if own:
            sections.append(Section(assurance, tuple(_rows(own, runs, rebuilt, benchmark))))
    references, disagreement = _references(members, benchmark)
    notes.extend(disagreement)
    notes.extend(f"{one.name}: {isolation.sentence(one.unprotected)}" for one in latest.values() if one.unprotected)
    references.extend(_files(measures, by_measures))
    return (
        Group(
            measures=measures,
            metric=benchmark.scoring.primary,
            lower_is_better=_lower(benchmark),
            level=benchmark.scoring.intervals.level,
            sections=tuple(sections),
            references=tuple(sorted(references, key=lambda one: one.value if _lower(benchmark) else -one.value)),
            notes=tuple(notes),
        ),
        refused,
    )


def _lower(benchmark: Benchmark) -> bool:
    return METRICS[benchmark.scoring.primary].lower_is_better is not False


def _rows(
    own: Sequence[Candidate],
    runs: Mapping[tuple[str, str], Sequence[Candidate]],
    rebuilt: Rebuilt,
    benchmark: Benchmark,
) -> Iterable[Row]:
    """Ranked rows of one section, best first."""
    with_draws = [one.card for one in own if one.card in rebuilt.draws]
    column = {card: place for place, card in enumerate(with_draws)}
    draws = np.column_stack([rebuilt.draws[card] for card in with_draws]) if with_draws else np.empty((0, 0))
    by_signer: dict[str, set[str]] = {}
    for one in own:
        by_signer.setdefault(one.keyid, set()).add(one.submission)
    # Equal values are listed in the order in which they came to the archive.
    own = sorted(own, key=lambda one: one.sequence)
    for place in standings(
        [one.value for one in own],
        [one.bounds or (-np.inf, np.inf) for one in own],
        draws,
        [column.get(one.card) for one in own],
        lower_is_better=_lower(benchmark),
        level=benchmark.scoring.intervals.level,
    ):
        one = own[place.row]
        claims = runs.get((ASSURANCE["lab"], one.submission)) if one.assurance == ASSURANCE["verifier"] else None
        yield Row(
            rank=place.rank,
            best=place.best,
            worst=place.worst,
            tied=place.tied,
            paired=one.card in column,
            name=one.name,
            kind=one.kind,
            model=one.model,
            submission=one.submission,
            card=one.card,
            value=one.value,
            standard_error=one.standard_error,
            lower=one.bounds[0] if one.bounds else None,
            upper=one.bounds[1] if one.bounds else None,
            finished_at=one.finished_at,
            added_at=one.added_at,
            keyid=one.keyid,
            signed_by=one.owner,
            submissions_of_signer=len(by_signer[one.keyid]),
            runs=tuple(
                Run(run.card, run.sequence, run.finished_at, run.value) for run in runs[one.assurance, one.submission]
            ),
            claimed=claims[-1].value if claims else None,
        )


def _references(members: Sequence[Candidate], benchmark: Benchmark) -> tuple[list[Reference], list[str]]:
    """Ceiling, prior and uniform as the cards have them: they follow from data alone, so cards have to agree."""
    found, notes = [], []
    # An independent card's word before a lab's, the older before the younger.
    ordered = sorted(members, key=lambda one: (_SECTIONS.index(one.assurance), one.sequence))
    for name in ("ceiling", "prior", "uniform"):
        values = [one.references[name] for one in ordered if name in one.references]
        if not values:
            continue
        found.append(Reference(name, "ceiling" if name == "ceiling" else "baseline", values[0]))
        spread = max(values) - min(values)
        if spread > benchmark.scoring.recompute_tolerance * max(1.0, abs(values[0])):
            notes.append(f"The cards do not agree on {name}: {min(values):.4f} to {max(values):.4f}.")
    return found, notes


def _files(measures: ComparisonKey, by_measures: Mapping[ComparisonKey, Sequence[Candidate]]) -> Iterable[Reference]:
    """Predictions from files that say nothing of prompts, beside the models that were asked with these prompts."""
    if measures.prompts is None:
        return
    for one in by_measures.get(replace(measures, prompts=None, views=()), ()):
        lower, upper = one.bounds or (None, None)
        yield Reference(one.name, "file", one.value, lower, upper, one.card)
