"""The loop of a training: transformers' Trainer, with our objective, our evaluation and points to go on from."""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices

from runner.backends.libraries import quiet
from runner.errors import BackendError, Fault
from runner.journal import write_whole
from runner.recipes import Recipe
from runner.training.curve import Curve
from runner.training.objectives import losses
from runner.training.trainee import Example, Trainee

_COMPLETE = "complete.json"
_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
# A concentration is one number on a log scale, to which the model's learning rate has no relation.
_CONCENTRATION_RATE = 0.02

Observer = Callable[[str, int, int, float | None], None]
"""Told of a stage's name, the steps done and to do, and the last loss in nats."""
Evaluate = Callable[[], dict[str, float]]
"""The cross-entropy of each task as the model is now, and under `selection` what the best state is chosen by."""


@dataclass(frozen=True, slots=True)
class Trained:
    """How a training went: steps made and planned, the step of the kept state, and seconds over all its sessions."""

    steps: int
    planned: int
    kept_step: int
    stopped_early: bool
    seconds: float
    resumed_at: list[int]
    concentrations: dict[str, float] | None


def steps_of(recipe: Recipe, examples: int) -> tuple[int, int]:
    """Steps in all, and steps between evaluations."""
    spec = recipe.training
    batches = math.ceil(examples / spec.batch_size)
    epoch = math.ceil(batches / spec.gradient_accumulation)
    steps = spec.steps if spec.steps is not None else math.ceil(epoch * (spec.epochs or 0))
    return max(steps, 1), min(recipe.evaluation.every or epoch, max(steps, 1))


