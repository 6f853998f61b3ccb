"""Keys and values that people bring from other programs: the hint, followed, leads to a valid file."""

from pathlib import Path

import pytest

from runner.config import check_file

SUBMISSION = """schema_version: "1"
name: mine
model:
  backend: {backend}
  {where}
  format: {format}
  dtype: {dtype}
{more}"""
RECIPE = """schema_version: "1"
name: mine
base:
  backend: causal
  path: model
  format: plain
  dtype: bfloat16
data:
  suite: sample
objective:
  kind: {objective}
method:
  kind: {method}
  {rank}
  alpha: 16
  target_modules: [q_proj]
training:
  {rate}
  {steps}
  batch_size: 2
  seed: 1
evaluation:
  every: 5
"""
REVISION = "a" * 40


def submission(**changes: str) -> str:
    values = {"backend": "causal", "where": "path: model", "format": "plain", "dtype": "bfloat16", "more": ""}
    return SUBMISSION.format(**{**values, **changes})


def recipe(**changes: str) -> str:
    values = {"objective": "soft_cross_entropy", "method": "lora", "rank": "rank: 8", "rate": "learning_rate: 0.001"}
    return RECIPE.format(**{**values, "steps": "steps: 10", **changes})


def hints(text: str, folder: Path) -> list[str]:
    (folder / "model").mkdir(exist_ok=True)
    (folder / "adapter").mkdir(exist_ok=True)
    path = folder / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return [fault.hint or "" for fault in check_file(path)]


BESIDE = {
    # key under `model` → (words of the hint, what `model` has instead; "" where it is left out)
    "trust_remote_code: true": ("never run", ""),
    "temperature: 0.0": ("nothing is drawn", ""),
    "max_new_tokens: 5": ("nothing is drawn", ""),
    "load_in_4bit: true": ("`quantization: nf4`", "quantization: nf4"),
    "4bit: true": ("`quantization: nf4`", "quantization: nf4"),
    "load_in_8bit: true": ("`quantization: int8`", "quantization: int8"),
    "tokenizer: other": ("beside the weights", ""),
    "device_map: auto": ("--device", ""),
    "batch_size: 8": ("--batch-tokens", ""),
    "num_fewshot: 0": ("benchmark's own", ""),
    "max_length: 2048": ("the model's own", ""),
    "api_key: sk-x": ("--api-key-env", ""),
    "Load-In-4bit: true": ("`quantization: nf4`", "quantization: nf4"),
}


@pytest.mark.parametrize(("key", "expected"), BESIDE.items(), ids=list(BESIDE))
def test_a_key_beside_the_others(key: str, expected: tuple[str, str], tmp_path: Path) -> None:
    words, instead = expected
    (hint,) = hints(submission(where=f"path: model\n  {key}"), tmp_path)
    assert words in hint
    assert hints(submission(where=f"path: model\n  {instead}" if instead else "path: model"), tmp_path) == []


INSTEAD = [
    ({"where": "pretrained: o/m"}, "`repository: OWNER/NAME`", {"where": f"repository: o/m\n  revision: {REVISION}"}),
    ({"where": "model_name_or_path: model"}, "`path: FOLDER`", {"where": "path: model"}),
    ({"where": "model_args: pretrained=model"}, "pretrained is `path`", {"where": "path: model"}),
    ({"backend": "vllm"}, "`causal`", {"backend": "causal"}),
    ({"backend": "hf"}, "`causal`", {"backend": "causal"}),
    ({"dtype": "fp32"}, "`float32`", {"dtype": "float32"}),
    ({"dtype": "bf16"}, "`bfloat16`", {"dtype": "bfloat16"}),
    ({"dtype": "half"}, "`float16`", {"dtype": "float16"}),
    ({"dtype": "4bit"}, "`quantization: nf4`, and `bfloat16`", {"dtype": "bfloat16\n  quantization: nf4"}),
    ({"dtype": "bfloat16\n  quantization: 4bit"}, "`nf4`", {"dtype": "bfloat16\n  quantization: nf4"}),
    ({"dtype": "bfloat16\n  quantization: 8"}, "`int8`", {"dtype": "bfloat16\n  quantization: int8"}),
    ({"format": "instruct"}, "`chat`", {"format": "chat"}),
    ({"format": "base"}, "`plain`", {"format": "plain"}),
    ({"more": "peft: adapter\n"}, "`adapter:`", {"more": "adapter:\n  path: adapter\n"}),
]


@pytest.mark.parametrize(("before", "words", "after"), INSTEAD, ids=[str(one[0]) for one in INSTEAD])
def test_a_key_or_value_in_anothers_place(
    before: dict[str, str], words: str, after: dict[str, str], tmp_path: Path
) -> None:
    assert any(words in hint for hint in hints(submission(**before), tmp_path))
    assert hints(submission(**after), tmp_path) == []


def test_a_server_is_a_service(tmp_path: Path) -> None:
    (*_, hint) = [one for one in hints(submission(backend="vllm"), tmp_path) if "`api` with `base_url`" in one]
    assert hint
    text = submission(backend="api", where="model: name\n  api: chat\n  base_url: http://127.0.0.1:8080/v1")
    lines = [line for line in text.splitlines() if not line.strip().startswith(("format", "dtype"))]
    assert hints("\n".join(lines) + "\n", tmp_path) == []


RECIPES = [
    ({"rate": "lr: 0.001"}, "`learning_rate`"),
    ({"steps": "max_steps: 10"}, "`steps`"),
    ({"rank": "lora_r: 8"}, "`rank`"),
    ({"rank": "r: 8"}, "`rank`"),
    ({"method": "qlora"}, "`lora` here"),
    ({"objective": "sft"}, "`soft_cross_entropy`"),
]


@pytest.mark.parametrize(("before", "words"), RECIPES, ids=[str(one[0]) for one in RECIPES])
def test_a_recipe(before: dict[str, str], words: str, tmp_path: Path) -> None:
    assert any(words in hint for hint in hints(recipe(**before), tmp_path))
    assert hints(recipe(), tmp_path) == []


def test_a_file_of_no_kind_is_one_fault(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text("services:\n" + "".join(f"  s{number}: {number}\n" for number in range(40)), encoding="utf-8")
    (fault,) = check_file(path)
    assert fault.code == "UNKNOWN_KIND"
    assert "'services'" in fault.message
    path.write_text("\n".join(f"key{number}: {number}" for number in range(31)), encoding="utf-8")
    assert len(check_file(path)) == 1
    # One key of ours, or one that is nearly so, and each fault is told.
    path.write_text("modle: {}\nservices: {}\n", encoding="utf-8")
    assert {fault.code for fault in check_file(path)} == {"SCHEMA"}
