"""Families of models that teams submit, each as a folder like its download: the true vocabulary or template where a
package has one, the files that lie beside the model on the Hub (their contents small), small random weights."""

import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from support import architectures, real_models, tiny_encoders, tiny_models
from tokenizers import models
from transformers import PreTrainedTokenizerFast

MADE = "made here"
_USUAL = (".gitattributes", "README.md", "generation_config.json", "special_tokens_map.json")
_LLAMA = (*_USUAL, "LICENSE", "USE_POLICY.md", "original/params.json", "original/tokenizer.model")
_LLAMA = (*_LLAMA, "original/consolidated.00.pth")
_MISTRAL = (*_USUAL, "params.json", "consolidated.safetensors", "tokenizer.model", "tokenizer.model.v3")
_TRAINED = (*_USUAL, "all_results.json", "train_results.json", "eval_results.json", "trainer_state.json")
_TRAINED = (*_TRAINED, "training_args.bin", "added_tokens.json", "tokenizer.model", "thumbnail.png")
_TRAINED = (*_TRAINED, "runs/Oct25_10-23/events.out.tfevents.1", "model.safetensors.index.json.bak")
_QWEN = (*_USUAL, "LICENSE", "merges.txt", "vocab.json")
_PHI = (*_USUAL, "LICENSE", "CODE_OF_CONDUCT.md", "SECURITY.md", "NOTICE.md", "added_tokens.json")
_PHI = (*_PHI, "configuration_phi3.py", "modeling_phi3.py", "sample_finetune.py", "tokenizer.model")
_GPT2 = (*_USUAL[:3], "merges.txt", "vocab.json", "64.tflite", "flax_model.msgpack", "pytorch_model.bin", "tf_model.h5")
_GPT2 = (*_GPT2, "rust_model.ot", "onnx/config.json", "onnx/decoder_model.onnx")
_ENCODER = (*_USUAL[:2], "vocab.txt", "LICENSE", "flax_model.msgpack", "model.onnx", "tf_model.h5", "rust_model.ot")
_ENCODER = (*_ENCODER, "pytorch_model.bin", "coreml/fill-mask/float32_model.mlpackage/Manifest.json")


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the table."""

    name: str
    """The repository on the Hub."""
    form: str
    """One of `architectures.FORMS`, or an architecture of `tiny_models` or `tiny_encoders`."""
    vocabulary: str
    """One of `real_models.TOKENIZERS`, or `MADE`."""
    template: str | None
    """A template of llama.cpp, `package` for the vocabulary's own, or the text of one; None where there is none."""
    files: tuple[str, ...] = _USUAL
    special: tuple[str, ...] = ()
    """Tokens of the template, for a vocabulary that is made here; the first is the BOS, the second the EOS."""
    pieces: bool = False
    """Whether a vocabulary that is made here is one of SentencePiece, not of bytes."""
    config: str | None = None
    """Keys that the config.json of the download has beside the library's, as JSON."""
    arguments: str | None = None
    """Template arguments of the submission, as JSON."""

    @property
    def is_encoder(self) -> bool:
        return self.form in ("bert", "roberta")


_HEADERS = ("<|begin_of_text|>", "<|eot_id|>")
_ZEPHYR = tiny_models.LINES
_INST = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ ' [INST] ' + message['content'] + ' [/INST]' }}{% else %}"
    "{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
_NO_THINKING = '{"enable_thinking": false}'
_PHI_CONFIG = json.dumps(
    {
        "auto_map": {
            "AutoConfig": "configuration_phi3.Phi3Config",
            "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
        }
    }
)

