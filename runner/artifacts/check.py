"""Check the files of a submission before anything loads them: every static fault of a model and of an adapter."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

from runner.artifacts import config
from runner.artifacts.adapter import WEIGHTS, Lora, read_adapter
from runner.artifacts.adapter_effect import no_effect_faults
from runner.artifacts.adapter_tensors import endings, tensor_faults
from runner.artifacts.config import FAMILIES, read_config
from runner.artifacts.config_keys import unknown_keys
from runner.artifacts.extra_tensors import computed_tensors, extra_faults
from runner.artifacts.json_files import read_object
from runner.artifacts.manifest import adapter_manifest, digest_faults, model_manifest
from runner.artifacts.reading import shown
from runner.artifacts.safetensors_header import Header
from runner.artifacts.shapes import current_names, expected_tensors, modules, shape_faults
from runner.artifacts.template import template_faults
from runner.artifacts.tokenizer import tokenizer_faults
from runner.artifacts.tree import Kind, Tree, walk
from runner.artifacts.weights import read_weights
from runner.core.errors import Fault
from runner.core.types import AdapterRef, ModelRef, Submission

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts read from the files of a model."""

    model_type: str
    """`model_type` of config.json."""
    family: Literal["causal", "encoder"]
    """Whether it continues a text or encodes it."""
    layers: int
    """Number of layers."""
    vocabulary: int
    """Size of the vocabulary, in tokens."""
    modules: Mapping[str, tuple[int, int]] | None
    """Name of a two-dimensional weight to (out, in); None where the names in the file may not be the model's."""
    parameters: int
    """Elements of all tensors as stored."""
    files: tuple[str, ...]
    """Names of the files that are loaded."""


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """Facts read from the files of an adapter."""

    base_model: str | None
    """The base model that it names, which is recorded and never followed."""
    rank: int
    """Largest rank of an update."""
    targets: tuple[str, ...]
    """Target modules, sorted."""
    head: bool
    """Whether it holds a whole classification head."""
    parameters: int
    """Elements of all tensors as stored."""
    files: tuple[str, ...]
    """Names of the files that are loaded."""


def check_model(folder: Path, *, chat: bool = True) -> tuple[tuple[Fault, ...], ModelFacts | None]:
    """Every static fault of a model's folder in the order of the rules, and what is known of the model.

    Reads names, JSON files and the headers of safetensors files, never tensors. The facts are None where config.json or
    the weights could not be made sense of. Without `chat` no chat template is used, and none is looked at. Raises
    nothing for anything that a folder can hold.
    """
    missing = _no_folder(folder)
    if missing:
        return (missing,), None
    faults, tree = walk(folder, "model")
    if any(fault.code == "TREE_LIMIT" for fault in faults):
        return tuple(faults), None
    config_faults, settings = read_config(tree)
    faults += config_faults
    is_encoder = settings is not None and FAMILIES[settings.model_type] == "encoder"
    weight_faults, weights = read_weights(tree, encoder=is_encoder)
    faults += weight_faults
    if settings is not None and weights is not None:
        faults += shape_faults(settings, weights, tree.shown_path("config.json"))
        faults += extra_faults(
            settings.model_type,
            current_names(settings.model_type, weights),
            expected_tensors(settings),
            tree.shown_path(""),
        )
    faults += tokenizer_faults(tree, settings.model_type if settings else None)
    if chat:
        faults += template_faults(tree)
    if settings is None or weights is None:
        return tuple(faults), None
    facts = ModelFacts(
        model_type=settings.model_type,
        family=FAMILIES[settings.model_type],
        layers=settings.layers,
        vocabulary=settings.vocabulary,
        modules=modules(settings, weights),
        parameters=_parameters(weights),
        files=tree.used(),
    )
    return tuple(faults), facts


