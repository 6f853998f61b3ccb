"""Make every hostile folder of the static rules from small seeded models: `python make_hostile.py OUT`.

What only shows when a model is loaded or asked (`DYNAMIC`) is done to a sound submission that the caller makes.

Links, FIFOs, sparse files and broken headers cannot sensibly be kept in a repository, so they are made. Nothing here
uses the code under test, nor torch: a safetensors file is eight bytes, a JSON header and numbers.
"""

import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED = 241007826
WORDS = ["the", "author", "of", "this", "story", "did", "something", "wrong", "right"]
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
    "dtype": "float32",
}
LAYER = {
    "input_layernorm": [32],
    "self_attn.q_proj": [32, 32],
    "self_attn.k_proj": [32, 32],
    "self_attn.v_proj": [32, 32],
    "self_attn.o_proj": [32, 32],
    "post_attention_layernorm": [32],
    "mlp.gate_proj": [64, 32],
    "mlp.up_proj": [64, 32],
    "mlp.down_proj": [32, 64],
}
SHAPES: dict[str, list[int]] = {
    "model.embed_tokens.weight": [64, 32],
    **{f"model.layers.0.{part}.weight": shape for part, shape in LAYER.items()},
    "model.norm.weight": [32],
    "lm_head.weight": [64, 32],
}
TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "post_processor": None,
    "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "model": {"type": "BPE", "dropout": None, "vocab": {word: n for n, word in enumerate(WORDS)}, "merges": []},
}
ADAPTER: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "example/base",
    "inference_mode": True,
    "r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "target_modules": ["q_proj", "v_proj"],
    "bias": "none",
    "modules_to_save": None,
}
LORA: dict[str, list[int]] = {
    f"base_model.model.model.layers.0.self_attn.{letter}_proj.lora_{side}.weight": shape
    for letter in "qv"
    for side, shape in {"A": [4, 32], "B": [32, 4]}.items()
}
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


# --- what is sound -------------------------------------------------------------------------------------------------


def header_of(shapes: dict[str, list[int]], dtype: str = "F32", width: int = 4) -> dict[str, Any]:
    """A safetensors header for tensors that follow each other in the order given."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, shape in shapes.items():
        end = position + width
        for length in shape:
            end = position + (end - position) * length
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    return header


def data_bytes(header: dict[str, Any]) -> int:
    return max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)


def write_raw(path: Path, header: bytes, data: bytes, claimed: int | None = None) -> None:
    path.write_bytes((len(header) if claimed is None else claimed).to_bytes(8, "little") + header + data)


def write_tensors(path: Path, shapes: dict[str, list[int]]) -> None:
    """A safetensors file of small seeded numbers."""
    header = header_of(shapes)
    # Four bytes below 0x3f make a float32 between 0 and 0.5.
    small = bytes(byte % 0x3F for byte in range(256))
    data = random.Random(SEED).randbytes(data_bytes(header)).translate(small)
    write_raw(path, json.dumps(header).encode(), data)


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


def make_model(folder: Path) -> None:
    """A sound model: a Llama of one layer with a byte-level tokenizer and a chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "tokenizer.json", TOKENIZER)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    write_tensors(folder / "model.safetensors", SHAPES)


