"""Answers that a model was drawn several times for: one reading of each, counts, and the score of the counts."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from runner.core.types import Prediction, PromptKey, SamplingFormat, Thinking
from runner.tasks.predictions import MOST_FAILED_TEXTS

if TYPE_CHECKING:
    from runner.core.types import Array

PRIOR = 0.5
"""Votes that every label has before anything is drawn: Jeffreys' symmetric Dirichlet."""
DEFAULT_THINKING = Thinking("<think>", "</think>", 0)
"""The marks of a thought where a submission gives none; such a thought has no tokens beyond those of the answer."""
MOST_SHOWN = 120


class Unreadable(ValueError):
    """The text gives none of the answers; its message says where it departs."""


def split_thought(text: str, thinking: Thinking | None, *, begun: bool = False) -> tuple[str, str | None]:
    """The thought in `text` without its marks, and what follows it.

    Without a thought it is empty, and all of the text follows; where a thought was begun and not ended, None does.
    `begun` is whether the text begins inside a thought, as after a template that opens one.
    """
    marks = thinking or DEFAULT_THINKING
    if not begun:
        before, closed, after = text.partition(marks.close)
        if not text.lstrip().startswith(marks.open):
            # A service's own template may have begun the thought that ends here.
            return (before, after) if closed and marks.open not in before else ("", text)
        text = text.lstrip().removeprefix(marks.open)
    thought, closed, answer = text.partition(marks.close)
    return thought, answer if closed else None


def last_line(text: str) -> str:
    """The last line of `text` that is not blank, without blanks around it."""
    lines = [line.strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "")


def label_of(answer: str | None, sampling: SamplingFormat) -> int:
    """Index of the label whose answer the last line is, to the letter; raises `Unreadable` for everything else.

    `answer` is what follows a thought, None where that was not ended.
    """
    if answer is None:
        raise Unreadable("the thought was not ended")
    line = last_line(answer)
    for label, forms in enumerate(sampling.answers):
        if line in forms:
            return label
    if not line:
        raise Unreadable("nothing was answered")
    raise Unreadable(f"the last line is {line[:MOST_SHOWN]!r}, which is none of the answers")


def may_become_answer(line: str, sampling: SamplingFormat) -> bool:
    """Whether a single line that goes on like this can still be one of the answers."""
    begun = line.lstrip()
    return any(form.startswith(begun) or begun.rstrip() == form for forms in sampling.answers for form in forms)


def count(
    answers: Sequence[str | None], sampling: SamplingFormat, labels: Sequence[str]
) -> tuple[dict[str, int], int, tuple[str, ...]]:
    """Samples of each label by name, the number of failures, and the texts of the first failures."""
    samples = dict.fromkeys(labels, 0)
    failed = []
    for answer in answers:
        try:
            samples[labels[label_of(answer, sampling)]] += 1
        except Unreadable as problem:
            failed.append(str(problem) if not answer else last_line(answer)[:MOST_SHOWN])
    return samples, len(failed), tuple(failed[:MOST_FAILED_TEXTS])


def log_scores(samples: Sequence[int], failures: int) -> tuple[float, ...] | None:
    """Natural log of the posterior mean of each label's probability under a symmetric Dirichlet(½).

    None where more answers failed than could be read: what is left would say more of the prior than of the model.
    """
    total = sum(samples)
    if total == 0 or failures > total:
        return None
    return tuple(math.log((number + PRIOR) / (total + PRIOR * len(samples))) for number in samples)


def log_posterior_mean(counts: "Array") -> "Array":
    """The same for counts (…, labels) as an array."""
    import numpy as np

    smoothed = counts + PRIOR
    return np.asarray(np.log(smoothed / smoothed.sum(axis=-1, keepdims=True)))


def seed_of(key: PromptKey, sample: int) -> int:
    """Seed of one answer: it depends on the question and the answer's number, and on nothing beside it."""
    text = "\0".join(map(str, (*key, sample)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])


def united(rows: Sequence[Prediction]) -> Prediction:
    """One row of several that each hold some of the answers to one question, in the order in which they came.

    It has no thoughts: those are written from the rows themselves.
    """
    first = rows[0]
    if len(rows) == 1:
        return first
    labels = list(first.samples or ())
    samples = {label: sum((row.samples or {})[label] for row in rows) for label in labels}
    failures = sum(row.failures or 0 for row in rows)
    texts = [text for row in rows for text in row.failed or ()]
    usage = [row.usage for row in rows if row.usage is not None]
    values = {name: getattr(first, name) for name in Prediction.__slots__}
    return Prediction(
        **{
            **values,
            "log_scores": log_scores(list(samples.values()), failures),
            "samples": samples,
            "failures": failures,
            "failed": tuple(texts[:MOST_FAILED_TEXTS]) or None,
            "usage": (sum(read for read, _ in usage), sum(two for _, two in usage))
            if len(usage) == len(rows)
            else None,
            "text_tokens": sum(row.text_tokens or 0 for row in rows),
            "thoughts": None,
            "truncated": any(row.truncated for row in rows),
        }
    )


def answered(row: Prediction) -> int:
    """How many answers a row holds, those that could not be read included."""
    return sum((row.samples or {}).values()) + (row.failures or 0)


def disagreement(
    row: Prediction, sampling: SamplingFormat | None, labels: Sequence[str], tolerance: float
) -> str | None:
    """What is wrong between a row's samples, its scores and the question (None: one that draws none), or None."""
    if sampling is None:
        return None if row.samples is None else "has samples, but names no prompt of the benchmark that draws any"
    if row.samples is None:
        return f"answers {row.prompt_id!r}, of which samples are drawn, without any"
    if list(row.samples) != list(labels):
        return f"has samples of {', '.join(row.samples)}, the labels are {', '.join(labels)}"
    if answered(row) != sampling.samples:
        return f"has {answered(row)} answers, {sampling.samples} were asked for"
    expected, scores = log_scores(list(row.samples.values()), row.failures or 0), row.log_scores
    if expected is None or scores is None:
        same = expected is scores
    else:
        close = (abs(a - b) <= tolerance * max(1.0, abs(b)) for a, b in zip(scores, expected, strict=False))
        same = len(scores) == len(expected) and all(close)
    return None if same else f"has the scores {scores}, its samples say {expected}"


def counts_by_label(row: Prediction, labels: Sequence[str]) -> list[int]:
    """Samples of a row in the order of `labels`."""
    samples: Mapping[str, int] = row.samples or {}
    return [samples.get(label, 0) for label in labels]
