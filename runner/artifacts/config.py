"""Check a model's config.json: a known architecture, within bounds, and not saved in a quantised form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from runner.artifacts.config_keys import classes, value_faults
from runner.artifacts.json_files import read_object
from runner.artifacts.reading import shown
from runner.artifacts.tree import Tree
from runner.core.errors import Fault

# Architectures whose tensors are known here, name by name (`shapes.py`).
SHAPED: Mapping[str, Literal["causal", "encoder"]] = {
    "llama": "causal",
    "mistral": "causal",
    "qwen2": "causal",
    "qwen3": "causal",
    "bert": "encoder",
    "roberta": "encoder",
}
FILE = "config.json"
MAX_BYTES = 1 << 20
# Those of which the library says which tensors they have, once it is loaded. Each agrees with plain transformers in
# tests/models/local/test_architectures.py.
_BY_LIBRARY = (
    "apertus",
    "arcee",
    "bloom",
    "cohere",
    "cohere2",
    "deepseek_v2",
    "deepseek_v3",
    "ernie4_5",
    "exaone4",
    "falcon",
    "gemma",
    "gemma2",
    "gemma3_text",
    "glm",
    "glm4",
    "glm4_moe",
    "gpt2",
    "gpt_bigcode",
    "gpt_neo",
    "gpt_neox",
    "gpt_oss",
    "gptj",
    "granite",
    "granitemoe",
    "ministral3",
    "mixtral",
    "mpt",
    "nemotron",
    "olmo",
    "olmo2",
    "olmo3",
    "olmoe",
    "opt",
    "phi",
    "phi3",
    "phimoe",
    "qwen2_moe",
    "qwen3_moe",
    "seed_oss",
    "smollm3",
    "stablelm",
    "starcoder2",
)
FAMILIES: Mapping[str, Literal["causal", "encoder"]] = {**SHAPED, **dict.fromkeys(_BY_LIBRARY, "causal")}

# Well beyond the largest published models of these families, well below what would exhaust a machine before loading.
_BOUNDS: Mapping[str, int] = {
    "num_hidden_layers": 256,
    "hidden_size": 32_768,
    "intermediate_size": 262_144,
    "num_attention_heads": 512,
    "vocab_size": 1_048_576,
    "max_position_embeddings": 16_777_216,
}
_OPTIONAL_BOUNDS: Mapping[str, int] = {
    "num_key_value_heads": 512,
    "head_dim": 1024,
    "type_vocab_size": 1024,
    "num_local_experts": 4096,
    "num_experts": 4096,
    "moe_intermediate_size": 262_144,
    "shared_expert_intermediate_size": 262_144,
    "word_embed_proj_dim": 32_768,
}
_REQUIRED = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
_ALWAYS_STATED = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
# What older architectures call these.
_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "hidden_size": ("n_embd", "n_embed", "d_model"),
    "intermediate_size": ("n_inner", "ffn_dim"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads"),
    "max_position_embeddings": ("n_positions", "max_seq_len", "seq_length"),
}
# What the library assumes where config.json is silent.
_KEY_VALUE_HEADS = {"mistral": 8, "qwen2": 32, "qwen3": 32}
_HEAD_DIM = {"qwen3": 128}


@dataclass(frozen=True, slots=True)
class Config:
    """What is read from config.json."""

    model_type: str
    """Name of the architecture."""
    layers: int
    """Number of layers."""
    vocabulary: int
    """Size of the vocabulary, in tokens."""
    sizes: "Sizes | None"
    """Sizes of an architecture that is known tensor by tensor; None for any other."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The settings in config.json that decide the shapes of the tensors."""

    hidden: int
    """Width of the hidden states."""
    intermediate: int
    """Width of the feed-forward layers."""
    heads: int
    """Attention heads of a layer."""
    key_value_heads: int
    """Key and value heads of a layer."""
    head_dim: int
    """Width of an attention head."""
    positions: int
    """Number of position embeddings."""
    token_types: int
    """Number of token-type embeddings."""
    tied: bool
    """Whether the output head shares the weights of the input embeddings."""
    attention_bias: bool
    """Whether the attention projections have a bias."""
    mlp_bias: bool
    """Whether the feed-forward layers have a bias."""


