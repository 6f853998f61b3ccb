"""From the cards of an archive to what can be ranked, and what cannot and why."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from runner.archive import benchmarks
from runner.archive.index import Index, Leaf
from runner.archive.leaderboard.values import CardWarning, ComparisonKey, Reference, Unranked
from runner.archive.objects import CARD
from runner.archive.store import Store
from runner.config.released import is_released
from runner.core.benchmark_types import Benchmark
from runner.core.canonical import sha256_bytes, to_bytes
from runner.core.errors import UserError, VerificationError
from runner.scorecard import isolation
from runner.scorecard.parse_failures import left_out
from runner.signing.keyring import Keyring
from runner.signing.verifier import ASSURANCE, read_signed
from runner.tasks.api_usage import model_name
from runner.tasks.selection import trial_reasons

Json = Mapping[str, Any]

_SETTINGS = ("format", "template_arguments", "thinking", "system_prompt", "dtype", "quantization")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One task of one card: the primary metric with its interval, who, and by whom it is signed."""

    measures: ComparisonKey
    """What the value is a value of."""
    assurance: str
    """`independently reproduced` or `self-reported`, by the role of the key."""
    name: str
    """Of the submission."""
    kind: str
    """`model`, or `file` for predictions whose maker is not known."""
    model: str | None
    """Repository or folder of the model; None for other systems."""
    format: str | None
    """`plain` or `chat`; None for other systems."""
    submission: str
    """Digest of the submission's files."""
    settings: str
    """How the model is run, as far as the digest of its files does not say it."""
    card: str
    """Digest of its card."""
    sequence: int
    """Its number in the archive's index."""
    added_at: str
    """When it was archived, UTC."""
    finished_at: str
    """When its run ended, UTC."""
    keyid: str
    """Of the key that signed it."""
    owner: str | None
    """Of that key, as the keyring names it; None where it names none."""
    value: float
    """Of the primary metric."""
    standard_error: float | None
    """Of `value`; None where the card has none."""
    bounds: tuple[float, float] | None
    """The card's interval, lower and upper; None where it has none."""
    references: Mapping[str, float]
    """The values of baselines and ceiling on the card, by name."""
    panel: Reference | None
    """A second group of people; None where the card has none."""
    skill: float | None
    """The share of the way from the better baseline to the ceiling; None where the card has none."""
    skill_bounds: tuple[float, float] | None
    """Its interval; None where the card has none."""
    warnings: tuple[CardWarning, ...]
    """All of the card for this task."""
    predictions: str | None
    """Digest of the archived predictions; None where they were not archived."""
    benchmark_file: str
    """Digest of the archived benchmark.yaml."""
    unprotected: tuple[str, ...]
    """Protections of the model's process that were missing."""


class _Misfit(Exception):
    """A signed card without the form that is needed here, and where."""


