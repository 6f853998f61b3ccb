"""Passes in place and norms in pieces give the same bits, whatever is made of the layers."""

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model

from runner.backends import passes
from runner.backends.causal import Causal, open_causal
from runner.backends.passes import Gated, Pieces, save_passes


def number(model: Any, kind: type) -> int:
    return sum(isinstance(part, kind) for part in model.modules())


def scores(model: Any) -> list[tuple[float, ...] | None]:
    found = Causal(model, tiny.byte_tokenizer(), "plain", 400).predict(tiny.prompts(tiny.WORDS))
    return [each.log_scores for each in found]


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("adapted", [False, True])
def test_the_bits_are_the_same(kind: str, dtype: torch.dtype, adapted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model(kind, len(tiny.byte_tokenizer())).to(dtype)
    if adapted:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # as in `tiny`
            names = ["gate_proj", "up_proj", "v_proj"]
            model = get_peft_model(model, LoraConfig(r=4, target_modules=names, init_lora_weights=False))
    model.eval().requires_grad_(False)
    changed = copy.deepcopy(model)
    base = changed.get_base_model() if adapted else changed
    save_passes(base.base_model)
    layers = base.config.num_hidden_layers
    assert number(changed, Gated) == (0 if kind == "qwen3" else layers)
    # Qwen3 has one for queries and one for keys besides.
    assert number(changed, Pieces) == (4 if kind == "qwen3" else 2) * layers + 1
    monkeypatch.setattr(passes, "_AT_ONCE", 7 * base.config.hidden_size)
    assert scores(changed) == scores(model)


def test_a_norm_is_computed_for_so_many_tokens_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama", len(tiny.byte_tokenizer()))
    seen: list[int] = []
    model.model.norm.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    save_passes(model.base_model)
    monkeypatch.setattr(passes, "_AT_ONCE", 7 * model.config.hidden_size)
    with torch.inference_mode():
        model(torch.zeros(2, 10, dtype=torch.long))
    assert seen == [7, 7, 6]


def test_another_activation_is_left_alone() -> None:
    model = tiny.model("llama", len(tiny.byte_tokenizer()), hidden_act="gelu")
    save_passes(model.base_model)
    assert number(model, Gated) == 0


def test_a_model_that_is_opened_has_them(tmp_path: Path) -> None:
    tiny.model("mistral", len(tiny.byte_tokenizer())).save_pretrained(tmp_path)
    tiny.byte_tokenizer().save_pretrained(tmp_path)
    opened = open_causal(tiny.submission(tmp_path), tmp_path, None, device="cpu", dtype="float32", batch_tokens=400)
    assert number(opened._base, Gated) == opened._base.config.num_hidden_layers
    assert opened.describe()["parameters"] == sum(value.numel() for value in opened._base.parameters())
