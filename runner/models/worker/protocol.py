"""What crosses the pipe, as JSON: one message a line; what the child says is checked like any stranger's file."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from runner.core import canonical, strict_json
from runner.core.errors import BackendError, Fault, InvalidInput, UserError
from runner.core.text import printable
from runner.core.types import (
    AdapterRef,
    HeadSpec,
    ModelRef,
    Prediction,
    Prompt,
    SamplingFormat,
    Submission,
    Thinking,
    VerbalizedFormat,
)
from runner.tasks import sampled, verbalized
from runner.tasks.prompts import prompt_sha256
from runner.tasks.thoughts import from_record

MOST_BYTES = 16 << 20
_FAULTS_SENT = 32
_MOST_TEXT = 2000
_MOST_VALUES = 1000
_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,39}")
_KINDS: dict[str, type[UserError]] = {"InvalidInput": InvalidInput, "BackendError": BackendError}

Json = dict[str, Any]


class ProtocolError(ValueError):
    """The child's message does not answer the request."""


def to_line(message: Mapping[str, Any]) -> bytes:
    """One message as a line; ASCII, so that no text can break the line."""
    return json.dumps(message, allow_nan=False, separators=(",", ":")).encode() + b"\n"


# --- to the child, which trusts its parent -------------------------------------------------------------------------


def submission_row(submission: Submission) -> Json:
    """What a backend needs to know of a submission: nothing of its name or text."""
    return {
        "model": asdict(submission.model),
        "adapter": asdict(submission.adapter) if submission.adapter else None,
    }


def submission_of(row: Json) -> Submission:
    """The submission as the child knows it."""
    adapter = AdapterRef(**row["adapter"]) if row["adapter"] is not None else None
    thinking = row["model"]["thinking"] and Thinking(**row["model"]["thinking"])
    model = ModelRef(**{**row["model"], "head": _head_of(row["model"]["head"]), "thinking": thinking})
    return Submission("", "", "", b"", model, adapter)


def _head_of(row: Json | None) -> HeadSpec | None:
    if row is None:
        return None
    labels = None if row["labels"] is None else tuple(row["labels"])
    return HeadSpec(**{**row, "reads": tuple(row["reads"]), "labels": labels})


def prompt_row(prompt: Prompt) -> Json:
    """A prompt as JSON; it says nothing about what people answered."""
    row = {name: getattr(prompt, name) for name in _PROMPT_FIELDS}
    return row | {
        "values": dict(prompt.values),
        "writing": asdict(prompt.writing) if prompt.writing else None,
        "sampling": asdict(prompt.sampling) if prompt.sampling else None,
    }


def prompt_of(row: Json) -> Prompt:
    """The prompt again."""
    lists = {name: tuple(row[name]) for name in ("labels", "shown")}
    # The same in very many prompts, so stored once.
    texts = {name: sys.intern(row[name]) for name in _INTERNED}
    writing = row["writing"] and VerbalizedFormat(
        **{**row["writing"], "names": tuple(row["writing"]["names"]), "labels": tuple(row["writing"]["labels"])}
    )
    sampling = row["sampling"] and SamplingFormat(
        **{**row["sampling"], "answers": tuple(map(tuple, row["sampling"]["answers"]))}
    )
    options = tuple(map(tuple, row["options"]))
    return Prompt(**{**row, **lists, **texts, "options": options, "writing": writing, "sampling": sampling})


_INTERNED = ("task", "split", "prompt_id", "template", "cue_plain", "cue_chat")
_PROMPT_FIELDS = tuple(field.name for field in fields(Prompt))


# --- from the child, which is not trusted --------------------------------------------------------------------------


def error_row(error: UserError) -> Json:
    """A failure with its message, as the child sends it."""
    kind = "InvalidInput" if isinstance(error, InvalidInput) else "BackendError"
    return {"kind": kind, "faults": [asdict(fault) for fault in error.faults[:_FAULTS_SENT]]}


def message_of(line: bytes) -> Json:
    """An object with exactly one of `item`, `ok` and `error`; raises `ProtocolError`."""
    try:
        message = strict_json.parse(line, max_bytes=MOST_BYTES, max_depth=16)
    except strict_json.JsonFault as problem:
        raise ProtocolError(f"no JSON ({problem.message})") from None
    if not isinstance(message, dict) or len(message) != 1 or next(iter(message)) not in ("item", "ok", "error"):
        raise ProtocolError("neither an item, nor ok, nor an error")
    return message


def error_of(row: Any) -> UserError:
    """The failure that the child tells of, texts made printable and cut to a sane length; raises `ProtocolError`."""
    faults = row.get("faults") if isinstance(row, dict) else None
    kind = _KINDS.get(str(row.get("kind"))) if isinstance(row, dict) else None
    if kind is None or not isinstance(faults, list) or not 1 <= len(faults) <= _FAULTS_SENT:
        raise ProtocolError("an error without kind or faults")
    return kind(*map(_fault_of, faults))


