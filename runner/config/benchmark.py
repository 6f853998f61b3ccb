"""From the bytes of a `benchmark.yaml` to a frozen `Benchmark`, or every fault in it."""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from runner.config.cross_checks import VOTE_KINDS, disagreements
from runner.config.defaults import scoring_of
from runner.config.schema import in_order, schema_faults, soundness
from runner.config.source import BENCHMARK_BYTES, Document, parse, read_bytes
from runner.core import canonical
from runner.core.benchmark_types import (
    Benchmark,
    DataFile,
    Dataset,
    FitSpec,
    FoldSpec,
    IntervalSpec,
    ItemFields,
    PromptSpec,
    ScoringSpec,
    Suite,
    Task,
    VoteSpec,
)
from runner.core.errors import Fault, raise_faults
from runner.core.text import name_of


def load_benchmark(path: Path) -> Benchmark:
    """The benchmark in the file `path`.

    Raises `InvalidInput` with every fault: of reading (FILE_…, YAML_…), of shape (SCHEMA), and of parts that do not
    agree (UNKNOWN_…, TEMPLATE, ORDERS, OPTIONS, …).
    """
    document = _check(_Source(read_bytes(path, BENCHMARK_BYTES), str(path)))
    # Of equal files in two folders each has the data beside it.
    return benchmark_of(replace(document, file=str(path)))


@dataclass(frozen=True, slots=True)
class _Source:
    """The bytes of a benchmark, equal to the same bytes of another file."""

    data: bytes
    """Bytes of the file."""
    file: str = field(compare=False)
    """The path that faults name."""


@lru_cache(maxsize=4)
def _check(source: _Source) -> Document:
    """Cached by content: one command needs the same benchmark several times, and each card has a copy beside it."""
    document = parse(source.data, source.file, BENCHMARK_BYTES)
    raise_faults(benchmark_faults(document))
    return document


def benchmark_faults(document: Document) -> tuple[Fault, ...]:
    """Every fault of a document that is meant to be a benchmark, in the order of the file."""
    faults, bad = schema_faults(document, "benchmark")
    faults += document.faults
    faults += disagreements(document, soundness(bad))
    return in_order(faults)


def benchmark_of(document: Document) -> Benchmark:
    """The benchmark in a document that has no fault; a source's `path` is taken from the folder of its file."""
    value = document.value
    home = Path(document.file).absolute().parent
    return Benchmark(
        name=value["name"],
        version=value["version"],
        description=value["description"],
        digest=canonical.digest(value),
        source=document.data,
        datasets=MappingProxyType({name: _dataset(name, part, home) for name, part in value["datasets"].items()}),
        tasks=MappingProxyType({name: _task(name, part) for name, part in value["tasks"].items()}),
        prompts=MappingProxyType({name: _prompt(name, part) for name, part in value["prompts"].items()}),
        scoring=_scoring(scoring_of(value)),
        suites=MappingProxyType({name: _suite(name, part) for name, part in value["suites"].items()}),
    )


def _dataset(name: str, value: dict[str, Any], home: Path) -> Dataset:
    source = value["source"]
    return Dataset(
        name=name,
        description=value["description"],
        synthetic=value["synthetic"],
        url=source.get("url"),
        folder=source.get("folder"),
        embedded=source.get("embedded"),
        path=str(home / source["path"]) if "path" in source else None,
        hub=source.get("hub"),
        revision=source.get("revision"),
        splits=MappingProxyType(
            {
                split: DataFile(
                    dataset=name,
                    split=split,
                    file=pinned["file"],
                    rows=int(pinned["rows"]),
                    sha256=pinned.get("sha256"),
                    git_blob=pinned.get("git_blob"),
                    folds=_folds(pinned["folds"]) if "folds" in pinned else None,
                )
                for split, pinned in value["splits"].items()
            }
        ),
    )


def _folds(value: dict[str, Any]) -> FoldSpec:
    return FoldSpec(
        number=int(value["number"]),
        take=tuple(int(fold) for fold in value["take"]),
        seed=int(value["seed"]),
        rows=int(value["rows"]),
        apart=tuple(value.get("apart", ())),
    )


