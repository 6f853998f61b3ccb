"""The walk from a recipe to a submission that can be evaluated; the file of this room to read first."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from runner.artifacts import PrivateView, changed_files, check_folders, raise_if_modified, stat_files
from runner.config.recipe import base_of, load_recipe
from runner.core import environment
from runner.core.canonical import digest, manifest_digest, sha256_file
from runner.core.errors import BackendError, Fault, Interrupted, raise_faults
from runner.core.files import write_whole
from runner.core.recipe_types import Recipe
from runner.models.hub import resolve_model
from runner.models.local import devices
from runner.scoring.dirichlet import fit_dirichlet
from runner.training import curve, evaluation, output
from runner.training.checkpoints import Observer
from runner.training.items import TrainingData, gather
from runner.training.loop import train
from runner.training.memory import capped
from runner.training.open_trainee import open_trainable
from runner.training.trainee import Example

Plot = Callable[[Sequence[Mapping[str, Any]]], bytes]
"""Draws the rows of a loss curve."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a training is run; nothing here changes what is trained beyond floating-point rounding."""

    output_dir: Path
    """Folder for the result."""
    data_dir: Path | None = None
    """Folder with the data files; None for the default."""
    device: str | None = None
    """`cpu` or `cuda`; None for CUDA where there is some, else the CPU."""
    resume: bool = True
    """Whether an unfinished training with the same inputs is resumed."""


def finetune(recipe_path: Path, settings: Settings, observe: Observer, plot: Plot) -> tuple[Path, dict[str, Any]]:
    """Train by a recipe and leave a submission; its folder, and the record in it (training.json).

    Raises `InvalidInput` before any work (LEAK: an item to train on is scored) or once a file of the base has changed
    (BYTES_CHANGED), `BackendError` when the model or device fails, `Interrupted` when stopped: the same call goes on
    from the last checkpoint.
    """
    recipe = load_recipe(recipe_path)
    folder = settings.output_dir / recipe.name
    with output.open_work(folder, recipe, resume=settings.resume) as work:
        if output.is_finished(folder):  # killed after the last write: nothing is left to do but to clean up
            record: dict[str, Any] = json.loads((folder / output.RECORD).read_bytes())
        else:
            record = _train(recipe, settings, folder, work, observe, plot)
        shutil.rmtree(work)
    return folder, record


def _train(
    recipe: Recipe, settings: Settings, folder: Path, work: Path, observe: Observer, plot: Plot
) -> dict[str, Any]:
    """Train, and write the result beside `work`, the submission last; the record."""
    observe("prepare", 0, 0, None)
    material = gather(recipe, settings.data_dir)
    submission = base_of(recipe)
    base = resolve_model(recipe.base)
    before = stat_files((base, "model"))
    raise_faults(check_folders(submission, base, None))
    device = _device(settings.device)
    with (
        PrivateView(base, "model", before) as view,
        capped(recipe.training.memory_gib, device),
        _resumable(folder),
    ):
        files = view.files
        trainee = open_trainable(recipe, view.folder, device)
        examples = trainee.examples(list(material.prompts(material.parts)))
        content = {
            "recipe": recipe.digest,
            "base": manifest_digest(files),
            "data": material.data,
            "examples": _digest_of(examples),
            "versions": environment.versions(),
            "device": devices.describe(device),
        }
        output.settle(work, content, resume=settings.resume)

        written = trainee.examples(list(material.prompts(material.interim_written)))

        def ask() -> dict[str, float]:
            raise_if_modified(before)  # so that no checkpoint of other weights is saved
            losses = evaluation.interim(trainee.backend(), material)
            if not written:
                return {**losses, "selection": evaluation.mean(losses)}
            text = evaluation.text_loss(trainee, written, recipe.training.batch_size)
            return {**losses, "text": text, "selection": text}

        trained = train(recipe, trainee, examples, _concentrations(recipe, material), work, ask, observe)
        observe("evaluate", 0, 0, None)
        tasks = evaluation.final(trainee.backend(), material.evaluation)
        lines = evaluation.final(trainee.backend(), material.written) if material.written else None
        raise_if_modified(before)
        if changed := changed_files(base, "model", files):
            output.clear(work)  # no training may go on from weights that nobody knows
            raise_faults(changed)
        # Of step 0 there is no adapter: all its updates are zeros, which `validate` refuses.
        is_base = trained.kept_step == 0
        if not is_base:
            trainee.save(folder / trainee.subfolder)
    write_whole(folder / output.RECIPE, recipe.source)
    rows = curve.rows_of(work / curve.NAME)
    write_whole(folder / curve.NAME, b"".join(map(curve.line, rows)))
    write_whole(folder / "loss.svg", plot(rows))
    weights = [] if is_base else (folder / trainee.subfolder).iterdir()
    record = {
        "schema_version": "1",
        "name": recipe.name,
        **content,
        "benchmark": {
            "name": material.benchmark.name,
            "version": material.benchmark.version,
            "digest": material.benchmark.digest,
        },
        "base": _base(recipe, files),
        **_counts(material, examples),
        "leaks": material.leaks,
        "training": {**asdict(trained), "peak_memory_bytes": _peak(device)},
        "before": rows[0]["evaluation"],
        "kept": next(row["evaluation"] for row in rows if row["step"] == trained.kept_step and "evaluation" in row),
        "evaluation": {"split": recipe.data.evaluate, "tasks": tasks, "verbalized": lines},
        "files": {
            path.relative_to(folder).as_posix(): f"sha256:{sha256_file(path)}"
            for path in sorted([*weights, folder / output.RECIPE, folder / curve.NAME])
        },
        "environment": environment.describe(),
    }
    output.write_json(folder / output.RECORD, record)
    write_whole(folder / output.SUBMISSION, output.submission_yaml(recipe, folder, trainee, is_base=is_base))
    return record


