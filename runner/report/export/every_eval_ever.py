"""A scorecard as an aggregate record of Every Eval Ever (github.com/evaleval/every_eval_ever), schema 0.3.0."""

import json
import uuid
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from runner.report.export.values import UNVERIFIED, Exported, assurance, portable
from runner.scorecard.load import OpenCard
from runner.scoring.metrics import METRICS
from runner.tasks.api_usage import model_name

SCHEMA_VERSION = "0.3.0"

_INFINITY = "Infinity"
"""How the format writes a bound that is none: JSON has no infinity."""
_GLOBAL_IDS = {"accuracy": "accuracy", "macro_f1": "f1_macro"}
"""Metrics that mean the same everywhere; the others are named after the benchmark."""
_NOBODY = "unknown"
"""Developer of a model that is no repository's."""
_RELATIONSHIP = {"independently reproduced": "third_party"}
"""Evaluator to developer of the model. A submitter need not be the developer, so the rest is `other`."""


def every_eval_ever(opened: OpenCard, retrieved: int) -> Exported:
    """The record, at the path that the datastore of the project asks for.

    `retrieved` is the time of the export in seconds since 1970. The file's name follows from the card, so exporting a
    card again gives the same file.
    """
    card = opened.card
    submission = card["submission"]
    # With an adapter, what was measured is not the model of that repository.
    home = submission["adapter"] or submission["model"] or {}
    model_id = home.get("repository") or submission["name"]
    results, lost = [], list(_lost(opened))
    for name, task in card["tasks"].items():
        for metric, estimate in (*task["metrics"].items(), *task["ablations"].items()):
            if estimate["value"] is None:
                lost.append(f"{name}: {metric} is left out, since a score is demanded: {estimate['reason']}.")
            elif estimate["lower_is_better"] is None:
                lost.append(f"{name}: {metric} is left out: it is better in neither direction, and one is demanded.")
            else:
                results.append(_result(opened, name, task, metric, estimate))
    record = {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{card['benchmark']['name']}/{submission['name']}/{card['run']['id']}",
        "evaluation_timestamp": card["run"]["finished_at"],
        "retrieved_timestamp": str(retrieved),
        "source_metadata": _source(opened),
        "eval_library": {"name": "moral-ambiguity-benchmark", "version": card["run"]["runner_version"]},
        "model_info": _model(opened, model_id),
        "evaluation_results": results,
    }
    developer, _, rest = model_id.rpartition("/")
    folder = PurePosixPath("data", portable(card["benchmark"]["name"]), portable(developer or _NOBODY), portable(rest))
    identity = uuid.UUID(bytes=bytes.fromhex(opened.sha256)[:16], version=4)
    content = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return Exported(folder / f"{identity}.json", content, tuple(lost))


