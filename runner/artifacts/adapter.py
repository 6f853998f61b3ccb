"""Read the settings of a PEFT adapter: plain LoRA, and nothing that reaches further."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from runner.artifacts.json_files import read_object
from runner.artifacts.reading import capped, shown, shown_some
from runner.artifacts.safetensors_header import Header, read_header
from runner.artifacts.tree import Tree
from runner.core.errors import Fault

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MAX_RANK = 512
MAX_CONFIG = 1 << 20

# A suffix of a module's dotted name. peft puts such names into regular expressions, in which a dot is the only letter
# of these with a meaning.
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
# More names than a large model has modules; every name is compared with every module.
_MAX_NAMES = 4096
_HEADS = frozenset({"classifier", "score"})

_MERGE = "Submit the whole model instead: model.merge_and_unload().save_pretrained(FOLDER)."
_CONVERT = (
    "It was trained on changed weights of the base. Convert it where it was trained, by "
    "save_pretrained(FOLDER, path_initial_model_for_weight_conversion=INITIAL), or submit the whole model: "
    "merge_and_unload(). Deleting the key would score it on the wrong base."
)
_CHANGES_THE_BASE = ("init_lora_weights", "loftq_config", "corda_config", "lora_ga_config")
# Keys whose value may be anything of the right type, because it is checked below or cannot change what is scored.
_FREE = frozenset(
    {
        "peft_type",
        "peft_version",
        "task_type",
        "eva_config",
        "base_model_name_or_path",
        "revision",
        "auto_mapping",  # says which classes the base has; nothing is imported by it
        "inference_mode",
        "r",
        "target_modules",
        "exclude_modules",
        "modules_to_save",
        "trainable_token_indices",
        "rank_pattern",
        "alpha_pattern",
        "layers_to_transform",
        "layers_pattern",
        "bias",
        "qalora_group_size",
    }
)
_ONE_OF: Mapping[str, tuple[object, ...]] = {
    "fan_in_fan_out": (True, False),  # peft sets it anew by the kind of each layer
    # Where training begins, without a change of the base; the other names change its weights.
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva"),
    "lora_bias": (True, False),
    "use_dora": (True, False),
    "use_rslora": (True, False),
    "megatron_core": (None, "megatron.core"),
}
# Keys of LoraConfig that are accepted only while they are switched off.
_OFF = frozenset(
    {
        "alora_invocation_tokens",
        "arrow_config",
        "corda_config",
        "ensure_weight_tying",
        "kasa_config",
        "layer_replication",
        "loftq_config",
        "lora_ga_config",
        "megatron_config",
        "monteclora_config",
        "target_parameters",
        "use_bdlora",
        "use_qalora",
        "velora_config",
    }
)


# What the library is given of the settings: what decides how the tensors are applied.
_APPLIED = (
    "peft_type",
    "task_type",
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "layers_to_transform",
    "layers_pattern",
    "fan_in_fan_out",
    "lora_bias",
    "use_dora",
    "use_rslora",
)
PREFIX = "base_model.model."
_LORA_PART = re.compile(r"(.+)\.lora_(?:A|B|embedding_A|embedding_B|magnitude_vector)(?:\.weight|\.bias)?")


@dataclass(frozen=True, slots=True)
class Lora:
    """The settings in adapter_config.json that decide the adapter's tensors."""

    base: str | None
    """`base_model_name_or_path`; None where it is absent."""
    rank: int
    """Rank of the updates, unless `ranks` says otherwise."""
    targets: frozenset[str]
    """Names, or endings of names, of the modules that have an update."""
    excluded: frozenset[str]
    """Names, or endings of names, of modules that have none."""
    ranks: Mapping[str, int]
    """Pattern of a module's name to its own rank."""
    layers: frozenset[int]
    """Numbers of the layers that have updates; empty for all."""
    layers_patterns: tuple[str, ...]
    """Names of the lists of layers that `layers` counts in; empty for any."""
    dora: bool
    """Whether the updates are weight-decomposed (DoRA)."""
    bias: bool
    """Whether the updates have a bias."""
    heads: frozenset[str]
    """Modules that the adapter holds whole, such as a classification head."""


