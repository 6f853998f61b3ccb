"""What of an architecture is settled before its weights are loaded: by what it attends, and whether it is too large."""

from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

from runner.core.errors import BackendError, Fault
from runner.models.local.library_errors import translate_errors


def attention_of(config: Any) -> str:
    """The library's attention for a causal model: `sdpa`, or `eager` where it cannot do what the architecture asks for,
    such as scores that are capped."""
    return "sdpa" if MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]._supports_sdpa else "eager"


def check_size(config: Any, folder: Path) -> None:
    """Raise `BackendError` (`CONFIG_SHAPES`) if config.json speaks of a larger model than the weights in `folder` hold.

    The library would make what is missing out of random numbers, and memory for it. Nothing is loaded: the model is
    made without storage. Which tensors differ is said once they are loaded.
    """
    with translate_errors("LOAD_CONFIG", "No model can be made of config.json", folder), torch.device("meta"):
        wanted = sum(value.numel() for value in AutoModelForCausalLM.from_config(config).parameters())
    held = 0
    with translate_errors("LOAD_WEIGHTS", "The weights cannot be read", folder):
        for file in folder.glob("*.safetensors"):
            with safe_open(file, framework="pt") as opened:
                held += sum(prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118
    if wanted > held:
        message = f"It describes a model of {wanted:,} numbers, the weights hold {held:,}."
        raise BackendError(Fault("CONFIG_SHAPES", message, file=str(folder / "config.json")))
