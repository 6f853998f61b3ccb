"""transformers' Trainer with our loss, order of examples, groups of weights and evaluation."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices

from runner.core.errors import BackendError, Fault
from runner.core.recipe_types import Recipe
from runner.training.objectives import losses
from runner.training.trainee import Example, TrainableModel

_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
# A concentration is one number on a log scale, to which the model's learning rate has no relation.
_CONCENTRATION_RATE = 0.02

Evaluate = Callable[[], dict[str, float]]
"""The cross-entropy of each task as the model is now, and under `selection` what the best state is chosen by."""


class _Rows(Dataset[Example]):
    """Examples as a dataset of torch."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, number: int) -> Example:
        return self._examples[number]


class LengthGroupedSampler(Sampler[int]):
    """Each example once an epoch, those of much the same length together; the order follows from seed and epoch."""

    def __init__(self, lengths: list[int], size: int, seed: int) -> None:
        self._lengths, self._size, self._seed, self._epoch = lengths, size, seed, 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; transformers calls it."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        return iter(get_length_grouped_indices(self._lengths, self._size, generator=generator))


class _BaseIsBest(TrainerCallback):  # type: ignore[misc]
    """Makes the state before the first step the first checkpoint, and the best one until another is better."""

    def __init__(self, trainer: "BenchmarkTrainer", loss: float) -> None:
        self._trainer, self._loss = trainer, loss

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save it, or say where it lies: the library takes step 0 for none."""
        is_first = state.best_metric is None
        if is_first:
            state.best_metric, state.best_global_step = self._loss, 0
        if state.best_global_step == 0:
            state.best_model_checkpoint = str(Path(args.output_dir) / "checkpoint-0")
        if is_first:
            self._trainer.save_checkpoint()


class BenchmarkTrainer(Trainer):  # type: ignore[misc]
    """The library's loop with our loss, order of examples, optimiser groups and evaluation."""

    optimizer: Any
    control: Any

    def __init__(
        self,
        recipe: Recipe,
        trainee: TrainableModel,
        examples: Sequence[Example],
        learned: dict[str, Tensor],
        folder: Path,
        planned: int,
        every: int,
        evaluate: Evaluate,
        notes: TrainerCallback,
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
        self.model_accepts_loss_kwargs = True  # a mean over the step is ours; the library would take one of means
        self._recipe, self._trainee, self._examples, self._learned = recipe, trainee, examples, learned
        self._ask = evaluate

    def start(self, loss: float, checkpoint: Path | None) -> None:
        """Train to the end from `checkpoint`, or from the base, whose `selection` is `loss`."""
        self.add_callback(_BaseIsBest(self, loss))
        self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    def save_checkpoint(self) -> None:
        """Write a checkpoint of the state as it is."""
        self._save_checkpoint(self.model, None)
        self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], int]:
        """The prompts of one step in the trainee's own batches, and how many they are.

        The library counts batches to know when a step is done, so there are as many as it drew; the last may be empty.
        """
        drawn, _ = super().get_batch_samples(*args, **kwargs)
        if len(drawn) == 1:
            return drawn, len(drawn[0]["examples"])
        examples = [example for batch in drawn for example in batch["examples"]]
        batches = self._trainee.batches(examples, self.args.per_device_train_batch_size)
        batches += [[]] * (len(drawn) - len(batches))
        return list(map(_together, batches)), len(examples)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """The loss of a batch, whose gradients are added to the step's; an empty one has neither."""
        if not inputs["examples"]:
            return torch.zeros((), device=self.args.device)
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        return loss

    def compute_loss(
        self, model: Any, inputs: Any, *_: Any, num_items_in_batch: int | None = None, **__: Any
    ) -> Tensor:
        """The batch's part of the step's mean loss, in nats per prompt: the step is as one batch of all its prompts.

        `num_items_in_batch` are the prompts of the step; the library adds the parts up and divides by nothing.
        """
        examples: list[Example] = inputs["examples"]
        concentrations = [self._learned[example.task].exp() for example in examples] if self._learned else []
        scores = self._trainee.log_scores(examples)
        loss = losses(self._recipe.objective, scores, [example.counts for example in examples], concentrations)
        loss = loss.sum() / (num_items_in_batch or len(examples))
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
        return LengthGroupedSampler([example.tokens for example in self._examples], size, self.args.seed)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Score the benchmark's items; the metrics go to the callbacks as `eval_…`."""
        metrics = {f"eval_{name}": value for name, value in self.evaluation().items()}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

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
