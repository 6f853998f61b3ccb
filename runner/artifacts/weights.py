"""The tensors of a model's folder: one safetensors file, or the shards that an index names."""

from runner.artifacts.json_files import read_object
from runner.artifacts.reading import capped, shown, shown_some
from runner.artifacts.safetensors_header import Header, read_header
from runner.artifacts.tree import Tree
from runner.core.errors import Fault

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_MAX_INDEX = 16 << 20
_CONVERT = (
    'Convert a pickle that you trust: python -c "from transformers import AutoModelForCausalLM as M; '
    "M.from_pretrained('.').save_pretrained('.')\" in its folder."
)
# By itself: a class would leave out the head or the pooler that it does not have.
_CONVERT_ENCODER = (
    'Convert a pickle that you trust: python -c "import torch, safetensors.torch as s; '
    "w = torch.load('pytorch_model.bin', weights_only=True); "
    "s.save_file({k: v.clone() for k, v in w.items()}, 'model.safetensors', {'format': 'pt'})\" in its folder."
)


def read_weights(tree: Tree, *, encoder: bool = False) -> tuple[list[Fault], Header | None]:
    """Every tensor of the model by name, or the faults of its files (rule 5).

    Beside those of the headers: `FILE_MISSING` without weights; `INDEX_ESCAPE` for an index value that is not the plain
    name of a safetensors file in the folder (the library would open it wherever it is); `INDEX_KEYS` where the shards
    and the index do not name exactly the same tensors, or model.safetensors lies beside an index without it. The advice
    of `FILE_MISSING` is that for an `encoder`, or for a causal model.
    """
    faults: list[Fault] = []
    headers: dict[str, Header] = {}
    names = [name for name in tree.used() if name.endswith(".safetensors")]
    for name in names:
        try:
            file_faults, header = read_header(tree.path(name), tree.shown_path(name))
        except OSError as error:
            message = f"It cannot be read: {error.strerror or error}."
            file_faults, header = [Fault("FILE_UNREADABLE", message, file=tree.shown_path(name))], None
        faults += file_faults
        if header is not None:
            headers[name] = header
    complete = len(headers) == len(names) and not any(name.endswith(".safetensors") for name in tree.refused)

    if tree.holds(INDEX):
        index_faults, weight_map = _read_index(tree)
        faults += index_faults
        if weight_map is None or index_faults or not complete:
            return faults, None
        faults += _index_keys(tree, headers, weight_map)
    elif not tree.holds(SINGLE):
        message = f"Neither {SINGLE} nor {INDEX} is there; weights are read from safetensors files only."
        hint = _CONVERT_ENCODER if encoder else _CONVERT
        return [Fault("FILE_MISSING", message, file=tree.shown_path(""), hint=hint)], None
    if faults or not complete:
        return capped(faults), None
    return [], {name: tensor for header in headers.values() for name, tensor in header.items()}


def _read_index(tree: Tree) -> tuple[list[Fault], dict[str, str] | None]:
    faults, document = read_object(tree, INDEX, _MAX_INDEX)
    if document is None:
        return faults, None
    file = tree.shown_path(INDEX)
    weight_map = document.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        message = f"It holds {shown(weight_map)}, an object from tensor to file was expected."
        return [*faults, Fault("INDEX_KEYS", message, file=file, path="$.weight_map")], None
    first: dict[str, str] = {}
    values: dict[str, str] = {}
    for tensor, value in weight_map.items():
        if isinstance(value, str):
            values[tensor] = value
            first.setdefault(value, tensor)
        else:
            message = f"Tensor {shown(tensor)} leads to {shown(value)}, a file name was expected."
            faults.append(Fault("INDEX_ESCAPE", message, file=file, path="$.weight_map"))
    for value, tensor in first.items():
        plain = value.endswith(".safetensors") and "/" not in value and "\\" not in value and "\0" not in value
        if not plain or not tree.holds(value):
            problem = "is not in the folder" if plain else "is not the plain name of a safetensors file"
            message = f"Tensor {shown(tensor)} leads to {shown(value)}, which {problem}."
            faults.append(Fault("INDEX_ESCAPE", message, file=file, path="$.weight_map"))
    return capped(faults), values


def _index_keys(tree: Tree, headers: dict[str, Header], weight_map: dict[str, str]) -> list[Fault]:
    """Where what the shards hold and what the index says differ."""
    faults = []
    for name, header in headers.items():
        indexed = {tensor for tensor, file in weight_map.items() if file == name}
        if missing := indexed - set(header):
            message = f"The index places {shown_some(missing)} in it, where it is not."
            faults.append(Fault("INDEX_KEYS", message, file=tree.shown_path(name)))
        if extra := set(header) - indexed:
            message = f"It holds {shown_some(extra)}, which the index does not place there."
            hint = "Remove the file if it is not part of the model." if not indexed else None
            faults.append(Fault("INDEX_KEYS", message, file=tree.shown_path(name), hint=hint))
    return faults
