"""A training from its start or last checkpoint to the selected state."""

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from runner.core.recipe_types import Recipe
from runner.models.local import devices
from runner.models.local.library_errors import quiet
from runner.training.checkpoints import CheckpointCallback, Observer, last_checkpoint, state_of
from runner.training.curve import Curve
from runner.training.trainee import Example, TrainableModel
from runner.training.trainer import BenchmarkTrainer, Evaluate


@dataclass(frozen=True, slots=True)
class Trained:
    """The outcome of a training."""

    steps: int
    """Steps made."""
    planned: int
    """Steps planned."""
    kept_step: int
    """Step of the saved state."""
    loss_before: float
    """What the state is chosen by, of the base, in nats on the items that are scored during training."""
    loss_kept: float
    """The same of the saved state."""
    outcome: str
    """`better` or `worse` than the base by these two, or `same`, as where step 0 is selected."""
    stopped_early: bool
    """Whether it ended before the planned steps."""
    seconds: float
    """Duration over all sessions, in seconds."""
    resumed_at: list[int]
    """Steps at which a session resumed."""
    concentrations: dict[str, float] | None
    """Task to its learned Dirichlet concentration; None where none is learned."""


def steps_of(recipe: Recipe, examples: int) -> tuple[int, int]:
    """Steps in all, and steps between evaluations."""
    spec = recipe.training
    batches = math.ceil(examples / spec.batch_size)
    epoch = math.ceil(batches / spec.gradient_accumulation)
    steps = spec.steps if spec.steps is not None else math.ceil(epoch * (spec.epochs or 0))
    return max(steps, 1), min(recipe.evaluation.every or epoch, max(steps, 1))


def train(
    recipe: Recipe,
    trainee: TrainableModel,
    examples: Sequence[Example],
    concentrations: dict[str, float] | None,
    folder: Path,
    evaluate: Evaluate,
    observe: Observer,
) -> Trained:
    """Train to the end, from the last whole checkpoint in `folder` if there is one, and take up the state to keep.

    `concentrations` are where the Dirichlet's start, by task (None: the objective has none). The curve is
    `folder/loss.jsonl`. Raises `BackendError`: `LOSS_NON_FINITE`.
    """
    planned, every = steps_of(recipe, len(examples))
    last = last_checkpoint(folder)
    state = state_of(last) if last else {}
    start = {name: math.log(value) for name, value in (concentrations or {}).items()}
    learned = _learned(recipe, trainee, state.get("log_concentrations", start))
    with (
        closing(Curve.open(folder, int(state.get("step", -1)))) as curve,
        quiet(),
        devices.deterministic_algorithms(),
        devices.unfilled_memory(),
    ):
        notes = CheckpointCallback(curve, learned, observe, planned, state)
        trainer = BenchmarkTrainer(recipe, trainee, examples, learned, folder, planned, every, evaluate, notes)
        if last is None:
            observe("before", 0, planned, None)
            curve.add({"step": 0, "evaluation": trainer.evaluation()})
        if not state.get("finished"):
            # Before the first step an encoder's head is random: that state is no base to keep.
            base_loss = math.inf if trainee.head is not None else curve.rows[0]["evaluation"]["selection"]
            trainer.start(base_loss, last)
            last = last_checkpoint(folder)
            assert last is not None, "the last step is a checkpoint"
            state = state_of(last)
    step = int(state["best_step"] if recipe.evaluation.keep == "best" else state["step"])
    best = folder / f"checkpoint-{step}"
    trainee.load(best)
    logs = state_of(best)["log_concentrations"]
    losses = {row["step"]: row["evaluation"]["selection"] for row in curve.rows if "evaluation" in row}
    loss_before, loss_kept = losses[0], losses[step]
    trainee.model.eval()
    return Trained(
        steps=state["step"],
        planned=planned,
        kept_step=step,
        loss_before=loss_before,
        loss_kept=loss_kept,
        outcome="better" if loss_kept < loss_before else "worse" if loss_kept > loss_before else "same",
        stopped_early=state["step"] < planned,
        seconds=state["seconds"],
        resumed_at=state["resumed_at"],
        concentrations={name: math.exp(value) for name, value in logs.items()} or None,
    )


def _learned(recipe: Recipe, trainee: TrainableModel, start: dict[str, float]) -> dict[str, Tensor]:
    """The concentration of each task, as a logarithm; parameters of the model unless the recipe gives the number."""
    if not start:
        return {}
    is_fixed = recipe.objective.concentration is not None
    device = next(trainee.model.parameters()).device
    parameters = {name: nn.Parameter(torch.tensor(value, device=device), not is_fixed) for name, value in start.items()}
    trainee.model.log_concentrations = nn.ParameterDict(parameters)
    return dict(parameters)
