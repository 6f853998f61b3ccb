"""A first benchmark.yaml for somebody else's data, with what it shows and marks for a person to fill in."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.config.gaps import GAP
from runner.core.errors import Fault, InvalidInput
from runner.core.files import write_whole
from runner.tasks.data.look import Guess, look_at
from runner.tasks.data.paths import in_yaml

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FOLDS = 5


def propose(folder: Path, data: Path) -> tuple[Path, tuple[str, ...]]:
    """Write `folder/benchmark.yaml` for the file `data`; its path and what the file does not show.

    A file outside the folder is copied into `folder/data`. Raises `InvalidInput`: BENCHMARK_EXISTS, DATA_MISSING, and
    what `look_at` raises.
    """
    path = folder / "benchmark.yaml"
    if path.exists():
        raise InvalidInput(Fault("BENCHMARK_EXISTS", "There is one already, and it stays.", str(path)))
    try:
        guess = look_at(data)
        folder.mkdir(parents=True, exist_ok=True)
        inside = data.resolve().is_relative_to(folder.resolve())
        file = data.resolve().relative_to(folder.resolve()) if inside else Path("data", _usable(data.name))
        if any(part != _usable(part) for part in file.parts):
            message = (
                f"{str(file)!r} cannot stand in a benchmark: letters from a to z, digits, blanks and . _ - + = @ ( )."
            )
            raise InvalidInput(
                Fault("DATA_NAME", message, str(data), hint="Rename it, or keep it elsewhere: it is copied.")
            )
        if not inside:
            (folder / "data").mkdir(exist_ok=True)
            shutil.copyfile(data, folder / file)
    except OSError as error:
        raise InvalidInput(Fault("DATA_MISSING", f"The file cannot be read: {error.strerror}.", str(data))) from None
    write_whole(path, _text(folder, file, guess).encode())
    return path, guess.doubts


def _text(folder: Path, file: Path, guess: Guess) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")[:60] or "benchmark"
    labels = list(guess.labels) or ["yes", "no"]
    fields = guess.fields or {"text": f"{GAP} the path to a text"}
    lines = [
        "# Made by `benchmark init`. Say what is marked FILL IN, then: `benchmark data pin benchmark.yaml`,",
        "# `benchmark validate benchmark.yaml --data-dir .`. Each key is described by `benchmark schema benchmark`.",
        'schema_version: "1"',
        f"name: {in_yaml(name)}",
        'version: "0.1.0"',
        f'description: "{GAP} what is measured, and on whom."',
        "",
        "datasets:",
        f"  {in_yaml(name)}:",
        f'    description: "{GAP} where the data comes from, and under which licence."',
        "    synthetic: false",
        "    source:",
        f"      path: {in_yaml(str(file.parent))}",
        "    splits:",
        "      # One file in five folds: four are scored, one is fitted on. Two files need no folds.",
    ]
    for split, take in (("test", "1, 2, 3, 4"), ("dev", "5")):
        lines += [
            f"      {split}:",
            f"        file: {in_yaml(file.name)}",
            f"        folds: {{number: {_FOLDS}, take: [{take}], seed: 1}}",
        ]
    lines += [
        "",
        "tasks:",
        "  question:",
        f'    description: "{GAP} the question that people were asked."',
        f"    labels: [{', '.join(map(in_yaml, labels))}]",
        "    # ordinal: true  # if the labels have an order, and stand in it",
        "    item:",
        f"      id: {in_yaml(guess.id)}",
        "      fields:",
        *(f"        {field}: {in_yaml(path)}" for field, path in fields.items()),
        *(["      missing_text: skip"] if guess.missing_text else []),
        *_votes(guess),
        "    without_votes: refuse",
        "    prompts: [letters]",
        "",
        "prompts:",
        "  letters:",
        "    task: question",
        "    elicitation: logprob",
        "    orders:",
        f"      - [{', '.join(map(in_yaml, labels))}]",
        f"      - [{', '.join(map(in_yaml, reversed(labels)))}]",
        "    shows:  # how each label reads in the question",
        *(f"      {in_yaml(label)}: {in_yaml(guess.labels.get(label) or label)}" for label in labels),
        "    template: |-",
        *(f"      ${field}" for field in fields),
        "",
        f"      {GAP} the question",
        *(f"      {_LETTERS[file]}: $option_{file + 1}" for file in range(len(labels))),
        f"      Answer with {', '.join(_LETTERS[: len(labels) - 1])} or {_LETTERS[len(labels) - 1]}.",
        "    cue:",
        '      plain: "\\nAnswer:"',
        '      chat: "Answer:"',
        "    options:",
        *(f'      - [" {_LETTERS[file]}"]' for file in range(len(labels))),
        "    max_tokens: 2048",
        f"    shorten: {next(iter(fields))}",
        "",
        "scoring:",
        "  primary: cross_entropy  # all else has a default",
        "",
        "suites:",
        "  main:",
        "    description: All items.",
        "    comparable: true",
        "    split: test",
        "    datasets:",
        f"      question: {in_yaml(name)}",
    ]
    return "\n".join(lines) + "\n"


def _usable(name: str) -> str:
    """A file's name as a benchmark may hold it."""
    name = re.sub(r"[^A-Za-z0-9 ._+=@()-]", "_", name)
    return name if re.match(r"[A-Za-z0-9_]", name) else f"_{name}"


def _votes(guess: Guess) -> list[str]:
    votes: Mapping[str, Any] = guess.votes or {"counts": f"{GAP} the path to the votes"}
    lines = ["      votes:"]
    for key, value in votes.items():
        if isinstance(value, Mapping):
            lines += [
                f"        {key}:",
                *(f"          {in_yaml(label)}: {in_yaml(path)}" for label, path in value.items()),
            ]
        else:
            lines.append(f"        {key}: {in_yaml(str(value))}")
    if renamed := {label: name for label, name in guess.labels.items() if name}:
        lines += ["        keys:", *(f"          {in_yaml(label)}: {in_yaml(name)}" for label, name in renamed.items())]
    return lines
