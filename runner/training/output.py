"""The folder that a training leaves: a submission that can be evaluated, and the record of how it was made."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from runner.core.canonical import digest
from runner.core.errors import Fault, InvalidInput
from runner.core.files import write_whole
from runner.core.recipe_types import Recipe
from runner.core.types import ModelRef
from runner.evaluation.run_dir import check_writable
from runner.training.trainee import ADAPTER, MODEL, TrainableModel

WORK = ".training"
RECIPE, RECORD, SUBMISSION = "recipe.yaml", "training.json", "submission.yaml"
_KEY = "run.json"


@contextmanager
def open_work(folder: Path, recipe: Recipe, *, resume: bool) -> Iterator[Path]:
    """The folder beside the result in which the training stores its checkpoints; locked for this process.

    With `resume` a result of the same recipe passes that was ended after its last write: its folder is still there, and
    `is_finished` says so. Raises `InvalidInput`: OUTPUT_EXISTS where another result or recipe is there, OUTPUT_BUSY
    where another process is at it; `OutputError` where nothing can be written.
    """
    work = folder / WORK
    if is_finished(folder) and not (resume and work.is_dir() and (folder / RECIPE).is_file()):
        message = "There is a submission already; it is not written over."
        raise InvalidInput(Fault("OUTPUT_EXISTS", message, str(folder), hint="Move it away, or give another name."))
    if (folder / RECIPE).exists() and (folder / RECIPE).read_bytes() != recipe.source:
        message = "There is another recipe in the folder of the result."
        raise InvalidInput(Fault("OUTPUT_EXISTS", message, str(folder), hint="Give another name, or --output-dir."))
    check_writable(work)
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = "Another process is training into this folder."
            raise InvalidInput(Fault("OUTPUT_BUSY", message, str(folder))) from None
        yield work


def is_finished(folder: Path) -> bool:
    """Whether the submission, which is written last, is there."""
    return (folder / SUBMISSION).exists()


def settle(work: Path, content: Mapping[str, Any], *, resume: bool) -> None:
    """Keep what is in `work` if it was made from the same `content`, or, unless `resume`, begin anew.

    Raises `InvalidInput` (OUTPUT_EXISTS) where an unfinished training of something else is there.
    """
    key = digest(content)
    path = work / _KEY
    if path.exists() and resume:
        record = json.loads(path.read_bytes())
        if record["key"] == key:
            return
        names = sorted(
            name for name in {*content, *record["content"]} if content.get(name) != record["content"].get(name)
        )
        message = f"An unfinished training is here that differs in: {', '.join(names)}."
        hint = "Go on with what it was begun with, or give --no-resume to begin anew."
        raise InvalidInput(Fault("OUTPUT_EXISTS", message, str(work.parent), hint=hint))
    clear(work)
    write_whole(path, json.dumps({"key": key, "content": dict(content)}, indent=2).encode())


def clear(work: Path) -> None:
    """Remove a training's checkpoints, but not the lock."""
    for old in work.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
        elif old.name != "lock":
            old.unlink()


def submission_yaml(recipe: Recipe, folder: Path, trained: TrainableModel, *, is_base: bool) -> bytes:
    """The submission of what was trained, as it stands in `folder`; `is_base`: of the base, without adapter."""
    base = recipe.base
    source = {"path": MODEL} if trained.subfolder == MODEL else _source_of(base, folder)
    model: dict[str, Any] = {"backend": base.backend, **source}
    for name in ("format", "dtype", "quantization"):
        if (value := getattr(base, name)) is not None:
            model[name] = value
    if base.template_arguments:
        model["template_arguments"] = dict(base.template_arguments)
    if trained.head is not None:
        head = {name: value for name, value in asdict(trained.head).items() if value}
        model["head"] = {name: list(value) if isinstance(value, tuple) else value for name, value in head.items()}
    document: dict[str, Any] = {"schema_version": "1", "name": recipe.name}
    if recipe.description:
        document["description"] = recipe.description
    document["model"] = model
    if trained.subfolder == ADAPTER and not is_base:
        document["adapter"] = {"path": ADAPTER}
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120).encode()


def _source_of(base: ModelRef, folder: Path) -> dict[str, str]:
    """Where the base is, from `folder`: a neighbour by its relative path, anything else by its absolute one."""
    if base.path is None:
        source = {"repository": base.repository, "revision": base.revision, "digest": base.digest}
    else:
        parent = folder.resolve().parent
        path = Path(base.path).resolve()
        near = path.is_relative_to(parent)
        source = {"path": os.path.relpath(path, folder.resolve()) if near else str(path), "digest": base.digest}
    return {name: value for name, value in source.items() if value is not None}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON file, whole or not at all."""
    write_whole(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())
