"""What a fault says is to be done, done to the letter, leads to a folder that is accepted and read right."""

import re
from pathlib import Path
from typing import Any

import pytest
from support import tiny_encoders, tiny_models

from runner.artifacts import check_model
from runner.core.errors import Fault


def follow(fault: Fault, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the Python code that the fault's hint names, in the folder."""
    code = re.search(r'python -c "([^"]+)"', fault.hint or "")
    assert code is not None
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        exec(code[1], {})


def pickled(folder: Path) -> dict[str, Any]:
    """The weights of a model's folder, which from now on are a pickle, as the library itself saves them."""
    import torch
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    return weights


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_pickle_with_tied_embeddings(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from safetensors.torch import load_file

    tokenizer = tiny_models.byte_tokenizer()
    made = tiny_models.model("llama", len(tokenizer), tie_word_embeddings=True).to(getattr(torch, dtype))
    folder = tiny_models.save(tmp_path / "model", made, tokenizer)
    assert "lm_head.weight" in made.state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(made.state_dict(), folder / "pytorch_model.bin")  # both names, one storage

    (fault,), _ = check_model(folder)
    assert fault.code == "FILE_MISSING"
    follow(fault, folder, monkeypatch)
    assert check_model(folder)[0] == ()
    found = load_file(folder / "model.safetensors")
    assert {name for name in found if not torch.equal(found[name], made.state_dict()[name])} == set()
    assert set(made.state_dict()) - set(found) == {"lm_head.weight"}


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_pickle_of_an_encoder_keeps_its_head(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from safetensors.torch import load_file

    tokenizer = tiny_encoders.tokenizer(kind)
    made = tiny_encoders.model(kind, "classification", len(tokenizer))
    made.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert check_model(tmp_path, chat=False)[0] == ()
    weights = pickled(tmp_path)

    (fault,), _ = check_model(tmp_path, chat=False)
    assert fault.code == "FILE_MISSING"
    follow(fault, tmp_path, monkeypatch)
    assert check_model(tmp_path, chat=False)[0] == ()
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_an_added_token_is_written_into_the_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    tokenizer = tiny_models.byte_tokenizer()
    folder = tiny_models.save(tmp_path / "model", tiny_models.model("llama", len(tokenizer) + 8), tokenizer)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    before = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"additional_special_tokens": ["<|turn|>"]}))

    (fault,), _ = check_model(folder)
    assert fault.code == "TOKENIZER_ADDED"
    follow(fault, folder, monkeypatch)
    assert check_model(folder)[0] == ()
    after = json.loads((folder / "tokenizer.json").read_text())
    assert after["added_tokens"][:-1] == before["added_tokens"]
    assert after["added_tokens"][-1]["content"] == "<|turn|>"
    assert {name for name in before if before[name] != after[name]} <= {"added_tokens", "post_processor"}
