"""Weights and adapter from local folders, whole and finite, or a fault that says what is wrong with them."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    GenerationConfig,
)

from runner.artifacts import FAMILIES
from runner.core.errors import BackendError, Fault, InvalidInput
from runner.core.types import HeadSpec
from runner.models.local import architecture, devices
from runner.models.local import quantization as quantized
from runner.models.local.library_errors import quiet, translate_errors

# Architectures whose forward pass takes a ready attention mask, explicit positions and a filled cache as they are, and
# whose logits are the output head's product with the last hidden state and nothing more; the tests hold them to it.
# All others go the general path (`runner.models.local.general`).
PACKED = ("llama", "mistral", "qwen2", "qwen3")
ARCHITECTURES = tuple(name for name, family in FAMILIES.items() if family == "causal")
# Architectures with a head `classifier`, whose positions are counted from 0 or from behind the filler's id.
ENCODERS = ("bert", "roberta")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# What a pretrained encoder has and a fresh head does not use; RoBERTa's classification reads past the pooler.
_PRETRAINING = ("cls.", "lm_head.", "roberta.pooler.")
ATTENTION = "sdpa"
"""How a model attends but where prompts are packed."""

_SAFE = {"trust_remote_code": False, "local_files_only": True}
_NAMED = 8
# Modules of the embeddings and of the head, as architectures call them.
_ENDS = (["lm_head"], ["embed_out"], ["embed_tokens"], ["wte"], ["word_embeddings"], ["embed_in"])
_UNSTATED_LENGTH = 2048


def check_vocabulary(model: Any, highest: int) -> None:
    """Raises `InvalidInput` (`TOKENIZER_VOCABULARY`) if `model` has no token `highest`, which its tokenizer gave."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    if highest >= vocabulary:
        message = f"The tokenizer gives token {highest:,}, the model has {vocabulary:,}; they do not belong together."
        hint = "Give the tokenizer that the model was trained with, or a model whose embeddings hold all of its tokens."
        raise InvalidInput(Fault("TOKENIZER_VOCABULARY", message, hint=hint))


def load_config(folder: Path, known: tuple[str, ...] = ARCHITECTURES) -> Any:
    """config.json of `folder`, of an architecture that is known to be scored right.

    Raises `InvalidInput` `LOAD_CONFIG` where the library refuses what it says, and `BackendError`: `MODEL_TYPE`,
    `LOAD_HIDDEN_ADAPTER`, `QUANTIZATION`.
    """
    if (folder / "adapter_config.json").exists():
        message = "The model's folder holds adapter_config.json, by which an adapter would be applied unseen."
        hint = "Name the adapter under `adapter:` in submission.yaml."
        raise BackendError(Fault("LOAD_HIDDEN_ADAPTER", message, file=str(folder), hint=hint))
    try:
        with translate_errors("LOAD_CONFIG", "The model's configuration is refused by the library", folder):
            config = AutoConfig.from_pretrained(folder, **_SAFE)
    except BackendError as problem:  # a fault of a file, not of the machine
        raise InvalidInput(*problem.faults) from problem.__cause__
    if config.model_type not in known:
        message = f"The architecture is {config.model_type}; one of {', '.join(known)} was expected."
        raise BackendError(Fault("MODEL_TYPE", message, file=str(folder / "config.json")))
    if getattr(config, "quantization_config", None) is not None:
        message = "The weights are saved in a quantised form, which is not read."
        hint = "Submit them in full, and declare `quantization`: they are reduced when they are loaded."
        raise BackendError(Fault("QUANTIZATION", message, file=str(folder / "config.json"), hint=hint))
    return config


def context_limit(folder: Path) -> int:
    """Largest number of tokens that the model in `folder` can read at once."""
    return limit_of(load_config(folder, ARCHITECTURES + ENCODERS))


def limit_of(config: Any) -> int:
    """`context_limit` of a loaded configuration: the positions it has.

    Of one with longrope the length it was first trained for: a longer prompt turns the positions of all that are
    computed with it, but not those of a cached prefix. Distances (ALiBi) have no end: there it is the
    length that the configuration states, or else 2,048, on which such models were trained.
    """
    names = ("max_position_embeddings", "max_seq_len", "seq_length")
    stated = [value for name in names if (value := getattr(config, name, None)) is not None]
    limit = int((stated or [_UNSTATED_LENGTH])[0]) - first_position(config)
    rope = getattr(config, "rope_parameters", None) or {}
    longrope = rope.get("rope_type") == "longrope" and rope.get("original_max_position_embeddings")
    return min(limit, int(longrope)) if longrope else limit


def packed_limit(config: Any) -> int:
    """Most tokens of a prompt that is read in a packed batch, with every token in sight of every later one: those of a
    sliding window at most, and none of an architecture that is not known to be packed right."""
    if config.model_type not in PACKED:
        return 0
    return min(limit_of(config), getattr(config, "sliding_window", None) or limit_of(config))


