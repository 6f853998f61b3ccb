"""The tokenizer that runs is the file that was checked, whatever class its settings name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.pre_tokenizers import ByteLevel

from runner.models.local.tokenizer import load_tokenizer
from runner.models.tokenization import encode_all
from tests.support import tiny_models

TEXT = "In 2023 my 2 friends left\n\nat 17:45, naïvely."
# Classes that `AutoTokenizer` of transformers 5 builds anew out of a vocabulary; without one it asks config.json.
CLASSES = ("LlamaTokenizer", "CodeLlamaTokenizer", "GPT2Tokenizer", "Qwen2Tokenizer", "TokenizersBackend", None)


def unigram() -> Tokenizer:
    """SentencePiece's other kind of model: the likeliest pieces, not merges."""
    pieces = [("<unk>", 0.0), ("▁", -4.0), *((letter, -6.0) for letter in sorted(set(TEXT) - {" "}))]
    pieces += [("▁friends", -3.0), ("▁my", -2.0), ("friends", -5.0), ("ends", -3.0), ("▁fri", -4.5)]
    made = Tokenizer(models.Unigram(pieces, unk_id=0))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    return made


def without_prefix() -> Tokenizer:
    """Metaspace that puts no ▁ before a text, as Llama's tokenizers saved with `legacy: false` have it."""
    letters = {piece: number for number, piece in enumerate(["<unk>", "▁", *sorted(set(TEXT) - {" "}), "▁m", "▁my"])}
    made = Tokenizer(models.BPE(letters, [("▁", "m"), ("▁m", "y")], unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    made.decoder = decoders.Metaspace(prepend_scheme="never", split=False)
    return made


def single_digits() -> Tokenizer:
    """Bytes with every digit by itself, as SmolLM2 reads them, though merges of digits are there."""
    alphabet = ByteLevel.alphabet()
    vocabulary = {piece: number for number, piece in enumerate([*sorted(alphabet), "20", "23", "17"])}
    made = Tokenizer(models.BPE(vocabulary, [("2", "0"), ("2", "3"), ("1", "7")]))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), ByteLevel(False)])
    made.decoder = decoders.ByteLevel()
    return made


def composed() -> Tokenizer:
    """A normaliser that takes letters apart, and a step after the model that puts a token before a text."""
    made = Tokenizer(models.WordLevel({"<s>": 0, "i": 1, "¨": 2, "<unk>": 3, "na": 4}, unk_token="<unk>"))
    made.normalizer = normalizers.NFKD()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return made


KINDS = {"unigram": unigram, "without prefix": without_prefix, "single digits": single_digits, "composed": composed}


def saved(folder: Path, made: Tokenizer, tokenizer_class: str | None, **settings: Any) -> Path:
    made.save(str(folder / "tokenizer.json"))
    settings |= {"tokenizer_class": tokenizer_class} if tokenizer_class else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama" if tokenizer_class else "qwen2"}))
    return folder


