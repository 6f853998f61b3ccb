"""Weights reduced to 4 or 8 bits: they are what was asked for, are scored as what they stand for, and are told."""

import copy
import sys
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_models
from support.reference_scorer import label_log_scores
from torch import nn

from runner.core.errors import BackendError
from runner.models.base import LoadOptions
from runner.models.local import loading, quantization
from runner.models.local.causal import Causal, wrap
from runner.models.local.open_causal import open_causal

pytestmark = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="the extra `quantized` is not installed")

# The 16 values of NF4, as published with QLoRA (arXiv 2305.14314, appendix E).
NF4 = torch.tensor(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ]
)


@pytest.fixture(scope="module")
def byte() -> Any:
    return tiny_models.byte_tokenizer()


@pytest.fixture(scope="module", params=["llama", "mistral"])
def saved(request: pytest.FixtureRequest, byte: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    made = tiny_models.model(request.param, len(byte), hidden_size=64, intermediate_size=128)
    return made, tiny_models.save(tmp_path_factory.mktemp("model"), made, byte)


def opened(folder: Path, form: str, dtype: str = "float32", adapter: Path | None = None) -> Causal:
    submission = tiny_models.submission(folder, adapter, dtype=dtype)
    submission = replace(submission, model=replace(submission.model, quantization=form))
    return open_causal(submission, folder, adapter, LoadOptions(device="cpu", batch_tokens=300))


def meant(layer: Any) -> torch.Tensor:
    """The weights that a quantised layer stands for."""
    if layer.weight.dtype == torch.uint8:
        import bitsandbytes

        return bitsandbytes.functional.dequantize_4bit(layer.weight, layer.weight.quant_state).float()
    scales = layer.weight.SCB if getattr(layer.weight, "SCB", None) is not None else layer.state.SCB
    return layer.weight.float() * scales.float()[:, None] / 127


def linear_layers(model: Any) -> dict[str, Any]:
    return {name: layer for name, layer in model.model.named_modules() if isinstance(layer, nn.Linear)}


def furthest(one: Any, other: Any) -> float:
    return max(abs(a - b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


def test_nf4_is_the_published_code_with_scales_in_eight_bits(saved: tuple[Any, Path]) -> None:
    made, folder = saved
    found = linear_layers(loading.load_model(folder, "float32", torch.device("cpu"), quantization="nf4"))
    assert set(found) == set(linear_layers(made))
    for name, own in linear_layers(made).items():
        blocks = own.weight.detach().reshape(-1, 64)
        scale = blocks.abs().amax(dim=1, keepdim=True)
        nearest = (blocks[..., None] / scale[..., None] - NF4).abs().argmin(dim=-1)
        by_hand = (NF4[nearest] * scale).reshape(own.weight.shape)
        # The scales themselves are kept in eight bits, in blocks of 256: up to a few percent of a small one.
        assert (meant(found[name]) - by_hand).abs().max() <= 0.02 * scale.max()


def test_int8_is_each_row_in_steps_of_a_127th_of_its_largest_weight(saved: tuple[Any, Path]) -> None:
    made, folder = saved
    found = linear_layers(loading.load_model(folder, "float16", torch.device("cpu"), quantization="int8"))
    for name, own in linear_layers(made).items():
        # The weights are taken as float16 first, hence a little more than half a step.
        step = own.weight.detach().abs().amax(dim=1, keepdim=True) / 127
        assert ((meant(found[name]) - own.weight.detach()).abs() <= 0.56 * step).all()


@pytest.mark.slow
@pytest.mark.parametrize(("form", "tolerance"), [("nf4", 1e-4), ("int8", 0.6)])
def test_scores_are_those_of_the_weights_that_it_stands_for(
    form: str, tolerance: float, saved: tuple[Any, Path], byte: Any
) -> None:
    """In nf4 exactly so, on any processor; in int8 what is read is rounded as well, so the scores are only near."""
    made, folder = saved
    backend = opened(folder, form)
    plain = copy.deepcopy(made)
    for name, layer in linear_layers(backend._base).items():
        linear_layers(plain)[name].weight.data = meant(layer)
    prompts = tiny_models.prompts()
    backend.plan(prompts)
    found = [one.log_scores for one in backend.predict(prompts)]
    expected = [label_log_scores(plain, byte, prompt) for prompt in prompts]
    assert furthest(found, expected) <= tolerance
    bare = [label_log_scores(made, byte, prompt) for prompt in prompts]
    assert furthest(found, bare) > 0.01, "reducing the weights has an effect"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["nf4", "int8"])
def test_neighbours_in_a_batch_do_not_matter(form: str, saved: tuple[Any, Path]) -> None:
    backend, prompts = opened(saved[1], form), tiny_models.prompts()
    plan = backend.plan(prompts)
    if form == "nf4":
        assert max(map(len, plan)) > 1
    together = [one.log_scores for one in backend.predict(prompts)]
    alone = [next(iter(backend.predict([prompt]))).log_scores for prompt in prompts]
    assert furthest(together, alone) <= 1e-4
    assert backend.describe()["batch_tokens"] == (300 if form == "nf4" else 1)


@pytest.mark.parametrize("form", ["nf4", "int8"])
def test_layers_that_change_when_called_are_not_called_side_by_side(form: str, saved: tuple[Any, Path]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert wrap(saved[0], tiny_models.byte_tokenizer(), "plain")._threads == 4
        assert wrap(opened(saved[1], form)._model, tiny_models.byte_tokenizer(), "plain")._threads == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_card_says_form_arithmetic_and_version(dtype: str, saved: tuple[Any, Path]) -> None:
    made, folder = saved
    facts = opened(folder, "nf4", dtype).describe()
    library = f"bitsandbytes {version('bitsandbytes')}"
    assert facts["quantization"] == {"form": "nf4", "double": True, "compute_dtype": dtype, "library": library}
    assert facts["parameters"] == sum(value.numel() for value in made.parameters())
    assert facts["head"] == "chunked"
    facts = opened(folder, "int8", dtype).describe()
    assert (facts["quantization"]["form"], facts["quantization"]["library"]) == ("int8", library)
    assert facts["quantization"]["outlier_threshold"] == 6.0
    assert Causal(made, tiny_models.byte_tokenizer(), "plain", 100).describe()["quantization"] is None


@pytest.mark.slow
@pytest.mark.parametrize("form", ["nf4", "int8"])
def test_an_adapter_on_reduced_weights_works_and_can_be_switched_off(
    form: str, saved: tuple[Any, Path], tmp_path: Path
) -> None:
    made, folder = saved
    adapter = tiny_models.save(tmp_path / "adapter", tiny_models.adapter(made))
    prompts = tiny_models.prompts()
    bare = [one.log_scores for one in opened(folder, form).predict(prompts)]
    backend = opened(folder, form, adapter=adapter)
    on = [one.log_scores for one in backend.predict(prompts)]
    assert furthest(on, bare) > 0.01
    with backend.without_adapter():  # type: ignore[union-attr]
        off = [one.log_scores for one in backend.predict(prompts)]
    assert furthest(off, bare) <= 1e-5
    assert backend.describe()["adapter"]["parameters"] > 0


def codes(folder: Path, form: str) -> list[str]:
    with pytest.raises(BackendError) as caught:
        loading.load_model(folder, "float32", torch.device("cpu"), quantization=form)
    return [fault.code for fault in caught.value.faults]


def test_weights_that_are_no_numbers_are_found_before_they_are_reduced(byte: Any, tmp_path: Path) -> None:
    made = tiny_models.model("llama", len(byte), hidden_size=64, intermediate_size=128)
    with torch.no_grad():
        made.model.layers[1].mlp.up_proj.weight[3, 5] = torch.nan
    folder = tiny_models.save(tmp_path, made, byte)
    assert codes(folder, "nf4") == codes(folder, "int8") == ["WEIGHTS_NON_FINITE"]


def test_a_tensor_that_is_missing_is_missed(byte: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_models.save(
        tmp_path, tiny_models.model("llama", len(byte), hidden_size=64, intermediate_size=128), byte
    )
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert codes(folder, "nf4") == ["LOAD_KEYS"]


@pytest.mark.parametrize("form", ["nf4", "int8"])
def test_a_layer_that_stayed_as_it_was_is_refused(form: str, saved: tuple[Any, Path]) -> None:
    folder = saved[1]
    model = loading.load_model(folder, "float32", torch.device("cpu"), quantization=form)
    quantization.check(model, form, torch.float32, folder)
    for wrong_form, dtype in (("int8" if form == "nf4" else "nf4", torch.float32), ("nf4", torch.float16)):
        with pytest.raises(BackendError, match="linear layers are not"):
            quantization.check(model, wrong_form, dtype, folder)
    model.model.layers[1].mlp.up_proj = nn.Linear(64, 128)
    with pytest.raises(
        BackendError, match=r"1 of 21 linear layers are not \w+ after loading: model.layers.1.mlp.up_proj"
    ):
        quantization.check(model, form, torch.float32, folder)


def test_without_the_library_it_is_refused_with_how_to_get_it(
    saved: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(BackendError) as caught:
        loading.load_model(saved[1], "float32", torch.device("cpu"), quantization="nf4")
    (fault,) = caught.value.faults
    assert fault.code == "QUANTIZATION"
    assert "[quantized]" in (fault.hint or "")
