"""True vocabularies and templates, where `make real-models` has fetched them."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from support import real_models, tiny_models
from support.gguf_model import write_gguf
from transformers import PreTrainedTokenizerFast

from runner.models.tokenization import encode
from runner.models.tokenization.chat_template import render
from runner.models.tokenization.token_text import Spelling
from runner.tasks.prompts import text

# What their users say of them: they need tools, or documents, and say so.
NEED_MORE = 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2", "qwen3", "mistral-v3"])
def test_ids_are_those_of_transformers_and_every_text_is_read(name: str, tmp_path: Path) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(real_models.write_tokenizer(name, tmp_path))
    prompt = tiny_models.prompt("Calling it “naïve” in 1999 — isn't that wrong? 😂", max_tokens=2_000)
    for form in ("plain", "chat"):
        if form == "chat" and tokenizer.chat_template is None:
            continue
        if form == "plain":
            begun = text(prompt) + prompt.cue_plain
        else:
            chat = [{"role": "user", "content": text(prompt)}]
            begun = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) + prompt.cue_chat
        encoded = encode(prompt, tokenizer, form, 4_000)  # type: ignore[arg-type]
        for tail, option in zip(encoded.tails, (" A", " B"), strict=True):
            expected = tokenizer(begun + option, add_special_tokens=form == "plain")["input_ids"]
            assert [*encoded.prefix.tolist(), *tail] == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2", "mistral-v1-hub", "llama3"])
def test_no_token_of_a_true_vocabulary_is_oversized(name: str, tmp_path: Path) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(real_models.write_tokenizer(name, tmp_path))
    spelling = Spelling(tokenizer.backend_tokenizer)
    spelling.of(range(len(tokenizer)))
    assert spelling.oversized == set()


@pytest.mark.slow
def test_the_script_keeps_every_weight_and_token_of_its_file(root: Path, tmp_path: Path) -> None:
    """make_model.py of SmolLM2 on the tiny Llama, whose weights and vocabulary are known."""
    model = root / "submissions" / "tiny-llama" / "model"
    file = write_gguf(model, tmp_path / "tiny.gguf", chat_template="{{ messages[0]['content'] }}")
    real_models.make_model().write_model(file, tmp_path / "made")
    kept, made = load_file(model / "model.safetensors"), load_file(tmp_path / "made" / "model.safetensors")
    assert {name: values.bfloat16().tolist() for name, values in kept.items()} == {
        name: values.tolist() for name, values in made.items()
    }
    vocabularies = [json.loads((at / "tokenizer.json").read_bytes())["model"] for at in (model, tmp_path / "made")]
    for part in ("vocab", "merges"):
        assert vocabularies[0][part] == vocabularies[1][part]
    assert "content" in (tmp_path / "made" / "chat_template.jinja").read_text(encoding="utf-8")


@pytest.mark.slow
def test_true_templates_are_rendered_as_transformers_renders_them() -> None:
    tokenizer: Any = tiny_models.byte_tokenizer()
    failed = []
    for name, template in real_models.templates().items():
        if "strftime_now" in template:
            continue
        tokenizer.chat_template = template
        chat = [{"role": "user", "content": "One, or two?"}]
        try:
            expected = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        except Exception:
            failed.append(name)
            continue
        assert render(tokenizer, "One, or two?", {}) == expected, name
    assert len(failed) <= NEED_MORE
