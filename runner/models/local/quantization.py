"""Weights that bitsandbytes reduces to 4 or 8 bits while they are loaded: requested, checked, and reported."""

import math
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import BitsAndBytesConfig

from runner.core.errors import BackendError, Fault

_INSTALL = "Install it with `pip install 'moral-ambiguity-benchmark[quantized]'`, or declare `quantization: none`."
_SHOWN = 8


def loading_settings(form: str, dtype: torch.dtype) -> BitsAndBytesConfig:
    """How transformers loads weights as `form`: nf4 (QLoRA's: with the scales quantised as well) or int8 (LLM.int8()).

    Products are in `dtype` for nf4, and in whole numbers with scales for int8, save the columns in which any token of a
    batch is large: hence `one_by_one`. The output head and embeddings stay as they are. Raises `BackendError`
    (`QUANTIZATION`) where bitsandbytes is not installed or cannot start.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import bitsandbytes  # noqa: F401
    except ImportError as problem:
        message = f"The weights are to be reduced to {form}, and bitsandbytes cannot be imported ({problem})."
        raise BackendError(Fault("QUANTIZATION", message, hint=_INSTALL)) from None
    if form == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    if form == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    message = f"There is no quantisation {form!r}; nf4 or int8 was expected."
    raise BackendError(Fault("QUANTIZATION", message))


def one_by_one(model: Any) -> bool:
    """Whether prompts must be read one at a time, since the answers to some depend on what is read with them.

    LLM.int8() takes a column apart as soon as one token of the batch is large in it; so the scores of a prompt would
    change with its neighbours (by .1 and more on small models).
    """
    settings = getattr(model.config, "quantization_config", None)
    return settings is not None and bool(settings.load_in_8bit)


def check(model: Any, form: str, dtype: torch.dtype, folder: Path) -> None:
    """Raise `BackendError` (`QUANTIZATION`) unless every linear layer of `model` but its head really is `form`."""
    head = model.get_output_embeddings()
    wrong = [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and layer is not head and not _is_form(layer, form, dtype)
    ]
    count = sum(isinstance(layer, nn.Linear) and layer is not head for layer in model.modules())
    if wrong or not count:
        message = f"{len(wrong)} of {count} linear layers are not {form} after loading: {', '.join(wrong[:_SHOWN])}."
        raise BackendError(Fault("QUANTIZATION", message, str(folder)))
    if experts := [name for name, value in model.named_parameters() if value.ndim > 2 and value.is_floating_point()]:
        message = f"{len(experts)} weights of experts are not reduced by the library: {', '.join(experts[:_SHOWN])}."
        raise BackendError(Fault("QUANTIZATION", message, str(folder), hint="Submit it without `quantization`."))


def keep_arithmetic(model: Any) -> None:
    """Keep the layers of `model` from changing themselves.

    On some processors (AVX512-BF16) a 4-bit layer otherwise rounds its scales to bfloat16 at its first use and goes on
    in bfloat16, whatever arithmetic was requested: the same file would score otherwise on another machine.
    """
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


def _is_form(layer: Any, form: str, dtype: torch.dtype) -> bool:
    from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt

    if form == "int8":
        return type(layer) is Linear8bitLt and layer.weight.dtype == torch.int8
    state = getattr(layer.weight, "quant_state", None)
    return (
        type(layer) is Linear4bit
        and layer.weight.dtype == torch.uint8
        and state is not None
        and state.quant_type == "nf4"
        and layer.compute_dtype == dtype
    )


def check_finite(folder: Path) -> None:
    """Raise `BackendError` (`WEIGHTS_NON_FINITE`) where a weight as submitted is NaN or infinite.

    It is looked for in the files: reduced to a few bits it would look like any other.
    """
    bad = []
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            names = list(opened.keys())
            bad += [name for name in names if not bool(torch.isfinite(opened.get_tensor(name)).all())]
    if bad:
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        message = f"{len(bad)} tensors hold NaN or infinity: {', '.join(bad[:_SHOWN])}{more}."
        raise BackendError(Fault("WEIGHTS_NON_FINITE", message, str(folder)))


def describe(model: Any) -> Mapping[str, Any] | None:
    """JSON facts about how `model` is quantised, or None where it is not."""
    settings = getattr(model.config, "quantization_config", None)
    if settings is None:
        return None
    if settings.load_in_4bit:
        return {
            "form": settings.bnb_4bit_quant_type,
            "double": settings.bnb_4bit_use_double_quant,
            "compute_dtype": str(settings.bnb_4bit_compute_dtype).removeprefix("torch."),
            "library": f"bitsandbytes {version('bitsandbytes')}",
        }
    return {
        "form": "int8",
        "outlier_threshold": settings.llm_int8_threshold,
        "compute_dtype": "int8, what is left over in float16",
        "library": f"bitsandbytes {version('bitsandbytes')}",
    }


def numbers_in(parameter: Any) -> int:
    """How many numbers a parameter stands for: two of four bits share one byte."""
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel()) if state is None else math.prod(state.shape)
