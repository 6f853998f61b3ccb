"""A scorecard as `.eval_results/*.yaml` for a model's repository on the Hugging Face Hub.

The format: https://huggingface.co/docs/hub/eval-results (called work in progress there).
"""

import re
from pathlib import PurePosixPath
from typing import Any

import yaml

from runner.core.errors import Fault, InvalidInput, NotComparable
from runner.report.export.values import UNVERIFIED, Exported, assurance, portable
from runner.scorecard.load import OpenCard
from runner.scoring.metrics import METRICS

_DATASET = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def eval_results(opened: OpenCard, dataset_id: str, source_url: str | None = None) -> Exported:
    """The primary metric of each task, to be put into the repository of the model (or of its adapter).

    `dataset_id` is the repository on the Hub where the benchmark's leaderboard lives; a task of the card goes under
    its own name as the task there. Raises `NotComparable` for a card that may not be ranked, since the Hub would rank
    it, and `InvalidInput` for predictions from a file, which no model's repository can vouch for, and where the
    primary metric is not known or not measured.
    """
    card, file = opened.card, str(opened.file)
    if not _DATASET.fullmatch(dataset_id):
        message = f"{dataset_id!r} is not the name of a dataset on the Hub, as in owner/name."
        raise InvalidInput(Fault("DATASET_ID", message, hint="Give it with --dataset-id."))
    if not card["comparable"]:
        message = (
            f"The Hub ranks what it is given, and this card may not be ranked: {'; '.join(card['not_comparable'])}."
        )
        raise NotComparable(Fault("NOT_COMPARABLE", message, file))
    if card["submission"]["model"] is None:
        message = "These are predictions from a file, and results on the Hub belong to a model's repository."
        raise InvalidInput(Fault("NO_MODEL", message, file))
    if opened.primary is None:
        message = "The benchmark of this card is not at hand, so its primary metric is not known."
        raise InvalidInput(Fault("FILE_MISSING", message, file, hint="Give it with --benchmark."))
    measured = {name: task["metrics"].get(opened.primary, {}) for name, task in card["tasks"].items()}
    if missing := [name for name, estimate in measured.items() if estimate.get("value") is None]:
        message = f"{opened.primary} was not measured for {', '.join(missing)}."
        raise InvalidInput(Fault("NOT_MEASURED", message, file))
    entries = []
    for name, estimate in measured.items():
        entry: dict[str, Any] = {
            "dataset": {"id": dataset_id, "task_id": name},
            "value": estimate["value"],
            "date": card["run"]["finished_at"],
        }
        if source_url is not None:
            entry["source"] = {"url": source_url, "name": "Signed scorecard"}
        entry["notes"] = _notes(opened, name, estimate)
        entries.append(entry)
    path = PurePosixPath(
        portable(card["submission"]["name"]), ".eval_results", f"{portable(card['benchmark']['name'])}.yaml"
    )
    return Exported(path, yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=1000), _lost(opened))


def _notes(opened: OpenCard, name: str, estimate: dict[str, Any]) -> str:
    """What the format has no field for, in words: metric, direction, interval, split, and which card it is."""
    metric = opened.primary or ""
    unit = f" ({METRICS[metric].unit})" if metric in METRICS else ""
    interval = estimate["confidence_interval"]
    between = (
        f"; {interval['level']:.0%} interval {interval['lower']:.4f} to {interval['upper']:.4f}" if interval else ""
    )
    task = opened.card["tasks"][name]
    better = "lower" if estimate["lower_is_better"] else "higher"
    benchmark = opened.card["benchmark"]
    return (
        f"{metric}{unit}, {better} is better{between}; {task['items']} items of split {task['split']}; "
        f"{benchmark['name']} {benchmark['version']}; {assurance(opened)}; card sha256 {opened.sha256}"
    )


def _lost(opened: OpenCard) -> tuple[str, ...]:
    submission = opened.card["submission"]
    home = submission["adapter"] or submission["model"]
    destination = home["repository"] or "the repository where the weights will lie (they are in a folder here)"
    lost = [
        f"Put the folder .eval_results into {destination}.",
        "hf-eval-results holds one number per task: the primary metric. Direction and interval stand in its notes "
        "only, so a leaderboard that puts the largest first puts the worst first.",
        "It has no place for the signature: readers need the card itself. Its own verifyToken is for runs on the Hub's "
        "machines and is left out.",
        "The dataset has to be registered as a benchmark on the Hub, with these tasks.",
    ]
    if assurance(opened) == UNVERIFIED:
        lost.append("Nobody checked who signed this card.")
    return tuple(lost)
