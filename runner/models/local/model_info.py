"""What a card says of a loaded model whatever its kind: how it is made, its adapter, and where and by what it runs."""

from importlib.metadata import version
from typing import Any

import torch

from runner.models.local import devices, quantization

_LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "safetensors")


def of_architecture(model: Any) -> dict[str, Any]:
    """JSON facts about how a transformers model is made; an adapter on it is not counted."""
    config = model.config
    return {
        "model_type": config.model_type,
        "parameters": _count(model),
        "vocabulary": config.vocab_size,
        "layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "dtype": str(model.dtype).removeprefix("torch."),
    }


def of_setting(model: Any, device: torch.device, spread_over: int = 1) -> dict[str, Any]:
    """JSON facts about the adapter on `model` (None where there is none), the device, the first of those that the model
    is spread over, and the libraries."""
    return {
        "adapter": _adapter(model),
        "device": devices.describe(device) | ({"spread_over": spread_over} if spread_over > 1 else {}),
        "versions": {name: version(name) for name in _LIBRARIES},
    }


def _adapter(model: Any) -> dict[str, Any] | None:
    if not hasattr(model, "peft_config"):
        return None
    config = model.peft_config["default"]
    modules = config.target_modules
    return {
        "type": str(config.peft_type.value),
        "rank": getattr(config, "r", None),
        "alpha": getattr(config, "lora_alpha", None),
        "target_modules": sorted(modules) if isinstance(modules, set | list) else modules,
        "parameters": _count(model.get_base_model(), adapter=True),
        "named_base": config.base_model_name_or_path,
    }


def _count(model: Any, *, adapter: bool = False) -> int:
    """How many numbers a model is made of, or (`adapter`) what was put on it is."""
    # PEFT names what belongs to an adapter by it, and the only one loaded is called "default".
    return sum(
        quantization.numbers_in(value) for name, value in model.named_parameters() if (".default" in name) == adapter
    )
