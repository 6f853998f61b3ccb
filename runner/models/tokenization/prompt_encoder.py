"""A fast tokenizer reads prompts as the submission says: plain or chat, and an item's text as nothing but text."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from runner.core.errors import Fault, InvalidInput
from runner.core.types import Prompt, Thinking
from runner.models.tokenization.chat_template import Scaffold, TemplateFailed, date_of, find_scaffold, render
from runner.models.tokenization.item_text import TextTokenizer, added_tokens, make_text_tokenizer
from runner.models.tokenization.token_text import MOST_LETTER_BYTES, Spelling
from runner.tasks.prompts import text

Format = Literal["plain", "chat"]

# As texts of people begin: a space before them may belong to the first word, or be a token by itself.
_BEGINNINGS = (
    *("First probe of the template.", "Second, another one: 2.", "the third probe", "a fourth probe", "5 probes"),
    *('"The sixth" probe', "(seventh probe)"),
)
_NO_SCAFFOLD = Scaffold("", "", None, None)
OWN_TOKENIZER = "Submit the model with the tokenizer that it was pretrained with."


def describe(prompt: Prompt) -> str:
    """How a prompt is named in a fault."""
    return f"The prompt {prompt.prompt_id} of item {prompt.item_id} ({prompt.split}, order {prompt.order})"


class PromptError(Exception):
    """One prompt is faulty; caught where faults are collected."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A text for the tokenizer; only the part before `item` and from `end` to `cue` may hold added tokens."""

    text: str
    """The whole text."""
    item: int
    """Index of the first character of the item's part."""
    end: int
    """Index after the last character of the item's part."""
    cue: int
    """Index of the first character of the cue."""


