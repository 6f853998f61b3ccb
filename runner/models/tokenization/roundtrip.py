"""Whether a tokenizer reads a text as it stands: nothing in it rewritten, nothing left out."""

import unicodedata
from typing import Any


def rewritten(backend: Any, text: str) -> str | None:
    """How a tokenizer's normaliser or what follows it changes `text`, in words, or None where all of it is read.

    `backend` is a tokenizer of the tokenizers library. Letters, digits, punctuation and symbols count, in their
    compatibility form without case and accents: a space may become ▁, and an uncased model may be uncased.
    """
    normalizer = backend.normalizer
    if normalizer is not None:
        original, normalized = _essence(text), _essence(_normalised(normalizer, text))
        if original != normalized:
            at = next((n for n, pair in enumerate(zip(original, normalized, strict=False)) if pair[0] != pair[1]), 0)
            start = max(0, at - 10)
            return f"turns {original[start : at + 20]!r} into {normalized[start : at + 20]!r}"
    covered = [False] * len(text)
    for start, end in backend.encode(text, add_special_tokens=False).offsets:
        covered[start:end] = [True] * (end - start)
    for character, is_covered in zip(text, covered, strict=True):
        if not is_covered and _counts(character):
            return f"leaves out {character!r}"
    return None


def _normalised(normalizer: Any, text: str) -> str:
    """What the normaliser makes of `text`, bytes that it spells as letters read as what they spell."""
    normalized: str = normalizer.normalize_str(text)
    if "ByteLevel" not in repr(normalizer):
        return normalized
    spelt = _byte_letters()
    try:
        return bytes(spelt[character] for character in normalized).decode()
    except (KeyError, UnicodeDecodeError):
        return normalized


def _byte_letters() -> dict[str, int]:
    """The letters by which byte-level tokenizers spell bytes (the table of GPT-2): printable ones by themselves."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


def _essence(text: str) -> str:
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(character for character in plain if _counts(character))


def _counts(character: str) -> bool:
    return character != "▁" and unicodedata.category(character)[0] in "LNPS"
