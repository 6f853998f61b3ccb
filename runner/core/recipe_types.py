"""The nouns of training: what a recipe says. Frozen, without behaviour."""

from dataclasses import dataclass
from pathlib import Path

from runner.core.types import ModelRef


@dataclass(frozen=True, slots=True)
class DataSpec:
    """What is trained and evaluated on.

    `benchmark` is an absolute path, or None for the released one; `tasks` is empty for all of the suite's; `items` is
    the most training items of a task; `leaks` is `refuse` or `drop`.
    """

    benchmark: Path | None
    suite: str
    tasks: tuple[str, ...]
    train: str
    evaluate: str
    items: int | None
    leaks: str


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised: `soft_cross_entropy`, `dirichlet_multinomial`, `counts`, `hard` or `text`.

    `answer_mass` is the weight of −log of the mass on the options, 0 for an encoder; `concentration` is None where it
    is learned, or an encoder's own.
    """

    kind: str
    answer_mass: float
    concentration: float | None


@dataclass(frozen=True, slots=True)
class Method:
    """Which weights are trained: `lora` with its settings, or `full`, which has none."""

    kind: str
    rank: int
    alpha: float
    dropout: float
    target_modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """The optimiser and its steps; exactly one of `epochs` and `steps` is set. `warmup` is a share of the steps."""

    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    max_gradient_norm: float
    epochs: float | None
    steps: int | None
    batch_size: int
    gradient_accumulation: int
    gradient_checkpointing: bool
    max_tokens: int | None
    memory_gib: float | None
    seed: int


@dataclass(frozen=True, slots=True)
class EvaluationSpec:
    """How often (in steps, None: once an epoch) and on how many items of a task, and when to stop; see the schema."""

    every: int | None
    items: int | None
    patience: int | None
    least_gain: float
    keep: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """A parsed `recipe.yaml`; `digest` is the sha256 of its canonical JSON form, `source` its bytes as read."""

    name: str
    description: str
    digest: str
    source: bytes
    base: ModelRef
    data: DataSpec
    objective: Objective
    method: Method
    training: TrainingSpec
    evaluation: EvaluationSpec
