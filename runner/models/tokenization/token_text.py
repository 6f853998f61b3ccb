"""What token ids spell: whether a text was read letter by letter, and no more of it in one token than a word."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

MOST_LETTER_BYTES = 64
"""Of letters and digits in one token, in UTF-8: the longest of the field has as many (docs/scoring.md)."""

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_BLANKS = b" \t\n\r"
_LONGEST_WORD = 100  # WordPiece reads no longer one


class Spelling(dict[int, bytes]):
    """By token id what it stands for in a text, as UTF-8; filled as ids are met.

    `oversized` are those ids met so far that hold letters of more than one word, or too many of them.
    """

    def __init__(self, backend: Any) -> None:
        super().__init__()
        model = backend.model
        self._backend = backend
        self._byte_level = "ByteLevel" in f"{backend.normalizer!r} {backend.pre_tokenizer!r}"
        self._prefix = getattr(model, "continuing_subword_prefix", None) or ""
        self._suffix = getattr(model, "end_of_word_suffix", None) or ""
        self._added = {number: token.content for number, token in backend.get_added_tokens_decoder().items()}
        self.unknown = _unknown_id(backend, model)
        self.oversized: set[int] = set()

    def __missing__(self, number: int) -> bytes:
        spelt: bytes
        if number in self._added:
            spelt = self._added[number].encode()
        else:
            spelt = self._spell(self._backend.id_to_token(number) or "")
            if _is_oversized(spelt.decode(errors="ignore")):
                self.oversized.add(number)
        self[number] = spelt
        return spelt

    def _spell(self, token: str) -> bytes:
        if self._byte_level:
            spelt = _byte_letters()
            return bytes(spelt[letter] for letter in token if letter in spelt)
        if (byte := _BYTE.fullmatch(token)) is not None:
            return bytes.fromhex(byte[1])
        return token.removeprefix(self._prefix).removesuffix(self._suffix).replace("▁", " ").encode()

    def of(self, ids: Sequence[int]) -> bytes:
        """What `ids` spell together."""
        return b"".join(map(self.__getitem__, ids))

    def misread(self, ids: Sequence[int], text: str) -> str | None:
        """How `ids`, given by the tokenizer for `text` without what it adds, differ from it, in words; or None.

        Letters, digits, punctuation and symbols count, in their compatibility form without case and accents: a space
        may become ▁, and an uncased model may be uncased.
        """
        spelt = self.of(ids)
        if spelt.translate(None, _BLANKS) == text.encode().translate(None, _BLANKS):
            return None
        if self.unknown is not None and self.unknown in ids:
            return rewritten(self._backend, text) or self._unknown_word(text)
        given, essence_spelt = _essence(text), _essence(spelt.decode(errors="replace"))
        if given == essence_spelt:
            return None
        return rewritten(self._backend, text) or _difference(given, essence_spelt)

    def _unknown_word(self, text: str) -> str | None:
        """A word in ASCII for which the tokenizer has its token for the unknown: any real one spells those."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        for number, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            word = text[start:end]
            plain = word.isascii() and any(map(str.isalnum, word)) and len(word) <= _LONGEST_WORD
            if number == self.unknown and plain and word != self._added.get(number):
                return f"does not know {word!r}"
        return None

    def oversized_token(self, ids: Sequence[int]) -> str | None:
        """What the first oversized token among `ids` spells, or None."""
        return next((self[number].decode(errors="replace").strip() for number in ids if number in self.oversized), None)


def _is_oversized(spelt: str) -> bool:
    words = [word for word in spelt.split() if any(map(str.isalnum, word))]
    return len(words) > 1 or sum(len(letter.encode()) for letter in spelt if letter.isalnum()) > MOST_LETTER_BYTES


def _unknown_id(backend: Any, model: Any) -> int | None:
    token = getattr(model, "unk_token", None)
    return backend.token_to_id(token) if token is not None else getattr(model, "unk_id", None)


def rewritten(backend: Any, text: str) -> str | None:
    """How a tokenizer's normaliser or what follows it changes `text`, in words, or None where all of it is read.

    `backend` is a tokenizer of the tokenizers library. Letters, digits, punctuation and symbols count, in their
    compatibility form without case and accents: a space may become ▁, and an uncased model may be uncased.
    """
    normalizer = backend.normalizer
    if normalizer is not None:
        given, essence_read = _essence(text), _essence(_normalised(normalizer, text))
        if given != essence_read:
            return _difference(given, essence_read)
    read = [False] * len(text)
    for start, end in backend.encode(text, add_special_tokens=False).offsets:
        read[start:end] = [True] * (end - start)
    for character, seen in zip(text, read, strict=True):
        if not seen and _counts(character):
            return f"leaves out {character!r}"
    return None


def _normalised(normalizer: Any, text: str) -> str:
    """What the normaliser makes of `text`, bytes that it spells as letters read as what they spell."""
    normalised: str = normalizer.normalize_str(text)
    if "ByteLevel" not in repr(normalizer):
        return normalised
    spelt = _byte_letters()
    try:
        return bytes(spelt[character] for character in normalised).decode()
    except (KeyError, UnicodeDecodeError):
        return normalised


def _difference(given: str, read: str) -> str:
    """Where two essences part."""
    at = next((n for n, pair in enumerate(zip(given, read, strict=False)) if pair[0] != pair[1]), 0)
    start = max(0, at - 10)
    return f"turns {given[start : at + 20]!r} into {read[start : at + 20]!r}"


@cache
def _byte_letters() -> dict[str, int]:
    """The letters by which byte-level tokenizers spell bytes (the table of GPT-2): printable ones by themselves."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + number): byte for number, byte in enumerate(others)}


def _essence(text: str) -> str:
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(character for character in plain if _counts(character))


def _counts(character: str) -> bool:
    return character != "▁" and unicodedata.category(character)[0] in "LNPS"
