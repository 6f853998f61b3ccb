"""A process for each replica of the model: it gets prompts, returns predictions, and can reach nothing else."""

from runner.models.worker.client import Limits, Worker, isolation, open_isolated, show_tokens_isolated
from runner.models.worker.replicas import Replicas, device_names, open_replicas, threads_per_replica
from runner.models.worker.sandbox import ACTIVE

__all__ = [
    "ACTIVE",
    "Limits",
    "Replicas",
    "Worker",
    "device_names",
    "isolation",
    "open_isolated",
    "open_replicas",
    "show_tokens_isolated",
    "threads_per_replica",
]
