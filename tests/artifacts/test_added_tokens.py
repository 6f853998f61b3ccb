"""Added tokens that only a file beside tokenizer.json lists are refused; transformers would add them."""

import json
from pathlib import Path
from typing import Any

import pytest

from runner.artifacts.tokenizer import tokenizer_faults
from runner.artifacts.tree import walk
from runner.core.errors import Fault

MARK = {"content": "<|im_start|>", "special": True}
DOCUMENT: dict[str, Any] = {
    "added_tokens": [{"id": 3, **MARK}],
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
}


def faults(folder: Path, document: Any = DOCUMENT, **files: Any) -> list[Fault]:
    """Of a folder with this tokenizer.json, and of the files named without their `.json`."""
    for name, content in {"tokenizer": document, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return tokenizer_faults(walk(folder, "model")[1], "llama")


def other(token: Any) -> dict[str, Any]:
    return {"added_tokens_decoder": {"4": token}}


def test_tokens_of_tokenizer_json_may_be_listed_again(tmp_path: Path) -> None:
    listed = {"added_tokens_decoder": {"3": MARK}, "additional_special_tokens": [MARK["content"], MARK]}
    assert faults(tmp_path, tokenizer_config=listed, special_tokens_map={"bos_token": MARK["content"]}) == []


@pytest.mark.parametrize(
    ("name", "content", "path"),
    [
        ("tokenizer_config", other({"content": "<|im_end|>"}), "$.added_tokens_decoder"),
        ("tokenizer_config", {"additional_special_tokens": ["<|im_end|>"]}, "$.additional_special_tokens"),
        ("tokenizer_config", {"additional_special_tokens": [{"content": "<|im_end|>"}]}, "$.additional_special_tokens"),
        ("tokenizer_config", {"extra_special_tokens": {"end_token": "<|im_end|>"}}, "$.extra_special_tokens"),
        ("tokenizer_config", {"extra_special_tokens": ["<|im_end|>"]}, "$.extra_special_tokens"),
        ("special_tokens_map", {"additional_special_tokens": ["<|im_end|>"]}, "$.additional_special_tokens"),
        ("added_tokens", {"<|im_start|>": 3, "<|im_end|>": 4}, None),
    ],
)
def test_a_token_that_is_listed_elsewhere_alone_is_refused(
    name: str, content: Any, path: str | None, tmp_path: Path
) -> None:
    (fault,) = faults(tmp_path, **{name: content})
    assert (fault.code, fault.path) == ("TOKENIZER_ADDED", path)
    assert fault.file is not None
    assert fault.file.endswith(f"{name}.json")
    assert "'<|im_end|>'" in fault.message


def test_a_word_of_the_vocabulary_is_not_yet_an_added_token(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, tokenizer_config=other({"content": "ab"}))
    assert fault.code == "TOKENIZER_ADDED"


def test_the_older_files_are_not_read_beside_the_newer_list(tmp_path: Path) -> None:
    older = {"special_tokens_map": {"additional_special_tokens": ["<x>"]}, "added_tokens": {"<y>": 4}}
    assert faults(tmp_path, tokenizer_config={"added_tokens_decoder": {"3": MARK}}, **older) == []


@pytest.mark.parametrize("token", [None, 7, "<x>", {}, {"content": ["<x>"]}, {"content": None}])
def test_no_list_is_a_traceback(token: Any, tmp_path: Path) -> None:
    odd = {"added_tokens_decoder": {"4": token}, "additional_special_tokens": {"a": token}}
    codes = {
        fault.code for fault in faults(tmp_path, {**DOCUMENT, "added_tokens": [token, MARK]}, tokenizer_config=odd)
    }
    assert codes <= {"TOKENIZER_ADDED"}
    assert faults(tmp_path, {**DOCUMENT, "added_tokens": token}, tokenizer_config={"added_tokens_decoder": token}) == []
