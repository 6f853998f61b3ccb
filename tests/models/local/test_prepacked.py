"""Weights that were laid out beforehand give the same bits, whatever is made of the layers."""

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from support import tiny_models

from runner.models.local.causal import Causal, open_causal
from runner.models.local.loading import load_model
from runner.models.local.prepacked import Prepacked, prepack

needs_products = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no products in bfloat16"
)


def made(adapted: bool, dora: bool = False, dtype: torch.dtype = torch.bfloat16) -> Any:
    model = tiny_models.model("llama", len(tiny_models.byte_tokenizer())).to(dtype)
    if adapted:
        names = ["q_proj", "down_proj", "lm_head"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # as in `tiny`
            model = get_peft_model(model, LoraConfig(r=4, target_modules=names, use_dora=dora, init_lora_weights=False))
    return model.eval().requires_grad_(False)


def laid_out(model: Any) -> list[str]:
    return [name for name, layer in model.named_modules() if isinstance(layer, Prepacked)]


def scores(model: Any) -> np.ndarray:
    found = Causal(model, tiny_models.byte_tokenizer(), "plain", 400).predict(tiny_models.prompts(tiny_models.WORDS))
    return np.array([each.log_scores for each in found])


@needs_products
@pytest.mark.parametrize(("adapted", "dora"), [(False, False), (True, False), (True, True)])
def test_the_bits_are_the_same(adapted: bool, dora: bool) -> None:
    model = made(adapted, dora)
    packed = copy.deepcopy(model)
    base = packed.get_base_model() if adapted else packed
    prepack(base.base_model)
    layers = model.config.num_hidden_layers
    # Seven layers of which DoRA needs two; the adapter's own are float32 and stay, like the head.
    assert len(laid_out(packed)) == (5 if dora else 7) * layers
    assert not [name for name in laid_out(packed) if "lm_head" in name]
    assert np.array_equal(scores(packed), scores(model))


@needs_products
def test_a_model_that_is_opened_is_laid_out(tmp_path: Path) -> None:
    made(adapted=False).save_pretrained(tmp_path)
    tiny_models.byte_tokenizer().save_pretrained(tmp_path)
    opened = open_causal(
        tiny_models.submission(tmp_path), tmp_path, None, device="cpu", dtype="bfloat16", batch_tokens=400
    )
    assert len(laid_out(opened._base)) == 7 * opened._base.config.num_hidden_layers
    plain = Causal(load_model(tmp_path, "bfloat16", torch.device("cpu")), tiny_models.byte_tokenizer(), "plain", 400)
    assert opened.describe()["parameters"] == plain.describe()["parameters"]
    prompts = tiny_models.prompts()
    told, expected = list(opened.predict(prompts)), list(plain.predict(prompts))
    assert [each.log_scores for each in told] == [each.log_scores for each in expected]


def test_other_numbers_and_older_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(adapted=False, dtype=torch.float32)
    prepack(model.base_model)
    assert laid_out(model) == []
    model = made(adapted=False)
    monkeypatch.setattr("runner.models.local.prepacked._known", lambda name: name != "_linear_pointwise")
    prepack(model.base_model)
    assert laid_out(model) == []
