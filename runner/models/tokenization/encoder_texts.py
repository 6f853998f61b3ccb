"""Texts to what an encoder reads: ids and segments, cut at the end where they are too long."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from runner.core.errors import Fault, InvalidInput
from runner.models.tokenization.item_text import added_tokens, make_text_tokenizer
from runner.models.tokenization.prompt_encoder import OWN_TOKENIZER, translate_panics
from runner.models.tokenization.token_text import MOST_LETTER_BYTES, Spelling


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """One text, or a pair, with the tokenizer's own special tokens."""

    ids: tuple[int, ...]
    """Token ids."""
    segments: tuple[int, ...]
    """Token-type id of every token."""
    truncated: bool
    """Whether a text was cut."""


def encode_texts(texts: Sequence[tuple[str, ...]], tokenizer: Any, max_tokens: int) -> list[EncodedTexts]:
    """What an encoder reads for each of `texts`, which hold one text or a pair.

    `tokenizer` is a fast tokenizer of transformers, which puts its special tokens around the texts; inside a text
    nothing is read as an added token. At most `max_tokens` ids are kept, special ones included: of a pair the longer
    text is cut, always at its end (Scruples, arXiv 2008.09094, keeps the beginnings too).

    Raises `InvalidInput`: `TOKENIZER_REWRITES` (every text is compared with what its tokens spell, before it is cut),
    `TOKENIZER_LONG_TOKEN`, `TOKENIZER_LIMIT`.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    named = frozenset(number for number, token in added_tokens(backend).items() if not token.special)
    with translate_panics():
        room = max_tokens - backend.num_special_tokens_to_add(bool(texts) and len(texts[0]) > 1)
        if room < 1:
            message = f"The tokenizer's special tokens leave no room for a text in {max_tokens} tokens."
            raise InvalidInput(Fault("TOKENIZER_LIMIT", message))
        encodings = _encode(backend, texts, max_tokens)
        if spelt := [index for index, encoding in enumerate(encodings) if not named.isdisjoint(encoding.ids)]:
            copy = make_text_tokenizer(backend).backend
            again = _encode(copy, [texts[index] for index in spelt], max_tokens)
            for index, encoding in zip(spelt, again, strict=True):
                encodings[index] = encoding
        if problems := list(_problems(backend, texts, encodings)):
            first = problems[0]
            more = f" (and {len(problems) - 1:,} more texts)" if len(problems) > 1 else ""
            raise InvalidInput(Fault(first.code, first.message.removesuffix(".") + f"{more}.", hint=first.hint))
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


def _encode(backend: Any, texts: Sequence[tuple[str, ...]], max_tokens: int) -> list[Any]:
    """The library's encodings, with special tokens around the texts and none read in them."""
    backend.enable_truncation(max_tokens, strategy="longest_first", direction="right")
    backend.encode_special_tokens = True
    try:
        encodings: list[Any] = backend.encode_batch([text[0] if len(text) == 1 else text for text in texts])
    finally:
        backend.encode_special_tokens = False
        backend.no_truncation()
    return encodings


def _problems(backend: Any, texts: Sequence[tuple[str, ...]], encodings: Sequence[Any]) -> Iterator[Fault]:
    """What is wrong with how each text is read."""
    spelling = Spelling(backend)
    backend.encode_special_tokens = True
    try:
        for parts, encoding in zip(texts, encodings, strict=True):
            whole = encoding.sequence_ids if not encoding.overflowing else None
            for number, text in enumerate(parts):
                if whole is None:
                    ids = backend.encode(text, add_special_tokens=False).ids
                else:
                    ids = [token for token, part in zip(encoding.ids, whole, strict=True) if part == number]
                if (problem := spelling.misread(ids, text)) is not None:
                    yield Fault("TOKENIZER_REWRITES", f"The tokenizer {problem}.")
                elif (token := spelling.oversized_token(ids)) is not None:
                    message = (
                        f"The tokenizer reads {token!r} as one token; "
                        f"one word of at most {MOST_LETTER_BYTES} bytes of letters was expected."
                    )
                    yield Fault("TOKENIZER_LONG_TOKEN", message, hint=OWN_TOKENIZER)
    finally:
        backend.encode_special_tokens = False
