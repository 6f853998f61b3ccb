"""A process of its own for each copy of the model: it gets prompts, gives predictions, and can reach nothing else."""

from runner.models.worker.client import Limits, Worker, isolation, open_isolated, show_tokens_isolated
from runner.models.worker.replicas import Copies, device_names, open_copies, threads_each
from runner.models.worker.sandbox import ACTIVE

__all__ = [
    "ACTIVE",
    "Copies",
    "Limits",
    "Worker",
    "device_names",
    "isolation",
    "open_copies",
    "open_isolated",
    "show_tokens_isolated",
    "threads_each",
]
