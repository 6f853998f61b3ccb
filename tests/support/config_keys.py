"""Derive runner/artifacts/config_keys.json from the configuration classes of the installed transformers."""

import dataclasses
import inspect
import re
import typing
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_MAPPING_NAMES

# Of every class: settings of the head, and the names by which older files say how positions turn.
COMMON = {
    "num_labels": ["integer"],
    "id2label": ["object"],
    "label2id": ["object"],
    "rope_theta": ["integer", "number"],
    "rope_scaling": ["object", "null"],
    "partial_rotary_factor": ["integer", "number", "null"],
}
_JSON = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    NoneType: "null",
    list: "array",
    dict: "object",
}
_LEGACY = re.compile(r"""kwargs\.(?:pop|get)\(\s*["'](\w+)["']""")


def json_types(annotation: Any) -> list[str]:
    """The JSON types of a field; any for what cannot be told from its annotation."""
    if isinstance(annotation, UnionType) or typing.get_origin(annotation) is typing.Union:
        return sorted({name for part in typing.get_args(annotation) for name in json_types(part)})
    origin = typing.get_origin(annotation) or annotation
    if origin is typing.Literal:
        return ["string"]
    if isinstance(origin, type) and issubclass(origin, dict):
        return ["object"]
    if origin is tuple:
        return ["array"]
    name = _JSON.get(origin)
    if name is None:
        return ["array", "boolean", "integer", "null", "number", "object", "string"]
    return ["integer", "number"] if name == "number" else [name]


def keys_of(model_type: str) -> dict[str, Any]:
    """The keys that a configuration of `model_type` takes, by JSON type, and what the library computes it with."""
    config = CONFIG_MAPPING[model_type]
    base = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    keys = {field.name: json_types(field.type) for field in dataclasses.fields(config) if field.name not in base}
    keys.pop("use_cache", None)
    for alias, name in config.attribute_map.items():
        if name in keys:
            keys.setdefault(alias, keys[name])
    anything = json_types(Any)
    legacy = {name: anything for name in _LEGACY.findall(inspect.getsource(config)) if name not in base}
    classes = {MODEL_MAPPING_NAMES[model_type], MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model_type)} - {None}
    taken = dict(sorted({**COMMON, **legacy, **keys}.items()))
    return {"classes": sorted(classes), "prefix": _prefix(config), "keys": taken}


def _prefix(config: Any) -> str:
    """The prefix of the base model's tensors, from the text of the class: to import fifty of them takes a minute."""
    (source,) = Path(inspect.getfile(config)).parent.glob("modeling_*.py")
    found = re.search(r"""^    base_model_prefix = ["'](\w+)["']""", source.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""
