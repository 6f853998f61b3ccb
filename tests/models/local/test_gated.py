"""A feed-forward that overwrites what its gate gave gives the same bits, whatever is made of the layers."""

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support import tiny_models

from runner.models.local.causal import Causal, open_causal
from runner.models.local.gated import Gated, overwrite_gates


def gates(model: Any) -> int:
    return sum(isinstance(part, Gated) for part in model.modules())


def scores(model: Any) -> list[tuple[float, ...] | None]:
    found = Causal(model, tiny_models.byte_tokenizer(), "plain", 400).predict(tiny_models.prompts(tiny_models.WORDS))
    return [each.log_scores for each in found]


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("adapted", [False, True])
def test_the_bits_are_the_same(kind: str, dtype: torch.dtype, adapted: bool) -> None:
    model = tiny_models.model(kind, len(tiny_models.byte_tokenizer())).to(dtype)
    if adapted:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # as in `tiny`
            names = ["gate_proj", "up_proj", "v_proj"]
            model = get_peft_model(model, LoraConfig(r=4, target_modules=names, init_lora_weights=False))
    model.eval().requires_grad_(False)
    changed = copy.deepcopy(model)
    base = changed.get_base_model() if adapted else changed
    overwrite_gates(base.base_model)
    assert gates(changed) == (0 if kind == "qwen3" else base.config.num_hidden_layers)
    assert scores(changed) == scores(model)


def test_another_activation_is_left_alone() -> None:
    model = tiny_models.model("llama", len(tiny_models.byte_tokenizer()), hidden_act="gelu")
    overwrite_gates(model.base_model)
    assert gates(model) == 0


def test_a_model_that_is_opened_has_them(tmp_path: Path) -> None:
    tiny_models.model("mistral", len(tiny_models.byte_tokenizer())).save_pretrained(tmp_path)
    tiny_models.byte_tokenizer().save_pretrained(tmp_path)
    opened = open_causal(
        tiny_models.submission(tmp_path), tmp_path, None, device="cpu", dtype="float32", batch_tokens=400
    )
    assert gates(opened._base) == opened._base.config.num_hidden_layers
    assert opened.describe()["parameters"] == sum(value.numel() for value in opened._base.parameters())