def _take(value: Any, kind: type | tuple[type, ...], *path: str) -> Any:
    """What lies at `path` inside nested objects, if it is of this kind."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _Misfit(f"$.{'.'.join(path)} is missing or has another form than that of a scorecard")
    return value


def candidates(
    store: Store,
    index: Index,
    keyring: Keyring,
    selects: Callable[[str, str], bool],
    observe: Callable[[int, int], None],
    digest: str | None = None,
    *,
    include_trial: bool = False,
    refused: Mapping[str, str] | None = None,
) -> tuple[list[Candidate], list[Unranked], list[str]]:
    """Every task of every comparable card for which `selects(task, split)`; the cards apart; damage to the archive.

    Of each card the signature is checked against `keyring`, so that role, window and revocation are those of today.
    That the rest of it is sound was checked when it was added, and is checked again by `archive check`. With the
    `digest` of a benchmark only cards of that one are ranked, released or not. With `include_trial` so are cards whose
    only flaw is a suite for trying things or a limit. `refused` are cards that somebody refused, and why.
    """
    by_card = index.by_card()
    load = cache(partial(benchmarks.benchmark, store))
    ranked: list[Candidate] = []
    apart: list[Unranked] = []
    damage: list[str] = []
    for done, (name, data) in enumerate(store.read_many(CARD.name(card) for card in by_card), start=1):
        observe(done, len(by_card))
        sha256 = CARD.sha256_in(name) or ""
        entries = by_card[sha256]
        if data is None or sha256_bytes(data) != sha256:
            problem = "is gone" if data is None else "was changed"
            damage.append(f"{store.address_of(name)} {problem}")
            apart.append(_refused(entries[0], f"its file {problem}"))
            continue
        if refused and sha256 in refused:
            apart.append(_refused(entries[0], refused[sha256]))
            continue
        try:
            card, key = read_signed(data, keyring)
            results = list(_of_card(load, card, entries, selects, digest, include_trial=include_trial))
        except VerificationError as problem:
            apart.append(_refused(entries[0], *(f"{fault.message} [{fault.code}]" for fault in problem.faults)))
            continue
        except _Misfit as problem:
            apart.append(_refused(entries[0], str(problem)))
            continue
        for result in results:
            if isinstance(result, Unranked):
                apart.append(result)
            else:
                ranked.append(replace(result, keyid=key.keyid, owner=key.owner, assurance=ASSURANCE[key.role]))
    return ranked, apart, damage


def _refused(entry: Leaf, *reasons: str) -> Unranked:
    """A card whose content cannot be trusted: what the index says of it is all there is."""
    summary = entry.summary
    return Unranked("refused", summary["name"], entry.card, summary["submission"], tuple(summary["tasks"]), reasons)


def _of_card(
    load: Callable[[str], Benchmark],
    card: Json,
    entries: list[Leaf],
    selects: Callable[[str, str], bool],
    digest: str | None,
    *,
    include_trial: bool,
) -> Iterator[Candidate | Unranked]:
    name = _take(card, str, "submission", "name")
    submission = _take(card, str, "submission", "digest")
    tasks = _take(card, dict, "tasks")
    splits = {task: _take(tasks, str, task, "split") for task in tasks}
    task_names = tuple(task for task, split in splits.items() if selects(task, split))
    if not task_names:
        return
    own = [str(reason) for reason in _take(card, list, "not_comparable")]
    limit = _take(card, (int, type(None)), "run", "limit")
    trial = include_trial and bool(own) and set(own) <= set(trial_reasons(_take(card, str, "suite"), limit))
    if not own and (card.get("comparable") is not True or limit is not None):
        own = ["it says so of itself"]
    if own and not trial:
        yield Unranked("not comparable", name, entries[0].card, submission, task_names, tuple(own))
        return
    file = next((sha256 for entry in entries if (sha256 := entry.files["benchmark"])), "")
    try:
        benchmark = load(file)
    except UserError as problem:
        raise _Misfit(f"its benchmark cannot be read from the archive: {problem.faults[0].message}") from None
    if benchmark.digest != _take(card, str, "benchmark", "digest"):
        raise _Misfit("the archive keeps another benchmark for it than it was made with")
    for task in task_names:
        if reasons := tuple(_against(benchmark, card, task, digest, trial=trial)):
            yield Unranked("not comparable", name, entries[0].card, submission, (task,), reasons)
        else:
            yield _candidate(card, task, entries, benchmark, file, trial=trial)


def _against(benchmark: Benchmark, card: Json, task: str, own: str | None, *, trial: bool) -> Iterator[str]:
    """Why a card that calls itself comparable is not: whoever signs can write anything, the benchmark is pinned."""
    suite = benchmark.suites.get(_take(card, str, "suite"))
    result = _take(card, dict, "tasks", task)
    dataset, split = _take(result, str, "dataset"), _take(result, str, "split")
    if not is_released(benchmark) and benchmark.digest != own:
        yield f"{benchmark.name} {benchmark.version} with this content is not a released benchmark"
    if own is not None and benchmark.digest != own:
        yield "it was made with another benchmark than the one that was asked for"
    if suite is None or not (suite.comparable or trial) or suite.datasets.get(task) != dataset:
        yield f"task {task!r} on {dataset!r} is not part of a comparable suite"
        return
    pinned = benchmark.datasets[dataset].splits.get(split)
    data_sha256 = _take(card, str, "data", f"{dataset}/{split}", "sha256")
    if pinned is None or (pinned.sha256 is not None and pinned.sha256 != data_sha256):
        yield f"its {split} data is not the pinned one"
    prompts = result.get("prompts")
    if left_out(result):
        yield f"{result['failures']['rows']} written answers could not be read, so its numbers are over other items"
    declared = benchmark.tasks[task]
    tracks = (declared.prompts, declared.verbalized, declared.sampled)
    if prompts is not None and set(prompts) not in map(set, tracks):
        yield f"prompts chosen by hand: {', '.join(map(str, prompts))}"


def _candidate(
    card: Json, task: str, entries: list[Leaf], benchmark: Benchmark, benchmark_file: str, *, trial: bool
) -> Candidate | Unranked:
    result = _take(card, dict, "tasks", task)
    primary = benchmark.scoring.primary
    name, submission = _take(card, str, "submission", "name"), _take(card, str, "submission", "digest")
    metric = _take(result, dict, "metrics", primary)
    if metric.get("value") is None:
        reason = f"{primary} was not measured: {metric.get('reason')}"
        return Unranked("not measured", name, entries[0].card, submission, (task,), (reason,))
    dataset, split = _take(result, str, "dataset"), _take(result, str, "split")
    prompts = _take(result, (dict, type(None)), "prompts")
    model = _take(card, (dict, type(None)), "submission", "model")
    has_predictions = any(entry.files["predictions"] for entry in entries)
    error = metric.get("standard_error")
    data = _take(card, dict, "data", f"{dataset}/{split}")
    return Candidate(
        measures=ComparisonKey(
            benchmark=benchmark.name,
            version=benchmark.version,
            benchmark_digest=benchmark.digest,
            suite=_take(card, str, "suite"),
            task=task,
            split=split,
            dataset=dataset,
            data_sha256=_take(data, str, "sha256"),
            items=_take(result, int, "items"),
            labels=tuple(str(label) for label in _take(result, list, "labels")),
            prompts=None if prompts is None else tuple(sorted((key, str(value)) for key, value in prompts.items())),
            views=() if prompts is None else tuple(sorted(map(_view, _take(result, list, "views")))),
            limit=card["run"]["limit"],
            trial=trial,
            system_prompt=None if model is None else _system_prompt(model),
        ),
        assurance="",
        name=name,
        kind="file" if model is None else "model",
        model=None if model is None else _model(model, card),
        format=None if model is None or model.get("format") is None else _take(model, str, "format"),
        submission=submission,
        settings="" if model is None else to_bytes({key: model.get(key) for key in _SETTINGS}).decode(),
        card=entries[0].card,
        sequence=entries[0].sequence,
        added_at=entries[0].added_at,
        finished_at=_take(card, str, "run", "finished_at"),
        keyid="",
        owner=None,
        value=float(_take(metric, (int, float), "value")),
        standard_error=None if error is None else float(_take(metric, (int, float), "standard_error")),
        bounds=_interval(metric),
        references=dict(_references(result, primary)),
        panel=_panel(result, primary),
        skill=_number(result["metrics"].get("skill")),
        skill_bounds=_interval(result["metrics"].get("skill")),
        warnings=tuple(_warnings(card, task)),
        predictions=_take(card, str, "predictions", "sha256") if has_predictions else None,
        benchmark_file=benchmark_file,
        unprotected=isolation.missing(card),
    )


def _system_prompt(model: Json) -> str | None:
    return None if model.get("system_prompt") is None else _take(model, str, "system_prompt")


def _view(view: Any) -> str:
    return f"{_take(view, str, 'prompt_id')}/{_take(view, int, 'order')}"


def _number(estimate: Any) -> float | None:
    if not isinstance(estimate, dict) or estimate.get("value") is None:
        return None
    return float(_take(estimate, (int, float), "value"))


def _interval(estimate: Any) -> tuple[float, float] | None:
    if not isinstance(estimate, dict) or estimate.get("confidence_interval") is None:
        return None
    interval = estimate["confidence_interval"]
    return float(_take(interval, (int, float), "lower")), float(_take(interval, (int, float), "upper"))


def _panel(result: Json, primary: str) -> Reference | None:
    """The second group of people on the same items, where the card has one with a value."""
    panel = result.get("panel")
    estimate = None if panel is None else _take(panel, dict, "metrics").get(primary)
    if (value := _number(estimate)) is None:
        return None
    lower, upper = _interval(estimate) or (None, None)
    skill = _number(_take(panel, dict, "skill").get(primary))
    return Reference("other people", "panel", value, lower, upper, skill=skill)


def _warnings(card: Json, task: str) -> Iterator[CardWarning]:
    """The warnings for `task`; cards before inference 2 have none."""
    for warning in _take(card, list, "warnings") if "warnings" in card else []:
        if _take(warning, str, "task") == task:
            yield CardWarning(_take(warning, str, "code"), _take(warning, str, "message"))


def _model(model: Json, card: Json) -> str:
    """Repository or folder of the model, or what a service calls it, and of its adapter."""
    parts = [model, card["submission"].get("adapter")]
    return " + ".join(model_name(part) or "?" for part in parts if isinstance(part, dict))


def _references(result: Any, primary: str) -> Iterator[tuple[str, float]]:
    for name, path in (
        ("ceiling", ("ceiling",)),
        ("prior", ("baselines", "prior")),
        ("uniform", ("baselines", "uniform")),
    ):
        metrics = _take(result, dict, *path)
        if primary in metrics and metrics[primary].get("value") is not None:
            yield name, float(_take(metrics, (int, float), primary, "value"))