def read_adapter(
    tree: Tree, family: Literal["causal", "encoder"] | None
) -> tuple[list[Fault], Lora | None, Header | None]:
    """Settings and tensors of an adapter, or their faults (rule 6, and rule 5 for the file).

    `FILE_MISSING`, `ADAPTER_KEY`, `ADAPTER_FULL_WEIGHT`, `ADAPTER_PATTERN`, `ADAPTER_RANK`. The base that the settings
    name is recorded and never followed.
    """
    missing = [
        Fault(
            "FILE_MISSING",
            f"There is no {name}.",
            file=tree.shown_path(""),
            hint="Save the adapter with save_pretrained.",
        )
        for name in (CONFIG, WEIGHTS)
        if not tree.holds(name)
    ]
    json_faults, document = read_object(tree, CONFIG, MAX_CONFIG)
    config_faults: list[Fault] = []
    lora = None
    if document is not None:
        config_faults = _key_faults(document, family) + _pattern_faults(document)
        config_faults = capped([_placed(fault, tree.shown_path(CONFIG)) for fault in config_faults])
    header_faults: list[Fault] = []
    header = None
    if WEIGHTS in tree.files:
        try:
            header_faults, header = read_header(tree.path(WEIGHTS), tree.shown_path(WEIGHTS))
        except OSError as error:
            message = f"It cannot be read: {error.strerror or error}."
            header_faults = [Fault("FILE_UNREADABLE", message, file=tree.shown_path(WEIGHTS))]
    if document is not None and not config_faults:
        lora = _lora(document, header or {})
    return missing + json_faults + header_faults + config_faults, lora, header


def reduce_settings(document: Mapping[str, Any], tree: Tree) -> dict[str, Any]:
    """The settings as the library is given them: how the tensors are applied, and no name that leads anywhere.

    A regular expression for the targets becomes the list of modules that the tensors name.
    """
    settings = {key: document[key] for key in _APPLIED if key in document}
    if isinstance(settings.get("target_modules"), str):
        _, header = read_header(tree.path(WEIGHTS), tree.shown_path(WEIGHTS))
        settings["target_modules"] = sorted(_modules_of(header or {}))
    return settings | {"base_model_name_or_path": None, "inference_mode": True, "init_lora_weights": True}


def _modules_of(header: Header) -> frozenset[str]:
    """The modules of the base for which there are tensors of LoRA."""
    names = (name.removeprefix(PREFIX) for name in header if name.startswith(PREFIX))
    return frozenset(match[1] for name in names if (match := _LORA_PART.fullmatch(name)))


def _key_faults(document: Mapping[str, Any], family: Literal["causal", "encoder"] | None) -> list[Fault]:
    faults = []
    if document.get("peft_type") != "LORA":
        message = f"The method is {shown(document.get('peft_type'))}, 'LORA' was expected."
        faults.append(Fault("ADAPTER_KEY", message, path="$.peft_type"))
    tasks = {"causal": ("CAUSAL_LM", None), "encoder": ("SEQ_CLS", None), None: ("CAUSAL_LM", "SEQ_CLS", None)}[family]
    if document.get("task_type") not in tasks:
        message = f"The task is {shown(document.get('task_type'))}, {shown(tasks[0])} was expected."
        faults.append(Fault("ADAPTER_KEY", message, path="$.task_type"))
    for key, value in document.items():
        off = value in (None, False, "") or value in ([], {})
        if key in _FREE or key in ("lora_alpha", "lora_dropout"):
            continue
        if key in _OFF or key in _ONE_OF:
            if off or any(
                value is choice or (isinstance(value, str) and value == choice) for choice in _ONE_OF.get(key, ())
            ):
                continue
            message = f"It is {shown(value)}, which is more than plain LoRA."
            hint = (
                _CONVERT if key in ("init_lora_weights", "loftq_config", "corda_config", "lora_ga_config") else _MERGE
            )
        elif off:
            continue  # a key of another version of peft, switched off
        else:
            message = f"The key {shown(key)} is not among those of plain LoRA."
            hint = _MERGE
        faults.append(Fault("ADAPTER_KEY", message, path=_path(key), hint=hint))
    for key, limit in (("lora_alpha", 1e6), ("lora_dropout", 1.0)):
        value = document.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= limit:
            message = f"It is {shown(value)}, a number from 0 to {limit:g} was expected."
            faults.append(Fault("ADAPTER_KEY", message, path=f"$.{key}"))
    base = document.get("base_model_name_or_path")
    if base is not None and not isinstance(base, str):
        message = f"It is {shown(base)}, a name was expected."
        faults.append(Fault("ADAPTER_KEY", message, path="$.base_model_name_or_path"))
    saved = document.get("modules_to_save")
    head = isinstance(saved, list) and all(isinstance(name, str) and name in _HEADS for name in saved)
    if saved and not (head and family != "causal" and document.get("task_type") == "SEQ_CLS"):
        message = f"It names {_listed(saved)}: whole weights, not low-rank changes to the base."
        faults.append(Fault("ADAPTER_FULL_WEIGHT", message, path="$.modules_to_save", hint=_MERGE))
    if document.get("trainable_token_indices"):
        message = "Whole rows of the embeddings are replaced, not changed by a low rank."
        faults.append(Fault("ADAPTER_FULL_WEIGHT", message, path="$.trainable_token_indices", hint=_MERGE))
    if document.get("bias", "none") != "none":
        message = f"It is {shown(document['bias'])}: the biases of the base are replaced, 'none' was expected."
        faults.append(Fault("ADAPTER_FULL_WEIGHT", message, path="$.bias", hint=_MERGE))
    return faults