def _texts(values: dict[str, Any]) -> dict[str, str]:
    """Additional details have to be strings; what is None is left out."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
        for name, value in values.items()
        if value is not None
    }


def _source(opened: OpenCard) -> dict[str, Any]:
    card, report = opened.card, opened.report
    return {
        "source_name": card["benchmark"]["name"],
        "source_type": "evaluation_run",
        "source_organization_name": "unknown" if report is None else f"holder of key {report.keyid[:16]}",
        "evaluator_relationship": _RELATIONSHIP.get(assurance(opened), "other"),
        "additional_details": _texts(
            {
                "assurance": assurance(opened),
                "signed_by_key": None if report is None else report.keyid,
                "scorecard_sha256": opened.sha256,
                "submission_digest": card["submission"]["digest"],
                "benchmark_version": card["benchmark"]["version"],
                "benchmark_digest": card["benchmark"]["digest"],
                "suite": card["suite"],
                "comparable": card["comparable"],
                "not_comparable": card["not_comparable"] or None,
            }
        ),
    }


def _model(opened: OpenCard, model_id: str) -> dict[str, Any]:
    submission = opened.card["submission"]
    model = submission["model"] or {}
    adapter = submission["adapter"] or {}
    entry: dict[str, Any] = {"name": submission["name"], "id": model_id}
    # The folder that the record lies in, without which its own program finds nobody to look for.
    entry["developer"] = model_id.split("/")[0] if "/" in model_id else _NOBODY
    versions = (model.get("facts") or {}).get("versions") or {}
    if isinstance(versions.get("transformers"), str):
        entry["inference_engine"] = {"name": "transformers", "version": versions["transformers"]}
    entry["additional_details"] = _texts(
        {
            "deployment_type": "unknown" if not model or model.get("backend") == "api" else "self_deployed",
            "model_availability": "unknown",
            "model": model_name(model),
            "revision": model.get("revision"),
            "digest": model.get("digest"),
            "format": model.get("format"),
            "dtype": model.get("dtype"),
            "quantization": model.get("quantization"),
            "adapter": adapter.get("repository") or adapter.get("folder"),
            "adapter_revision": adapter.get("revision"),
            "adapter_digest": adapter.get("digest"),
            "predictions_from_file": None if model else True,
        }
    )
    return entry


def _result(opened: OpenCard, name: str, task: dict[str, Any], metric: str, estimate: dict[str, Any]) -> dict[str, Any]:
    benchmark = opened.card["benchmark"]["name"]
    data = opened.card["data"].get(f"{task['dataset']}/{task['split']}", {})
    base = metric.removesuffix("_calibrated").removesuffix("_pmi")
    low, high = _bounds(metric)
    known = METRICS.get(metric)
    return {
        "evaluation_result_id": f"{name}/{task['split']}/{metric}",
        "evaluation_name": f"{benchmark}.{name}",
        "source_data": {
            "dataset_name": task["dataset"],
            "source_type": "other",
            **({"source_id": f"sha256:{data['sha256']}"} if data else {}),
            "additional_details": _texts(
                {
                    "split": task["split"],
                    "rows": data.get("rows"),
                    "items": task["items"],
                    "synthetic": task["synthetic"],
                }
            ),
        },
        "metric_config": {
            "metric_id": _GLOBAL_IDS.get(metric, f"{benchmark}.{metric}"),
            "metric_name": metric,
            **({} if known is None else {"metric_unit": known.unit}),
            "lower_is_better": estimate["lower_is_better"],
            "score_type": "continuous",
            "min_score": low,
            "max_score": high,
            "additional_details": _texts(
                {
                    "human_ceiling": task["ceiling"].get(metric, task["ceiling"].get(base, {})).get("value"),
                    "prior_baseline": task["baselines"]["prior"].get(base, {}).get("value"),
                    "uniform_baseline": task["baselines"]["uniform"].get(base, {}).get("value"),
                    "strictly_proper": None if known is None else known.proper,
                }
            ),
        },
        "score_details": {"score": estimate["value"], **dict(_uncertainty(task, metric, estimate))},
        "generation_config": {"additional_details": _texts({"prompts": task["prompts"], "views": task["views"]})},
    }


def _uncertainty(task: dict[str, Any], metric: str, estimate: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    interval = estimate["confidence_interval"]
    if interval is None or estimate["standard_error"] is None:
        return
    item_mean = metric in METRICS and METRICS[metric].kind == "item"
    yield (
        "uncertainty",
        {
            "standard_error": {
                "value": estimate["standard_error"],
                "method": "analytic" if item_mean else "bootstrap",
            },
            "confidence_interval": {
                "lower": interval["lower"],
                "upper": interval["upper"],
                "confidence_level": interval["level"],
                "method": "bootstrap over items",
            },
            "num_samples": task["items"],
        },
    )


def _bounds(metric: str) -> tuple[float | str, float | str]:
    """The smallest and the largest value that a metric can have."""
    base = metric.removesuffix("_calibrated").removesuffix("_pmi")
    if base in ("total_variation", "jensen_shannon", "accuracy", "macro_f1", "class_calibration", "ranking_agreement"):
        return 0.0, 1.0
    if base == "brier":
        return 0.0, 2.0
    losses = ("cross_entropy", "kl", "dirichlet_multinomial", "dirichlet_multinomial_per_vote", "wasserstein")
    if base in (*losses, "seed_cross_entropy", "seed_dirichlet"):
        return 0.0, _INFINITY
    return f"-{_INFINITY}", _INFINITY


def _lost(opened: OpenCard) -> Iterator[str]:
    yield (
        "eee has no place for the signature and for digests of data, prompts and files but as free text, and none for "
        "strata, reliability, orders, answer mass, fitted values and the environment."
    )
    yield (
        "Its rows per item demand whether an answer was correct, which has no meaning for a distribution: the "
        "predictions are left out."
    )
    submission = opened.card["submission"]
    if "/" not in ((submission["adapter"] or submission["model"] or {}).get("repository") or ""):
        yield "A model that is in no repository has no developer, which its own program warns of."
    if opened.card["submission"]["model"] is None:
        yield "Its records are of models; these predictions are from a file, whose name stands in the model's place."
    if assurance(opened) == UNVERIFIED:
        yield "Nobody checked who signed this card; the record says unverified."
