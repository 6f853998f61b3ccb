"""Training items that are also scored, detected by id and by text."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runner.core.types import Item

LONG = 200
"""From so many letters on, one field alone identifies an item: a story under another title is the same story."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A training item that is also scored."""

    item: str
    """Id of the training item."""
    by: str
    """What they share: `id` or `text`."""
    scored: str
    """Id of the scored item."""


def find(train: Sequence[Item], scored: Iterable[Item]) -> list[Leak]:
    """The items of `train` that are among `scored`, in the order of `train`, each once.

    By text: all fields are the same in some order (a pair of actions the other way round is the same pair), or one
    field of at least `LONG` letters is; compared in lower case, as NFKC, with letters and digits alone.
    """
    ids: set[str] = set()
    texts: dict[tuple[str, ...], str] = {}
    for item in scored:
        ids.add(item.id)
        for text in _texts(item):
            texts.setdefault(text, item.id)
    leaks = []
    for item in train:
        same = next((texts[text] for text in _texts(item) if text in texts), None)
        if item.id in ids:
            leaks.append(Leak(item.id, "id", item.id))
        elif same is not None:
            leaks.append(Leak(item.id, "text", same))
    return leaks


def _texts(item: Item) -> list[tuple[str, ...]]:
    """What identifies an item by its texts; nothing where they are all empty."""
    fields = sorted(filter(None, map(_normal, item.fields.values())))
    return [tuple(fields), *((field,) for field in fields if len(field) >= LONG)] if fields else []


def _normal(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(letter if letter.isalnum() else " " for letter in folded).split())
