"""Prompts with all their options to token ids, split where the options part; every fault before a model is used."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.core.errors import MOST_FAULTS, Fault, InvalidInput
from runner.core.types import Prompt
from runner.models.tokenization.prompt_encoder import Format, PromptEncoder, PromptError, RenderedPrompt, describe

_AT_ONCE = 256
_NUMBER = re.compile(r"[\d,]+")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPrompt:
    """What a model reads for one prompt. A prompt for a written answer has no surface forms."""

    prefix: NDArray[np.int32]
    """(tokens,) token ids that all surface forms share, from the BOS on where there is one."""
    tails: tuple[tuple[int, ...], ...]
    """Token ids that surface form i adds, at least one."""
    labels: tuple[int, ...]
    """Index of the label that surface form i counts for."""
    truncated: bool
    """Whether the field that may be shortened was cut."""
    joined: bool
    """Whether a token spans the end of the prompt and the start of a form, so that the prefix is shorter than the
    prompt."""


def encode(prompt: Prompt, tokenizer: Any, form: Format, limit: int) -> EncodedPrompt:
    """Token ids of one prompt and its options; see `encode_all`."""
    return encode_all([prompt], tokenizer, form, limit)[0]


def encode_all(
    prompts: Iterable[Prompt],
    tokenizer: Any,
    form: Format,
    limit: int,
    arguments: Mapping[str, Any] | None = None,
) -> list[EncodedPrompt]:
    """As `encode_with`, by an encoder made of `tokenizer`, a fast one of transformers."""
    return encode_with(PromptEncoder(tokenizer, form, arguments), prompts, limit)


def encode_with(encoder: PromptEncoder, prompts: Iterable[Prompt], limit: int) -> list[EncodedPrompt]:
    """Token ids of every prompt with all its options, in order.

    `limit` is the context of the model in tokens. A prompt's own `max_tokens` holds as well, for what is not the chat
    template's own text. Prompt and surface form are
    encoded together, as the model would meet them in a text, and split at the longest common prefix of the prompt
    alone and the prompt with each form; cutting the joint encoding at the length of the prompt's own makes sequences
    that are neither (EleutherAI/lm-evaluation-harness#1053, #4055). Nothing in an item is read as an added token. There
    are as many BOS as the chat template renders around every message, and one in front where the tokenizer adds one
    and the template renders none before the message.

    Raises `InvalidInput` with every fault, equal ones of several prompts as one with their number (the first 20 kinds):
    `CHAT_TEMPLATE_MISSING`, `TEMPLATE_ERROR`, `TEMPLATE_UNSTABLE`, `TEMPLATE_READS_TEXT`, `TEMPLATE_DROPS_TEXT`,
    `TEMPLATE_OPEN_THOUGHT`, `TOKENIZER_BOS`, `BOS_COUNT`, `TOKENIZER_LIMIT`, `TOKENIZER_REWRITES`,
    `TOKENIZER_LONG_TOKEN`, `JOIN_AMBIGUOUS`, `PROMPT_TOO_LONG`.
    """
    encoded: list[EncodedPrompt] = []
    faults: dict[tuple[str, str], tuple[Fault, int]] = {}
    waiting = iter(prompts)
    while chunk := list(islice(waiting, _AT_ONCE)):
        for prompt, result in zip(chunk, _encode_chunk(chunk, encoder, limit), strict=True):
            if isinstance(result, EncodedPrompt):
                encoded.append(result)
                continue
            kind = _kind(prompt, result)
            first, number = faults.get(kind, (result, 0))
            faults[kind] = first, number + 1
    if faults:
        raise InvalidInput(*_counted(faults.values()))
    return encoded


def _kind(prompt: Prompt, fault: Fault) -> tuple[str, str]:
    """What faults of several prompts have in common that are one: code and words, but for the prompt and numbers."""
    words = _NUMBER.sub("", fault.message.replace(describe(prompt), ""))
    return fault.code, _QUOTED.sub("", words) if fault.code.startswith("TOKENIZER") else words


def _counted(faults: Iterable[tuple[Fault, int]]) -> Iterator[Fault]:
    """One fault for each kind, which says how many more prompts have it."""
    for number_of_kind, (fault, number) in enumerate(faults):
        if number_of_kind == MOST_FAULTS:
            break
        more = f" (and {number - 1:,} more prompt{'s' if number > 2 else ''})." if number > 1 else "."
        yield replace(fault, message=fault.message.removesuffix(".") + more)
    if rest := sum(number for _, number in list(faults)[MOST_FAULTS:]):
        yield Fault("MORE_FAULTS", f"{rest:,} more prompts have a fault.")


def _encode_chunk(prompts: Sequence[Prompt], encoder: PromptEncoder, limit: int) -> Iterator[EncodedPrompt | Fault]:
    """One result for each prompt, all texts of the chunk given to the tokenizer at once."""
    rendered: list[list[RenderedPrompt] | Fault] = []
    for prompt in prompts:
        try:
            rendered.append(encoder.write(prompt, None))
        except PromptError as problem:
            rendered.append(problem.fault)
    ids = iter(encoder.ids([text for texts_of in rendered if not isinstance(texts_of, Fault) for text in texts_of]))
    for prompt, texts in zip(prompts, rendered, strict=True):
        if isinstance(texts, Fault):
            yield texts
            continue
        try:
            written = prompt.writing or prompt.sampling
            room = limit - (written.max_new_tokens + encoder.thought_tokens if written else 0)
            token_limit = min(room, prompt.max_tokens + encoder.overhead)
            yield _settle(prompt, texts, list(islice(ids, len(texts))), encoder, token_limit)
        except PromptError as problem:
            yield problem.fault


def _settle(
    prompt: Prompt, texts: list[RenderedPrompt], ids: list[list[int]], encoder: PromptEncoder, limit: int
) -> EncodedPrompt:
    """Shorten if need be and allowed, check, split; `ids` are of `texts`, the prompt alone and with each form."""
    longest = max(map(len, ids))
    truncated = longest > limit
    if truncated:
        shortened = _shorten(prompt, encoder, limit, longest)
        if shortened is None:
            which = "and no field of it may be shortened" if prompt.shorten is None else "even without its text"
            message = f"{describe(prompt)} has {longest:,} tokens, {which}; at most {limit:,} were expected."
            raise PromptError(Fault("PROMPT_TOO_LONG", message))
        texts, ids = shortened
    for text, text_ids in zip(texts, ids, strict=True):
        encoder.check(prompt, text, text_ids)
    return _split(prompt, ids, truncated)


def _shorten(
    prompt: Prompt, encoder: PromptEncoder, limit: int, longest: int
) -> tuple[list[RenderedPrompt], list[list[int]]] | None:
    """The texts and ids with the most characters of the field kept that bisection finds to fit, or None if none do.

    Bisection keeps `fits < too_many`; the number of tokens may rise by one or two where a character is taken off, so
    a few more characters might fit, but what it finds does, and is the same in every run.
    """
    if prompt.shorten is None:
        return None
    texts = encoder.write(prompt, 0)
    ids = encoder.ids(texts)
    if max(map(len, ids)) > limit:
        return None
    fits, too_many = 0, len(prompt.values[prompt.shorten])
    guess = too_many * limit // longest
    while too_many - fits > 1:
        keep = guess if fits < guess < too_many else (fits + too_many) // 2
        guess = 0
        tried = encoder.write(prompt, keep)
        tried_ids = encoder.ids(tried)
        if max(map(len, tried_ids)) <= limit:
            fits, texts, ids = keep, tried, tried_ids
        else:
            too_many = keep
    return texts, ids


def _split(prompt: Prompt, ids: list[list[int]], truncated: bool) -> EncodedPrompt:
    """Split at the longest common prefix of the prompt alone (`ids[0]`) and with each form."""
    alone, whole = ids[0], ids[1:]
    # The first and the last in lexical order part from each other no later than any two do.
    first, last = min(ids), max(ids)
    shared = next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    tails = tuple(tuple(form_ids[shared:]) for form_ids in whole)
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
