"""Rows per item of Every Eval Ever: what people and the model said on each item, and the primary metric's loss."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from runner.report.export.values import Exported
from runner.scorecard.load import OpenCard
from runner.scorecard.signed_run import open_signed_run
from runner.scorecard.task_metrics import TaskMetrics, measure
from runner.tasks.selection import TaskData, drop_unparsed


def with_items(
    record: Exported, opened: OpenCard, benchmark_file: Path | None, data_dir: Path | None
) -> list[Exported]:
    """`record` of `every_eval_ever`, linked to a second file with a row per item and task.

    Needs the predictions beside the card, and the data. Texts are not exported: `input.raw` names the item, since the
    released texts are not ours to pass on. `is_correct` is whether the model's likeliest label is the one that most
    people chose (ties to the first); `score` is the primary metric of the item.
    """
    log = json.loads(record.content)
    rows = "".join(
        json.dumps(row, ensure_ascii=False, allow_nan=False, sort_keys=True) + "\n"
        for row in _rows(log, opened, benchmark_file, data_dir)
    )
    path = record.path.with_name(f"{record.path.stem}_samples.jsonl")
    log["detailed_evaluation_results"] = {
        "format": "jsonl",
        "file_path": str(path),
        "hash_algorithm": "sha256",
        "checksum": hashlib.sha256(rows.encode()).hexdigest(),
        "total_rows": rows.count("\n"),
    }
    lost = tuple(sentence for sentence in record.lost if "the predictions are left out" not in sentence)
    lost += (
        "Its rows per item name each item and leave out its text; `is_correct` is agreement with the answer that most "
        "people chose.",
    )
    content = json.dumps(log, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return [Exported(record.path, content, lost), Exported(PurePosixPath(path), rows, lost)]


def _rows(
    log: Mapping[str, Any], opened: OpenCard, benchmark_file: Path | None, data_dir: Path | None
) -> Iterator[dict[str, Any]]:
    run = open_signed_run(opened.card, opened.folder, benchmark_file, data_dir)
    scoring = run.benchmark.scoring
    for name, answers in run.answers().items():
        parsed = drop_unparsed(answers)
        if not parsed.task.scored:
            continue
        measured = measure(parsed, scoring)
        if scoring.primary not in measured.values:
            continue
        for number in range(len(parsed.task.scored)):
            yield {
                "schema_version": log["schema_version"],
                "evaluation_id": log["evaluation_id"],
                "model_id": log["model_info"]["id"],
                "evaluation_name": f"{opened.card['benchmark']['name']}.{name}",
                "evaluation_result_id": f"{name}/{parsed.task.split}/{scoring.primary}",
                **_item(parsed.task, measured, scoring.primary, number),
            }


def _item(part: TaskData, measured: TaskMetrics, primary: str, number: int) -> dict[str, Any]:
    item, labels = part.scored[number], part.task.labels
    people = measured.counts[number] / measured.counts[number].sum()
    shares = dict(zip(labels, map(float, people), strict=True))
    probabilities = dict(zip(labels, map(float, np.exp(measured.log_probs[number])), strict=True))
    chosen = int(measured.predicted[number])
    return {
        "sample_id": item.id,
        "interaction_type": "single_turn",
        "input": {
            "raw": f"{part.dataset}/{part.split}/{item.id}",
            "reference": [json.dumps(shares)],
            "choices": list(labels),
        },
        "output": {"raw": [json.dumps(probabilities)]},
        "answer_attribution": [
            {
                "turn_idx": 0,
                "source": "output.raw",
                "extracted_value": labels[chosen],
                "extraction_method": "likeliest label",
                "is_terminal": True,
            }
        ],
        "evaluation": {
            "score": float(measured.values[primary][number]),
            "is_correct": chosen == int(measured.majority[number]),
        },
        "metadata": {"votes": json.dumps([int(count) for count in measured.counts[number]]), "metric": primary},
    }
