"""A fast tokenizer reads prompts as the submission says: plain or chat, one BOS, no special token from an item."""

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from jinja2 import TemplateError

from runner.core.errors import Fault, InvalidInput
from runner.core.types import Prompt
from runner.models.tokenization.roundtrip import rewritten
from runner.tasks.prompts import text

Format = Literal["plain", "chat"]

# What code in a template can raise: Jinja's own errors, and Python's for what it computes.
_TEMPLATE_FAILURES = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)
_PROBES = ("First probe of the template.", "Second, another one: 2.")
# As texts of people begin: a space before them may belong to the first word, or be a token by itself.
_BEGINNINGS = (*_PROBES, "the third probe", "a fourth probe", "5 probes", '"The sixth" probe', "(seventh probe)")


def describe(prompt: Prompt) -> str:
    """How a prompt is named in a fault."""
    return f"The prompt {prompt.prompt_id} of item {prompt.item_id} ({prompt.split}, order {prompt.order})"


class PromptError(Exception):
    """One prompt is faulty; caught where faults are collected."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A text for the tokenizer; of it, only the part before `item` and from `end` to `cue` may hold special tokens."""

    text: str
    item: int
    end: int
    cue: int


class PromptEncoder:
    """A tokenizer with what was found out about it once."""

    def __init__(self, tokenizer: Any, form: Format) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise InvalidInput(Fault("TOKENIZER_KIND", "The tokenizer is not a fast one (it has no tokenizer.json)."))
        self._tokenizer = tokenizer
        self._form = form
        self._bos: int | None = tokenizer.bos_token_id
        self._adds_bos = _adds_bos(tokenizer)
        self._specials = {token.content: token for token in tokenizer.added_tokens_decoder.values() if token.special}
        longest_first = sorted(self._specials, key=lambda content: (-len(content), content))
        self._special = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._scaffold = self._find_scaffold() if form == "chat" else ("", "")

    def write(self, prompt: Prompt, keep: int | None) -> list[RenderedPrompt]:
        """The prompt alone and with each surface form; `keep` as in `runner.tasks.prompts.text`."""
        question = text(prompt, keep)
        forms = [form for forms in prompt.options for form in forms]
        if self._form == "plain":
            begun = question + prompt.cue_plain
            return [RenderedPrompt(begun + form, 0, len(begun + form), len(begun + form)) for form in ["", *forms]]
        rendered = self._render(question)
        before, after = self._scaffold
        # Templates of the field trim the message; what is trimmed is not part of the item's words.
        body = question if before + question + after == rendered else question.strip()
        if not body or rendered.count(body) != 1:
            message = f"The chat template shows the text of {describe(prompt)} {rendered.count(body)} times, not once."
            raise self._blamed(Fault("TEMPLATE_DROPS_TEXT", message), prompt, question, rendered)
        item = rendered.index(body)
        end = item + len(body)
        if (rendered[:item], rendered[end:]) != self._scaffold:
            message = f"Around {describe(prompt)} the chat template writes something else than around another text."
            raise self._blamed(Fault("TEMPLATE_READS_TEXT", message), prompt, question, rendered)
        self._check_edges(prompt, rendered, item, end)
        return [RenderedPrompt(rendered + prompt.cue_chat + form, item, end, len(rendered)) for form in ["", *forms]]

    def ids(self, texts: Sequence[RenderedPrompt]) -> list[list[int]]:
        """Token ids of each text, with a BOS before it where it needs one and has none."""
        backend = self._tokenizer.backend_tokenizer
        if self._form == "plain":
            token_ids = _encode(backend, [rendered.text for rendered in texts], split_special=True)
        else:
            token_ids = _encode(backend, [rendered.text for rendered in texts], split_special=False)
            spelt = [number for number, rendered in enumerate(texts) if self._spells_special(rendered)]
            if spelt:
                aliased, original = self._aliased
                again = _encode(aliased, [self._alias(texts[number]) for number in spelt], split_special=True)
                for number, ids in zip(spelt, again, strict=True):
                    token_ids[number] = [original.get(token, token) for token in ids]
        if self._bos is None or not self._adds_bos:
            return token_ids
        return [ids if ids[:1] == [self._bos] else [self._bos, *ids] for ids in token_ids]

    def beginning(self, prompt: Prompt) -> list[int]:
        """Token ids with which prompts of this template begin, whatever fills it: what made ones have in common.

        Empty where those cannot be written. A text that begins with a letter of a rare kind may melt into the
        template's last token, and its prompt begin otherwise.
        """
        try:
            probe_prompts = [replace(prompt, values=dict.fromkeys(prompt.values, probe)) for probe in _BEGINNINGS]
            ids = self.ids([self.write(probe_prompt, None)[0] for probe_prompt in probe_prompts])
        except PromptError:
            return []
        first, last = min(ids), max(ids)  # in lexical order: they part no later than any two do
        same = next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
        return first[:same]

    def check_faithful(self, prompt: Prompt, written: RenderedPrompt) -> None:
        """Raise `PromptError` if the tokenizer rewrites the text or leaves some of it out."""
        backend = self._tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        with translate_panics():
            problem = rewritten(backend, written.text)
        if problem is not None:
            raise PromptError(Fault("TOKENIZER_REWRITES", f"{describe(prompt)}: the tokenizer {problem}."))

    def check_bos(self, prompt: Prompt, ids: list[int]) -> None:
        """Raise `PromptError` unless there is exactly one BOS, in front, or none where none is used."""
        if self._bos is None:
            return
        expected = 1 if self._adds_bos or ids[0] == self._bos else 0
        if ids.count(self._bos) != expected:
            message = f"{describe(prompt)} holds {ids.count(self._bos)} BOS tokens, {expected} was expected."
            raise PromptError(Fault("BOS_COUNT", message))

    def _find_scaffold(self) -> tuple[str, str]:
        """What the chat template writes before and after a message; `InvalidInput` if that is not one thing."""
        try:
            self._tokenizer.get_chat_template()
        except ValueError:
            hint = "Use `format: plain`, or a model whose tokenizer has a chat template."
            message = "The submission asks in the chat format, but the tokenizer has no default chat template."
            raise InvalidInput(Fault("CHAT_TEMPLATE_MISSING", message, hint=hint)) from None
        try:
            scaffolds, again = ([self._render(probe).split(probe) for probe in _PROBES] for _ in range(2))
        except PromptError as problem:
            raise InvalidInput(problem.fault) from None
        if scaffolds != again:
            raise InvalidInput(Fault("TEMPLATE_UNSTABLE", "The chat template renders the same message in two ways."))
        if any(len(parts) != 2 for parts in scaffolds):
            raise InvalidInput(
                Fault("TEMPLATE_DROPS_TEXT", "The chat template does not show the message exactly once.")
            )
        if scaffolds[0] != scaffolds[1]:
            raise InvalidInput(Fault("TEMPLATE_READS_TEXT", "What the chat template writes depends on the message."))
        return scaffolds[0][0], scaffolds[0][1]

    def _render(self, content: str) -> str:
        chat = [{"role": "user", "content": content}]
        try:
            rendered = self._tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        except _TEMPLATE_FAILURES as problem:
            reason = str(problem).rstrip(".") or type(problem).__name__
            message = f"The chat template fails on a single message of the user: {reason}."
            raise PromptError(Fault("TEMPLATE_ERROR", message)) from None
        return str(rendered)

    def _blamed(self, fault: Fault, prompt: Prompt, question: str, rendered: str) -> PromptError:
        """`fault`, unless what is wrong with the template is that it writes something else each time."""
        if self._render(question) == rendered:
            return PromptError(fault)
        message = f"{describe(prompt)} is rendered in two ways by the chat template."
        return PromptError(Fault("TEMPLATE_UNSTABLE", message))

    def _spells_special(self, written: RenderedPrompt) -> bool:
        """Whether a special token is spelt out in the item's text, the cue or the form."""
        inside = self._special.search(written.text, written.item, written.end)
        return inside is not None or self._special.search(written.text, written.cue) is not None

    def _check_edges(self, prompt: Prompt, rendered: str, item: int, end: int) -> None:
        for match in self._special.finditer(rendered):
            if any(match.start() < edge < match.end() for edge in (item, end)):
                message = f"The text of {describe(prompt)} and the chat template together spell {match.group()!r}."
                raise PromptError(Fault("TEMPLATE_READS_TEXT", message))

    @cached_property
    def _aliased(self) -> tuple[Any, dict[int, int]]:
        """A copy of the tokenizer that also knows each special token by another name, and from alias id to id.

        The copy reads special tokens as text but their aliases as tokens: so the template's own are told from the same
        letters in an item's text, while all else is cut up as ever.
        """
        backend = copy.deepcopy(self._tokenizer.backend_tokenizer)
        original: dict[int, int] = {}
        for token in self._specials.values():
            alias = type(token)(
                _alias_of(token.content),
                special=False,
                normalized=False,
                lstrip=token.lstrip,
                rstrip=token.rstrip,
                single_word=token.single_word,
            )
            backend.add_tokens([alias])
            original[backend.token_to_id(alias.content)] = backend.token_to_id(token.content)
        return backend, original

    def _alias(self, written: RenderedPrompt) -> str:
        """The text with the template's own special tokens under their other names."""
        before, after = written.text[: written.item], written.text[written.end : written.cue]
        item, cue = written.text[written.item : written.end], written.text[written.cue :]
        return "".join((self._aliases(before), item, self._aliases(after), cue))

    def _aliases(self, part: str) -> str:
        return self._special.sub(lambda match: _alias_of(match.group()), part)


