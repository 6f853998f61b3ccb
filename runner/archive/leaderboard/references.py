"""What rows are held against: ceiling, baselines and a second group of people, each of them once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from runner.archive import benchmarks
from runner.archive.leaderboard.candidates import Candidate
from runner.archive.leaderboard.values import ComparisonKey, Reference
from runner.archive.store import Store
from runner.core.benchmark_types import Benchmark
from runner.signing.verifier import ASSURANCE

SECTIONS = (ASSURANCE["verifier"], ASSURANCE["lab"])
"""The assurances, an independent card's word before a lab's."""


def data_references(members: Sequence[Candidate], benchmark: Benchmark) -> tuple[list[Reference], list[str]]:
    """Ceiling, baselines and panel as the cards have them, and notes where the cards do not agree.

    They follow from data alone, so cards have to agree.
    """
    references, notes = [], []
    ordered = sorted(members, key=lambda candidate: (SECTIONS.index(candidate.assurance), candidate.sequence))
    named = {
        name: [
            Reference(name, "ceiling" if name == "ceiling" else "baseline", candidate.references[name])
            for candidate in ordered
            if name in candidate.references
        ]
        for name in ("ceiling", "prior", "uniform")
    }
    named["other people"] = [candidate.panel for candidate in ordered if candidate.panel is not None]
    for name, same in named.items():
        if not same:
            continue
        references.append(same[0])
        values = [reference.value for reference in same]
        spread = max(values) - min(values)
        if spread > benchmark.scoring.recompute_tolerance * max(1.0, abs(values[0])):
            notes.append(f"The cards do not agree on {name}: {min(values):.4f} to {max(values):.4f}.")
    return references, notes


def with_files(
    references: Sequence[Reference],
    measures: ComparisonKey,
    by_measures: Mapping[ComparisonKey, Sequence[Candidate]],
    benchmark: Benchmark,
) -> list[Reference]:
    """`references` and the predictions from files that say nothing of prompts, beside models with the same items.

    A file that is a baseline or the panel is that reference, which gains the digest of its card.
    """
    if measures.prompts is None:
        return list(references)
    all_references = list(references)
    for candidate in by_measures.get(_without_prompts(measures), ()):
        position = _reference_index(candidate, references, benchmark)
        if position is None:
            lower, upper = candidate.bounds or (None, None)
            all_references.append(
                Reference(candidate.name, "file", candidate.value, lower, upper, candidate.card, candidate.skill)
            )
        else:
            all_references[position] = replace(all_references[position], card=candidate.card)
    return all_references


def repeated_files(
    store: Store, by_measures: Mapping[ComparisonKey, Sequence[Candidate]]
) -> dict[ComparisonKey, list[Candidate]]:
    """The files that are a baseline or panel beside models with the same items: they need no ranking of their own."""
    repeated: dict[ComparisonKey, list[Candidate]] = {}
    for measures, models in by_measures.items():
        files = by_measures.get(_without_prompts(measures), ()) if measures.prompts is not None else ()
        if files:
            benchmark = benchmarks.benchmark(store, models[0].benchmark_file)
            references, _ = data_references(models, benchmark)
            repeated.setdefault(files[0].measures, []).extend(
                file for file in files if _reference_index(file, references, benchmark) is not None
            )
    return repeated


def _without_prompts(measures: ComparisonKey) -> ComparisonKey:
    return replace(measures, prompts=None, views=())


def _reference_index(candidate: Candidate, references: Sequence[Reference], benchmark: Benchmark) -> int | None:
    """Which of the references has the value of `candidate`."""
    tolerance = benchmark.scoring.recompute_tolerance
    for index, reference in enumerate(references):
        near = abs(reference.value - candidate.value) <= tolerance * max(1.0, abs(reference.value))
        if reference.kind != "ceiling" and near:
            return index
    return None