def _fault_of(row: Any) -> Fault:
    if not isinstance(row, dict) or set(row) != {field.name for field in fields(Fault)}:
        raise ProtocolError("a fault without the fields of one")
    if not isinstance(row["code"], str) or _CODE.fullmatch(row["code"]) is None or not isinstance(row["message"], str):
        raise ProtocolError("a fault without code or message")
    texts = {name: row[name] for name in ("file", "path", "hint")}
    places = {name: row[name] for name in ("line", "column")}
    if not all(value is None or isinstance(value, str) for value in texts.values()):
        raise ProtocolError("a fault whose texts are none")
    if not all(value is None or (type(value) is int and value > 0) for value in places.values()):
        raise ProtocolError("a fault at no line or column")
    safe_texts: Json = {name: value if value is None else _shown(value) for name, value in texts.items()}
    return Fault(row["code"], _shown(row["message"]), **safe_texts, **places)


def _shown(text: str) -> str:
    return printable(text[:_MOST_TEXT])[:_MOST_TEXT]


def prediction_of(row: Any, prompt: Prompt) -> Prediction:
    """The answer to `prompt` alone, one score per label, or what its text says; raises `ProtocolError`."""
    try:
        prediction = from_record(row)
    except ValueError as problem:
        raise ProtocolError(f"a prediction with a fault: {problem}") from None
    if prediction.key != prompt.key or prediction.prompt_sha256 != prompt_sha256(prompt):
        raise ProtocolError("an answer to another prompt than was asked")
    if prompt.scored and prediction.log_scores is not None and len(prediction.log_scores) != len(prompt.options):
        raise ProtocolError(f"{len(prediction.log_scores)} scores for {len(prompt.options)} labels")
    for name in ("token_counts", "bounded", "usage"):  # a row that no reader of predictions would take
        held = getattr(prediction, name)
        if held is not None and len(held) > _MOST_VALUES:
            raise ProtocolError(f"{len(held):,} values of {name} for {len(prompt.options)} labels")
    if (prediction.thoughts is not None) != (prompt.sampling is not None and prompt.sampling.keep_thoughts):
        raise ProtocolError("thoughts that were not asked for, or none that were")
    departure = verbalized.disagreement(prediction, prompt.writing, 0.0)
    if departure is None:
        departure = sampled.disagreement(prediction, prompt.sampling, prompt.labels, 0.0)
    if departure is not None:
        raise ProtocolError(f"an answer that {departure}")
    return prediction


def batches_of(value: Any, prompts: int) -> list[list[int]]:
    """Batches that hold each index below `prompts` once; raises `ProtocolError`."""
    if not isinstance(value, list) or not all(isinstance(batch, list) and batch for batch in value):
        raise ProtocolError("a plan that is no list of batches")
    members = [number for batch in value for number in batch]
    if not all(type(number) is int for number in members) or sorted(members) != list(range(prompts)):
        raise ProtocolError("a plan that does not hold each prompt once")
    return value


def facts_of(value: Any) -> Json:
    """JSON facts about the model; raises `ProtocolError` unless they are an object of at most 64 KiB."""
    if not isinstance(value, dict) or len(json.dumps(value)) > 64 << 10:
        raise ProtocolError("facts that are no small object")
    return value


def description_of(value: Any) -> Json:
    """Facts that go onto a card: they name the type of numbers, and survive being signed; raises `ProtocolError`."""
    facts = facts_of(value)
    if not isinstance(facts.get("dtype"), str):
        raise ProtocolError("a description without the type of its numbers")
    try:
        written = canonical.to_bytes(facts)
        again = canonical.to_bytes(strict_json.parse(written))
    except ValueError:  # a whole number beyond 2^53, as 1e17 is one once written
        again = None
    if again is None or again != written:
        raise ProtocolError("a description that cannot be signed")
    return facts


def states_of(value: Any) -> dict[str, str]:
    """Protections and their states; raises `ProtocolError`."""
    if not isinstance(value, dict) or not 1 <= len(value) <= 32:
        raise ProtocolError("no list of protections")
    for name, state in value.items():
        if re.fullmatch(r"[a-z_]{1,40}", name) is None or not isinstance(state, str) or len(state) > 200:
            raise ProtocolError("a protection without name or state")
    return value


def number_of(value: Any) -> int | None:
    """A count or None; raises `ProtocolError`."""
    if value is not None and (type(value) is not int or value < 0):
        raise ProtocolError("something else than a number")
    return value


def in_chunks(prompts: Sequence[Prompt], size: int = 256) -> Iterable[Json]:
    """Messages that hand over `prompts`, some at a time; the last says so."""
    for start in range(0, max(len(prompts), 1), size):
        more = start + size < len(prompts)
        yield {"prompts": [prompt_row(prompt) for prompt in prompts[start : start + size]], "more": more}
