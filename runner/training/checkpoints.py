"""What is noted of a training on its way, and which of its checkpoints are whole, so that it can go on from there."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import TrainerCallback

from runner.core.files import write_whole
from runner.training.curve import Curve

_COMPLETE = "complete.json"
# Between two evaluations a kill costs no more than this: an epoch takes hours on a CPU.
_SECONDS_BETWEEN = 300.0

Observer = Callable[[str, int, int, float | None], None]
"""Called with a stage's name, the steps done and to do, and the last loss in nats."""


def last_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint that was written to its end; those that were not are removed."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        if (path / _COMPLETE).is_file():
            whole.append(path)
        else:
            shutil.rmtree(path)
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def state_of(checkpoint: Path) -> dict[str, Any]:
    """What `CheckpointCallback` wrote of the training into a whole checkpoint."""
    state: dict[str, Any] = json.loads((checkpoint / _COMPLETE).read_bytes())
    return state


class CheckpointCallback(TrainerCallback):  # type: ignore[misc]
    """Writes the curve down, tells the observer, and marks each checkpoint that is whole."""

    def __init__(
        self, curve: Curve, learned: dict[str, Tensor], observe: Observer, planned: int, state: dict[str, Any]
    ) -> None:
        self._curve, self._learned, self._observe, self._planned = curve, learned, observe, planned
        self._before = float(state.get("seconds", 0.0))
        self._resumed_at = [*state.get("resumed_at", ()), *([state["step"]] if state else [])]
        self._started = self._saved = time.monotonic()
        self._last: float | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a checkpoint where the last one is some minutes old."""
        if time.monotonic() - self._saved >= _SECONDS_BETWEEN:
            control.should_save = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Add a step to the curve, and tell the observer."""
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
        """Add an evaluation to the curve."""
        evaluation = {name.removeprefix("eval_"): value for name, value in metrics.items()}
        self._curve.add({"step": state.global_step, "evaluation": evaluation})

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write into the checkpoint, last of all, what is needed to go on from it."""
        self._curve.sync()
        facts = {
            "step": state.global_step,
            "best_step": state.best_global_step,
            "finished": control.should_training_stop,
            "seconds": self._before + time.monotonic() - self._started,
            "resumed_at": self._resumed_at,
            "log_concentrations": {name: float(value) for name, value in self._learned.items()},
        }
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_whole(folder / _COMPLETE, json.dumps(facts).encode())
        self._saved = time.monotonic()
