"""Texts to what an encoder reads: ids and segments, cut at the end where they are too long."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runner.core.errors import Fault, InvalidInput
from runner.models.tokenization.prompt_encoder import translate_panics
from runner.models.tokenization.roundtrip import rewritten


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """One text, or two as a pair, with the tokenizer's own special tokens; `segments[i]` is the text of token i."""

    ids: tuple[int, ...]
    segments: tuple[int, ...]
    truncated: bool


def encode_texts(texts: Sequence[tuple[str, ...]], tokenizer: Any, max_tokens: int) -> list[EncodedTexts]:
    """What an encoder reads for each of `texts`, which hold one text or a pair.

    `tokenizer` is a fast tokenizer of transformers, which puts its special tokens around the texts; inside a text
    nothing is read as a special token. At most `max_tokens` ids are kept, special ones included: of a pair the longer
    text is cut, always at its end (Scruples, arXiv 2008.09094, keeps the beginnings too).

    Raises `InvalidInput`: `TOKENIZER_REWRITES` (looked for in the first text, and a text of which no token is left),
    `TOKENIZER_LIMIT`.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    with translate_panics():
        for text in texts[0] if texts else ():
            if (problem := rewritten(backend, text)) is not None:
                raise InvalidInput(Fault("TOKENIZER_REWRITES", f"The tokenizer {problem}."))
        room = max_tokens - backend.num_special_tokens_to_add(bool(texts) and len(texts[0]) > 1)
        if room < 1:
            message = f"The tokenizer's special tokens leave no room for a text in {max_tokens} tokens."
            raise InvalidInput(Fault("TOKENIZER_LIMIT", message))
        backend.enable_truncation(max_tokens, strategy="longest_first", direction="right")
        backend.encode_special_tokens = True
        try:
            encodings = backend.encode_batch([text[0] if len(text) == 1 else text for text in texts])
        finally:
            backend.encode_special_tokens = False
            backend.no_truncation()
    if nothing := [
        " and ".join(map(repr, text)) for text, encoding in zip(texts, encodings, strict=True) if not encoding.ids
    ]:
        hint = "Save it with the special tokens that it puts around a text."
        message = f"The tokenizer gives no token at all for {len(nothing):,} texts, the first {nothing[0][:80]}."
        raise InvalidInput(Fault("TOKENIZER_REWRITES", message, hint=hint))
    return [
        EncodedTexts(tuple(encoding.ids), tuple(encoding.type_ids), bool(encoding.overflowing))
        for encoding in encodings
    ]
