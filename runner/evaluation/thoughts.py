"""thoughts.jsonl: what was thought before each drawn answer, one line each, beside the predictions of a run.

Nothing signed depends on the file. Its lines stand in the order of the predictions, whatever the order in which answers
were drawn; where a thought was not kept, the line says so.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import Any

from runner.core import strict_json
from runner.core.errors import Fault, InvalidInput
from runner.core.files import open_regular, write_blocks
from runner.core.text import is_unseen
from runner.core.types import Prediction, PromptKey, Thought
from runner.evaluation.run_dir import RunDir
from runner.scorecard.filenames import THOUGHTS
from runner.tasks.sampled import answered
from runner.tasks.thoughts import MAX_CHARACTERS, disagreement, parse_thought

NOT_KEPT = "the answer was drawn without --keep-thoughts"
_FIELDS = {*PromptKey._fields, "draw", "label", "thought", "characters"}
_MAX_LINE = 12 * MAX_CHARACTERS + (1 << 20)
"""Bytes of a line: at most 12 for a character, and the item's id."""


def write_run_thoughts(run: RunDir, answers: Sequence[Prediction], *, requested: bool) -> None:
    """Write the thoughts of a run whose journal is complete, where they were asked for, now or before it was stopped.

    Thoughts that the journal holds may be paid for: they are written also where the run was resumed without asking.
    """
    if requested or run.journal.has_thoughts:
        write_thoughts(run.path, [answer.key for answer in answers], run.journal.read_rows())


def write_thoughts(folder: Path, order: Sequence[PromptKey], rows: Iterable[Prediction]) -> None:
    """Write thoughts.jsonl into `folder`: a line for each answer that `rows` count, question by question as in `order`.

    `rows` may hold the answers to a question in several parts, in the order in which they were drawn; one row is in
    memory at a time. Of an answer whose row has no thoughts the line says `NOT_KEPT`. Raises `OSError`.
    """
    with tempfile.TemporaryFile(dir=folder) as scratch:
        # Question → how many answers were drawn so far, and (start, length) of their lines.
        draws = dict.fromkeys(order, 0)
        spans: dict[PromptKey, list[tuple[int, int]]] = {key: [] for key in order}
        for row in rows:
            thoughts: Sequence[Thought | None] = row.thoughts or [None] * answered(row)
            block = b"".join(_line(row.key, draws[row.key] + at, thought) for at, thought in enumerate(thoughts))
            draws[row.key] += len(thoughts)
            spans[row.key].append((scratch.tell(), len(block)))
            scratch.write(block)

        def blocks() -> Iterator[bytes]:
            for start, length in (span for key in order for span in spans[key]):
                scratch.seek(start)
                yield scratch.read(length)

        write_blocks(folder / THOUGHTS, blocks())


def read_thoughts(folder: Path, rows: Iterable[Prediction]) -> Iterator[Prediction]:
    """`rows`, the predictions in the folder of a shard, with the thoughts that lie beside them, if any do.

    Raises `InvalidInput` (SHARD_DAMAGED) unless the file is as `write_thoughts` left it beside these rows.
    """
    path = folder / THOUGHTS
    if not path.exists():
        yield from rows
        return
    line_number = 0
    try:
        with BufferedReader(open_regular(path)) as stream:
            for row in rows:
                thoughts: list[Thought] = []
                for draw in range(answered(row)):
                    line_number += 1
                    thoughts += _parse(stream.readline(_MAX_LINE), row.key, draw)
                read = replace(row, thoughts=tuple(thoughts) or None)
                if problem := disagreement(read):
                    raise ValueError(f"item {row.item_id} {problem}")
                yield read
            if stream.read(1):
                raise ValueError("there are more lines than answers")
    except (OSError, ValueError) as problem:
        message = f"This is not what the shard's run wrote: {problem}."
        hint = "Remove the file to merge without its thoughts, or run this shard again with --no-resume."
        raise InvalidInput(Fault("SHARD_DAMAGED", message, str(path), line_number or None, hint=hint)) from None


def _line(key: PromptKey, draw: int, thought: Thought | None) -> bytes:
    line: dict[str, Any] = {**key._asdict(), "draw": draw, "label": None, "thought": None, "characters": None}
    if thought is None:
        line["reason"] = NOT_KEPT
    else:
        line |= {"label": thought.label, "thought": thought.text, "characters": thought.characters}
    text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
    if not text.isprintable():  # a model wrote it, and somebody will look at it on a terminal
        text = "".join(json.dumps(letter)[1:-1] if is_unseen(letter) else letter for letter in text)
    return text.encode() + b"\n"


def _parse(line: bytes, key: PromptKey, draw: int) -> list[Thought]:
    """The thought of a line, which must be that of answer `draw` to `key`; none where it was not kept."""
    value = strict_json.parse(line, max_bytes=_MAX_LINE)
    if not isinstance(value, dict) or not _FIELDS <= set(value) <= {*_FIELDS, "reason"}:
        raise ValueError("a line without the fields of a thought")
    if {name: value[name] for name in (*PromptKey._fields, "draw")} != {**key._asdict(), "draw": draw}:
        raise ValueError(f"answer {draw} to item {key.item_id} was expected here")
    return [] if value["thought"] is None else [parse_thought([value["label"], value["thought"], value["characters"]])]