def first_position(config: Any) -> int:
    """The position of the first token; RoBERTa's are counted from behind the filler's id, all others' from 0."""
    return int(config.pad_token_id or 0) + 1 if config.model_type == "roberta" else 0


def load_model(folder: Path, dtype: str, *on: torch.device, quantization: str | None = None) -> Any:
    """The causal language model in `folder`, in `dtype`, ready to predict; `on` one device, or its layers on several.

    With `quantization` (nf4 or int8) its linear layers are reduced to that, which is checked afterwards. Only
    safetensors are read, no code of the folder is run, and generation_config.json is not read: how a model writes is
    the benchmark's to say. Raises `BackendError`: `LOAD_WEIGHTS`, `LOAD_KEYS`, `WEIGHTS_NON_FINITE`, `QUANTIZATION`,
    `OUT_OF_MEMORY`, and what `load_config` does.
    """
    config = load_config(folder)
    more: dict[str, Any] = {"generation_config": GenerationConfig()}  # else generation_config.json is read, can fail
    if config.model_type not in PACKED:
        architecture.check_size(config, folder)
        more["attn_implementation"] = architecture.attention_of(config)
    if quantization is not None:
        more["quantization_config"] = quantized.loading_settings(quantization, DTYPES[dtype])
        quantized.check_finite(folder)
    model, loading_info = _load(AutoModelForCausalLM, folder, config, dtype, *on, **more)
    _check_keys(folder, **loading_info)
    _check_tied(folder, model)
    if any(value.device not in on for value in model.parameters()):
        message = f"The weights do not fit into the memory of {' and '.join(map(str, on))}."
        raise BackendError(Fault("OUT_OF_MEMORY", message, hint="Use more or larger devices, or a smaller dtype."))
    if quantization is not None:
        quantized.check(model, quantization, DTYPES[dtype], folder)
        quantized.keep_arithmetic(model)
    _check_finite(model, folder)
    return model.eval().requires_grad_(False)


def load_encoder(folder: Path, head: HeadSpec, dtype: str, device: torch.device, brought: frozenset[str]) -> Any:
    """The encoder in `folder` with the head that `head` speaks of, in `dtype` on `device`, ready to predict.

    `brought` are modules that an adapter holds whole. Where the weights lack them they are zeros here, and the heads of
    pretraining that the weights have instead are left out. Raises what `load_model` does, and `HEAD_LABELS` where
    config.json and submission.yaml name other labels.
    """
    config = load_config(folder, ENCODERS)
    if head.kind == "classification" and head.labels is not None:
        named = [config.id2label[index] for index in sorted(config.id2label)]
        unnamed = all(str(name).startswith("LABEL_") for name in named)
        if not unnamed and named != list(head.labels):
            message = f"id2label says {', '.join(map(str, named))}, submission.yaml {', '.join(head.labels)}."
            hint = "Delete `labels` from submission.yaml: config.json says them."
            raise BackendError(Fault("HEAD_LABELS", message, file=str(folder / "config.json"), hint=hint))
        config.id2label = dict(enumerate(head.labels))
        config.label2id = {label: index for index, label in enumerate(head.labels)}
    kind = AutoModelForMultipleChoice if head.kind == "ranking" else AutoModelForSequenceClassification
    model, loading_info = _load(kind, folder, config, dtype, device)
    headless = {key for key in loading_info["missing_keys"] if key.split(".")[0] in brought}
    _check_keys(
        folder,
        missing_keys=loading_info["missing_keys"] - headless,
        unexpected_keys={
            key for key in loading_info["unexpected_keys"] if not (headless and key.startswith(_PRETRAINING))
        },
        mismatched_keys=loading_info["mismatched_keys"],
    )
    for name, value in model.named_parameters():
        if name in headless:
            value.data.zero_()
    # Scores are float32 for any dtype, as the option's log-probabilities of a language model are.
    model.classifier.float()
    model.classifier.register_forward_pre_hook(_as_float32)
    _check_finite(model, folder)
    return model.eval().requires_grad_(False)