def _pattern_faults(document: Mapping[str, Any]) -> list[Fault]:
    """Names that are regular expressions, and ranks that are none."""
    faults = []
    for key in ("target_modules", "exclude_modules", "layers_pattern"):
        value = document.get(key)
        names = [value] if key == "layers_pattern" and isinstance(value, str) else value
        if (key != "target_modules" and not value) or (key == "target_modules" and isinstance(value, str)):
            continue  # an expression for the targets is not read: the tensors name them
        if not _are_names(names):
            message = f"It is {_listed(value)}, a list of plain module names was expected."
            hint = "Regular expressions are not read here; give the names."
            faults.append(Fault("ADAPTER_PATTERN", message, path=f"$.{key}", hint=hint))
    for key in ("rank_pattern", "alpha_pattern"):
        value = document.get(key)
        if value and not (isinstance(value, dict) and _are_names(list(value))):
            message = f"It is {_listed(value)}, an object from plain module names to numbers was expected."
            faults.append(Fault("ADAPTER_PATTERN", message, path=f"$.{key}"))
        elif key == "alpha_pattern" and value and not all(type(alpha) in (int, float) for alpha in value.values()):
            faults.append(Fault("ADAPTER_PATTERN", "It holds a value that is not a number.", path=f"$.{key}"))
    layers = document.get("layers_to_transform")
    if layers is not None and not all(
        type(n) is int and n >= 0 for n in (layers if isinstance(layers, list) else [layers])
    ):
        message = f"It is {shown(layers)}, layer numbers were expected."
        faults.append(Fault("ADAPTER_PATTERN", message, path="$.layers_to_transform"))
    patterned = document.get("rank_pattern")
    ranks = {"$.r": document.get("r", 8)}
    ranks |= (
        {f"$.rank_pattern[{shown(n)}]": rank for n, rank in patterned.items()} if isinstance(patterned, dict) else {}
    )
    for path, rank in ranks.items():
        if type(rank) is not int or not 1 <= rank <= MAX_RANK:
            message = f"The rank is {shown(rank)}, a whole number from 1 to {MAX_RANK} was expected."
            faults.append(Fault("ADAPTER_RANK", message, path=path))
    return faults


def _are_names(names: Any) -> bool:
    return (
        isinstance(names, list)
        and 1 <= len(names) <= _MAX_NAMES
        and all(isinstance(name, str) and _NAME.fullmatch(name) for name in names)
    )


def _lora(document: Mapping[str, Any], header: Header) -> Lora:
    layers = document.get("layers_to_transform")
    patterns = document.get("layers_pattern") or ()
    return Lora(
        base=document.get("base_model_name_or_path") or None,
        rank=document.get("r", 8),
        targets=_modules_of(header) if isinstance(stated := document["target_modules"], str) else frozenset(stated),
        excluded=frozenset(document.get("exclude_modules") or ()),
        ranks=document.get("rank_pattern") or {},
        layers=frozenset([layers] if isinstance(layers, int) else layers or ()),
        layers_patterns=(patterns,) if isinstance(patterns, str) else tuple(patterns),
        dora=document.get("use_dora") is True,
        bias=document.get("lora_bias") is True,
        heads=frozenset(document.get("modules_to_save") or ()),
    )


def _listed(value: Any) -> str:
    return shown_some(value) if isinstance(value, list) and all(isinstance(n, str) for n in value) else shown(value)


def _path(key: str) -> str:
    return f"$.{key}" if _NAME.fullmatch(key) and len(key) < 64 else f"$[{shown(key)}]"


def _placed(fault: Fault, file: str) -> Fault:
    return Fault(fault.code, fault.message, file=file, path=fault.path, hint=fault.hint)
