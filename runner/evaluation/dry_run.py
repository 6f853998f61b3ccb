"""What a run would ask, and what it would take, before it takes anything: prompts, tokens, time, memory, money."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.artifacts import check_submission_files
from runner.config.submission import load_submission
from runner.core import strict_json
from runner.core.errors import UserError, raise_faults
from runner.core.files import read_whole
from runner.core.types import Prompt, Submission
from runner.models.hub import resolve_model
from runner.models.worker import show_tokens_isolated
from runner.scorecard import filenames
from runner.tasks.prompts import text
from runner.tasks.selection import RunConfig, prompts, select_for

_LETTERS_PER_TOKEN = 4
"""A rule of thumb for English text, used only where nothing was counted; what it gives says so."""
_MOST_BYTES = 64 << 20
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of an estimate, and where it is from; None for a number that nothing was measured for."""

    value: float | None
    """The number."""
    source: str
    """Where it is from, or why there is none."""
    at_most: float | None = None
    """The largest that it can become, where that is known."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would take."""

    elicitation: str
    """How answers would be had."""
    prompts: int
    """Prompts, each order of an item one."""
    answers: int
    """Answers: prompts, or all that would be drawn after them."""
    requests: Amount
    """Requests to a service."""
    input_tokens: Amount
    """Tokens read."""
    output_tokens: Amount
    """Tokens written."""
    seconds: Amount
    """Time of predicting."""
    memory_bytes: Amount
    """Memory."""
    cost: Amount
    """Money, by the submission's own price."""
    currency: str | None
    """Of the money."""


def estimate(submission_path: Path, config: RunConfig, output_dir: Path, dtype: str | None = None) -> Estimate:
    """What `evaluate` would take with the same arguments; only a tokenizer is loaded, and no request is sent.

    Rates are those of the latest finished run of this submission in `output_dir` with the same elicitation. Raises
    what `evaluate` does before any work.
    """
    submission = load_submission(submission_path)
    selection = select_for(submission, config)
    raise_faults(check_submission_files(submission, pins=False))
    questions = prompts(selection)
    before = _latest_run(output_dir / submission.name, config.elicitation)
    answers = sum(1 if prompt.sampling is None else prompt.sampling.samples for prompt in questions)
    read = _input_tokens(submission, questions, before)
    written = _output_tokens(submission, questions, before)
    requests, read_in_all = _requests(submission, questions, read)
    return Estimate(
        elicitation=config.elicitation,
        prompts=len(questions),
        answers=answers,
        requests=requests,
        input_tokens=read_in_all,
        output_tokens=written,
        seconds=_seconds(len(questions), before),
        memory_bytes=_memory(submission, dtype, before),
        cost=_cost(submission, read_in_all, written),
        currency=None if submission.service is None or submission.service.price is None
        else submission.service.price.currency,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Run:
    """A finished run that rates are taken from."""

    name: str
    """Its folder's name."""
    timing: Mapping[str, Any]
    """The timing in its environment.json."""
    rows: int
    """Rows of its predictions."""
    usage: tuple[int, int] | None
    """Tokens in and out that a service counted, over all rows."""


def _latest_run(folder: Path, elicitation: str) -> _Run | None:
    """The latest finished run in `folder`, if its answers were had in the same way; not verified, it gives no score."""
    card_path = filenames.find_bundle(folder).parent / filenames.CARD if folder.is_dir() else None
    if card_path is None or not card_path.is_file():
        return None
    try:
        card = strict_json.parse(read_whole(card_path, _MOST_BYTES), max_bytes=_MOST_BYTES)
        environment = strict_json.parse(read_whole(card_path.parent / filenames.ENVIRONMENT, _MOST_BYTES))
        if {task["elicitation"] for task in card["tasks"].values()} != {elicitation}:
            return None
        answered = card["submission"]["model"]["facts"].get("answered") or {}
        read, written = answered.get("input_tokens"), answered.get("output_tokens")
        known = None if read is None or written is None else (int(read), int(written))
        return _Run(card_path.parent.name, environment["timing"], int(card["predictions"]["rows"]), known)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError):
        return None  # no run of this program's: there is no rate


def _input_tokens(submission: Submission, questions: Sequence[Prompt], before: _Run | None) -> Amount:
    """Tokens of all prompts, each once."""
    if submission.service is None:
        folder = resolve_model(submission.model, weights=False)
        rows = show_tokens_isolated(submission, folder, questions)
        return Amount(sum(map(_tokens_of, rows)), "counted by the submission's own tokenizer")
    if before is not None and before.usage is not None and before.rows:
        rate = before.usage[0] / before.rows
        return Amount(rate * len(questions), f"{rate:.1f} a prompt, as the service counted in the run {before.name}")
    letters = sum(len(text(prompt) + prompt.cue_plain) for prompt in questions)
    source = f"{letters:,} characters / {_LETTERS_PER_TOKEN}, a rule of thumb: nothing was counted yet"
    return Amount(letters / _LETTERS_PER_TOKEN, source)