FAMILIES: Sequence[Family] = (
    Family("meta-llama/Llama-3.1-8B-Instruct", "llama", "llama3.1", "meta-llama-Llama-3.1-8B-Instruct", _LLAMA),
    Family("meta-llama/Llama-3.1-8B", "llama", "llama3.1", None, _LLAMA),
    Family("HuggingFaceH4/zephyr-7b-beta", "mistral", "mistral-v1", _ZEPHYR, _TRAINED),
    Family("mistralai/Mistral-7B-Instruct-v0.3", "mistral", "mistral-v3", _INST, _MISTRAL),
    Family("google-bert/bert-large-uncased", "bert", MADE, None, _ENCODER),
    Family("FacebookAI/roberta-large", "roberta", MADE, None, (*_ENCODER[:2], "merges.txt", "dict.txt")),
    Family("meta-llama/Meta-Llama-3-8B-Instruct", "llama", "llama3", "package", _LLAMA),
    Family("meta-llama/Llama-3.2-3B-Instruct", "llama", "llama3.1", "meta-llama-Llama-3.2-3B-Instruct", _LLAMA),
    Family("meta-llama/Llama-3.3-70B-Instruct", "llama", "llama3.1", "meta-llama-Llama-3.3-70B-Instruct", _LLAMA),
    Family("meetkai/functionary-medium-v3.1", "llama", "llama3.1", "meetkai-functionary-medium-v3.1"),
    Family("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "llama", "llama3.1", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B"),
    Family("HuggingFaceTB/SmolLM2-135M-Instruct", "llama", "smollm2", "package", (*_USUAL, "merges.txt", "vocab.json")),
    Family("HuggingFaceTB/SmolLM3-3B", "smollm3", "llama3.1", "HuggingFaceTB-SmolLM3-3B", arguments=_NO_THINKING),
    Family("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral", "mistral-v1", _INST, _MISTRAL),
    Family(
        "mistralai/Mistral-Nemo-Instruct-2407",
        "mistral",
        "mistral-nemo",
        "mistralai-Mistral-Nemo-Instruct-2407",
        _MISTRAL,
    ),
    Family("Qwen/Qwen2.5-7B-Instruct", "qwen2", "qwen3", "Qwen-Qwen2.5-7B-Instruct", _QWEN),
    Family("Qwen/Qwen3-8B", "qwen3", "qwen3", "package", _QWEN, arguments=_NO_THINKING),
    Family(
        "Qwen/Qwen3-Coder-30B-A3B-Instruct",
        "qwen3_moe",
        "qwen3",
        "Qwen3-Coder",
        (*_QWEN, "chat_template.jinja.md", "qwen3coder_tool_parser.py"),
    ),
    Family("Qwen/QwQ-32B", "qwen2", "qwen3", "Qwen-QwQ-32B", (*_QWEN, "figures/benchmark.jpg")),
    Family("google/gemma-2-2b-it", "gemma2", "gemma2", "google-gemma-2-2b-it", (*_USUAL, "tokenizer.model")),
    Family("google/gemma-3-1b-it", "gemma3", "gemma3", "package", (*_USUAL, "tokenizer.model", "added_tokens.json")),
    Family("openai-community/gpt2", "gpt2", "gpt2", None, _GPT2),
    Family(
        "microsoft/Phi-3.5-mini-instruct",
        "phi3",
        MADE,
        "microsoft-Phi-3.5-mini-instruct",
        _PHI,
        ("<s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"),
        True,
        _PHI_CONFIG,
    ),
    Family(
        "ibm-granite/granite-3.3-2b-instruct",
        "granite",
        MADE,
        "ibm-granite-granite-3.3-2B-Instruct",
        (*_USUAL, "merges.txt", "vocab.json"),
        ("<|end_of_text|>", "<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
    ),
    Family(
        "CohereLabs/c4ai-command-r7b-12-2024",
        "cohere2",
        MADE,
        "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
        _USUAL,
        (
            "<BOS_TOKEN>",
            "<|END_OF_TURN_TOKEN|>",
            "<|START_OF_TURN_TOKEN|>",
            "<|USER_TOKEN|>",
            "<|CHATBOT_TOKEN|>",
            "<|SYSTEM_TOKEN|>",
            "<|START_RESPONSE|>",
            "<|END_RESPONSE|>",
        ),
    ),
    Family(
        "swiss-ai/Apertus-8B-Instruct-2509",
        "apertus",
        MADE,
        "Apertus-8B-Instruct",
        _USUAL,
        (
            "<s>",
            "<|assistant_end|>",
            "<|system_start|>",
            "<|system_end|>",
            "<|developer_start|>",
            "<|developer_end|>",
            "<|user_start|>",
            "<|user_end|>",
            "<|assistant_start|>",
        ),
    ),
    Family(
        "ByteDance-Seed/Seed-OSS-36B-Instruct",
        "seed_oss",
        MADE,
        "ByteDance-Seed-OSS",
        (*_USUAL, "thinking_budget.png"),
        ("<seed:bos>", "<seed:eos>", "<seed:think>", "</seed:think>"),
    ),
    Family(
        "zai-org/GLM-4.6",
        "glm4_moe",
        MADE,
        "GLM-4.6",
        _USUAL,
        (
            "<|endoftext|>",
            "<|endoftext|>",
            "[gMASK]",
            "<sop>",
            "<|user|>",
            "<|assistant|>",
            "<|system|>",
            "<think>",
            "</think>",
        ),
        arguments=_NO_THINKING,
    ),
    Family(
        "deepseek-ai/DeepSeek-V3.1",
        "deepseek_v3",
        MADE,
        "deepseek-ai-DeepSeek-V3.1",
        _USUAL,
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"),
        arguments='{"thinking": false}',
    ),
    Family(
        "openai/gpt-oss-120b",
        "gpt_oss",
        MADE,
        "openai-gpt-oss-120b",
        (*_USUAL, "original/config.json", "metal/model.bin"),
        ("<|startoftext|>", "<|return|>", "<|start|>", "<|end|>", "<|message|>", "<|channel|>"),
    ),
)


def write_folder(family: Family, folder: Path, *, beside: bool = True) -> Path:
    """Write a family's folder and its submission.yaml beside it, which is given back; or skip where a package lacks.

    `beside`: with the files that lie beside the model on the Hub, and what its config.json has beside the library's.
    """
    model_folder = folder / "model"
    model_folder.mkdir(parents=True)
    tokenizer_size = write_tokenizer(family, model_folder)
    _made(family, tokenizer_size).save_pretrained(model_folder)
    config = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    config |= json.loads(family.config or "{}") if beside else {}
    (model_folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    for name in family.files if beside else ():
        file = model_folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            _write_beside(file)
    return write_submission(family, folder, "plain")


def write_submission(family: Family, folder: Path, form: str, adapter: bool = False) -> Path:
    """Write submission.yaml for one way of asking; JSON is YAML."""
    model: dict[str, Any] = {
        "backend": "encoder" if family.is_encoder else "causal",
        "path": "model",
        "dtype": "float32",
    }
    if family.is_encoder:
        model["head"] = {"task": "dilemmas", "kind": "ranking", "max_tokens": 92}
    else:
        model["format"] = form
        if family.arguments and form == "chat":
            model["template_arguments"] = json.loads(family.arguments)
    document = {"schema_version": "1", "name": "family", "description": family.name, "model": model}
    if adapter:
        document["adapter"] = {"path": "adapter"}
    file = folder / "submission.yaml"
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def _made(family: Family, vocabulary: int) -> Any:
    if family.is_encoder:
        return tiny_encoders.model(family.form, "ranking", vocabulary)
    length = {"max_seq_len": 8192} if family.form == "mpt" else {"max_position_embeddings": 8192}
    if family.form in architectures.FORMS:
        return architectures.model(family.form, vocabulary, **length)
    return tiny_models.model(family.form, vocabulary, **length)


def write_tokenizer(family: Family, folder: Path) -> int:
    """Write the tokenizer's files with the family's template; how many tokens the model needs."""
    if family.vocabulary != MADE:
        real_models.write_tokenizer(family.vocabulary, folder)
    elif family.is_encoder:
        _encoder_tokenizer(family.form).save_pretrained(folder)
    else:
        _made_tokenizer(family).save_pretrained(folder)
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        # As on the Hub: version 4 does not know the new names.
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens", [])
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    if family.template != "package" and not family.is_encoder:
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        settings.pop("chat_template", None)
        if family.template is not None:
            own = "{" in family.template
            settings["chat_template"] = family.template if own else real_models.templates()[family.template]
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    known = document["model"]["vocab"]
    highest = max(known.values()) if isinstance(known, dict) else len(known) - 1
    return 1 + max([highest, *(token["id"] for token in document["added_tokens"])])


def _encoder_tokenizer(form: str) -> PreTrainedTokenizerFast:
    """That of the tests; a WordPiece one with every usual letter besides, at the beginning of a word and within."""
    tokenizer = tiny_encoders.tokenizer(form)
    if form == "bert":
        known = tokenizer.get_vocab()
        letters = [letter for letter in string.printable + "’‘“”–—…éèüöäñç" if not letter.isspace()]
        new = [piece for letter in letters for piece in (letter, f"##{letter}") if piece not in known]
        words = {**known, **{piece: len(known) + number for number, piece in enumerate(new)}}
        tokenizer.backend_tokenizer.model = models.WordPiece(words, unk_token="[UNK]")
    return tokenizer


def _made_tokenizer(family: Family) -> PreTrainedTokenizerFast:
    tokenizer = (
        tiny_models.piece_tokenizer(template=None)
        if family.pieces
        else tiny_models.byte_tokenizer(bos=False, template=None)
    )
    tokenizer.add_special_tokens(
        {
            "bos_token": family.special[0],
            "eos_token": family.special[1],
            "additional_special_tokens": list(family.special[2:]),
        }
    )
    return tokenizer


def _write_beside(file: Path) -> None:
    """A small file of the kind that its name says."""
    if file.suffix == ".json":
        file.write_text("{}", encoding="utf-8")
    elif file.suffix == ".safetensors":
        save_file({"tok_embeddings.weight": torch.zeros(4, 4)}, file)
    elif file.suffix == ".py":
        file.write_text("raise SystemExit('this code is not to be run')\n", encoding="utf-8")
    elif file.suffix in (".md", ".txt", ".jinja") or file.name.startswith("."):
        file.write_text("Some text.\n", encoding="utf-8")
    else:
        file.write_bytes(b"\x80\x02some bytes")