class PromptEncoder:
    """A tokenizer, and the properties that are determined once.

    `arguments` are given to its chat template; `overhead` is how many tokens of every prompt are the template's own.
    Raises `InvalidInput` for a tokenizer or template that can read no prompt.
    """

    def __init__(
        self,
        tokenizer: Any,
        form: Format,
        arguments: Mapping[str, Any] | None = None,
        thinking: Thinking | None = None,
        system_prompt: str | None = None,
    ) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise InvalidInput(Fault("TOKENIZER_KIND", "The tokenizer is not a fast one (it has no tokenizer.json)."))
        self._tokenizer = tokenizer
        self._form = form
        self._arguments = arguments or {}
        self._thinking = thinking
        self._system = system_prompt
        self._bos: int | None = tokenizer.bos_token_id
        backend = tokenizer.backend_tokenizer
        added = added_tokens(backend)
        self._added = frozenset(added)
        names = [token.content for token in added.values()]
        self._name = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))) or r"(?!)")
        self._longest_name = max(map(len, names), default=0)
        self._special = frozenset(number for number, token in added.items() if token.special)
        self._scaffold = find_scaffold(tokenizer, self._arguments, self._system) if form == "chat" else _NO_SCAFFOLD
        before, after = _encode(backend, [self._scaffold.before, self._scaffold.after], split_special=False)
        # What the template itself brings, whatever the message, and then what is put before it.
        self._rendered = [*before, *after]
        self._front = [self._bos] if self._bos is not None and _adds_bos(tokenizer) and self._bos not in before else []
        self._own = [*self._front, *self._rendered]
        if self._bos is not None and self._own[:2] == [self._bos, self._bos]:
            hint = "Let the chat template write `bos_token` once, in front."
            raise InvalidInput(Fault("BOS_COUNT", "The chat template begins with two BOS tokens, not one.", hint=hint))

    @property
    def overhead(self) -> int:
        """How many tokens of a prompt are the chat template's own; a BOS in plain text is not counted as one."""
        return len(self._own) if self._form == "chat" else 0

    @property
    def thought_tokens(self) -> int:
        """Tokens that a thought may have before an answer that is drawn."""
        return 0 if self._thinking is None else self._thinking.max_thought_tokens

    @property
    def thought_begun(self) -> bool:
        """Whether the chat template itself begins a thought before an answer that is drawn."""
        return self._form == "chat" and self._scaffold.thought is not None

    @property
    def template_date(self) -> str | None:
        """The date on which the chat template is rendered, or None where it asks for none."""
        return date_of(self._tokenizer) if self._form == "chat" else None

    def write(self, prompt: Prompt, keep: int | None) -> list[RenderedPrompt]:
        """The prompt alone and with each surface form; `keep` as in `runner.tasks.prompts.text`."""
        question = text(prompt, keep)
        forms = [form for forms in prompt.options for form in forms]
        if self._form == "plain":
            begun = question + prompt.cue_plain
            return [RenderedPrompt(begun + form, 0, len(begun + form), len(begun + form)) for form in ["", *forms]]
        thinks = self._thinking is not None and prompt.sampling is not None
        if self._scaffold.thought is not None and not thinks and prompt.writing is None:
            raise self._open_thought(prompt)
        rendered = self._render(question)
        before, after = self._scaffold.before, self._scaffold.after
        # Templates of the field trim the message; what is trimmed is not part of the item's words.
        shown = question if before + question + after == rendered else question.strip()
        if not shown or rendered.count(shown) != 1:
            message = f"The chat template shows the text of {describe(prompt)} {rendered.count(shown)} times, not once."
            raise self._blamed(Fault("TEMPLATE_DROPS_TEXT", message), prompt, question, rendered)
        item = rendered.index(shown)
        end = item + len(shown)
        if (rendered[:item], rendered[end:]) != (before, after):
            message = f"Around {describe(prompt)} the chat template writes something else than around another text."
            raise self._blamed(Fault("TEMPLATE_READS_TEXT", message), prompt, question, rendered)
        self._check_edges(prompt, rendered, item, end)
        # A model that thinks begins its own turn: no answer cue may come before a thought.
        cue = "" if thinks else prompt.cue_chat
        return [RenderedPrompt(rendered + cue + form, item, end, len(rendered)) for form in ["", *forms]]

    def ids(self, texts: Sequence[RenderedPrompt]) -> list[list[int]]:
        """Token ids of each text, with a BOS before it where the tokenizer adds one and the template writes none."""
        backend = self._tokenizer.backend_tokenizer
        token_ids = _encode(backend, [text.text for text in texts], split_special=self._form == "plain")
        own = _count(self._added, self._rendered)
        spelt = [index for index, ids in enumerate(token_ids) if _count(self._added, ids) != own]
        if spelt:
            again = _encode(self._text.backend, [self._aliased(texts[index]) for index in spelt], split_special=True)
            for index, ids in zip(spelt, again, strict=True):
                token_ids[index] = self._text.restore(ids)
        return [[*self._front, *ids] for ids in token_ids]

    def beginning(self, prompt: Prompt) -> list[int]:
        """Token ids with which prompts of this template begin, whatever fills it: what made ones have in common.

        Empty where those cannot be written. A text that begins with a letter of a rare kind may melt into the
        template's last token, and its prompt begin otherwise.
        """
        try:
            made = [replace(prompt, values=dict.fromkeys(prompt.values, probe)) for probe in _BEGINNINGS]
            ids = self.ids([self.write(made_up, None)[0] for made_up in made])
        except PromptError:
            return []
        first, last = min(ids), max(ids)  # in lexical order: they part no later than any two do
        same = next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
        return first[:same]

    def check(self, prompt: Prompt, rendered: RenderedPrompt, ids: list[int]) -> None:
        """Raise `PromptError` unless `ids` are the text of `rendered`, all of it, and the item brings nothing else."""
        if self._bos is not None and ids.count(self._bos) != self._own.count(self._bos):
            number, expected = ids.count(self._bos), self._own.count(self._bos)
            message = f"{describe(prompt)} holds {number} BOS tokens, {expected} were expected, those of the template."
            raise PromptError(Fault("BOS_COUNT", message, hint=OWN_TOKENIZER))
        if _count(self._known_special, ids) != _count(self._known_special, self._own):
            message = f"{describe(prompt)}: the tokenizer reads special tokens in the item's text or on its edge."
            raise PromptError(Fault("TEMPLATE_READS_TEXT", message, hint=OWN_TOKENIZER))
        with translate_panics():
            problem = self._spelling.misread(ids[len(self._front) :], rendered.text)
        if problem is not None:
            raise PromptError(Fault("TOKENIZER_REWRITES", f"{describe(prompt)}: the tokenizer {problem}."))
        if (token := self._spelling.oversized_token(ids)) and token != self._spelling.oversized_token(self._own):
            message = (
                f"{describe(prompt)}: the tokenizer reads {token!r} as one token; "
                f"one word of at most {MOST_LETTER_BYTES} bytes of letters was expected."
            )
            raise PromptError(Fault("TOKENIZER_LONG_TOKEN", message, hint=OWN_TOKENIZER))

    # --- inside ------------------------------------------------------------------------------------------------------

    def _check_edges(self, prompt: Prompt, rendered: str, item: int, end: int) -> None:
        reach = self._longest_name
        for edge in (item, end):
            for match in self._name.finditer(rendered, max(0, edge - reach), edge + reach):
                if match.start() < edge < match.end():
                    message = f"The text of {describe(prompt)} and the chat template together spell {match.group()!r}."
                    raise PromptError(Fault("TEMPLATE_READS_TEXT", message))

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling(self._tokenizer.backend_tokenizer)

    @cached_property
    def _known_special(self) -> frozenset[int]:
        return self._special - {self._spelling.unknown}

    @cached_property
    def _text(self) -> TextTokenizer:
        return make_text_tokenizer(self._tokenizer.backend_tokenizer)

    def _aliased(self, rendered: RenderedPrompt) -> str:
        """The text with the template's own added tokens under their other names."""
        whole = rendered.text
        before, item = whole[: rendered.item], whole[rendered.item : rendered.end]
        after, cue = whole[rendered.end : rendered.cue], whole[rendered.cue :]
        return "".join((self._text.alias(before), item, self._text.alias(after), cue))

    def _render(self, content: str) -> str:
        try:
            return render(self._tokenizer, content, self._arguments, self._system)
        except TemplateFailed as problem:
            raise PromptError(problem.fault) from None

    def _open_thought(self, prompt: Prompt) -> PromptError:
        thought, closed_by = self._scaffold.thought, self._scaffold.closed_by
        message = (
            f"{describe(prompt)}: the chat template begins a thought ({thought!r}) and does not end it; "
            "the options would be scored as a part of the thought."
        )
        if prompt.sampling is not None:
            hint = "Write `thinking: {open: ..., close: ..., max_thought_tokens: ...}` under `model:`."
        elif closed_by is not None:
            name, value = next(iter(closed_by.items()))
            written = {True: "true", False: "false"}.get(value, value)
            hint = f"Write `template_arguments: {{{name}: {written}}}` under `model:` in submission.yaml."
        else:
            hint = "Ask in plain text (`format: plain`), or submit the model with a template that ends the thought."
        return PromptError(Fault("TEMPLATE_OPEN_THOUGHT", message, hint=hint))

    def _blamed(self, fault: Fault, prompt: Prompt, question: str, rendered: str) -> PromptError:
        """`fault`, unless what is wrong with the template is that it writes something else each time."""
        if self._render(question) == rendered:
            return PromptError(fault)
        message = f"{describe(prompt)} is rendered in two ways by the chat template."
        return PromptError(Fault("TEMPLATE_UNSTABLE", message))


def _count(known: frozenset[int], ids: Sequence[int]) -> int:
    return sum(map(known.__contains__, ids))


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