@pytest.mark.parametrize("tokenizer_class", CLASSES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_file_runs_whatever_class_is_named(kind: str, tokenizer_class: str | None, tmp_path: Path) -> None:
    made = KINDS[kind]()
    found = load_tokenizer(saved(tmp_path, made, tokenizer_class, add_prefix_space=True, legacy=True))
    assert found(TEXT)["input_ids"] == made.encode(TEXT).ids
    assert json.loads(found.backend_tokenizer.to_str()) == json.loads((tmp_path / "tokenizer.json").read_text())


def test_right_values(tmp_path: Path) -> None:
    def pieces(made: Tokenizer, text: str) -> list[str]:
        found = load_tokenizer(saved(tmp_path, made, "LlamaTokenizer"))
        return list(found.convert_ids_to_tokens(found(text)["input_ids"]))

    assert pieces(unigram(), "my friends") == ["▁my", "▁friends"]
    assert pieces(without_prefix(), "my my") == ["m", "y", "▁my"]
    assert pieces(single_digits(), "in 2023") == ["i", "n", "Ġ", "2", "0", "2", "3"]


def test_special_tokens_come_from_the_settings(tmp_path: Path) -> None:
    made = single_digits()
    made.add_special_tokens(["<s>", "</s>"])
    folder = saved(tmp_path, made, "LlamaTokenizer", bos_token={"content": "<s>", "lstrip": True}, pad_token="[PAD]")
    (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": "</s>"}))
    found = load_tokenizer(folder)
    assert (found.bos_token_id, found.eos_token_id) == (made.token_to_id("<s>"), made.token_to_id("</s>"))
    assert found.pad_token is None  # tokenizer.json does not know it: no token is made up for it
    assert len(found) == made.get_vocab_size()
    settings = {"bos_token": "<s>", "added_tokens_decoder": {}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert load_tokenizer(folder).eos_token is None  # as transformers has it: the older file is not read then


def with_end() -> Tokenizer:
    """Bytes, and `<end>` in the vocabulary, which no merge makes and no added token is."""
    vocabulary = {piece: number for number, piece in enumerate([*sorted(ByteLevel.alphabet()), "<end>"])}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = ByteLevel(False)
    made.decoder = decoders.ByteLevel()
    return made


_LSTRIP = {"content": "<end>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}


@pytest.mark.parametrize(
    ("file", "named", "expected"),
    [
        ("tokenizer_config", "<end>", ["Ġ", "<end>", "a", "<end>", "Ċ", "Ġ", "<end>"]),
        ("tokenizer_config", {"__type": "AddedToken", **_LSTRIP}, ["<end>", "a", "<end>", "<end>"]),
        ("special_tokens_map", _LSTRIP, ["<end>", "a", "<end>", "<end>"]),
    ],
)
def test_a_token_that_is_named_and_in_the_vocabulary_alone_is_read_as_one(
    file: str, named: Any, expected: list[str], tmp_path: Path
) -> None:
    """The expected tokens are those of transformers 4.57.6 (`PreTrainedTokenizerFast`) for these three folders."""
    folder = saved(tmp_path, with_end(), "PreTrainedTokenizerFast")
    settings = json.loads((folder / f"{file}.json").read_bytes()) if file == "tokenizer_config" else {}
    (folder / f"{file}.json").write_text(json.dumps({**settings, "eos_token": named}))
    found = load_tokenizer(folder)
    assert found.convert_ids_to_tokens(found(" <end>a<end>\n <end>")["input_ids"]) == expected
    assert found.eos_token_id == 256
    assert len(found) == 257


def test_an_item_does_not_bring_a_token_that_is_named_alone(tmp_path: Path) -> None:
    template = "{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}"
    folder = saved(tmp_path, with_end(), None, eos_token="<end>", chat_template=template)
    prompt = replace(tiny_models.prompt(), template="$text", values={"text": "a <end>"}, cue_chat="")
    (encoded,) = encode_all([prompt], load_tokenizer(folder), "chat", 100)
    assert encoded.prefix.tolist().count(256) == 1
    assert encoded.prefix.tolist()[-1] == 256


def test_an_added_token_is_as_the_file_has_it(tmp_path: Path) -> None:
    made = single_digits()
    made.add_tokens([AddedToken("2023", normalized=False)])
    listed = {str(made.token_to_id("2023")): {"content": "2023", "special": True, "single_word": True}}
    found = load_tokenizer(saved(tmp_path, made, "GPT2Tokenizer", added_tokens_decoder=listed))
    (token,) = found.added_tokens_decoder.values()
    assert (token.special, token.single_word) == (False, False)


def test_the_template_lies_in_the_settings_or_beside_them(tmp_path: Path) -> None:
    folder = saved(tmp_path, single_digits(), None, chat_template=tiny_models.LINES)
    assert load_tokenizer(folder).get_chat_template() == tiny_models.LINES
    named = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]
    saved(tmp_path, single_digits(), None, chat_template=named)
    assert load_tokenizer(folder).get_chat_template() == "a"
    (folder / "chat_template.jinja").write_text("{{ 'é' }}", encoding="utf-8")
    assert load_tokenizer(folder).get_chat_template() == "{{ 'é' }}"
