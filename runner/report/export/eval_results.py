"""A scorecard as `.eval_results/*.yaml` for a model's repository on the Hugging Face Hub.

The format: https://huggingface.co/docs/hub/eval-results (called work in progress there).
"""

import re
from pathlib import PurePosixPath
from typing import Any

import yaml

from runner.core.errors import Fault, InvalidInput, raise_faults
from runner.report.export.values import UNVERIFIED, Exported, assurance, portable
from runner.scorecard.load import OpenCard
from runner.scoring.metrics import METRICS

_DATASET = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def eval_results(opened: OpenCard, dataset_id: str, source_url: str | None = None) -> Exported:
    """The skill of each task, to be put into the repository of the model (or of its adapter).

    The Hub puts the largest number first, and the primary metric is better when it is smaller: its skill has the same
    order the right way round, and the metric itself stands in the notes. `dataset_id` is the repository on the Hub
    where the benchmark's leaderboard lives; a task of the card goes under its own name as the task there, with the name
    of the split behind it where that is not the one that the suite scores. Raises `InvalidInput` for predictions from a
    file, which no model's repository can vouch for, and where the primary metric or its skill is not known.
    """
    card, file = opened.card, str(opened.file)
    if not _DATASET.fullmatch(dataset_id):
        message = f"{dataset_id!r} is not the name of a dataset on the Hub, as in owner/name."
        raise InvalidInput(Fault("DATASET_ID", message, hint="Give it with --dataset-id."))
    if card["submission"]["model"] is None:
        message = "These are predictions from a file, and results on the Hub belong to a model's repository."
        raise InvalidInput(Fault("NO_MODEL", message, file))
    if opened.primary is None:
        message = "The benchmark of this card is not at hand, so its primary metric is not known."
        raise InvalidInput(Fault("FILE_MISSING", message, file, hint="Give it with --benchmark."))
    faults = [
        Fault("NOT_MEASURED", f"{metric} was not measured for {name}.", file)
        for name, task in card["tasks"].items()
        for metric in (opened.primary, "skill")
        if task["metrics"].get(metric, {}).get("value") is None
    ]
    raise_faults(faults)
    entries = []
    for name, task in card["tasks"].items():
        own = name if task["split"] == opened.split else f"{name}-{task['split']}"
        entry: dict[str, Any] = {
            "dataset": {"id": dataset_id, "task_id": own},
            "value": task["metrics"]["skill"]["value"],
            "date": card["run"]["finished_at"],
        }
        if source_url is not None:
            entry["source"] = {"url": source_url, "name": "Signed scorecard"}
        entry["notes"] = _notes(opened, name)
        entries.append(entry)
    path = PurePosixPath(
        portable(card["submission"]["name"]), ".eval_results", f"{portable(card['benchmark']['name'])}.yaml"
    )
    return Exported(path, yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=1000), _lost(opened))


def _notes(opened: OpenCard, name: str) -> str:
    """What the format has no field for, in words: metrics, direction, intervals, split, and which card it is."""
    metric, card = opened.primary or "", opened.card
    task, benchmark = card["tasks"][name], card["benchmark"]
    estimate = task["metrics"][metric]
    unit = f" {METRICS[metric].unit}" if metric in METRICS else ""
    better = "lower" if estimate["lower_is_better"] else "higher"
    refused = "" if card["comparable"] else f"; NOT COMPARABLE: {'; '.join(card['not_comparable'])}"
    return (
        f"skill: share of the way from the prior (0) to the human ceiling (1), higher is better"
        f"{_interval(task['metrics']['skill'])}; {metric} {estimate['value']:.4f}{unit}, {better} is better"
        f"{_interval(estimate)}; {task['items']} items of split {task['split']}; "
        f"{benchmark['name']} {benchmark['version']}; {assurance(opened)}; card sha256 {opened.sha256}{refused}"
    )


def _interval(estimate: dict[str, Any]) -> str:
    interval = estimate["confidence_interval"]
    return f", {interval['level']:.0%} interval {interval['lower']:.4f} to {interval['upper']:.4f}" if interval else ""


def _lost(opened: OpenCard) -> tuple[str, ...]:
    submission = opened.card["submission"]
    home = submission["adapter"] or submission["model"]
    destination = home["repository"] or "the repository where the weights will lie (they are in a folder here)"
    lost = [
        f"Put the folder .eval_results into {destination}.",
        "hf-eval-results holds one number per task: the skill. The primary metric, and the intervals of both, stand in "
        "its notes only.",
        "It has no place for the signature: readers need the card itself. Its own verifyToken is for runs on the Hub's "
        "machines and is left out.",
        "The dataset has to be registered as a benchmark on the Hub, with these tasks.",
    ]
    if assurance(opened) == UNVERIFIED:
        lost.append("Nobody checked who signed this card.")
    return tuple(lost)