def _tokens_of(row: Mapping[str, Any]) -> int:
    if "texts" in row:
        return sum(len(read["token_ids"]) for read in row["texts"])
    return len(row["token_ids"]) + sum(len(tail["token_ids"]) - 1 for tail in row["tails"])


def _output_tokens(submission: Submission, questions: Sequence[Prompt], before: _Run | None) -> Amount:
    thinking = submission.model.thinking
    thought = 0 if thinking is None else thinking.max_thought_tokens
    longest = 0
    for prompt in questions:
        if prompt.sampling is not None:
            longest += prompt.sampling.samples * (prompt.sampling.max_new_tokens + thought)
        elif prompt.writing is not None:
            longest += prompt.writing.max_new_tokens
        elif submission.service is not None:
            longest += sum(map(len, prompt.options)) if submission.service.echo else 1
    if before is None or not before.rows or longest == 0:
        return Amount(float(longest), "every answer at its longest", float(longest))
    written = before.usage[1] if before.usage is not None else before.timing.get("tokens_written")
    if not isinstance(written, int | float):
        return Amount(float(longest), "every answer at its longest", float(longest))
    rate = written / before.rows
    return Amount(
        min(rate * len(questions), longest), f"{rate:.1f} a prompt, as in the run {before.name}", float(longest)
    )


def _requests(submission: Submission, questions: Sequence[Prompt], read: Amount) -> tuple[Amount, Amount]:
    """Requests, and the tokens that they read: a service that gives one answer at a time reads a prompt for each."""
    service = submission.service
    if service is None:
        return Amount(None, "a model on this machine is not asked by requests"), read
    if service.echo:
        forms = sum(sum(map(len, prompt.options)) for prompt in questions)
        repeated = forms / max(1, len(questions))
        return Amount(forms, "one for each surface form"), Amount((read.value or 0) * repeated, read.source)
    drawn = sum(1 if prompt.sampling is None else prompt.sampling.samples for prompt in questions)
    if drawn == len(questions):
        return Amount(drawn, "one for each prompt"), read
    source = "one for each prompt where the service gives several answers at once, else one for each answer"
    times = drawn / len(questions)
    return Amount(len(questions), source, drawn), Amount(read.value, read.source, (read.value or 0) * times)


def _seconds(number: int, before: _Run | None) -> Amount:
    rate = None if before is None else before.timing.get("prompts_per_second")
    if before is None or not rate:
        return Amount(None, "no finished run of this submission and elicitation here gives a rate")
    return Amount(number / float(rate), f"{rate:.2f} prompts a second, as in the run {before.name}")


def _memory(submission: Submission, dtype: str | None, before: _Run | None) -> Amount:
    if submission.service is not None:
        return Amount(None, "the service's memory is its own")
    for name, where in (
        ("peak_device_memory_bytes", "on the device"),
        ("peak_memory_bytes", "in this machine's memory"),
    ):
        if before is not None and (measured := before.timing.get(name)):
            return Amount(measured, f"most {where} in the run {before.name}")
    if submission.model.path is None:
        return Amount(None, "the weights are not in a folder on this machine")
    folder = Path(submission.model.path)
    config = _config(folder)
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    held = dtype or submission.model.dtype
    stored = config.get("dtype", config.get("torch_dtype")) or submission.model.dtype
    size = weights * _BYTES.get(held, 4) / _BYTES.get(str(stored), 4)
    return Amount(size, f"the weights alone, in {held}; {_reading(config, _BYTES.get(held, 4))}")


def _reading(config: Mapping[str, Any], width: int) -> str:
    """What reading takes beside the weights, for numbers of `width` bytes; it depends on the device's batches."""
    heads: Any = config.get("num_attention_heads")
    vocabulary: Any = config.get("vocab_size")
    sizes: list[Any] = [
        config.get("num_hidden_layers"),
        config.get("num_key_value_heads") or heads,
        config.get("head_dim"),
    ]
    if sizes[2] is None and isinstance(heads, int) and isinstance(config.get("hidden_size"), int) and heads > 0:
        sizes[2] = config["hidden_size"] // heads
    if not all(isinstance(size, int) for size in (*sizes, vocabulary)):
        return "what reading needs comes on top and was not measured"
    return (
        f"on top come {2 * math.prod(sizes) * width / 1024:,.1f} KiB of keys and values for each token of a batch,"
        f" {4 * vocabulary / 1024:,.1f} KiB of logits for each place where an option begins, and what a layer needs,"
        " which was not measured"
    )


def _config(folder: Path) -> Mapping[str, Any]:
    """config.json of the model; empty where it cannot be read."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _cost(submission: Submission, read: Amount, written: Amount) -> Amount:
    if submission.service is None:
        return Amount(None, "a model on this machine has no price")
    price = submission.service.price
    if price is None:
        return Amount(None, "the submission gives no price")
    amount = ((read.value or 0) * price.input + (written.value or 0) * price.output) / 1e6
    at_most = (
        (read.at_most or read.value or 0) * price.input + (written.at_most or written.value or 0) * price.output
    ) / 1e6
    return Amount(amount, "by the submission's price; the self-check and repeated requests come on top", at_most)
