"""Every architecture of the general path is scored as plain transformers scores it, one option at a time."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from support import architectures, tiny_models
from support.reference_scorer import label_log_scores
from test_generation import by_library, written_prompts

from runner.artifacts import FAMILIES, check_adapter, check_model
from runner.core.errors import BackendError
from runner.models.local import general, lm_head, loading
from runner.models.local.causal import Causal, wrap

OPTIONS = ((" A",), (" the author", " The author"), (" the other person",))


@pytest.fixture(scope="module")
def byte() -> Any:
    return tiny_models.byte_tokenizer()


@cache
def made(form: str) -> Any:
    """The model that three tests look at, and none changes."""
    return architectures.model(form, len(tiny_models.byte_tokenizer()))


def by_transformers(model: Any, tokenizer: Any, prompts: Any) -> list[list[float]]:
    return [label_log_scores(model, tokenizer, prompt) for prompt in prompts]


def furthest(found: Any, expected: list[list[float]]) -> float:
    return max(
        abs(one - other)
        for each, row in zip(found, expected, strict=True)
        for one, other in zip(each.log_scores, row, strict=True)
    )


@pytest.mark.parametrize("form", architectures.FORMS)
def test_an_architecture_is_scored_as_plain_transformers_does(form: str, byte: Any) -> None:
    model = made(form)
    prompts = tiny_models.prompts(OPTIONS)[:4]
    backend = Causal(model, byte, "plain", 700)
    order = [number for batch in backend.plan(prompts) for number in batch]
    assert sorted(order) == list(range(len(prompts)))
    found = list(backend.predict(prompts))
    assert furthest(found, by_transformers(model, byte, prompts)) <= 1e-4
    assert len({round(score, 3) for each in found for score in each.log_scores}) > 2 * len(prompts)
    alone = [answer for prompt in prompts[:2] for answer in backend.predict([prompt])]
    assert furthest(alone, [list(each.log_scores) for each in found[:2]]) <= 1e-5


@pytest.mark.parametrize("form", architectures.FORMS)
def test_what_it_writes_is_what_plain_transformers_writes(form: str, byte: Any) -> None:
    model = made(form)
    prompts = written_prompts(most=5)[:2]
    backend = Causal(model, byte, "plain", 700)
    assert backend.plan(prompts) in ([[0, 1]], [[1, 0]])
    for one, prompt in zip(backend.predict(prompts), prompts, strict=True):
        line, tokens, log_prob = by_library(model, byte, prompt)
        assert (one.text, one.text_tokens) == (line, tokens)
        assert one.text_log_prob == pytest.approx(log_prob, abs=1e-3)


ADAPTERS = {
    "falcon": ("query_key_value",),
    "gemma2": ("q_proj", "v_proj", "down_proj"),
    "gpt2": ("c_attn", "c_proj"),
    "gpt_neox": ("query_key_value", "dense_h_to_4h"),
    "mixtral": ("q_proj", "v_proj"),
    "opt": ("q_proj", "fc1"),
    "phi3": ("qkv_proj", "gate_up_proj"),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", ADAPTERS)
def test_an_adapter_is_loaded_and_scored_as_peft_does(form: str, byte: Any, tmp_path: Path) -> None:
    model = architectures.model(form, len(byte))
    adapted = tiny_models.adapter(model, ADAPTERS[form], fan_in_fan_out=form == "gpt2")
    tiny_models.save(tmp_path / "model", model, byte)
    tiny_models.save(tmp_path / "adapter", adapted)
    faults, facts = check_model(tmp_path / "model")
    faults += check_adapter(tmp_path / "adapter", facts)[0]
    assert not faults
    prompts = tiny_models.prompts(OPTIONS)[:4]
    loaded = loading.apply_adapter(
        loading.load_model(tmp_path / "model", "float32", torch.device("cpu")), tmp_path / "adapter"
    )
    backend = wrap(loaded, byte, "plain")
    expected = by_transformers(adapted, byte, prompts)
    assert furthest(list(backend.predict(prompts)), expected) <= 1e-4
    bare = backend.without_adapter()
    assert bare is not None
    with bare:
        without = list(backend.predict(prompts))
    assert furthest(without, by_transformers(model, byte, prompts)) <= 1e-4
    assert furthest(without, expected) > 1e-2


def test_the_card_names_the_path(byte: Any) -> None:
    facts = Causal(architectures.model("gemma2", len(byte)), byte, "plain", 700).describe()
    assert (facts["attention"], facts["packed_tokens"], facts["context_limit"]) == ("general", None, 512)


def test_logits_that_are_more_than_the_heads_products_are_refused(byte: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = architectures.model("granite", len(byte))
    general.check_head(model)
    monkeypatch.setattr(lm_head, "adjustment_of", lambda _: lambda products: products)
    with pytest.raises(BackendError, match="not the product of its head"):
        general.check_head(model)


def test_a_model_larger_than_its_weights_is_refused_before_memory_is_taken(byte: Any, tmp_path: Path) -> None:
    tiny_models.save(tmp_path, architectures.model("gpt_neox", len(byte)), byte)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 200_000}))
    with pytest.raises(BackendError, match=r"describes a model of [0-9,]+ numbers, the weights hold"):
        loading.load_model(tmp_path, "float32", torch.device("cpu"))


@pytest.mark.parametrize(
    ("change", "path"), [({"num_hidden_layers": 5}, "num_hidden_layers"), ({"vocab_size": 9}, "vocab_size")]
)
def test_layers_and_vocabulary_are_looked_at_without_the_library(
    change: Any, path: str, byte: Any, tmp_path: Path
) -> None:
    tiny_models.save(tmp_path, architectures.model("olmo2", len(byte)), byte)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    assert [(fault.code, fault.path) for fault in check_model(tmp_path)[0]] == [("CONFIG_SHAPES", f"$.{path}")]


def test_every_supported_architecture_has_such_a_test() -> None:
    met = {kind for kind, _ in architectures.FORMS.values()} | set(loading.PACKED)
    assert met == {kind for kind, family in FAMILIES.items() if family == "causal"}


@pytest.mark.parametrize("form", architectures.FORMS)
def test_a_saved_model_is_sound_and_loaded_as_it_was(form: str, byte: Any, tmp_path: Path) -> None:
    model = made(form)
    tiny_models.save(tmp_path, model, byte)
    faults, facts = check_model(tmp_path)
    assert not faults
    assert facts is not None
    assert facts.layers == model.config.num_hidden_layers
    loaded = loading.load_model(tmp_path, "float32", torch.device("cpu"))
    general.check_head(loaded)
    tokens = torch.arange(5, 25)[None]
    with torch.inference_mode():
        assert torch.allclose(loaded(tokens).logits, model(tokens).logits, atol=1e-5)
