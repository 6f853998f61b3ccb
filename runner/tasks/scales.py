"""Scores of somebody else's making: log-probabilities, or what a person calls probabilities, percentages or logits."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from runner.core.errors import Fault, InvalidInput
from runner.core.types import Prediction
from runner.tasks.predictions import from_row, read

Scale = Literal["probabilities", "logits", "unchecked"]
"""`unchecked` is for a caller that knows its scores: natural logs, normalised or not."""

_WITHIN = 1e-3
_PERCENT_WITHIN = 0.5


def read_scores(path: Path, scale: Scale | None = None) -> list[Prediction]:
    """The rows of a predictions file as log-probabilities, whatever scale they say they are on.

    A row may say `probabilities: true` or `logits: true`; `scale` says so of all. Probabilities are shares that sum to
    1, or percentages that sum to 100. Raises `InvalidInput`: PREDICTION_ROW as `read`, and PREDICTION_SCALE, once for
    all rows, where scores are evidently no log-probabilities and nobody says what they are.
    """
    doubtful: dict[str, list[int]] = {}
    number = 0

    def parse_row(row: Any) -> Prediction:
        nonlocal number
        number += 1
        row_scale = scale
        if isinstance(row, dict):
            flags: dict[Scale, Any] = {
                "probabilities": row.pop("probabilities", None),
                "logits": row.pop("logits", None),
            }
            for name, said in flags.items():
                if said is not None and not isinstance(said, bool):
                    raise ValueError(f"{name}: true or false is needed")
                row_scale = name if said else row_scale
            if flags["probabilities"] and flags["logits"]:
                raise ValueError("scores are probabilities or logits, not both")
        prediction = from_row(row)
        if prediction.log_scores is None or prediction.text is not None:
            return prediction  # of a written answer the text decides, and scores that disagree with it are refused
        if row_scale == "unchecked":
            return prediction
        if row_scale is not None:
            return replace(prediction, log_scores=to_log_probs(prediction.log_scores, row_scale))
        if (word := scale_of(prediction.log_scores)) is not None:
            doubtful.setdefault(word, []).append(number)
        return prediction

    rows = list(read(path, parse_row))
    if doubtful:
        raise InvalidInput(*(_fault(path, word, numbers, len(rows)) for word, numbers in doubtful.items()))
    return rows


def scale_of(scores: Sequence[float]) -> str | None:
    """What scores evidently are that are no log-probabilities: probabilities, percentages or logits; None for those."""
    total = math.fsum(scores)
    if all(0 <= score <= 1 for score in scores) and abs(total - 1) <= _WITHIN:
        return "probabilities"
    if all(0 <= score <= 100 for score in scores) and abs(total - 100) <= _PERCENT_WITHIN:
        return "percentages"
    if max(scores) > 0 or math.fsum(map(math.exp, scores)) > 1 + _WITHIN:
        return "logits"
    return None


def to_log_probs(scores: Sequence[float], scale: Scale) -> tuple[float, ...]:
    """Normalised natural logs of scores on a scale; `ValueError` where they are not on it."""
    if scale == "logits":
        largest = max(scores)
        rest = largest + math.log(math.fsum(math.exp(score - largest) for score in scores))
        return tuple(score - rest for score in scores)
    total = math.fsum(scores)
    if min(scores) < 0 or not (abs(total - 1) <= _WITHIN or abs(total - 100) <= _PERCENT_WITHIN):
        raise ValueError(f"probabilities sum to 1, percentages to 100; these sum to {total:g}")
    if min(scores) == 0:
        raise ValueError(
            "a probability of 0 makes the cross-entropy infinite where somebody chose that answer: give the small "
            "probability that is meant"
        )
    return tuple(math.log(score / total) for score in scores)


def _fault(path: Path, word: str, numbers: Sequence[int], rows: int) -> Fault:
    option = "logits" if word == "logits" else "probabilities"
    message = (
        f"The scores of {len(numbers):,} of {rows:,} rows are {word}; natural logs of probabilities were expected."
    )
    hint = f'Say so with --scale {option}, or `"{option}": true` in each row.'
    return Fault("PREDICTION_SCALE", message, str(path), numbers[0], hint=hint)