def _as_float32(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(tensor.float() for tensor in args)


def brought_by(adapter_folder: Path | None) -> frozenset[str]:
    """The modules that an adapter holds whole, by its adapter_config.json."""
    if adapter_folder is None:
        return frozenset()
    with translate_errors("ADAPTER_LOAD", "The adapter's settings cannot be read", adapter_folder):
        settings = json.loads((adapter_folder / "adapter_config.json").read_bytes())
        return frozenset(settings.get("modules_to_save") or ())


def _load(
    kind: Any, folder: Path, config: Any, dtype: str, *on: torch.device, **more: Any
) -> tuple[Any, dict[str, Any]]:
    """A model and which tensors were missing, left over, or of another shape."""
    placed: dict[str, Any] = {}
    if len(on) > 1:
        placed = {"device_map": "balanced", "max_memory": {gpu.index: devices.room(gpu) for gpu in on}}
    elif on[0].type != "cpu" or "quantization_config" in more:
        placed = {"device_map": {"": on[0]}}
    with translate_errors("LOAD_WEIGHTS", "The weights cannot be loaded", folder), quiet():
        model, loading_info = kind.from_pretrained(
            folder,
            config=config,
            dtype=DTYPES[dtype],
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are reported in `loading_info`, and refused
            **_SAFE,
            **placed,
            **{"attn_implementation": ATTENTION, **more},
        )
    return model, {name: set(loading_info[name]) for name in ("missing_keys", "unexpected_keys", "mismatched_keys")}


def _check_keys(folder: Path, missing_keys: set[str], unexpected_keys: set[str], mismatched_keys: set[Any]) -> None:
    faults = [
        *_key_faults(folder, "are missing from the weights", sorted(missing_keys)),
        *_key_faults(folder, "of the weights are not the model's", sorted(unexpected_keys)),
        *_key_faults(folder, "have another shape in the weights", sorted(key for key, *_ in mismatched_keys)),
    ]
    if faults:
        raise BackendError(*faults)


def _check_tied(folder: Path, model: Any) -> None:
    """`LOAD_KEYS` where a file holds a head beside the embeddings that it is tied to, and the two differ."""
    if not model.config.tie_word_embeddings:
        return
    shapes = model.get_input_embeddings().weight.shape
    ends: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            names = [name for name in opened.keys() if name.split(".")[-2:-1] in _ENDS]  # noqa: SIM118
            ends |= {name: opened.get_tensor(name) for name in names}
    alike = {name: value for name, value in ends.items() if value.shape == shapes}
    first = next(iter(alike.values()), None)
    differing = [name for name, value in alike.items() if first is not None and not torch.equal(value, first)]
    if differing:
        raise BackendError(*_key_faults(folder, "differ from the embeddings that they are tied to", differing))


def apply_adapter(model: Any, folder: Path) -> Any:
    """`model` with the PEFT adapter in `folder` switched on; the base is the model given, whatever the adapter names.

    Raises `BackendError`: `ADAPTER_LOAD`, `ADAPTER_FULL_WEIGHT` where it would replace weights of the base,
    `ADAPTER_TENSORS` unless the file holds exactly the tensors that the adapter
    has in this model, `WEIGHTS_NON_FINITE`.
    """
    # It takes seconds to import, with much that a model without an adapter has no use for.
    from peft import PeftModel, get_peft_model_state_dict

    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        message = "There is no adapter_model.safetensors; only safetensors are read."
        raise BackendError(Fault("ADAPTER_LOAD", message, file=str(folder)))
    try:
        with translate_errors("ADAPTER_LOAD", "The adapter cannot be applied to the model", folder), quiet():
            with safe_open(weights, framework="pt") as opened:
                # Beside LoRA on the output head, peft saves the base model's own weights, and loads them over the base.
                copies = [name for name in opened.keys() if ".base_layer." in name]  # noqa: SIM118
                replaced = [name for name in copies if not _is_copy(opened.get_tensor(name), name, model)]
                in_file = set(opened.keys()).difference(copies)
            if replaced:
                raise BackendError(*_key_faults(weights, "replace the model's own", replaced, "ADAPTER_FULL_WEIGHT"))
            adapted = PeftModel.from_pretrained(
                model, folder, is_trainable=False, torch_device=str(model.device), local_files_only=True
            )
            in_model = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    except BackendError as problem:
        if "size mismatch" not in str(problem.__cause__):
            raise
        message = "Tensors of the adapter have other shapes than this model's; it was trained for another one."
        raise BackendError(Fault("ADAPTER_TENSORS", message, file=str(weights))) from problem.__cause__
    faults = [
        *_key_faults(
            weights, "of the adapter have no target in the model", sorted(in_file - in_model), "ADAPTER_TENSORS"
        ),
        *_key_faults(weights, "that the adapter needs are missing", sorted(in_model - in_file), "ADAPTER_TENSORS"),
    ]
    if faults:
        raise BackendError(*faults)
    _check_finite(adapted, folder)
    return adapted.eval().requires_grad_(False)


def _is_copy(tensor: torch.Tensor, name: str, model: Any) -> bool:
    """Whether a tensor of an adapter's file is the one that `model` has under the same name."""
    own = model.state_dict().get(name.removeprefix("base_model.model.").replace(".base_layer.", "."))
    return own is not None and own.shape == tensor.shape and torch.equal(own, tensor.to(own))


def _key_faults(file: Path, what: str, keys: list[str], code: str = "LOAD_KEYS") -> list[Fault]:
    if not keys:
        return []
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return [Fault(code, f"{len(keys)} tensors {what}: {', '.join(keys[:_NAMED])}{more}.", file=str(file))]


def _check_finite(model: Any, folder: Path) -> None:
    names = [name for name, value in model.named_parameters() if not bool(torch.isfinite(value).all())]
    if names:
        raise BackendError(*_key_faults(folder, "hold NaN or infinity", names, "WEIGHTS_NON_FINITE"))
