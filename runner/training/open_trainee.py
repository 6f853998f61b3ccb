"""The trainee that a recipe requests: only this module knows both kinds."""

from pathlib import Path

import torch

from runner.core.errors import Fault, InvalidInput
from runner.core.recipe_types import Recipe
from runner.training.encoder import TrainableEncoder
from runner.training.trainee import TrainableCausal, TrainableModel


def open_trainable(recipe: Recipe, folder: Path, device: torch.device) -> TrainableModel:
    """The recipe's base from `folder` with fresh weights to train, seeded; raises `BackendError`, `InvalidInput`."""
    match recipe.base.backend:
        case "causal":
            return TrainableCausal(recipe, folder, device)
        case "encoder":
            return TrainableEncoder(recipe, folder, device)
        case other:
            raise InvalidInput(Fault("RECIPE", f"The backend {other!r} cannot be trained."))
