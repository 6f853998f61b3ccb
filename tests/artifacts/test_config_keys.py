"""The committed table of configuration keys is that of the installed library, and what is left of a config.json."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.config_keys import keys_of

from runner.artifacts import config_keys
from runner.artifacts.config import FAMILIES

TABLE = Path(config_keys.__file__).with_name("config_keys.json")


@pytest.mark.slow
def test_the_table_is_that_of_the_library(request: pytest.FixtureRequest) -> None:
    found = {model_type: keys_of(model_type) for model_type in FAMILIES}
    if request.config.getoption("--update-golden"):
        TABLE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    assert json.loads(TABLE.read_text(encoding="utf-8")) == found


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_config_written_from_known_keys_is_the_same_to_the_library(model_type: str, tmp_path: Path) -> None:
    from transformers import CONFIG_MAPPING, AutoConfig

    CONFIG_MAPPING[model_type](num_labels=3).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    assert config_keys.value_faults(model_type, document, "config.json") == []
    before = AutoConfig.from_pretrained(tmp_path).to_dict()
    hostile = {"transformers_weights": "x.safetensors", "attn_implementation": "a/b", "trust_remote_code": True}
    reduced = config_keys.reduce_config(model_type, document | hostile)
    assert not hostile.keys() & reduced.keys()
    path.write_text(json.dumps(reduced), encoding="utf-8")
    after = AutoConfig.from_pretrained(tmp_path).to_dict()
    aside = {"architectures", "dtype", "transformers_version"}
    assert {key: value for key, value in before.items() if key not in aside} == {
        key: value for key, value in after.items() if key not in aside
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_labels", 10**9),
        ("num_labels", 0),
        ("id2label", {str(number): "x" for number in range(1001)}),
        ("hidden_act", "x" * 1000),
        ("hidden_act", 3),
        ("rope_theta", 1e300),
        ("rms_norm_eps", True),
        ("eos_token_id", [1] * 5000),
        ("pad_token_id", 10**12),
        ("pad_token_id", -2),
        ("rope_parameters", {"a": {"b": {"c": {"d": 1}}}}),
        ("rope_parameters", {"factor": 10**30}),
    ],
)
def test_values_beyond_what_any_model_has(key: str, value: Any) -> None:
    (fault,) = config_keys.value_faults("llama", {key: value}, "config.json")
    assert (fault.code, fault.path) == ("CONFIG_BOUNDS", f"$.{key}")


@pytest.mark.parametrize(
    ("key", "value"),
    [("rope_theta", 5_000_000_000), ("pad_token_id", -1), ("eos_token_id", [1, 2]), ("rms_norm_eps", 1e-5)],
)
def test_values_that_models_have(key: str, value: Any) -> None:
    assert config_keys.value_faults("llama", {key: value}, "config.json") == []


def test_what_is_not_read_is_named() -> None:
    document = {"model_type": "llama", "vocab_size": 3, "transformers_weights": "x", "_name_or_path": "y"}
    assert config_keys.unknown_keys("llama", document) == ["transformers_weights", "_name_or_path"]
