"""Tensors that a model's files hold beyond what the model is made of: given twice, of another model, or harmless."""

import re
from collections.abc import Collection, Iterable

from runner.artifacts.config_keys import base_prefix
from runner.artifacts.reading import shown_some
from runner.core.errors import Fault

# Buffers that older versions of the library saved and newer ones compute: turns of positions, their numbers, masks.
_COMPUTED = re.compile(
    r"(?:.+\.)?(?:rotary_emb\.inv_freq|embeddings\.position_ids|(?:attn|attention)\.(?:masked_)?bias)"
)


def computed_tensors(names: Iterable[str]) -> list[str]:
    """The tensors that the library computes itself and never takes from a file."""
    return sorted(name for name in names if _COMPUTED.fullmatch(name))


def extra_faults(model_type: str, names: Collection[str], expected: Collection[str], file: str) -> list[Fault]:
    """`LOAD_KEYS` for tensors that come twice or that the model does not have; the library forgives both in silence.

    Twice: with and without the prefix of the base model, one of which would win. `expected` are the model's tensors;
    where it is empty they are not known here, and of an encoder the heads are left to the loader.
    """
    prefix = f"{base_prefix(model_type)}."
    faults = []
    if twice := {name for name in names if prefix + name in names}:
        message = (
            f"{len(twice):,} tensors come twice, with {prefix!r} before their names and without: {shown_some(twice)}."
        )
        faults.append(Fault("LOAD_KEYS", message, file=file, hint="Delete those that are not the model's."))
    heads = f"{prefix}pooler."
    known = [*expected, *twice]
    of_model = [name for name in names if name.startswith(prefix) or not _is_encoder(expected, prefix)]
    extra = set(of_model).difference(known, computed_tensors(names)) if expected else set()
    if extra := {name for name in extra if not name.startswith(heads)}:
        message = f"{len(extra):,} tensors are not the model's: {shown_some(extra)}."
        hint = "Save the model with save_pretrained; what belongs to another model is another submission."
        faults.append(Fault("LOAD_KEYS", message, file=file, hint=hint))
    return faults


def _is_encoder(expected: Collection[str], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in expected)