def _alias_of(content: str) -> str:
    """A name in characters for private use, which texts of people do not hold."""
    return f"\ue0f1{content[::-1]}\ue0f2"


def _adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer by itself puts a BOS before a text; any other token there is refused."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    own = tokenizer("a")["input_ids"]
    if bare and own[:1] == [tokenizer.bos_token_id] and own[1 : 1 + len(bare)] == bare:
        return True
    if bare and own[: len(bare)] == bare:
        return False
    message = f"The tokenizer turns one letter into the ids {own}; at most a BOS before {bare} was expected."
    raise InvalidInput(Fault("TOKENIZER_BOS", message))


def _encode(backend: Any, texts: list[str], split_special: bool) -> list[list[int]]:
    """Token ids of each text, without any special token added and whatever limits tokenizer.json may set."""
    if not texts:
        return []
    # As transformers does before each of its own calls.
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = split_special
    try:
        with translate_panics():
            return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
    finally:
        backend.encode_special_tokens = False


@contextmanager
def translate_panics() -> Iterator[None]:
    """Tell a panic of the tokenizer's library in words: it is no `Exception`, and comes from the tokenizer's file."""
    try:
        yield
    except BaseException as problem:
        if type(problem).__name__ != "PanicException":
            raise
        raise InvalidInput(Fault("TOKENIZER_LIMIT", f"The tokenizer gave up on a text: {problem}.")) from None