def unknown_modules(folder: Path, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of `names` that are no module of the model in `folder`, nor the end of one's name; and what there is.

    What there is are the last parts of the names of the modules. Nothing is unknown where the names in the file may not
    be the model's, or cannot be read. `lm_head` is not looked for: tied to the embeddings it is in no file.
    """
    _, facts = check_model(folder, chat=False)
    if facts is None or facts.modules is None:
        return [], []
    known = {ending for module in facts.modules for ending in endings(module)}
    last = sorted({module.rpartition(".")[2] for module in facts.modules})
    return [name for name in names if name not in known and name != "lm_head"], last


def check_adapter(
    folder: Path, model: ModelFacts | None, *, base: str | None = None
) -> tuple[tuple[Fault, ...], AdapterFacts | None]:
    """Every static fault of an adapter's folder in the order of the rules, and what is known of the adapter.

    With the facts of its base (`model`) the tensors are held against the base's modules, without them against each
    other. `base` is the Hub repository that submission.yaml pins: an adapter that names another one is refused
    (`ADAPTER_BASE`), while a path on somebody's disk says nothing and is only recorded.
    """
    missing = _no_folder(folder)
    if missing:
        return (missing,), None
    faults, tree = walk(folder, "adapter")
    if any(fault.code == "TREE_LIMIT" for fault in faults):
        return tuple(faults), None
    adapter_faults, lora, header = read_adapter(tree, model.family if model else None)
    faults += adapter_faults
    if lora is None:
        return tuple(faults), None
    if header is not None:
        adapter_faults = tensor_faults(lora, header, model.modules if model else None, tree.shown_path(WEIGHTS))
        faults += adapter_faults or _effect_faults(tree)
    if base is not None and _names_another(lora.base, base):
        message = f"It was trained on {shown(lora.base)}, submission.yaml names {shown(base)} as the base."
        file = tree.shown_path("adapter_config.json")
        faults.append(Fault("ADAPTER_BASE", message, file=file, path="$.base_model_name_or_path"))
    return tuple(faults), None if header is None else _adapter_facts(lora, header, tree.used())


def _effect_faults(tree: Tree) -> list[Fault]:
    try:
        return no_effect_faults(tree.path(WEIGHTS), tree.shown_path(WEIGHTS))
    except OSError as error:
        message = f"It cannot be read: {error.strerror or error}."
        return [Fault("FILE_UNREADABLE", message, file=tree.shown_path(WEIGHTS))]


def list_ignored(submission: Submission) -> list[tuple[str, str, tuple[str, ...]]]:
    """What lies in a submission's folders on this machine and is not read: folder or file, what, and its names.

    Files that are never loaded, keys of config.json that the library is not given, tensors that it computes itself.
    """
    refs: dict[Kind, ModelRef | AdapterRef | None] = {"model": submission.model, "adapter": submission.adapter}
    ignored: list[tuple[str, str, tuple[str, ...]]] = []
    for kind, ref in refs.items():
        if ref is None or ref.path is None:
            continue
        tree = walk(Path(ref.path), kind)[1]
        ignored.append((tree.shown_path(""), "files that are never loaded", tree.ignored))
        if kind == "model":
            _, document = read_object(tree, config.FILE, config.MAX_BYTES)
            model_type = str((document or {}).get("model_type"))
            if document is not None and model_type in FAMILIES:
                ignored.append(
                    (tree.shown_path(config.FILE), "keys that are not read", tuple(unknown_keys(model_type, document)))
                )
            computed = computed_tensors(read_weights(tree)[1] or ())
            ignored.append((tree.shown_path(""), "tensors that are computed, not read", tuple(computed)))
    return [entry for entry in ignored if entry[2]]


def check_submission_files(submission: Submission, *, pins: bool = True) -> tuple[Fault, ...]:
    """Every static fault of the folders on this machine that a submission names, digests included where pinned.

    What the Hub holds is checked by `check_folders` once it has been fetched into a plain folder.
    """
    model, adapter = submission.model.path, submission.adapter.path if submission.adapter else None
    return check_folders(submission, Path(model) if model else None, Path(adapter) if adapter else None, pins=pins)


def check_folders(
    submission: Submission, model: Path | None, adapter: Path | None, *, pins: bool = True
) -> tuple[Fault, ...]:
    """Every static fault of the folders that hold a submission's model and adapter; None is not looked at.

    A digest is compared only where the folder has no other fault; without `pins` none is, and no weight is read:
    `submission_manifest` compares them too, and reading many gigabytes twice would be once too often.
    """
    faults: list[Fault] = []
    facts: ModelFacts | None = None
    if model is not None:
        part_faults, facts = check_model(model, chat=submission.model.format == "chat")
        faults += part_faults
        if pins and not part_faults and submission.model.digest is not None:
            faults += digest_faults(model_manifest(model), submission.model.digest, model, "$.model.digest")
    if adapter is not None and submission.adapter is not None:
        part_faults, _ = check_adapter(adapter, facts, base=submission.model.repository)
        faults += part_faults
        if pins and not part_faults and submission.adapter.digest is not None:
            faults += digest_faults(adapter_manifest(adapter), submission.adapter.digest, adapter, "$.adapter.digest")
    return tuple(faults)


def _no_folder(folder: Path) -> Fault | None:
    if folder.is_dir():
        return None
    return Fault("FILE_MISSING", "There is no such folder.", file=str(folder), hint="Paths start at submission.yaml.")


def _names_another(stated_base: str | None, base: str) -> bool:
    """Whether an adapter states a base as on the Hub, `owner/name` and not a path, that is not `base`.

    The same name of another owner (a copy, or a repository that moved), and a quantised copy, are the same base: which
    tensors fit is checked, and which base was trained on shows in nothing else than a name.
    """
    return (
        stated_base is not None
        and _REPOSITORY.fullmatch(stated_base) is not None
        and _called(stated_base) != _called(base)
    )


def _called(repository: str) -> str:
    name = repository.lower().rpartition("/")[2]
    return re.sub(r"(-unsloth)?(-bnb-4bit|-bnb-8bit)$", "", name).removeprefix("meta-")


def _adapter_facts(lora: Lora, header: Header, files: tuple[str, ...]) -> AdapterFacts:
    return AdapterFacts(
        base_model=lora.base,
        rank=max([lora.rank, *lora.ranks.values()]),
        targets=tuple(sorted(lora.targets)),
        head=bool(lora.heads),
        parameters=_parameters(header),
        files=files,
    )


def _parameters(header: Header) -> int:
    return sum(prod(tensor.shape) for tensor in header.values())
