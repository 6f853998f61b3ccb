"""What a model thought before its drawn answers, where that is to be kept: beside the answers, and never scored."""

from collections.abc import Sequence
from dataclasses import astuple, replace
from typing import Any

from runner.core.types import Prediction, Prompt, SamplingFormat, Thought
from runner.tasks.predictions import from_row, to_row
from runner.tasks.sampled import Unreadable, answered, label_of

MAX_CHARACTERS = 20_000
"""Most characters of a thought that are kept."""
MAX_CHARACTERS_OF_ROW = 1_000_000
"""Most characters of all thoughts of one row: as JSON in ASCII, of 12 bytes each, they fit into a worker's message."""


def with_thoughts(prompt: Prompt) -> Prompt:
    """The same question, whose drawn answers come with what was thought before them."""
    return prompt if prompt.sampling is None else replace(prompt, sampling=replace(prompt.sampling, keep_thoughts=True))


def thoughts_of(answers: Sequence[str | None], texts: Sequence[str], prompt: Prompt) -> tuple[Thought, ...] | None:
    """What stood before each of `answers`, and the label that each counted for; None where thoughts are not kept."""
    sampling = prompt.sampling
    if sampling is None or not sampling.keep_thoughts:
        return None
    limit = _max_characters(sampling)
    return tuple(
        Thought(_label(answer, sampling, prompt.labels), text[:limit], len(text))
        for answer, text in zip(answers, texts, strict=True)
    )


def _max_characters(sampling: SamplingFormat) -> int:
    return min(MAX_CHARACTERS, MAX_CHARACTERS_OF_ROW // sampling.samples)


def _label(answer: str | None, sampling: SamplingFormat, labels: Sequence[str]) -> str | None:
    try:
        return labels[label_of(answer, sampling)]
    except Unreadable:
        return None


def to_record(prediction: Prediction) -> dict[str, Any]:
    """The row of a prediction with its thoughts, as the journal and a worker's message hold it."""
    row = to_row(prediction)
    return row if prediction.thoughts is None else {**row, "thoughts": list(map(astuple, prediction.thoughts))}


def from_record(record: Any) -> Prediction:
    """The prediction with its thoughts again; `ValueError` says what is wrong with it."""
    if not isinstance(record, dict) or "thoughts" not in record:
        return from_row(record)
    prediction = from_row({name: value for name, value in record.items() if name != "thoughts"})
    if not isinstance(record["thoughts"], list):
        raise ValueError("thoughts are a list")
    prediction = replace(prediction, thoughts=tuple(map(parse_thought, record["thoughts"])))
    if problem := disagreement(prediction):
        raise ValueError(problem)
    return prediction


def parse_thought(value: Any) -> Thought:
    """The thought in a list of its three fields; `ValueError` says what is wrong with it."""
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("a thought is a label, a text and a length")
    label, text, characters = value
    if not (label is None or isinstance(label, str)) or not isinstance(text, str):
        raise ValueError("a thought has a label or null, and a text")
    if type(characters) is not int or not len(text) <= characters or len(text) > MAX_CHARACTERS:
        raise ValueError(f"a thought has at most {MAX_CHARACTERS:,} characters, and no fewer before it was cut")
    return Thought(label, text, characters)


def disagreement(prediction: Prediction) -> str | None:
    """What is wrong between a row's thoughts and its counts, or None: each answer has one, with the label it has."""
    thoughts = prediction.thoughts
    if thoughts is None:
        return None
    labels = [thought.label for thought in thoughts]
    if prediction.samples is None or len(thoughts) != answered(prediction):
        return f"has {len(thoughts)} thoughts of {answered(prediction)} drawn answers"
    counted = [*prediction.samples.items(), (None, prediction.failures or 0)]
    if any(labels.count(label) != number for label, number in counted):
        return "has thoughts before other answers than it counts"
    return None