def make_adapter(folder: Path) -> None:
    """A sound LoRA adapter for that model."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "adapter_config.json", ADAPTER)
    write_tensors(folder / "adapter_model.safetensors", LORA)


def make_shards(folder: Path) -> dict[str, str]:
    """Split the weights of a sound model in two, with an index; returns its weight map."""
    (folder / "model.safetensors").unlink()
    names = list(SHAPES)
    shards = {"model-00001-of-00002.safetensors": names[:6], "model-00002-of-00002.safetensors": names[6:]}
    for file, held in shards.items():
        write_tensors(folder / file, {name: SHAPES[name] for name in held})
    weight_map = {name: file for file, held in shards.items() for name in held}
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    return weight_map


# --- what is done to it --------------------------------------------------------------------------------------------

Make = Callable[[Path], None]


@dataclass(frozen=True)
class Attack:
    """One way to do harm: `make` spoils a sound folder; `codes` are all the faults that must be found, and no other.

    `kind` is what the folder is checked as: a model, an adapter, or (`pinned`, `edited`) against a digest or a manifest
    taken before. Of the dynamic ones it is how the model is asked, `plain` or `chat`, or `lora` with an adapter.
    `stage` is where it is stopped: `files` before any library opens one, `load`, `plan` when prompts are read,
    `predict`, `check` when all prompts are answered, or `after` it; `never` where nothing is stopped, since nothing of
    it is loaded.
    """

    name: str
    codes: tuple[str, ...]
    rule: str
    what: str
    make: Make
    kind: str = "model"
    stage: str = "files"


# Under which names what is tried is known, as public threads report them; the database of CVEs was not consulted.
KNOWN = {
    "st/index-dotdot": "huggingface/transformers#46097, #47176",
    "tree/adapter-bin": "CVE-2025-32434, CVE-2026-24747",
    "tree/pickle": "CVE-2025-32434, CVE-2026-24747",
    "tree/rng-state": "CVE-2026-1839",
    "json/attn-internal": "CVE-2026-4372",
    "json/lightglue": "CVE-2026-5241",
    "json/vocab-file-path": "huggingface/transformers#46279",
    "tree/template-folder": "CVE-2026-9856",
    "tok/template-name": "CVE-2026-9856",
    "adapter/megatron": "huggingface/peft#3085",
    "adapter/tokenizer-kwargs": "huggingface/peft#2888",
    "tok/globals": "CVE-2024-34359, CVE-2026-5760",
    "tok/str-format": "CVE-2024-56326, CVE-2024-56201",
    "yaml/alias-bomb": "yaml/pyyaml#235",
    "load/zero-adapter": "oumi-ai/oumi#389",
}


def edit(name: str, change: Callable[[dict[str, Any]], Any]) -> Make:
    """Change a JSON file in place."""

    def make(folder: Path) -> None:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
        change(value)
        write_json(folder / name, value)

    return make


def setting(name: str, **values: Any) -> Make:
    return edit(name, lambda document: document.update(values))


def section(**values: Any) -> Make:
    return setting("tokenizer.json", **values)


def replace(name: str, old: str, new: str) -> Make:
    def make(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return make


def put(name: str, data: bytes = b"spoilt") -> Make:
    return lambda folder: folder.joinpath(name).write_bytes(data) and None


def header(change: Callable[[dict[str, Any]], Any], more: bytes = b"", name: str = "model.safetensors") -> Make:
    """Rewrite the header of a safetensors file, keep its data, append `more`."""

    def make(folder: Path) -> None:
        raw = (folder / name).read_bytes()
        length = int.from_bytes(raw[:8], "little")
        document = json.loads(raw[8 : 8 + length])
        change(document)
        write_raw(folder / name, json.dumps(document).encode(), raw[8 + length :] + more)

    return make


def entry(tensor: str, **values: Any) -> Make:
    return header(lambda document: document[tensor].update(values))


def index(change: Callable[[dict[str, str]], Any]) -> Make:
    def make(folder: Path) -> None:
        weight_map = make_shards(folder)
        change(weight_map)
        write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})

    return make


def lora(change: Callable[[dict[str, list[int]]], Any], **settings: Any) -> Make:
    """Other tensors in the adapter's file, and other settings."""

    def make(folder: Path) -> None:
        shapes = {name: list(shape) for name, shape in LORA.items()}
        change(shapes)
        write_tensors(folder / "adapter_model.safetensors", shapes)
        write_json(folder / "adapter_config.json", {**ADAPTER, **settings})

    return make


def symlink(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    (folder / "model.safetensors").symlink_to("../elsewhere.safetensors")


def hardlink(folder: Path) -> None:
    (folder.parent / "elsewhere.json").hardlink_to(folder / "config.json")


def fifo(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    os.mkfifo(folder / "chat_template.jinja")


def many(folder: Path) -> None:
    for number in range(5000):
        (folder / f"model-{number:05}.safetensors").touch()


def same_name(first: str, second: str) -> Make:
    def make(folder: Path) -> None:
        weight_map = make_shards(folder)
        for old, new in (("model-00001-of-00002", first), ("model-00002-of-00002", second)):
            (folder / f"{old}.safetensors").rename(folder / f"{new}.safetensors")
            weight_map = {name: file.replace(old, new) for name, file in weight_map.items()}
        write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})

    return make


def unreadable(folder: Path) -> None:
    (folder / "config.json").chmod(0o600 if os.geteuid() == 0 else 0o000)


def duplicate_tensor(folder: Path) -> None:
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    document = raw[8 : 8 + length]
    again = json.dumps({"model.norm.weight": json.loads(document)["model.norm.weight"]}).encode()
    write_raw(path, document[:-1] + b", " + again[1:], raw[8 + length :])


def claims(length: int, real: int = 0) -> Make:
    """A header length that the file does not have, or (with `real`) does have, as a hole on the disk."""

    def make(folder: Path) -> None:
        write_raw(folder / "model.safetensors", b"{}", b"\0" * 64, claimed=length)
        if real:
            os.truncate(folder / "model.safetensors", real)

    return make


def crowd(folder: Path) -> None:
    names = {f"t{number}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for number in range(60_000)}
    write_raw(folder / "model.safetensors", json.dumps(names).encode(), b"")


def without(tensor: str) -> Make:
    return lambda folder: write_tensors(
        folder / "model.safetensors", {name: shape for name, shape in SHAPES.items() if name != tensor}
    )


def extra_tensor(name: str, shape: list[int]) -> Make:
    return lambda folder: write_tensors(folder / "model.safetensors", {**SHAPES, name: shape})


def zero_adapter(folder: Path) -> None:
    header = header_of(LORA)
    write_raw(folder / "adapter_model.safetensors", json.dumps(header).encode(), b"\0" * data_bytes(header))


def adapter_only(folder: Path) -> None:
    shutil.rmtree(folder)
    make_adapter(folder)


def with_adapter(folder: Path) -> None:
    make_adapter(folder)


def flip(folder: Path) -> None:
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))


def other_weights(folder: Path) -> None:
    (folder / ".cache").mkdir()
    shutil.copy(folder / "model.safetensors", folder / ".cache" / "other.safetensors")
    setting("config.json", transformers_weights=".cache/other.safetensors")(folder)


def spoilt_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"spoilt")


def leftovers(folder: Path) -> None:
    spoilt_files(
        folder, "original/consolidated.00.pth", "runs/events.out", "onnx/model.onnx", "checkpoint-5/optimizer.pt"
    )
    spoilt_files(folder, "params.json", "trainer_state.json", "all_results.json", ".gitattributes", ".DS_Store")
    (folder / "consolidated.safetensors").symlink_to("/etc/passwd")