def _device(name: str | None) -> torch.device:
    if name is not None and "," in name:
        raise BackendError(Fault("DEVICE", f"Training runs on one device, not on several ({name}).", hint="Name one."))
    device = devices.choose(name)
    if device.index:
        hint = f"Set CUDA_VISIBLE_DEVICES={device.index} and give --device cuda."
        raise BackendError(Fault("DEVICE", f"Training runs on the first CUDA device, not on {device}.", hint=hint))
    return device


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """Turn a stop, or a disk that takes no more, into words."""
    try:
        yield
    except (KeyboardInterrupt, OSError) as problem:
        stopped = isinstance(problem, KeyboardInterrupt)
        reason = "Stopped" if stopped else f"Writing failed ({problem.strerror})"  # type: ignore[union-attr]
        raise Interrupted(
            Fault(
                "INTERRUPTED",
                f"{reason}; what was reached at the last checkpoint is kept.",
                str(folder),
                hint="Run the same command again to go on from there.",
            )
        ) from (None if stopped else problem)


def _concentrations(recipe: Recipe, material: TrainingData) -> dict[str, float] | None:
    """Where the concentration of each task starts: the recipe's, or that of the Dirichlet fitted to the votes alone.

    None where the objective has none, or the model gives its own.
    """
    if recipe.objective.kind != "dirichlet_multinomial" or recipe.base.head is not None:
        return None
    if (concentration := recipe.objective.concentration) is not None:
        return {part.task.name: float(concentration) for part in material.parts}
    concentrations = {}
    for part in material.parts:
        fitted = fit_dirichlet([item.counts for item in part.items])
        # Votes without scatter, or without disagreement, have no finite one.
        concentrations[part.task.name] = float(np.clip(np.sum(fitted.alpha), 0.1, 1000.0))
    return concentrations


def _digest_of(examples: Sequence[Example]) -> str:
    """Digest of every token that is read in training, and of the votes."""
    return digest([[example.task, example.identity, example.counts.tolist()] for example in examples])


def _base(recipe: Recipe, files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    base = recipe.base
    return {
        "repository": base.repository,
        "revision": base.revision,
        "folder": Path(base.path).name if base.path else None,
        "digest": manifest_digest(files),
        "quantization": base.quantization,
    }


def _counts(material: TrainingData, examples: Sequence[Example]) -> dict[str, Any]:
    return {
        "trained_on": {
            part.task.name: {
                "split": part.split,
                "items": len(part.items),
                "prompts": list(part.task.prompts),
                "examples": sum(example.task == part.task.name for example in examples),
                "truncated": sum(example.truncated for example in examples if example.task == part.task.name),
            }
            for part in material.parts
        }
    }


def _peak(device: torch.device) -> int | None:
    """Peak memory in bytes: the device's, or on a CPU the process's."""
    return devices.peak_memory_bytes(device) if device.type == "cuda" else environment.peak_memory_bytes()
