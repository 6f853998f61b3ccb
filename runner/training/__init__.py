"""Train a model by a recipe and leave a submission that can be evaluated: above the backends."""

from runner.training.finetune import Settings, finetune

__all__ = ["Settings", "finetune"]