def adapter_leftovers(folder: Path) -> None:
    spoilt_files(
        folder, "training_args.bin", "optimizer.pt", "tokenizer.json", "config.json", "checkpoint-5/scheduler.pt"
    )


SPLIT = {"type": "Split", "pattern": {"String": "wrong"}, "behavior": "Isolated", "invert": False}
TEMPLATE_STEP = {"type": "TemplateProcessing", "pair": [], "special_tokens": {}}
ONE = {"Sequence": {"id": "A", "type_id": 0}}

ATTACKS = (
    # 2 Tree
    Attack("tree/symlink", ("FILE_NOT_REGULAR",), "2", "Weights are a symbolic link to a file elsewhere", symlink),
    Attack("tree/hardlink", ("FILE_NOT_REGULAR",), "2", "A file has a second name outside the folder", hardlink),
    Attack("tree/fifo", ("FILE_NOT_REGULAR",), "2", "A FIFO in place of a file: reading never ends", fifo),
    Attack("tree/many", ("TREE_LIMIT",), "2", "Five thousand files", many),
    Attack("tree/case", ("NAME_COLLISION",), "2", "Two shards whose names differ in case", same_name("a", "A")),
    Attack("tree/nfc", ("NAME_COLLISION",), "2", "Two spellings of one é", same_name("\u00e9", "e\u0301")),
    Attack("tree/mode-0600", ("FILE_UNREADABLE",), "2", "A file that the running user may not read", unreadable),
    # 3 Bytes
    Attack("bind/wrong-digest", ("DIGEST_MISMATCH",), "3", "Weights differ from the pinned digest", flip, "pinned"),
    Attack(
        "bind/edited-after-hash",
        ("BYTES_CHANGED",),
        "3",
        "Weights are edited after being hashed",
        flip,
        "edited",
        stage="after",
    ),
    # 4 JSON
    Attack(
        "json/duplicate",
        ("JSON_STRICT",),
        "4",
        "A key given twice, the second of which counts for some readers",
        replace("config.json", "{", '{"hidden_size": 64,'),
    ),
    Attack("json/nan", ("JSON_STRICT",), "4", "NaN as a number", setting("config.json", rms_norm_eps=float("nan"))),
    Attack("json/deep", ("JSON_STRICT",), "4", "Five thousand brackets", put("config.json", b"[" * 5000 + b"]" * 5000)),
    Attack("json/large", ("JSON_STRICT",), "4", "A config.json of two megabytes", put("config.json", b" " * (2 << 20))),
    Attack("json/list", ("JSON_STRICT",), "4", "A list in place of an object", put("tokenizer_config.json", b"[]")),
    Attack(
        "json/unknown-type", ("MODEL_TYPE",), "4", "An unknown architecture", setting("config.json", model_type="x")
    ),
    Attack(
        "json/lightglue",
        ("MODEL_TYPE",),
        "4",
        "A known architecture that switches `trust_remote_code` on by itself",
        setting("config.json", model_type="lightglue", trust_remote_code=True),
    ),
    Attack(
        "json/auto-map",
        ("CONFIG_FORBIDDEN",),
        "4",
        "`auto_map`: code from the model's repository",
        setting("config.json", auto_map={"AutoModelForCausalLM": "modeling.Evil"}),
    ),
    Attack(
        "json/quantized",
        ("QUANTIZATION",),
        "4",
        "Weights saved in a quantised form",
        setting("config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}),
    ),
    Attack(
        "json/million-layers",
        ("CONFIG_BOUNDS",),
        "4",
        "A million layers, built before weights are looked at",
        setting("config.json", num_hidden_layers=1_000_000),
    ),
    Attack(
        "json/billion-labels",
        ("CONFIG_BOUNDS",),
        "4",
        "`num_labels: 1e9`: names for a billion labels are made before weights are looked at",
        setting("config.json", num_labels=10**9),
    ),
    Attack(
        "json/wrong-type",
        ("CONFIG_BOUNDS",),
        "4",
        "A text where a number belongs",
        setting("config.json", rms_norm_eps="small"),
    ),
    Attack("json/negative", ("CONFIG_BOUNDS",), "4", "A negative vocabulary", setting("config.json", vocab_size=-1)),
    Attack(
        "json/true-heads", ("CONFIG_BOUNDS",), "4", "`true` heads", setting("config.json", num_attention_heads=True)
    ),
    Attack(
        "json/shape-lie",
        ("CONFIG_SHAPES",),
        "4",
        "Another vocabulary than the embeddings have",
        setting("config.json", vocab_size=65),
    ),
    Attack(
        "json/layers-lie",
        ("CONFIG_SHAPES",),
        "4",
        "More layers than the weights have: the rest would be random",
        setting("config.json", num_hidden_layers=2),
    ),
    Attack(
        "json/vocab-file-path",
        ("CONFIG_PATH",),
        "4",
        "`vocab_file: /etc/passwd` in tokenizer_config.json",
        setting("tokenizer_config.json", vocab_file="/etc/passwd"),
    ),
    Attack(
        "json/other-tokenizer",
        ("CONFIG_PATH",),
        "4",
        "`fast_tokenizer_files`: another tokenizer.json",
        setting("tokenizer_config.json", fast_tokenizer_files=["tokenizer.99.0.0.json"]),
    ),
    # 5 safetensors
    Attack("st/2e63", ("ST_HEADER_SIZE",), "5", "A header length of 2^63", claims(2**63)),
    Attack(
        "st/claims-200mb", ("ST_HEADER_SIZE",), "5", "200 MB of header claimed, 66 bytes there", claims(200_000_000)
    ),
    Attack("st/99mb-header", ("ST_HEADER_SIZE",), "5", "A header of 99 MB", claims(99_000_000, 100_000_000)),
    Attack(
        "st/800k-tensors", ("ST_HEADER_SIZE",), "5", "800,000 tensors, 40 MB of header", claims(40_000_000, 41_000_000)
    ),
    Attack("st/empty", ("ST_HEADER_SIZE",), "5", "An empty file", put("model.safetensors", b"")),
    Attack("st/duplicate-name", ("ST_HEADER_JSON",), "5", "A tensor given twice: one silently wins", duplicate_tensor),
    Attack(
        "st/unknown-field",
        ("ST_HEADER_JSON",),
        "5",
        "A field beside dtype, shape and offsets",
        entry("model.norm.weight", file="/etc/passwd"),
    ),
    Attack("st/dtype", ("ST_DTYPE",), "5", "A type outside the list", entry("model.norm.weight", dtype="F4")),
    Attack(
        "st/shape",
        ("ST_SHAPE",),
        "5",
        "A shape that needs other bytes than it has",
        entry("model.norm.weight", shape=[33]),
    ),
    Attack(
        "st/overflow",
        ("ST_SHAPE",),
        "5",
        "A shape whose product overflows to what it has",
        entry("model.norm.weight", shape=[2**33, 2**31, 4]),
    ),
    Attack(
        "st/overlap",
        ("ST_COVERAGE",),
        "5",
        "Two tensors on the same bytes",
        entry("lm_head.weight", data_offsets=[0, 64 * 32 * 4]),
    ),
    Attack(
        "st/hole",
        ("ST_COVERAGE",),
        "5",
        "Bytes between two tensors that belong to neither",
        header(lambda document: document.pop("model.layers.0.mlp.up_proj.weight")),
    ),
    Attack(
        "st/polyglot-zip",
        ("ST_COVERAGE",),
        "5",
        "A zip archive behind the last tensor: a pickle to other readers",
        header(lambda document: None, b"PK\x05\x06" + b"\0" * 18),
    ),
    Attack("st/tensors", ("ST_LIMIT",), "5", "60,000 tensors", crowd),
    Attack(
        "st/metadata",
        ("ST_LIMIT",),
        "5",
        "A hundred kilobytes of metadata",
        header(lambda document: document["__metadata__"].update(note="x" * 100_000)),
    ),
    Attack(
        "st/index-dotdot",
        ("INDEX_ESCAPE",),
        "5",
        "The index leads to `../other/model.safetensors`, and that file is loaded",
        index(lambda found: found.update({"lm_head.weight": "../other/model.safetensors"})),
    ),
    Attack(
        "st/index-absolute",
        ("INDEX_ESCAPE",),
        "5",
        "The index leads to an absolute path",
        index(lambda found: found.update({"lm_head.weight": "/srv/model.safetensors"})),
    ),
    Attack(
        "st/index-absent",
        ("INDEX_ESCAPE",),
        "5",
        "The index leads to a shard that is not there",
        index(lambda found: found.update({"lm_head.weight": "model-00003-of-00003.safetensors"})),
    ),
    Attack(
        "st/index-extra",
        ("INDEX_KEYS",),
        "5",
        "The index names a tensor that no shard has",
        index(lambda found: found.update({"model.extra.weight": "model-00001-of-00002.safetensors"})),
    ),
    Attack(
        "st/index-missing",
        ("INDEX_KEYS",),
        "5",
        "A shard has a tensor that the index does not name",
        index(lambda found: found.pop("lm_head.weight")),
    ),
    # 6 Adapter
    Attack(
        "adapter/type",
        ("ADAPTER_KEY",),
        "6",
        "Another method",
        setting("adapter_config.json", peft_type="IA3"),
        "adapter",
    ),
    Attack(
        "adapter/megatron",
        ("ADAPTER_KEY",),
        "6",
        "`megatron_core: os.path`, a module to import",
        setting("adapter_config.json", megatron_core="os.path"),
        "adapter",
    ),
    Attack(
        "adapter/layer-replication",
        ("ADAPTER_KEY",),
        "6",
        "Layers of the base are multiplied",
        setting("adapter_config.json", layer_replication=[[0, 1], [0, 1]]),
        "adapter",
    ),
    Attack(
        "adapter/tokenizer-kwargs",
        ("ADAPTER_KEY",),
        "6",
        "`tokenizer_kwargs` with `trust_remote_code`",
        setting("adapter_config.json", tokenizer_kwargs={"trust_remote_code": True}),
        "adapter",
    ),
    Attack(
        "adapter/unknown-key",
        ("ADAPTER_KEY",),
        "6",
        "A key that is not known",
        setting("adapter_config.json", surprise={"x": 1}),
        "adapter",
    ),
    Attack(
        "adapter/pissa",
        ("ADAPTER_KEY",),
        "6",
        "An initialisation that rewrites the weights of the base",
        setting("adapter_config.json", init_lora_weights="pissa"),
        "adapter",
    ),
    Attack(
        "adapter/modules-to-save",
        ("ADAPTER_FULL_WEIGHT",),
        "6",
        "`modules_to_save`: most of the model is replaced",
        setting("adapter_config.json", modules_to_save=["embed_tokens", "lm_head", "mlp"]),
        "adapter",
    ),
    Attack(
        "adapter/token-indices",
        ("ADAPTER_FULL_WEIGHT",),
        "6",
        "`trainable_token_indices`: rows of the embeddings are replaced",
        setting("adapter_config.json", trainable_token_indices=[1, 2]),
        "adapter",
    ),
    Attack(
        "adapter/bias",
        ("ADAPTER_FULL_WEIGHT",),
        "6",
        "The biases of the base are replaced",
        setting("adapter_config.json", bias="all"),
        "adapter",
    ),
    Attack(
        "adapter/base-layer",
        ("ADAPTER_FULL_WEIGHT",),
        "6",
        "A whole weight of the base among the tensors",
        lora(lambda shapes: shapes.update({"base_model.model.lm_head.base_layer.weight": [64, 32]})),
        "adapter",
    ),
    Attack(
        "adapter/rank-regex",
        ("ADAPTER_PATTERN",),
        "6",
        "Ranks by regular expression",
        setting("adapter_config.json", rank_pattern={"(a+)+$": 8}),
        "adapter",
    ),
    Attack("adapter/rank", ("ADAPTER_RANK",), "6", "A rank of 513", setting("adapter_config.json", r=513), "adapter"),
    Attack(
        "adapter/renamed",
        ("ADAPTER_TENSORS",),
        "6",
        "Tensors under other names: a warning, and the bare base is scored",
        lora(lambda shapes: [shapes.update({name.replace("self_attn", "attn"): shapes.pop(name)}) for name in LORA]),
        "adapter",
    ),
    Attack(
        "adapter/half",
        ("ADAPTER_TENSORS",),
        "6",
        "A target without its tensors",
        lora(lambda shapes: [shapes.pop(name) for name in LORA if "v_proj" in name]),
        "adapter",
    ),
    Attack(
        "adapter/shape",
        ("ADAPTER_TENSORS",),
        "6",
        "Tensors of another size than the base",
        lora(lambda shapes: shapes.update({name: [4, 31] for name in LORA if "lora_A" in name})),
        "adapter",
    ),
    Attack(
        "adapter/other-base",
        ("ADAPTER_BASE",),
        "6",
        "An adapter of another base",
        setting("adapter_config.json", base_model_name_or_path="example/other"),
        "adapter",
    ),
    # 7 Load, as far as it is seen without loading
    Attack(
        "load/missing-tensor",
        ("LOAD_KEYS",),
        "7",
        "A tensor is missing and would be filled with random numbers",
        without("model.layers.0.mlp.up_proj.weight"),
    ),
    Attack("load/lora-in-base", ("LOAD_HIDDEN_ADAPTER",), "7", "An adapter in the model's folder", with_adapter),
    Attack(
        "load/adapter-as-model",
        ("FILE_MISSING", "LOAD_HIDDEN_ADAPTER", "TOKENIZER_KIND"),
        "7",
        "An adapter in place of a model: its base would be fetched from wherever it says",
        adapter_only,
    ),
    Attack(
        "load/zero-adapter",
        ("ADAPTER_NO_EFFECT",),
        "7",
        "An adapter of zeros: the bare base is scored",
        zero_adapter,
        "adapter",
    ),
    Attack(
        "load/twin-tensor",
        ("LOAD_KEYS",),
        "7",
        "A tensor a second time without the prefix: one of the two silently wins",
        extra_tensor("embed_tokens.weight", [64, 32]),
    ),
    Attack(
        "load/unexpected-tensor",
        ("LOAD_KEYS",),
        "7",
        "A tensor of another architecture, left out in silence",
        extra_tensor("model.layers.0.self_attn.q_norm.weight", [16]),
    ),
    # 8 Tokenizer and template
    Attack(
        "tok/slow", ("TOKENIZER_KIND",), "8", "No tokenizer.json", lambda folder: (folder / "tokenizer.json").unlink()
    ),
    Attack(
        "tok/class",
        ("TOKENIZER_KIND",),
        "8",
        "A class that is not known",
        setting("tokenizer_config.json", tokenizer_class="EvilTokenizer"),
    ),
    Attack(
        "tok/dropout",
        ("TOKENIZER_KIND",),
        "8",
        "Merges dropped at random",
        edit("tokenizer.json", lambda document: document["model"].update(dropout=0.5)),
    ),
    Attack(
        "tok/added",
        ("TOKENIZER_ADDED",),
        "8",
        "An added token that only tokenizer_config.json lists",
        setting("tokenizer_config.json", added_tokens_decoder={"250": {"content": "wrong", "special": True}}),
    ),
    Attack(
        "tok/replace",
        ("TOKENIZER_REWRITES",),
        "8",
        "A normaliser that turns “wrong” into “right”",
        section(normalizer={"type": "Replace", "pattern": {"String": "wrong"}, "content": "right"}),
    ),
    Attack(
        "tok/replace-in-sequence",
        ("TOKENIZER_REWRITES",),
        "8",
        "The same, inside two sequences",
        section(
            normalizer={
                "type": "Sequence",
                "normalizers": [
                    {"type": "NFC"},
                    {
                        "type": "Sequence",
                        "normalizers": [{"type": "Replace", "pattern": {"Regex": "wrong"}, "content": "right"}],
                    },
                ],
            }
        ),
    ),
    Attack(
        "tok/lower", ("TOKENIZER_REWRITES",), "8", "Lower case for a Llama", section(normalizer={"type": "Lowercase"})
    ),
    Attack(
        "tok/charsmap",
        ("TOKENIZER_REWRITES",),
        "8",
        "A compiled table of replacements",
        section(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
    ),
    Attack(
        "tok/removed",
        ("TOKENIZER_REWRITES",),
        "8",
        "A pre-tokenizer that drops a word",
        section(pre_tokenizer={**SPLIT, "behavior": "Removed"}),
    ),
    Attack(
        "tok/twice",
        ("TOKENIZER_REWRITES",),
        "8",
        "A post-processor that repeats the text",
        section(post_processor={**TEMPLATE_STEP, "single": [ONE, ONE]}),
    ),
    Attack(
        "tok/bad-regex",
        ("TOKENIZER_LIMIT",),
        "8",
        "A regular expression of exponential time",
        section(pre_tokenizer={**SPLIT, "pattern": {"Regex": "(a+)+$"}}),
    ),
    Attack(
        "tok/template-name",
        ("CONFIG_PATH",),
        "8",
        "A chat template named `../../x`, which leads out of the folder when it is saved",
        setting("tokenizer_config.json", chat_template=[{"name": "../../x", "template": TEMPLATE}]),
    ),
    Attack(
        "tok/long-template",
        ("TEMPLATE_UNSTABLE",),
        "8",
        "A chat template of 65 KiB: room for the answers",
        put("chat_template.jinja", b"x" * (65 << 10)),
    ),
    Attack(
        "tok/two-templates",
        ("TEMPLATE_UNSTABLE",),
        "8",
        "Two chat templates that differ",
        setting("tokenizer_config.json", chat_template="Answer: B"),
    ),
)


# What would do harm if it were loaded, and never is: the library is given a folder of our making.
HARMLESS = (
    Attack("tree/pickle", (), "2", "`pytorch_model.bin`, a pickle", put("pytorch_model.bin"), stage="never"),
    Attack(
        "tree/adapter-bin",
        (),
        "2",
        "`adapter_model.bin`, a pickle that is loaded even where safetensors are asked for",
        put("adapter_model.bin"),
        "adapter",
        stage="never",
    ),
    Attack("tree/rng-state", (), "2", "`rng_state.pth`, a trainer's pickle", put("rng_state.pth"), stage="never"),
    Attack("tree/code", (), "2", "`modeling.py`, code beside a model", put("modeling.py"), stage="never"),
    Attack("tree/upper-case", (), "2", "A pickle named `X.BIN`", put("X.BIN"), stage="never"),
    Attack("tree/git", (), "2", "A `.git` folder", lambda folder: (folder / ".git").mkdir(), stage="never"),
    Attack("tree/unknown-name", (), "2", "A file that nothing reads", put("notes.json"), stage="never"),
    Attack(
        "tree/template-folder",
        (),
        "2",
        "A folder of further chat templates",
        lambda folder: (
            (folder / "additional_chat_templates").mkdir() or put("additional_chat_templates/default.jinja")(folder)
        ),
        stage="never",
    ),
    Attack("tree/long-path", (), "2", "A name of two hundred letters", put("m" * 200 + ".safetensors"), stage="never"),
    Attack(
        "tree/deep",
        (),
        "2",
        "Folders in folders in folders",
        lambda folder: (folder / "/".join("abcdefghij")).mkdir(parents=True),
        stage="never",
    ),
    Attack(
        "json/attn-kernel",
        (),
        "4",
        "`attn_implementation`: a kernel fetched from the Hub",
        setting("config.json", attn_implementation="evil/kernel"),
        stage="never",
    ),
    Attack(
        "json/attn-internal",
        (),
        "4",
        "`_attn_implementation_internal`: the same past the first check",
        setting("config.json", _attn_implementation_internal="evil/kernel"),
        stage="never",
    ),
    Attack(
        "json/nested-trust",
        (),
        "4",
        "`trust_remote_code` deep inside",
        setting("config.json", extra=[{"inner": {"trust_remote_code": True}}]),
        stage="never",
    ),
    Attack(
        "json/tokenizer-auto-map",
        (),
        "4",
        "`auto_map` of a tokenizer",
        setting("tokenizer_config.json", auto_map={"AutoTokenizer": ["tok.Evil", None]}),
        stage="never",
    ),
    Attack(
        "adapter/regex",
        (),
        "6",
        "Targets as a regular expression",
        setting("adapter_config.json", target_modules=".*_proj"),
        "adapter",
        stage="never",
    ),
    Attack(
        "st/second-weights",
        (),
        "5",
        "Two sets of weights: which is loaded is unclear",
        lambda folder: shutil.copy(folder / "model.safetensors", folder / "other.safetensors") and None,
        stage="never",
    ),
    Attack(
        "adapter/auto-mapping",
        (),
        "6",
        "`auto_mapping`, a class to import",
        setting("adapter_config.json", auto_mapping={"base_model_class": "X", "parent_library": "evil"}),
        "adapter",
        stage="never",
    ),
    Attack(
        "tree/other-weights",
        (),
        "2",
        "`transformers_weights`: weights in a folder that nobody looks into",
        other_weights,
        stage="never",
    ),
    Attack(
        "tree/consolidated",
        (),
        "2",
        "The weights a second time, in the form of another program, and what training leaves",
        leftovers,
        stage="never",
    ),
    Attack(
        "tree/ignored-fifo",
        (),
        "2",
        "A FIFO under a name that nothing loads",
        lambda folder: os.mkfifo(folder / "generation_config.json"),
        stage="never",
    ),
    Attack(
        "json/own-name",
        (),
        "4",
        "`_name_or_path`, `subfolder`, `variant`, `gguf_file`, `custom_generate` and other keys that lead elsewhere",
        setting(
            "config.json",
            _name_or_path="../other",
            _commit_hash="0" * 40,
            subfolder="other",
            variant="fp16",
            gguf_file="other.gguf",
            custom_generate="evil/generate",
            base_model_tp_plan={"layers.*": "evil"},
        ),
        stage="never",
    ),
    Attack(
        "json/auto-map-of-the-library",
        (),
        "4",
        "`auto_map` with the name of the library's own class, as many repositories have it",
        setting("config.json", auto_map={"AutoModelForCausalLM": "modeling.LlamaForCausalLM"}),
        stage="never",
    ),
    Attack(
        "adapter/training-leftovers",
        (),
        "6",
        "What training leaves beside an adapter: `training_args.bin`, `optimizer.pt`, a checkpoint, a tokenizer",
        adapter_leftovers,
        "adapter",
        stage="never",
    ),
)


# --- what only shows when a model is loaded or asked ---------------------------------------------------------------


def tensor_bytes(file: str, name: str, pattern: bytes) -> Make:
    """Fill each tensor whose name ends in `name` with `pattern`."""

    def make(folder: Path) -> None:
        raw = bytearray((folder / file).read_bytes())
        start = 8 + int.from_bytes(raw[:8], "little")
        entries = {key: entry for key, entry in json.loads(raw[8:start]).items() if key.endswith(name)}
        assert entries
        for entry in entries.values():
            first, last = (start + offset for offset in entry["data_offsets"])
            raw[first:last] = pattern * ((last - first) // len(pattern))
        (folder / file).write_bytes(raw)

    return make


def template(text: str) -> Make:
    return put("chat_template.jinja", text.encode())


def forget(letter: str) -> Make:
    """Take a letter out of a vocabulary, and with it every token that needs it."""

    def change(document: dict[str, Any]) -> None:
        model = document["model"]
        kept = [token for token in model["vocab"] if letter not in token or token.startswith("<|")]
        model["vocab"] = {token: model["vocab"][token] for token in kept}
        model["merges"] = [pair for pair in model["merges"] if letter not in "".join(pair)]

    return edit("tokenizer.json", change)


def knows(first: str, second: str) -> Make:
    """Make one token of two words of a byte-level vocabulary, in a tokenizer that does not part texts into words."""

    def change(document: dict[str, Any]) -> None:
        model = document["model"]
        model["vocab"][first + second] = 1 + max(
            [*model["vocab"].values(), *(token["id"] for token in document["added_tokens"])]
        )
        model["merges"].append([first, second])
        document["pre_tokenizer"]["use_regex"] = False

    return edit("tokenizer.json", change)


def before(step: dict[str, Any]) -> Make:
    """Another step in front of the tokenizer's pre-tokenizer."""

    def change(document: dict[str, Any]) -> None:
        document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [step, document["pre_tokenizer"]]}

    return edit("tokenizer.json", change)


def nothing(folder: Path) -> None:
    """Leave the folder sound."""


MESSAGE = "{{ messages[0]['content'] }}"
WORKER = "11"

DYNAMIC = (
    Attack(
        "load/nan",
        ("WEIGHTS_NON_FINITE",),
        "7",
        "Weights that are NaN",
        tensor_bytes("model.safetensors", "model.norm.weight", b"\x00\x00\xc0\x7f"),
        "plain",
        stage="load",
    ),
    Attack(
        "load/overflow",
        ("LOGITS_NON_FINITE",),
        "7",
        "Weights that are finite, and logits that are not",
        tensor_bytes("model.safetensors", "model.norm.weight", b"\xff\xff\x7f\x7f"),
        "plain",
        stage="predict",
    ),
    Attack(
        "load/tiny-adapter",
        ("ADAPTER_NO_EFFECT",),
        "7",
        "An adapter of numbers too small to change a score: the bare base is scored",
        tensor_bytes("adapter_model.safetensors", "lora_B.weight", b"\x60\x42\xa2\x0d"),
        "lora",
        stage="check",
    ),
    Attack(
        "tok/ambiguous-regex",
        ("TOKENIZER_LIMIT",),
        "8",
        "A regular expression that can match in exponentially many ways: the library panics",
        before({**SPLIT, "pattern": {"Regex": "([A-Za-z ]|[A-Za-z ][A-Za-z ])+[0-9]"}}),
        "plain",
        stage="plan",
    ),
    Attack(
        "tok/slow-regex",
        ("TOKENIZER_LIMIT",),
        "8",
        "A regular expression of the fourth power of the length: the library does not come back",
        before({**SPLIT, "pattern": {"Regex": r"[^#]*[^#]*[^#]*(?=[a-z])(?![a-z])"}}),
        "plain",
        stage="plan",
    ),
    Attack(
        "tok/forgets-a-letter",
        ("TOKENIZER_REWRITES",),
        "8",
        "A vocabulary without the letter e, which is left out in silence",
        forget("e"),
        "plain",
        stage="plan",
    ),
    Attack(
        "tok/knows-a-phrase",
        ("TOKENIZER_LONG_TOKEN",),
        "8",
        "A vocabulary with words of an item as one token, whose embedding could be the answer",
        knows("Ġless", "Ġethica"),
        "plain",
        stage="plan",
    ),
    Attack(
        "tok/open-thought",
        ("TEMPLATE_OPEN_THOUGHT",),
        "8",
        "A chat template that ends in `<think>`: options would be scored as a part of a thought",
        template(MESSAGE + "<think>"),
        "chat",
        stage="plan",
    ),
    Attack(
        "tok/answer-b",
        ("TEMPLATE_DROPS_TEXT",),
        "8",
        "A chat template that says “Answer: B”",
        template("B"),
        "chat",
        stage="plan",
    ),
    Attack(
        "tok/upper",
        ("TEMPLATE_DROPS_TEXT",),
        "8",
        "A chat template that shows the text in capitals",
        template("{{ messages[0]['content'] | upper }}"),
        "chat",
        stage="plan",
    ),
    Attack(
        "tok/answer-table",
        ("TEMPLATE_READS_TEXT",),
        "8",
        "A chat template that knows an item and hints at its answer",
        template(MESSAGE + "{% if 'less ethical' in messages[0]['content'] %} (B is){% endif %}"),
        "chat",
        stage="plan",
    ),
    Attack(
        "tok/length-table",
        ("TEMPLATE_READS_TEXT",),
        "8",
        "The same by the length of the text",
        template(MESSAGE + "{{ ['A', 'B'][messages[0]['content'] | length % 2] }}"),
        "chat",
        stage="plan",
    ),
    Attack(
        "tok/globals",
        ("TEMPLATE_ERROR",),
        "8",
        "A chat template that reaches for Python: `__globals__`",
        template(MESSAGE + "{{ cycler.__init__.__globals__.os.environ }}"),
        "chat",
        stage="plan",
    ),
    Attack(
        "tok/str-format",
        ("TEMPLATE_ERROR",),
        "8",
        "The same through `str.format`",
        template(MESSAGE + "{{ '{0.__class__.__mro__}'.format(messages) }}"),
        "chat",
        stage="plan",
    ),
    Attack(
        "tok/include",
        ("TEMPLATE_ERROR",),
        "8",
        "A chat template that includes `/etc/passwd`",
        template(MESSAGE + "{% include '/etc/passwd' %}"),
        "chat",
        stage="plan",
    ),
    Attack(
        "tok/endless-macro",
        ("TEMPLATE_ERROR",),
        "8",
        "A chat template that calls itself",
        template("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}" + MESSAGE),
        "chat",
        stage="plan",
    ),
    Attack(
        "tok/random",
        ("TEMPLATE_UNSTABLE",),
        "8",
        "A chat template that draws a number",
        template("{{ range(90000) | random }} " + MESSAGE),
        "chat",
        stage="plan",
    ),
    Attack(
        "tok/nested-range",
        ("TEMPLATE_LIMIT",),
        "8",
        "A chat template of ten thousand million steps",
        template(MESSAGE + "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"),
        "chat",
        stage="plan",
    ),
    Attack(
        "tok/huge-string",
        ("TEMPLATE_LIMIT",),
        "8",
        "A chat template of eight thousand million letters",
        template(MESSAGE + "{{ 'a' * 8000000000 }}"),
        "chat",
        stage="plan",
    ),
)

# Code in the model's process, which no file of a submission can bring about: what if it could.
MISBEHAVIOUR = (
    Attack(
        "worker/panic",
        ("WORKER_CRASH",),
        WORKER,
        "A library panics, which is no ordinary exception",
        nothing,
        "plain",
        stage="predict",
    ),
    Attack(
        "worker/segfault",
        ("WORKER_CRASH",),
        WORKER,
        "The process is ended by a signal",
        nothing,
        "plain",
        stage="predict",
    ),
    Attack(
        "worker/exit",
        ("WORKER_CRASH",),
        WORKER,
        "The process ends as if all were well",
        nothing,
        "plain",
        stage="predict",
    ),
    Attack(
        "worker/sleep", ("WORKER_TIMEOUT",), WORKER, "The process does not answer", nothing, "plain", stage="predict"
    ),
    Attack(
        "worker/oom",
        ("WORKER_MEMORY",),
        WORKER,
        "More memory is taken than there may be",
        nothing,
        "plain",
        stage="predict",
    ),
    Attack(
        "worker/reply",
        ("WORKER_REPLY",),
        WORKER,
        "Answers are made up for other prompts",
        nothing,
        "plain",
        stage="predict",
    ),
)


def make(attack: Attack, folder: Path) -> Path:
    """The hostile folder of one attack, inside `folder`."""
    made = folder / "submitted"
    (make_adapter if attack.kind == "adapter" else make_model)(made)
    if attack.kind not in ("pinned", "edited"):
        attack.make(made)
    return made


def main(out: Path) -> None:
    for attack in ATTACKS:
        attack_folder = out / attack.name
        made = make(attack, attack_folder)
        if attack.kind in ("pinned", "edited"):
            attack.make(made)
        print(f"{made}  {', '.join(attack.codes)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
