"""What a chat template writes around a message: one thing for every message, on a pinned date, and no open thought."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from runner.core.errors import Fault, InvalidInput

DATE = datetime(2024, 7, 26)
"""The day on which every template is rendered: what Llama 3.1's own template falls back to."""

# What code in a template can raise: Jinja's own errors, and Python's for what it computes.
_FAILURES = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)
_PROBES = ("First probe of the template.", "Second, another one: 2.")
# How the templates of the field begin a thought, and how they end one.
_THOUGHT = re.compile(
    r"<\|?(?:\w+:)?(?:think|thinking|thought|reasoning|longcat_think)(?::\w+)?\|?>"
    r"|<\|START_THINKING\|>|<\|begin_of_thought\|>|<\|inner_prefix\|>|<\|open\|>think<\|sep\|>"
    r"|<\|channel>thought|<\|channel\|>analysis<\|message\|>|\[THINK\]|◁think▷|Here are my reasoning steps:",
    re.IGNORECASE,
)
_THOUGHT_END = re.compile(
    r"</|\[/|◁/|END_THINKING|end_of_thought|inner_suffix|<channel\|>|<\|close\|>|<\|end\|>", re.IGNORECASE
)
# Arguments by which templates of the field leave a thought out.
_WITHOUT_THOUGHT: tuple[dict[str, Any], ...] = (
    {"enable_thinking": False},
    {"thinking": False},
    {"reasoning_effort": "none"},
)


@dataclass(frozen=True, slots=True)
class Scaffold:
    """What the template writes around a message."""

    before: str
    """Text before the message."""
    after: str
    """Text after the message."""
    thought: str | None
    """Mark that opens a thought without an end; None without one."""
    closed_by: Mapping[str, Any] | None
    """Arguments of the template with which no thought stays open; None where none are known."""


class TemplateFailed(Exception):
    """The template cannot be rendered; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault


def render(tokenizer: Any, content: str, arguments: Mapping[str, Any], system: str | None = None) -> str:
    """One message of the user as the tokenizer's template renders it; `TemplateFailed` if it cannot.

    `system` is put before it in a message of the system.

    The same text as `apply_chat_template` of transformers gives, but for the date.
    """
    values = {
        **tokenizer.special_tokens_map,
        **arguments,
        "messages": [
            *([] if system is None else [{"role": "system", "content": system}]),
            {"role": "user", "content": content},
        ],
        "tools": None,
        "documents": None,
        "add_generation_prompt": True,
    }
    try:
        return _compiled(tokenizer.get_chat_template()).render(values)
    except _FAILURES as problem:
        reason = str(problem).rstrip(".") or type(problem).__name__
        message = f"The chat template fails on a single message of the user: {reason}."
        raise TemplateFailed(Fault("TEMPLATE_ERROR", message)) from None


@lru_cache(maxsize=4)
def _compiled(template: str) -> Template:
    """A template in the surroundings that transformers gives it, with a clock that stands still."""
    surroundings = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    surroundings.filters["tojson"] = _to_json
    surroundings.globals.update(raise_exception=_raise, strftime_now=_strftime)
    return surroundings.from_string(template)


class _Generation(Extension):
    """`{% generation %}` marks what the assistant says, for training; here its content is all there is to it."""

    tags = {"generation"}  # noqa: RUF012 (as Jinja declares it)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime(form: str) -> str:
    return DATE.strftime(form)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes letters for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def find_scaffold(tokenizer: Any, arguments: Mapping[str, Any], system: str | None = None) -> Scaffold:
    """What the tokenizer's template writes around a message; `InvalidInput` if that is not one thing."""
    try:
        tokenizer.get_chat_template()
    except ValueError:
        hint = "Use `format: plain`, or a model whose tokenizer has a chat template."
        message = "The submission asks in the chat format, but the tokenizer has no default chat template."
        raise InvalidInput(Fault("CHAT_TEMPLATE_MISSING", message, hint=hint)) from None
    try:
        scaffolds, again = (
            [render(tokenizer, probe, arguments, system).split(probe) for probe in _PROBES] for _ in range(2)
        )
    except TemplateFailed as problem:
        raise InvalidInput(problem.fault) from None
    if scaffolds != again:
        raise InvalidInput(Fault("TEMPLATE_UNSTABLE", "The chat template renders the same message in two ways."))
    if any(len(parts) != 2 for parts in scaffolds):
        raise InvalidInput(Fault("TEMPLATE_DROPS_TEXT", "The chat template does not show the message exactly once."))
    if scaffolds[0] != scaffolds[1]:
        raise InvalidInput(Fault("TEMPLATE_READS_TEXT", "What the chat template writes depends on the message."))
    before, after = scaffolds[0]
    if system is not None and system.strip() not in before:
        message = "The chat template does not show the system prompt before the message."
        hint = "Leave out `system_prompt`, or submit the model with a template that has a turn for it."
        raise InvalidInput(Fault("TEMPLATE_DROPS_TEXT", message, hint=hint))
    thought = open_thought(after)
    return Scaffold(before, after, thought, _closing(tokenizer, arguments) if thought else None)


def open_thought(after: str) -> str | None:
    """The last mark in `after` that begins a thought, unless something behind it ends it."""
    marks = list(_THOUGHT.finditer(after))
    return marks[-1].group() if marks and _THOUGHT_END.search(after, marks[-1].end()) is None else None


def date_of(tokenizer: Any) -> str | None:
    """The date on which the tokenizer's template is rendered, or None where it does not ask for one."""
    return DATE.date().isoformat() if "strftime_now" in tokenizer.get_chat_template() else None


def _closing(tokenizer: Any, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Arguments with which the template leaves no thought open, tried one by one."""
    for tried in _WITHOUT_THOUGHT:
        try:
            after = render(tokenizer, _PROBES[0], {**arguments, **tried}).split(_PROBES[0])[-1]
        except TemplateFailed:
            continue
        if open_thought(after) is None:
            return tried
    return None