def train(
    recipe: Recipe,
    trainee: Trainee,
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
    last = _last_checkpoint(folder)
    state = json.loads((last / _COMPLETE).read_bytes()) if last else {}
    start = {name: math.log(value) for name, value in (concentrations or {}).items()}
    learned = _learned(recipe, trainee, state.get("log_concentrations", start))
    with closing(Curve.open(folder, int(state.get("step", -1)))) as curve, quiet(), _same_each_time():
        notes = _Notes(curve, learned, observe, planned, state)
        trainer = _Trainer(recipe, trainee, examples, learned, folder, planned, every, evaluate, notes)
        if last is None:
            observe("before", 0, planned, None)
            curve.add({"step": 0, "evaluation": trainer.evaluation()})
        if not state.get("finished"):
            trainer.train(resume_from_checkpoint=str(last) if last else None)
            last = _last_checkpoint(folder)
            assert last is not None, "the last step is a checkpoint"
            state = json.loads((last / _COMPLETE).read_bytes())
    kept = int(state["best_step"] if recipe.evaluation.keep == "best" else state["step"])
    best = folder / f"checkpoint-{kept}"
    trainee.load(best)
    logs = json.loads((best / _COMPLETE).read_bytes())["log_concentrations"]
    trainee.model.eval()
    return Trained(
        steps=state["step"],
        planned=planned,
        kept_step=kept,
        stopped_early=state["step"] < planned,
        seconds=state["seconds"],
        resumed_at=state["resumed_at"],
        concentrations={name: math.exp(value) for name, value in logs.items()} or None,
    )


def _learned(recipe: Recipe, trainee: Trainee, start: dict[str, float]) -> dict[str, Tensor]:
    """The concentration of each task, as a logarithm; parameters of the model unless the recipe gives the number."""
    if not start:
        return {}
    given = recipe.objective.concentration is not None
    device = next(trainee.model.parameters()).device
    found = {name: nn.Parameter(torch.tensor(value, device=device), not given) for name, value in start.items()}
    trainee.model.log_concentrations = nn.ParameterDict(found)
    return dict(found)


def _last_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint that was written to its end; those that were not are removed."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        if (path / _COMPLETE).is_file():
            whole.append(path)
        else:
            shutil.rmtree(path)
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


class _Rows(Dataset[Example]):
    """Examples as a dataset of torch."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, number: int) -> Example:
        return self._examples[number]


class _AlikeTogether(Sampler[int]):
    """Each example once an epoch, those of much the same length together; the order follows from seed and epoch."""

    def __init__(self, lengths: list[int], size: int, seed: int) -> None:
        self._lengths, self._size, self._seed, self._epoch = lengths, size, seed, 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        return iter(get_length_grouped_indices(self._lengths, self._size, generator=generator))


class _Trainer(Trainer):  # type: ignore[misc]
    """The library's loop with our loss, order of examples, optimiser groups and evaluation."""

    optimizer: Any
    control: Any

    def __init__(
        self,
        recipe: Recipe,
        trainee: Trainee,
        examples: Sequence[Example],
        learned: dict[str, Tensor],
        folder: Path,
        planned: int,
        every: int,
        evaluate: Evaluate,
        notes: "_Notes",
    ) -> None:
        spec, evaluation = recipe.training, recipe.evaluation
        device = next(trainee.model.parameters()).device
        arguments = TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=spec.batch_size,
            gradient_accumulation_steps=spec.gradient_accumulation,
            activation_checkpointing=spec.gradient_checkpointing,
            activation_checkpointing_kwargs={"use_reentrant": False} if spec.gradient_checkpointing else None,
            learning_rate=spec.learning_rate,
            lr_scheduler_type=_SCHEDULES[spec.schedule],
            warmup_steps=math.ceil(spec.warmup * planned),
            weight_decay=spec.weight_decay,
            max_grad_norm=spec.max_gradient_norm,
            max_steps=planned,
            logging_steps=1,
            logging_nan_inf_filter=False,
            eval_strategy="steps",
            eval_steps=every,
            save_strategy="steps",
            save_steps=every,
            save_total_limit=2,
            metric_for_best_model="selection",
            greater_is_better=False,
            restore_callback_states_from_checkpoint=True,
            seed=spec.seed,
            data_seed=spec.seed,
            use_cpu=device.type == "cpu",
            dataloader_pin_memory=False,
            remove_unused_columns=False,
            label_names=[],
            disable_tqdm=True,
            report_to="none",
        )
        assert arguments.device.type == device.type
        arguments._n_gpu = min(arguments.n_gpu, 1)  # on one device, however many there are
        stopping = [EarlyStoppingCallback(evaluation.patience, evaluation.least_gain)] if evaluation.patience else []
        super().__init__(
            model=trainee.model,
            args=arguments,
            data_collator=_together,
            train_dataset=_Rows(examples),
            eval_dataset=_Rows(()),
            callbacks=[*stopping, notes],
        )
        self.remove_callback(PrinterCallback)
        self._recipe, self._trainee, self._examples, self._learned = recipe, trainee, examples, learned
        self._ask = evaluate

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Tensor:
        """The mean loss of the batch, in nats per prompt."""
        examples: list[Example] = inputs["examples"]
        concentrations = [self._learned[each.task].exp() for each in examples] if self._learned else []
        scores = self._trainee.log_scores(examples)
        loss = losses(self._recipe.objective, scores, [each.counts for each in examples], concentrations).mean()
        if not bool(torch.isfinite(loss)):
            message = f"The loss is {loss.item()} at step {self.state.global_step + 1}."
            raise BackendError(Fault("LOSS_NON_FINITE", message, hint="Lower the learning rate, or use float32."))
        return loss.float()

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW in groups: with and without weight decay, and the concentrations at a rate of their own."""
        if self.optimizer is None:
            own = {id(value) for value in self._learned.values()}
            decaying = set(self.get_decay_parameter_names(self.model))
            groups: dict[bool, list[Tensor]] = {True: [], False: []}
            for name, value in self.model.named_parameters():
                if value.requires_grad and id(value) not in own:
                    groups[name in decaying].append(value)
            free = [value for value in self._learned.values() if value.requires_grad]
            self.optimizer = torch.optim.AdamW(
                [
                    {"params": groups[True], "weight_decay": self.args.weight_decay},
                    {"params": groups[False], "weight_decay": 0.0},
                    {"params": free, "weight_decay": 0.0, "lr": _CONCENTRATION_RATE},
                ],
                lr=self.args.learning_rate,
            )
        return self.optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        size = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        return _AlikeTogether([each.tokens for each in self._examples], size, self.args.seed)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Ask the benchmark's questions; what is found goes to the callbacks as `eval_…`."""
        found = {f"eval_{name}": value for name, value in self.evaluation().items()}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def evaluation(self) -> dict[str, float]:
        """What the model scores as it is now."""
        self.model.eval()
        try:
            return self._ask()
        finally:
            self.model.train()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # Not the library's way, which asks the Hub for a model of the base's name.
        self._trainee.save(Path(output_dir or self.args.output_dir))

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted."""
        return 0


def _together(examples: list[Example]) -> dict[str, list[Example]]:
    return {"examples": examples}


class _Notes(TrainerCallback):  # type: ignore[misc]
    """Writes the curve down, tells the observer, and marks each checkpoint that is whole."""

    def __init__(
        self, curve: Curve, learned: dict[str, Tensor], observe: Observer, planned: int, state: dict[str, Any]
    ) -> None:
        self._curve, self._learned, self._observe, self._planned = curve, learned, observe, planned
        self._before = float(state.get("seconds", 0.0))
        self._resumed_at = [*state.get("resumed_at", ()), *([state["step"]] if state else [])]
        self._started = time.monotonic()
        self._last: float | None = None

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" not in logs:
            return
        self._last = logs["loss"]
        self._curve.add(
            {
                "step": state.global_step,
                "epoch": logs["epoch"],
                "loss": logs["loss"],
                "learning_rate": logs["learning_rate"],
                "gradient_norm": logs["grad_norm"],
            }
        )
        self._observe("train", state.global_step, self._planned, self._last)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        found = {name.removeprefix("eval_"): value for name, value in metrics.items()}
        self._curve.add({"step": state.global_step, "evaluation": found})

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._curve.sync()
        facts = {
            "step": state.global_step,
            "best_step": state.best_global_step or state.global_step,
            "finished": control.should_training_stop,
            "seconds": self._before + time.monotonic() - self._started,
            "resumed_at": self._resumed_at,
            "log_concentrations": {name: float(value) for name, value in self._learned.items()},
        }
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_whole(folder / _COMPLETE, json.dumps(facts).encode())


@contextmanager
def _same_each_time() -> Iterator[None]:
    """Within it torch uses the same algorithms each time, with full float32 products."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    precision = torch.get_float32_matmul_precision()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.set_float32_matmul_precision(precision)
