"""The nouns of training: what a recipe says. Frozen, without behaviour."""

from dataclasses import dataclass
from pathlib import Path

from runner.core.types import ModelRef


@dataclass(frozen=True, slots=True)
class DataSpec:
    """What is trained and evaluated on."""

    benchmark: Path | None
    """Absolute path of the benchmark; None for the released one."""
    suite: str
    """Name of the suite."""
    tasks: tuple[str, ...]
    """Names of the tasks; empty for all of the suite's."""
    train: str
    """Split whose items are trained on."""
    evaluate: str
    """Split on which the model is evaluated during training."""
    items: int | None
    """Maximum of training items of a task; None for all."""
    leaks: str
    """What happens to a training item that is also scored: `refuse` the run, or `drop` the item."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised."""

    kind: str
    """`soft_cross_entropy`, `dirichlet_multinomial`, `counts`, `hard` or `text`."""
    answer_mass: float
    """Weight of −log of the probability on all options; 0 for an encoder."""
    concentration: float | None
    """Concentration of the Dirichlet; None where it is learned, or is an encoder's own."""


@dataclass(frozen=True, slots=True)
class Method:
    """Which weights are trained."""

    kind: str
    """`lora`, or `full`, for which the other fields have no meaning."""
    rank: int
    """Rank of the updates."""
    alpha: float
    """Updates are scaled by alpha / rank."""
    dropout: float
    """Probability with which an input of an update is left out."""
    target_modules: tuple[str, ...]
    """Last parts of the names of the linear layers that get an update."""


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """The optimiser (AdamW) and its steps."""

    learning_rate: float
    """Highest learning rate."""
    schedule: str
    """Name of the learning rate's schedule after the warm-up."""
    warmup: float
    """Share of the steps over which the learning rate climbs from 0."""
    weight_decay: float
    """Decoupled weight decay; none on biases and norms."""
    max_gradient_norm: float
    """Norm to which gradients are clipped."""
    epochs: float | None
    """Passes over the training prompts; None where `steps` is set."""
    steps: int | None
    """Optimiser steps; None where `epochs` is set."""
    batch_size: int
    """Prompts of a batch."""
    gradient_accumulation: int
    """Batches of a step."""
    gradient_checkpointing: bool
    """Whether activations are recomputed instead of stored."""
    max_tokens: int | None
    """Maximum of tokens of a training prompt; None for the benchmark's own."""
    memory_gib: float | None
    """Maximum of memory, in GiB of the GPU or of the CPU; None for no limit."""
    seed: int
    """Seed of everything random."""


@dataclass(frozen=True, slots=True)
class EvaluationSpec:
    """How the model is evaluated during training."""

    every: int | None
    """Steps between evaluations; None for once an epoch."""
    items: int | None
    """Maximum of items of a task during training; None for all."""
    patience: int | None
    """Evaluations without a gain after which the training stops; None for never."""
    least_gain: float
    """Decrease of the loss, in nats, that counts as a gain."""
    keep: str
    """The state that is saved: `best` or `last`."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A parsed `recipe.yaml`."""

    name: str
    """Name of the submission that is written."""
    description: str
    """Description for readers of the results."""
    digest: str
    """sha256 of its canonical JSON form."""
    source: bytes
    """Its bytes as read."""
    base: ModelRef
    """The model that is trained."""
    data: DataSpec
    """What it is trained and evaluated on."""
    objective: Objective
    """What is minimised."""
    method: Method
    """Which weights are trained."""
    training: TrainingSpec
    """The optimiser and its steps."""
    evaluation: EvaluationSpec
    """How the model is evaluated."""
