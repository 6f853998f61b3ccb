"""Scorecards as one CSV table: a row per card, task and metric."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from runner.report.export.values import assurance
from runner.scorecard.load import OpenCard
from runner.tasks.api_usage import model_name

COLUMNS = (
    "submission",
    "submission_digest",
    "model",
    "revision",
    "adapter",
    "benchmark",
    "benchmark_version",
    "benchmark_digest",
    "suite",
    "comparable",
    "task",
    "split",
    "dataset",
    "items",
    "metric",
    "value",
    "standard_error",
    "lower",
    "upper",
    "level",
    "lower_is_better",
    "uniform",
    "prior",
    "ceiling",
    "reason",
    "assurance",
    "signed_by_key",
    "finished_at",
    "run_id",
    "card_sha256",
)

TABLE_LOST = (
    "csv holds one row per task and metric; it has no place for strata, reliability, orders, answer mass, "
    "fitted values, prompts, files and environment.",
)

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def table(cards: Sequence[OpenCard]) -> str:
    """The table as RFC 4180 with a header; numbers with all their digits, what was not measured empty.

    A name that a spreadsheet would run as a formula has an apostrophe put before it.
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(COLUMNS)
    for opened in cards:
        writer.writerows([_cell(row[name]) for name in COLUMNS] for row in _rows(opened))
    return stream.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return repr(value)


def _rows(opened: OpenCard) -> Iterator[dict[str, Any]]:
    card = opened.card
    submission = card["submission"]
    model, adapter = submission["model"] or {}, submission["adapter"] or {}
    about = {
        "submission": submission["name"],
        "submission_digest": submission["digest"],
        "model": model_name(model),
        "revision": model.get("revision"),
        "adapter": adapter.get("repository") or adapter.get("folder"),
        "benchmark": card["benchmark"]["name"],
        "benchmark_version": card["benchmark"]["version"],
        "benchmark_digest": card["benchmark"]["digest"],
        "suite": card["suite"],
        "comparable": card["comparable"],
        "assurance": assurance(opened),
        "signed_by_key": None if opened.report is None else opened.report.keyid,
        "finished_at": card["run"]["finished_at"],
        "run_id": card["run"]["id"],
        "card_sha256": opened.sha256,
    }
    for name, task in card["tasks"].items():
        for metric, estimate in (*task["metrics"].items(), *task["ablations"].items()):
            interval = estimate["confidence_interval"] or {"lower": None, "upper": None, "level": None}
            base = metric.removesuffix("_calibrated").removesuffix("_pmi")
            yield {
                **about,
                "task": name,
                "split": task["split"],
                "dataset": task["dataset"],
                "items": task["items"],
                "metric": metric,
                "value": estimate["value"],
                "standard_error": estimate["standard_error"],
                **interval,
                "lower_is_better": estimate["lower_is_better"],
                "uniform": task["baselines"]["uniform"].get(base, {}).get("value"),
                "prior": task["baselines"]["prior"].get(base, {}).get("value"),
                "ceiling": task["ceiling"].get(metric, task["ceiling"].get(base, {})).get("value"),
                "reason": estimate.get("reason"),
            }
