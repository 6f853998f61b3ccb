"""A model in training, prompted and scored by the code of `benchmark evaluate`."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from runner.core.types import Prediction, Prompt
from runner.evaluation.batching import plan_steps
from runner.models.base import Predictor
from runner.scorecard.build import Json, build_tasks
from runner.scorecard.task_metrics import counts_of
from runner.scoring import rules
from runner.tasks.answers import align
from runner.tasks.selection import Selection, align_predictions, prompts
from runner.training.items import Part, TrainingData
from runner.training.trainee import Example, TrainableModel


def interim(backend: Predictor, material: TrainingData) -> dict[str, float]:
    """The cross-entropy in nats of each task on the items that are scored during training."""
    losses = {}
    for part in material.interim:
        rows = _answers(backend, [prompt for prompt, _ in material.prompts([part])])
        losses[part.task.name] = _cross_entropy(part, rows)
    return losses


def text_loss(trainee: TrainableModel, examples: Sequence[Example], size: int) -> float:
    """Minus the log-probability of the distributions written out, in nats, the mean over `examples`."""
    with torch.no_grad():
        parts = [trainee.log_scores(examples[at : at + size]) for at in range(0, len(examples), size)]
    return -float(np.mean([float(scores.logsumexp(0)) for part in parts for scores in part]))


def final(backend: Predictor, selection: Selection) -> Json:
    """The `tasks` block of the card that `benchmark evaluate` would write for the same items."""
    return build_tasks(selection, align_predictions(selection, _answers(backend, prompts(selection))))


def mean(values: Mapping[str, float]) -> float:
    """The mean over tasks: each counts alike, however many items it has."""
    return sum(values.values()) / len(values)


def _cross_entropy(part: Part, rows: Sequence[Prediction]) -> float:
    answers = align(part.items, part.task.labels, rows)
    return float(np.mean(rules.RULES["cross_entropy"](answers.averaged(), counts_of(part.items))))


def _answers(backend: Predictor, prompts: Sequence[Prompt]) -> list[Prediction]:
    """One answer to each prompt, in order, in the batches that a run would take."""
    predictions: dict[int, Prediction] = {}
    for batch in plan_steps(backend, prompts):
        predictions.update(zip(batch, backend.predict([prompts[number] for number in batch]), strict=True))
    return [predictions[number] for number in range(len(prompts))]
