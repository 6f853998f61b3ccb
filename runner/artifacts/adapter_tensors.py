"""Hold the tensors of a LoRA adapter against its targets: one to one, and of the right size."""

import re
from collections.abc import Mapping

from runner.artifacts.adapter import PREFIX, Lora
from runner.artifacts.reading import capped, shown, shown_some
from runner.artifacts.safetensors_header import FLOATS, Header
from runner.core.errors import Fault

_TENSOR = re.compile(r"(?P<module>.+)\.(?P<part>lora_(?:A\.weight|B\.(?:weight|bias)|embedding_[AB]|magnitude_vector))")


def tensor_faults(lora: Lora, header: Header, modules: Mapping[str, tuple[int, int]] | None, file: str) -> list[Fault]:
    """`ADAPTER_TENSORS` where tensors and targets do not match one to one, `ADAPTER_FULL_WEIGHT` for a whole weight.

    `modules` are those of the base, name to (out, in); where they are not known (None), each target must have tensors
    and each tensor a target, and shapes must agree among themselves. peft itself only warns of a misnamed tensor, and
    the bare base is scored.
    """
    faults: list[Fault] = []
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    whole: list[str] = []
    strange: list[str] = []
    heads: set[str] = set()
    for name, tensor in header.items():
        module = name.removeprefix(PREFIX)
        match = _TENSOR.fullmatch(module) if name.startswith(PREFIX) else None
        if match and tensor.dtype in FLOATS:
            parts.setdefault(match["module"], {})[match["part"]] = tensor.shape
        elif module.endswith((".base_layer.weight", ".base_layer.bias")) and _is_target(
            lora, module.partition(".base_layer.")[0]
        ):
            continue  # beside LoRA on an embedding peft saves the base's own; the loader compares the two
        elif module.endswith((".base_layer.weight", ".base_layer.bias", ".original_module.weight")):
            whole.append(name)
        elif name.startswith(PREFIX) and module.split(".")[0] in lora.heads:
            heads.add(name)
        else:
            strange.append(name)
    if whole:
        hint = "Save with save_embedding_layers=False; an adapter may not replace weights of its base."
        message = f"It holds whole weights of the base: {shown_some(whole)}."
        faults.append(Fault("ADAPTER_FULL_WEIGHT", message, file=file, hint=hint))
    if strange:
        faults.append(Fault("ADAPTER_TENSORS", f"Not tensors of a LoRA adapter: {shown_some(strange)}.", file=file))

    if lora.heads and not heads:
        faults.append(
            Fault("ADAPTER_TENSORS", f"No tensors for {shown_some(lora.heads)}, to be saved whole.", file=file)
        )
    targets = {name for name in (modules if modules is not None else parts) if _is_target(lora, name)}
    if unaimed := set(parts) - targets:
        message = f"Tensors for modules that are no target: {shown_some(unaimed)}."
        faults.append(Fault("ADAPTER_TENSORS", message, file=file))
    if bare := targets - set(parts):
        faults.append(Fault("ADAPTER_TENSORS", f"Targets without tensors: {shown_some(bare)}.", file=file))
    met = {ending for name in targets for ending in endings(name)}
    if unmet := {target for target in lora.targets - met if not _is_left_out(lora, target)}:
        where = "in the base" if modules is not None else "among the tensors"
        faults.append(Fault("ADAPTER_TENSORS", f"Targets without a module {where}: {shown_some(unmet)}.", file=file))
    for name in sorted(targets & set(parts)):
        faults += _module_faults(lora, name, parts[name], modules[name] if modules is not None else None, file)
    return capped(faults)


def _module_faults(
    lora: Lora, name: str, shapes: Mapping[str, tuple[int, ...]], sizes: tuple[int, int] | None, file: str
) -> list[Fault]:
    """Whether one module has exactly the tensors its rank and size call for."""
    embedding = "lora_embedding_A" in shapes or "lora_embedding_B" in shapes
    first, second = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A.weight", "lora_B.weight")
    if sizes is None:
        sizes = (shapes.get(second, (0,))[0], shapes.get(first, (0, 0))[-1])
    elif embedding:
        sizes = (sizes[1], sizes[0])  # an embedding of V rows and H columns takes V and gives H
    rows, columns = sizes
    rank = _rank(lora, name)
    expected: dict[str, tuple[int, ...]] = {first: (rank, columns), second: (rows, rank)}
    if lora.dora:
        expected["lora_magnitude_vector"] = (rows,)
    if lora.bias:
        expected["lora_B.bias"] = (rows,)
    if dict(shapes) == expected:
        return []
    message = f"Module {shown(name)} has {_shapes(shapes)}, {_shapes(expected)} was expected."
    return [Fault("ADAPTER_TENSORS", message, file=file)]


def _shapes(tensors: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{part} {list(shape)}" for part, shape in sorted(tensors.items()))


def _is_target(lora: Lora, module: str) -> bool:
    """Whether peft would put LoRA on this module of the base: a target is a whole name or its end."""
    if _is_left_out(lora, module) or lora.targets.isdisjoint(endings(module)):
        return False
    if module in lora.targets or not lora.layers:
        return True
    for pattern in lora.layers_patterns or ("[^.]*",):
        if match := re.match(rf"(?:^|.*?\.){pattern}\.(\d{{1,9}})\.", module):
            return int(match[1]) in lora.layers
    return False


def _is_left_out(lora: Lora, module: str) -> bool:
    """Whether a module is excluded by name, or part of a head that is saved whole."""
    return not lora.excluded.isdisjoint(endings(module)) or not lora.heads.isdisjoint(module.split("."))


def endings(module: str) -> list[str]:
    """`a.b.c`, `b.c` and `c` for the module `a.b.c`."""
    parts = module.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def _rank(lora: Lora, module: str) -> int:
    """The rank of a module: that of the first pattern, in the order of the file, that its name ends with."""
    ends = frozenset(endings(module))
    return next((rank for pattern, rank in lora.ranks.items() if pattern in ends), lora.rank)