def read_config(tree: Tree) -> tuple[list[Fault], Config | None]:
    """What config.json says, or its faults (rule 4).

    `FILE_MISSING`, `JSON_STRICT`, `CONFIG_FORBIDDEN`, `QUANTIZATION`, `MODEL_TYPE`, `CONFIG_BOUNDS`.
    """
    if not tree.holds("config.json"):
        hint = "Save the model with save_pretrained; an adapter alone is named under `adapter:`."
        return [Fault("FILE_MISSING", "There is no config.json.", file=tree.shown_path(""), hint=hint)], None
    faults, document = read_object(tree, FILE, MAX_BYTES)
    if document is None:
        return faults, None
    file = tree.shown_path("config.json")
    for key in ("quantization_config", "compression_config"):
        if document.get(key) is not None:
            message = "The weights are saved in a quantised form, which is not read."
            hint = "Submit them in full, and declare `quantization`: they are reduced when they are loaded."
            faults.append(Fault("QUANTIZATION", message, file=file, path=f"$.{key}", hint=hint))
    model_type = document.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        message = f"The architecture {shown(model_type)} is not supported; one of {', '.join(FAMILIES)} was expected."
        return [*faults, Fault("MODEL_TYPE", message, file=file, path="$.model_type")], None
    faults += _code_faults(model_type, document, file)
    bounds = _bounds_faults(document, file)
    bounded = {fault.path for fault in bounds}
    bounds += [fault for fault in value_faults(model_type, document, file) if fault.path not in bounded]
    if bounds:
        return faults + bounds, None
    return faults, _config(model_type, document)


def _code_faults(model_type: str, document: Mapping[str, Any], file: str) -> list[Fault]:
    """`CONFIG_FORBIDDEN` for a model that code of its own computes; that code is not run, whatever is named.

    Many repositories name code that has become the library's own: what is computed is then the same.
    """
    named = document.get("auto_map")
    if named is None:
        return []
    stated = named.get("AutoModelForCausalLM", named.get("AutoModel")) if isinstance(named, dict) else named
    own = classes(model_type)
    if stated is None or (isinstance(stated, str) and stated.rpartition(".")[2] in own):
        return []
    message = f"It is computed by {shown(stated)}, code of its own that is not run; {' or '.join(own)} was expected."
    hint = "Delete the key if the library's own class computes the same."
    return [Fault("CONFIG_FORBIDDEN", message, file=file, path="$.auto_map", hint=hint)]


def _bounds_faults(document: Mapping[str, Any], file: str) -> list[Fault]:
    faults = []
    shaped = document["model_type"] in SHAPED
    for key, limit in {**_BOUNDS, **_OPTIONAL_BOUNDS}.items():
        key = key if shaped else _name_in(document, key)
        value = document.get(key)
        required = key in _REQUIRED if shaped else key in _ALWAYS_STATED
        if value is None and not required:
            continue
        if type(value) is not int or not 1 <= value <= limit:
            message = f"It is {shown(value)}, a whole number from 1 to {limit:,} was expected."
            faults.append(Fault("CONFIG_BOUNDS", message, file=file, path=f"$.{key}"))
    if shaped and not faults:
        heads, hidden = document["num_attention_heads"], document["hidden_size"]
        shared = document.get("num_key_value_heads") or 1
        if heads % shared:
            message = f"{heads} heads cannot share {shared} keys and values evenly."
            faults.append(Fault("CONFIG_BOUNDS", message, file=file, path="$.num_key_value_heads"))
        if document.get("head_dim") is None and document["model_type"] not in _HEAD_DIM and hidden % heads:
            message = f"{heads} heads do not divide the hidden size {hidden}."
            faults.append(Fault("CONFIG_BOUNDS", message, file=file, path="$.num_attention_heads"))
    return faults


def _name_in(document: Mapping[str, Any], key: str) -> str:
    """The name under which `document` has what is usually called `key`."""
    return next((name for name in (key, *_OTHER_NAMES.get(key, ())) if document.get(name) is not None), key)


def _config(model_type: str, document: Mapping[str, Any]) -> Config:
    return Config(
        model_type=model_type,
        layers=document[_name_in(document, "num_hidden_layers")],
        vocabulary=document["vocab_size"],
        sizes=_sizes(model_type, document) if model_type in SHAPED else None,
    )


def _sizes(model_type: str, document: Mapping[str, Any]) -> Sizes:
    heads: int = document["num_attention_heads"]
    return Sizes(
        hidden=document["hidden_size"],
        intermediate=document["intermediate_size"],
        heads=heads,
        key_value_heads=document.get("num_key_value_heads") or _KEY_VALUE_HEADS.get(model_type, heads),
        head_dim=document.get("head_dim") or _HEAD_DIM.get(model_type, document["hidden_size"] // heads),
        positions=document.get("max_position_embeddings") or 512,
        token_types=document.get("type_vocab_size") or 2,
        tied=document.get("tie_word_embeddings", FAMILIES[model_type] == "encoder") is True,
        attention_bias=document.get("attention_bias") is True,
        mlp_bias=document.get("mlp_bias") is True,
    )
