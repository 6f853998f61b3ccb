"""Prompts with all their options to token ids, split where the options part; every fault before a model is used."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.core.errors import Fault, InvalidInput
from runner.core.types import Prompt
from runner.models.tokenization.prompt_encoder import Format, PromptEncoder, PromptError, RenderedPrompt, describe

_MOST_FAULTS = 20
_AT_ONCE = 256


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPrompt:
    """What a model reads for one prompt.

    `prefix` (tokens,) is shared by every surface form and begins with the BOS where there is one; `tails[i]` are the
    one or more tokens that surface form i adds, and `labels[i]` is the index of the label it counts for. `truncated`:
    the field that may be shortened was. A prompt for a written answer has no forms, and room is left for the answer.
    `joined`: some token spans the end of the prompt and the beginning of a form,
    so the prefix is shorter than the prompt's own encoding.
    """

    prefix: NDArray[np.int32]
    tails: tuple[tuple[int, ...], ...]
    labels: tuple[int, ...]
    truncated: bool
    joined: bool


def encode(prompt: Prompt, tokenizer: Any, form: Format, limit: int) -> EncodedPrompt:
    """Token ids of one prompt and its options; see `encode_all`."""
    return encode_all([prompt], tokenizer, form, limit)[0]


def encode_all(prompts: Iterable[Prompt], tokenizer: Any, form: Format, limit: int) -> list[EncodedPrompt]:
    """As `encode_with`, by a reader made of `tokenizer`, a fast one of transformers."""
    return encode_with(PromptEncoder(tokenizer, form), prompts, limit)


def encode_with(reader: PromptEncoder, prompts: Iterable[Prompt], limit: int) -> list[EncodedPrompt]:
    """Token ids of every prompt with all its options, in order.

    `limit` is the context of the model in tokens (a prompt's own `max_tokens` also holds). Prompt and surface form are
    encoded together, as the model would meet them in a text, and split at the longest common prefix of the prompt
    alone and the prompt with each form; cutting the joint encoding at the length of the prompt's own makes sequences
    that are neither (EleutherAI/lm-evaluation-harness#1053, #4055). Text of an item is never read as a special token.
    There is exactly one BOS where the tokenizer's own default adds one or the template renders one, and none
    elsewhere.

    Raises `InvalidInput` with every fault (the first 20 prompts that have one): `CHAT_TEMPLATE_MISSING`,
    `TEMPLATE_ERROR`, `TEMPLATE_UNSTABLE`, `TEMPLATE_READS_TEXT`, `TEMPLATE_DROPS_TEXT`, `TOKENIZER_BOS`, `BOS_COUNT`,
    `TOKENIZER_LIMIT`, `TOKENIZER_REWRITES`, `JOIN_AMBIGUOUS`, `PROMPT_TOO_LONG`.
    """
    encoded: list[EncodedPrompt] = []
    faults: list[Fault] = []
    faulty = 0
    waiting = iter(prompts)
    while chunk := list(islice(waiting, _AT_ONCE)):
        for result in _encode_chunk(chunk, reader, limit):
            if isinstance(result, EncodedPrompt):
                encoded.append(result)
                continue
            faulty += 1
            if faulty <= _MOST_FAULTS:
                faults.append(result)
    if faulty > _MOST_FAULTS:
        faults.append(Fault("MORE_FAULTS", f"{faulty - _MOST_FAULTS:,} more prompts have a fault."))
    if faults:
        raise InvalidInput(*faults)
    return encoded


def _encode_chunk(prompts: Sequence[Prompt], reader: PromptEncoder, limit: int) -> Iterator[EncodedPrompt | Fault]:
    """One result for each prompt, all texts of the chunk given to the tokenizer at once."""
    written: list[list[RenderedPrompt] | Fault] = []
    for prompt in prompts:
        try:
            written.append(reader.write(prompt, None))
        except PromptError as problem:
            written.append(problem.fault)
    ids = iter(
        reader.ids([text for prompt_texts in written if not isinstance(prompt_texts, Fault) for text in prompt_texts])
    )
    for number, (prompt, texts) in enumerate(zip(prompts, written, strict=True)):
        if isinstance(texts, Fault):
            yield texts
            continue
        try:
            if number == 0:  # a sample: what a tokenizer does to one text, it does to others
                reader.check_faithful(prompt, texts[0])
            room = limit - (prompt.writing.max_new_tokens if prompt.writing else 0)
            yield _settle(prompt, list(islice(ids, len(texts))), reader, min(room, prompt.max_tokens))
        except PromptError as problem:
            yield problem.fault


def _settle(prompt: Prompt, ids: list[list[int]], reader: PromptEncoder, limit: int) -> EncodedPrompt:
    """Shorten if need be and allowed, then split; `ids` are of the prompt alone and with each surface form."""
    longest = max(map(len, ids))
    truncated = longest > limit
    if truncated:
        shortened = _shorten(prompt, reader, limit, longest)
        if shortened is None:
            which = "and no field of it may be shortened" if prompt.shorten is None else "even without its text"
            message = f"{describe(prompt)} has {longest:,} tokens, {which}; at most {limit:,} were expected."
            raise PromptError(Fault("PROMPT_TOO_LONG", message))
        ids = shortened
    for token_ids in ids:
        reader.check_bos(prompt, token_ids)
    return _split(prompt, ids, truncated)


def _shorten(prompt: Prompt, reader: PromptEncoder, limit: int, longest: int) -> list[list[int]] | None:
    """The encodings with the most characters of the field kept that bisection finds to fit, or None if none do.

    Bisection keeps `fits < too_many`; the number of tokens may rise by one or two where a character is taken off, so
    a few more characters might fit, but what it finds does, and is the same in every run.
    """
    if prompt.shorten is None:
        return None
    token_ids = reader.ids(reader.write(prompt, 0))
    if max(map(len, token_ids)) > limit:
        return None
    fits, too_many = 0, len(prompt.values[prompt.shorten])
    guess = too_many * limit // longest
    while too_many - fits > 1:
        keep = guess if fits < guess < too_many else (fits + too_many) // 2
        guess = 0
        shorter = reader.ids(reader.write(prompt, keep))
        if max(map(len, shorter)) <= limit:
            fits, token_ids = keep, shorter
        else:
            too_many = keep
    return token_ids


def _split(prompt: Prompt, ids: list[list[int]], truncated: bool) -> EncodedPrompt:
    """Split at the longest common prefix of the prompt alone (`ids[0]`) and with each form."""
    alone, whole = ids[0], ids[1:]
    # The first and the last in lexical order part from each other no later than any two do.
    first, last = min(ids), max(ids)
    shared = next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    tails = tuple(tuple(ids[shared:]) for ids in whole)
    forms = [form for forms in prompt.options for form in forms]
    order = sorted(range(len(tails)), key=lambda number: tails[number])
    for previous, other in zip([None, *order], order, strict=False):
        if previous is None and not tails[other]:
            message = f"The option {forms[other]!r} adds no token to {describe(prompt)}."
            raise PromptError(Fault("JOIN_AMBIGUOUS", message))
        if previous is not None and tails[previous] == tails[other][: len(tails[previous])]:
            message = f"The option {forms[previous]!r} begins the option {forms[other]!r} in {describe(prompt)}."
            hint = "Their probabilities would overlap; end the options in a way that sets them apart."
            raise PromptError(Fault("JOIN_AMBIGUOUS", message, hint=hint))
    if not shared:
        message = f"{describe(prompt)} and its options have no token in common, so nothing comes before the options."
        raise PromptError(Fault("JOIN_AMBIGUOUS", message))
    return EncodedPrompt(
        prefix=np.array(alone[:shared], dtype=np.int32),
        tails=tails,
        labels=tuple(label for label, forms in enumerate(prompt.options) for _ in forms),
        truncated=truncated,
        joined=shared < len(alone),
    )
