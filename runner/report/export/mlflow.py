"""Scorecards as runs in MLflow's file store: a folder that `mlflow ui --backend-store-uri` or MlflowClient reads.

MLflow 3 wants MLFLOW_ALLOW_FILE_STORE=true for it, or `mlflow migrate-filestore` to make a database of it.

The layout: https://mlflow.org/docs/latest/ml/tracking/backend-stores (file store)

    mlruns/<experiment>/meta.yaml            the benchmark
    mlruns/<experiment>/<run>/meta.yaml      a card
                              metrics/…      one file a metric: milliseconds since 1970, value, step
                              params/…       one file a parameter
                              tags/…         one file a tag
                              artifacts/scorecard.json
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import yaml

from runner.core.canonical import sha256_bytes
from runner.report.export.values import Exported, assurance
from runner.scorecard.load import OpenCard
from runner.tasks.api_usage import model_name

_FINISHED, _LOCAL = 3, 4
"""MLflow's numbers for a run that ended well, and for one that was made on somebody's machine."""
_LONGEST = 500
"""Characters of a parameter or tag; older versions of MLflow take no more."""


MLFLOW_LOST = (
    "mlflow has no place for strata, reliability, orders and fitted values but in the card that lies in artifacts; the "
    "signature does not travel: readers need the signed card.",
)


def mlflow(cards: Sequence[OpenCard]) -> list[Exported]:
    """The files of an experiment per benchmark and a run per card.

    A run has metrics `TASK/METRIC` with `_lower` and `_upper`, baselines and ceiling, parameters, tags, and the card
    beside them. Identifiers follow from benchmark and card, so a card that is exported again is the same run. A metric
    that was not measured is left out, with its reason as a tag.
    """
    experiments: dict[str, list[OpenCard]] = {}
    for opened in cards:
        digest = opened.card["benchmark"]["digest"]
        experiments.setdefault(str(int(sha256_bytes(digest.encode())[:14], 16)), []).append(opened)
    files = []
    for experiment, own in experiments.items():
        home = PurePosixPath("mlruns", experiment)
        benchmark = own[0].card["benchmark"]
        about = {
            "artifact_location": str(home),
            "creation_time": min(_milliseconds(opened.card["run"]["started_at"]) for opened in own),
            "experiment_id": experiment,
            "last_update_time": max(_milliseconds(opened.card["run"]["finished_at"]) for opened in own),
            "lifecycle_stage": "active",
            "name": f"{benchmark['name']} {benchmark['version']} {benchmark['digest'][7:15]}",
        }
        files.append(Exported(home / "meta.yaml", yaml.safe_dump(about), MLFLOW_LOST))
        for opened in own:
            files += _run(opened, experiment, home / opened.sha256[:32])
    return files


def _run(opened: OpenCard, experiment: str, folder: PurePosixPath) -> Iterator[Exported]:
    card = opened.card
    ended = _milliseconds(card["run"]["finished_at"])
    about = {
        "artifact_uri": str(folder / "artifacts"),
        "end_time": ended,
        "entry_point_name": "",
        "experiment_id": experiment,
        "lifecycle_stage": "active",
        "run_id": folder.name,
        "run_name": card["submission"]["name"],
        "run_uuid": folder.name,
        "source_name": "",
        "source_type": _LOCAL,
        "source_version": "",
        "start_time": _milliseconds(card["run"]["started_at"]),
        "status": _FINISHED,
        "tags": [],
        "user_id": "",
    }
    files = {
        "meta.yaml": yaml.safe_dump(about),
        "artifacts/scorecard.json": json.dumps(card, indent=1, ensure_ascii=False) + "\n",
        **{f"metrics/{name}": f"{ended} {value!r} 0\n" for name, value in _metrics(card)},
        **{f"params/{name}": _text(value) for name, value in _parameters(card) if value is not None},
        **{f"tags/{name}": _text(value) for name, value in _tags(opened) if value is not None},
    }
    for path, content in files.items():
        yield Exported(folder / path, content, MLFLOW_LOST)


def _milliseconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp() * 1000)


def _text(value: Any) -> str:
    """One line: the file store reads no more of a parameter."""
    text = value if isinstance(value, str) else json.dumps(value)
    return "".join(letter if letter.isprintable() else " " for letter in text)[:_LONGEST]


def _metrics(card: Any) -> Iterator[tuple[str, float]]:
    for task, block in card["tasks"].items():
        for name, estimate in block["metrics"].items():
            if estimate["value"] is None:
                continue
            yield f"{task}/{name}", float(estimate["value"])
            for end in ("lower", "upper") if estimate["confidence_interval"] else ():
                yield f"{task}/{name}_{end}", float(estimate["confidence_interval"][end])
        for name in ("uniform", "prior"):
            for metric, entry in block["baselines"][name].items():
                if entry["value"] is not None:
                    yield f"{task}/{metric}_{name}", float(entry["value"])
        for metric, entry in block["ceiling"].items():
            if entry["value"] is not None:
                yield f"{task}/{metric}_ceiling", float(entry["value"])


def _parameters(card: Any) -> Iterator[tuple[str, Any]]:
    model, adapter = card["submission"]["model"] or {}, card["submission"]["adapter"] or {}
    yield "submission", card["submission"]["name"]
    yield "model", model_name(model)
    for name in ("revision", "backend", "format", "dtype", "quantization"):
        yield name, model.get(name)
    yield "adapter", adapter.get("repository") or adapter.get("folder")
    yield "suite", card["suite"]
    yield "benchmark_version", card["benchmark"]["version"]
    for task, block in card["tasks"].items():
        yield f"{task}_split", block["split"]
        yield f"{task}_items", block["items"]


def _tags(opened: OpenCard) -> Iterator[tuple[str, Any]]:
    card = opened.card
    yield "mlflow.runName", card["submission"]["name"]
    yield "comparable", card["comparable"]
    yield "not_comparable", "; ".join(card["not_comparable"]) or None
    yield "assurance", assurance(opened)
    yield "card_sha256", opened.sha256
    yield "submission_digest", card["submission"]["digest"]
    yield "benchmark_digest", card["benchmark"]["digest"]
    for task, block in card["tasks"].items():
        for name, estimate in block["metrics"].items():
            if estimate["value"] is None:
                yield f"not_measured.{task}.{name}", estimate["reason"]