def _task(name: str, value: dict[str, Any]) -> Task:
    item = value["item"]
    return Task(
        name=name,
        description=value["description"],
        labels=tuple(value["labels"]),
        item=ItemFields(
            id=item["id"],
            fields=MappingProxyType(item["fields"]),
            votes=_votes(item["votes"]),
            panel=_votes(item["panel"]) if "panel" in item else None,
            group=item.get("group"),
            clusters=tuple(item.get("clusters", ())),
            missing_text=item.get("missing_text", "refuse"),
        ),
        without_votes=value["without_votes"],
        prompts=tuple(value["prompts"]),
        strata=tuple(value.get("strata", ())),
        verbalized=tuple(value.get("verbalized", ())),
        sampled=tuple(value.get("sampled", ())),
        ordinal=bool(value.get("ordinal", False)),
    )


def _votes(value: str | dict[str, Any]) -> str | VoteSpec:
    if isinstance(value, str):
        return value
    kind = next(kind for kind in VOTE_KINDS if kind in value)
    total = value.get("total")
    return VoteSpec(
        kind=kind,
        path=None if kind == "columns" else value[kind],
        columns=MappingProxyType(value.get("columns", {})),
        keys=MappingProxyType({label: name_of(name) or "" for label, name in value.get("keys", {}).items()}),
        missing=value.get("missing", "refuse"),
        ignore=tuple(name_of(name) for name in value.get("ignore", ())),
        total=total if isinstance(total, str | None) else int(total),
    )


def _prompt(name: str, value: dict[str, Any]) -> PromptSpec:
    return PromptSpec(
        name=name,
        task=value["task"],
        elicitation=value["elicitation"],
        orders=tuple(tuple(order) for order in value["orders"]),
        shows=MappingProxyType(value.get("shows", {})),
        template=value["template"],
        cue_plain=value["cue"]["plain"],
        cue_chat=value["cue"]["chat"],
        options=tuple(tuple(forms) for forms in value["options"]),
        max_tokens=int(value["max_tokens"]),
        shorten=value.get("shorten"),
        max_new_tokens=int(value["max_new_tokens"]) if "max_new_tokens" in value else None,
        zero_percent=float(value["zero_percent"]) if "zero_percent" in value else None,
        samples=int(value["samples"]) if "samples" in value else None,
        temperature=float(value.get("temperature", 1.0)),
        top_p=float(value.get("top_p", 1.0)),
        few_shot=int(value.get("few_shot", 0)),
    )


def _scoring(value: dict[str, Any]) -> ScoringSpec:
    """Whole numbers may be written as `1e3` or `5.0`, which JSON Schema takes for integers: hence `int`."""
    fit, intervals, self_check = value["fit"], value["intervals"], value["self_check"]
    return ScoringSpec(
        primary=value["primary"],
        metrics=tuple(value["metrics"]),
        ablations=tuple(value.get("ablations", ())),
        fit=FitSpec(fit["split"], int(fit["items"]), int(fit["folds"]), int(fit["seed"])),
        ceiling_draws=int(value["ceiling"]["draws"]),
        ceiling_seed=int(value["ceiling"]["seed"]),
        intervals=IntervalSpec(
            intervals["method"], int(intervals["draws"]), float(intervals["level"]), int(intervals["seed"])
        ),
        self_check_prompts=int(self_check["prompts"]),
        self_check_tolerance=MappingProxyType({dtype: float(nats) for dtype, nats in self_check["tolerance"].items()}),
        self_check_changed=MappingProxyType(
            {dtype: float(share) for dtype, share in self_check.get("changed_texts", {}).items()}
        ),
        recompute_tolerance=float(value["recompute_tolerance"]),
        inference=int(value.get("inference", 1)),
        warnings=MappingProxyType({name: float(limit) for name, limit in value.get("warnings", {}).items()}),
    )


def _suite(name: str, value: dict[str, Any]) -> Suite:
    return Suite(
        name=name,
        description=value["description"],
        comparable=value["comparable"],
        split=value["split"],
        datasets=MappingProxyType(value["datasets"]),
    )
