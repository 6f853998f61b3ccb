"""Adapters as peft makes them: run as plain peft runs them, from the private folder, or refused with the way out."""

import copy
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from runner.artifacts import PrivateView, check_adapter, check_model
from runner.core.errors import BackendError
from runner.models.local.loading import apply_adapter, load_model
from tests.support import tiny_models

CPU = torch.device("cpu")
WORDS = 480
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and one whose head is tied to its embeddings."""
    top = tmp_path_factory.mktemp("bases")
    tiny_models.save(top / "model", tiny_models.model("llama", WORDS), tiny_models.byte_tokenizer())
    tied = tiny_models.model("qwen2", WORDS, tie_word_embeddings=True)
    tiny_models.save(top / "tied", tied, tiny_models.byte_tokenizer())
    return top


def made(base: Path, folder: Path, change: Change | None = None, **settings: Any) -> Path:
    """A random adapter with an effect, as peft saves it; `change` edits its settings afterwards."""
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft import LoraConfig, get_peft_model  # seconds, where tests are collected

        defaults = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"]}
        model = load_model(base, "float32", CPU)
        adapted = get_peft_model(copy.deepcopy(model), LoraConfig(**{**defaults, **settings}))
        for name, value in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(value, std=0.1)
        adapted.save_pretrained(folder)
    if change is not None:
        path = folder / "adapter_config.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
    return folder


def edited(**values: Any) -> Change:
    return lambda document: document.update(values)


UNSLOTH = (
    "(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?(?:q_proj|v_proj).*?)"
    "|(?:\\bmodel\\.layers\\.[\\d]{1,}\\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\\.(?:(?:q_proj|v_proj)))"
)
ACCEPTED: dict[str, tuple[str, dict[str, Any], Change | None]] = {
    "plain": ("model", {}, None),
    "rslora": ("model", {"use_rslora": True}, None),
    "dora": ("model", {"use_dora": True}, None),
    "lora_bias": ("model", {"lora_bias": True}, None),
    "patterns": ("model", {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"q_proj": 3}}, None),
    "orthogonal": ("model", {"init_lora_weights": "orthogonal"}, None),
    "eva": ("model", {}, edited(init_lora_weights="eva", eva_config={"rho": 2.0, "tau": 0.99})),
    "no task": ("model", {"task_type": None}, None),
    "all linear": ("model", {"target_modules": "all-linear"}, None),
    "a regular expression": ("model", {"target_modules": UNSLOTH}, None),
    "head and embeddings": ("model", {"target_modules": ["q_proj", "lm_head", "embed_tokens"]}, None),
    "tied embeddings": ("tied", {"target_modules": ["q_proj", "embed_tokens"]}, None),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", ACCEPTED)
def test_log_probabilities_are_those_of_plain_peft(case: str, bases: Path, tmp_path: Path) -> None:
    name, settings, change = ACCEPTED[case]
    base = bases / name
    adapter = made(base, tmp_path / "adapter", change, **settings)
    facts = check_model(base)[1]
    assert check_adapter(adapter, facts)[0] == ()
    ids = torch.arange(3, 40)[None]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        from peft import PeftModel

        plain = load_model(base, "float32", CPU)
        bare = plain(ids).logits.log_softmax(-1)
        if case == "eva":  # peft itself wants data for it, to begin training with; loaded, the tensors are all there is
            edited_settings = json.loads((adapter / "adapter_config.json").read_text())
            edited_settings.update(init_lora_weights=True, eva_config=None)
            (tmp_path / "plain").mkdir()
            (tmp_path / "plain" / "adapter_config.json").write_text(json.dumps(edited_settings))
            weights = "adapter_model.safetensors"
            (tmp_path / "plain" / weights).write_bytes((adapter / weights).read_bytes())
            expected = PeftModel.from_pretrained(plain, tmp_path / "plain")(ids).logits.log_softmax(-1)
        else:
            expected = PeftModel.from_pretrained(plain, adapter)(ids).logits.log_softmax(-1)
        with PrivateView(base, "model") as model_view, PrivateView(adapter, "adapter") as view:
            found = apply_adapter(load_model(model_view.folder, "float32", CPU), view.folder)(ids).logits.log_softmax(
                -1
            )
    assert (expected - bare).abs().max() > 1e-2
    assert (found - expected).abs().max() <= 1e-4


@pytest.mark.parametrize("initial", ["pissa", "pissa_niter_4", "olora", "corda", "loftq"])
def test_an_adapter_of_a_changed_base_is_refused_with_the_way_out(initial: str, bases: Path, tmp_path: Path) -> None:
    adapter = made(bases / "model", tmp_path / "adapter", edited(init_lora_weights=initial))
    (fault,) = check_adapter(adapter, check_model(bases / "model")[1])[0]
    assert (fault.code, fault.path) == ("ADAPTER_KEY", "$.init_lora_weights")
    assert fault.hint is not None
    assert "merge_and_unload" in fault.hint
    assert "path_initial_model_for_weight_conversion" in fault.hint


@pytest.mark.slow
def test_the_way_out_of_a_changed_base_leads_to_the_right_scores(bases: Path, tmp_path: Path) -> None:
    """The advice, done: converted on saving, a pissa adapter is plain LoRA; merged, it is a whole model."""
    ids = torch.arange(3, 40)[None]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        from peft import LoraConfig, get_peft_model

        settings = LoraConfig(r=4, task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights="pissa")
        trained = get_peft_model(load_model(bases / "model", "float32", CPU), settings)
        trained.peft_config["default"].init_lora_weights = True  # as peft's documentation has it: the start is kept
        trained.save_pretrained(tmp_path / "initial")
        trained.peft_config["default"].init_lora_weights = "pissa"
        for name, value in trained.named_parameters():
            if "lora_" in name:
                value.add_(torch.randn_like(value) * 0.05)
        expected = trained(ids).logits.log_softmax(-1)
        trained.save_pretrained(
            tmp_path / "converted", path_initial_model_for_weight_conversion=str(tmp_path / "initial")
        )
        assert check_adapter(tmp_path / "converted", check_model(bases / "model")[1])[0] == ()
        with PrivateView(bases / "model", "model") as base, PrivateView(tmp_path / "converted", "adapter") as view:
            found = apply_adapter(load_model(base.folder, "float32", CPU), view.folder)(ids).logits.log_softmax(-1)
        assert (found - expected).abs().max() <= 1e-4
        trained.merge_and_unload().save_pretrained(tmp_path / "merged")
        tiny_models.byte_tokenizer().save_pretrained(tmp_path / "merged")
        assert check_model(tmp_path / "merged")[0] == ()
        merged = load_model(tmp_path / "merged", "float32", CPU)(ids).logits.log_softmax(-1)
    assert (merged - expected).abs().max() <= 1e-4


@pytest.mark.parametrize(
    ("settings", "path"), [({"modules_to_save": ["lm_head"]}, "$.modules_to_save"), ({"bias": "all"}, "$.bias")]
)
def test_whole_weights_are_refused_with_the_way_out(
    settings: dict[str, Any], path: str, bases: Path, tmp_path: Path
) -> None:
    adapter = made(bases / "model", tmp_path / "adapter", **settings)
    faults = check_adapter(adapter, check_model(bases / "model")[1])[0]
    (fault,) = [fault for fault in faults if fault.path == path]
    assert fault.code == "ADAPTER_FULL_WEIGHT"
    assert fault.hint is not None
    assert "merge_and_unload" in fault.hint


def test_a_copy_that_differs_from_the_base_is_refused(bases: Path, tmp_path: Path) -> None:
    adapter = made(bases / "model", tmp_path / "adapter", target_modules=["lm_head"])
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    (name,) = [name for name in tensors if ".base_layer." in name]
    tensors[name] += 1
    save_file(tensors, path, {"format": "pt"})
    with PrivateView(adapter, "adapter") as view, pytest.raises(BackendError) as refused:
        apply_adapter(load_model(bases / "model", "float32", CPU), view.folder)
    assert [fault.code for fault in refused.value.faults] == ["ADAPTER_FULL_WEIGHT"]


@pytest.mark.parametrize("letter", ["lora_A", "lora_B"])
def test_an_adapter_of_zeros_is_seen_in_its_file(letter: str, bases: Path, tmp_path: Path) -> None:
    adapter = made(bases / "model", tmp_path / "adapter")
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    zeros = {name: value * -0.0 if letter in name else value for name, value in tensors.items()}
    save_file(zeros, path, {"format": "pt"})
    assert [fault.code for fault in check_adapter(adapter, None)[0]] == ["ADAPTER_NO_EFFECT"]
    name = next(name for name in zeros if letter in name)
    save_file({**zeros, name: tensors[name]}, path, {"format": "pt"})
    assert check_adapter(adapter, None)[0] == ()


@pytest.mark.parametrize(
    ("stated", "same"),
    [
        ("example/Base-7B", True),
        ("unsloth/base-7b-bnb-4bit", True),
        ("unsloth/Base-7B-unsloth-bnb-4bit", True),
        ("other/base-7b", True),
        ("example/base-13b", False),
    ],
)
def test_names_of_one_base(stated: str, same: bool, bases: Path, tmp_path: Path) -> None:
    adapter = made(bases / "model", tmp_path / "adapter", edited(base_model_name_or_path=stated))
    codes = [fault.code for fault in check_adapter(adapter, None, base="example/base-7b")[0]]
    assert codes == ([] if same else ["ADAPTER_BASE"])
