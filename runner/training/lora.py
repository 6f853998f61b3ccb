"""A LoRA adapter in training: put on a model, saved as peft saves it, and loaded from there."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save

from runner.core.errors import Fault, InvalidInput
from runner.core.files import write_whole
from runner.core.recipe_types import Method

_WEIGHTS = "adapter_model.safetensors"


def put_on(model: Any, method: Method, task_type: str, base: str, whole: Sequence[str] = ()) -> Any:
    """`model` with a fresh adapter, which says that its base is called `base`; `whole` are modules trained in full.

    Raises `InvalidInput` where the model has none of the layers that the method names.
    """
    config = LoraConfig(
        r=method.rank,
        lora_alpha=int(method.alpha) if method.alpha.is_integer() else method.alpha,
        lora_dropout=method.dropout,
        target_modules=list(method.target_modules),
        modules_to_save=list(whole) or None,
        task_type=task_type,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library to itself
            adapted = get_peft_model(model, config)
    except ValueError as problem:
        if "arget modules" not in str(problem):
            raise
        message = f"The model has no linear layer called {' or '.join(method.target_modules)}."
        raise InvalidInput(Fault("RECIPE", message, path="$.method.target_modules")) from problem
    adapted.peft_config["default"].base_model_name_or_path = base
    return adapted


def save_adapter(model: Any, folder: Path) -> None:
    """The adapter on `model` as peft writes it, with names in one order."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    write_whole(folder / _WEIGHTS, save({name: value.contiguous().cpu() for name, value in tensors.items()}))
    config = model.peft_config["default"].to_dict()
    config.update(inference_mode=True, target_modules=sorted(config["target_modules"]))
    text = json.dumps({key: _plain(value) for key, value in config.items()}, indent=2, sort_keys=True)
    write_whole(folder / "adapter_config.json", (text + "\n").encode())


def load_adapter(model: Any, folder: Path, device: torch.device) -> None:
    """Take up the adapter in `folder` on `model`, which has one of the same form."""
    set_peft_model_state_dict(model, load_file(folder / _WEIGHTS, device=str(device)))


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else value
