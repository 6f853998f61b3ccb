"""From a service's reply to one log-score per label: exact where it was returned, else an upper bound."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.core.types import Thinking
from runner.tasks.sampled import split_thought

_UNTOLD = -9999.0
"""What the official service puts for a token that is too unlikely for it to tell."""
_ROUNDING = 1e-6
"""How far a sum of returned probabilities may be from the true one: they come from single precision."""
_SAME = 0.01
"""Largest difference, in nats, of a token's log-probability in two places of one answer: services round."""
_MAX_LOGPROBS = 256
_THOUGHTS = ("<think>", "<thinking>", "<thought>", "<reasoning>", "<|channel|>", "<|START_THINKING|>", "[THINK]")
"""What models of the field begin a thought with."""
_MOST_ANSWER = 4000
"""Letters at the end of an answer that are stored until it is parsed."""
_PIECE = 3
"""Letters from which a token counts as the first piece of such a mark."""


class Unusable(Exception):
    """An answer that says nothing of the options; `again` is whether asking again might help."""

    def __init__(self, code: str, message: str, *, again: bool) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.again = again


@dataclass(frozen=True, slots=True)
class TopLogprobs:
    """What a service says of the first token."""

    tokens: tuple[tuple[str, float], ...]
    """(text, natural-log probability) of the likeliest tokens."""
    drawn: str | None
    """Text of the token that was sampled; None where the answer does not say it."""
    unread: tuple[str, ...] = ()
    """Texts of tokens that are in the list without a log-probability (`null`)."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of the options of one prompt."""

    log_scores: tuple[float, ...]
    """Natural-log score of every label, in label order."""
    bounded: tuple[int, ...]
    """Indexes of the labels whose score is an upper bound."""
    answer_mass: float
    """Probability of all options that the service reported."""


def score(top_logprobs: TopLogprobs, options: Sequence[Sequence[str]], *, any_spacing: bool) -> Scored:
    """The score of each label from the first token of its surface forms.

    A label has the probability of all returned tokens that are one of its forms; with `any_spacing` white space around
    tokens and forms does not count, since how a model begins its turn in a chat is up to its template. A label without
    a returned form scores an upper bound. A token that was not returned is no likelier than the least likely returned
    one (the drawn token aside, which may be returned out of turn), nor than the probability that the returned ones
    leave. A returned token that begins a form, as white space might, could continue to it, so its probability is
    added. Raises `Unusable` (`API_NO_OPTION`) if no label has a returned form.
    """
    forms = [{_plain(form, any_spacing) for form in option_forms} for option_forms in options]
    tokens = [(_plain(text, any_spacing), log_prob) for text, log_prob in top_logprobs.tokens]
    for text in top_logprobs.unread:
        if any(_plain(text, any_spacing) in option_forms for option_forms in forms):
            message = f"the answer tells no log-probability of the option {text!r}"
            raise Unusable("API_NO_LOGPROBS", message, again=True)
    # As logarithms throughout: a probability of exp(-800) is 0 as a number, and as certainly one that was returned.
    own = [[log_prob for text, log_prob in tokens if text in option_forms] for option_forms in forms]
    likeliest = max(top_logprobs.tokens, key=lambda token: token[1])[0]
    if begins_thought(likeliest):
        message = f"the answer begins with a thought ({likeliest!r}): its first token says nothing of the options"
        raise Unusable("API_THOUGHT", message, again=False)
    if not any(own):
        message = (
            f"none of the options is among the {len(top_logprobs.tokens)} tokens told; the likeliest is {likeliest!r}"
        )
        raise Unusable("API_NO_OPTION", message, again=False)
    floor = min((log_prob for _, log_prob in _without_drawn(top_logprobs)), default=0.0)
    log_rest = math.log(max(1.0 - math.fsum(math.exp(log_prob) for _, log_prob in tokens), _ROUNDING))
    scores, bounded = [], []
    for label, log_probs in enumerate(own):
        if not log_probs:
            begun = [log_prob for text, log_prob in tokens if any(form.startswith(text) for form in forms[label])]
            log_probs = [min(floor, log_rest), *begun]
            bounded.append(label)
        scores.append(log_sum(log_probs))
    options_mass = math.fsum(math.exp(log_prob) for log_probs in own for log_prob in log_probs)
    return Scored(tuple(scores), tuple(bounded), min(1.0, options_mass))


def begins_thought(token: str) -> bool:
    """Whether `token` is the mark of a thought that begins, or the first piece of one, as `<th`."""
    text = token.strip()
    return len(text) >= _PIECE and any(mark.startswith(text) or text.startswith(mark) for mark in _THOUGHTS)


def log_sum(log_probs: Sequence[float]) -> float:
    """Logarithm of the sum of probabilities (one at least), at most 0."""
    highest = max(log_probs)
    return min(0.0, highest + math.log(math.fsum(math.exp(log_prob - highest) for log_prob in log_probs)))


def _plain(text: str, any_spacing: bool) -> str:
    return text.strip() if any_spacing else text


def _without_drawn(top_logprobs: TopLogprobs) -> Sequence[tuple[str, float]]:
    least_likely = min(top_logprobs.tokens, key=lambda token: token[1])
    return (
        [token for token in top_logprobs.tokens if token is not least_likely]
        if least_likely[0] == top_logprobs.drawn
        else top_logprobs.tokens
    )


# --- what services say, which is not trusted -----------------------------------------------------------------------


def parse_top_logprobs(reply: Any) -> TopLogprobs:
    """The first token of an answer of either interface; raises `Unusable` unless all of it is as it should be."""
    choice = _choice(reply)
    if (reason := choice.get("finish_reason")) == "content_filter":
        raise Unusable("API_REFUSAL", "the service's filter held the answer back", again=False)
    log_probs = choice.get("logprobs")
    if not isinstance(log_probs, dict):
        message = "the answer has no log-probabilities; the service or the model may not offer them"
        raise Unusable("API_NO_LOGPROBS", message, again=True)
    if isinstance(log_probs.get("content"), list):
        return _parse_chat(log_probs, reason, bool(thought_of(choice)))
    return _parse_completion(log_probs)


def _parse_chat(log_probs: Mapping[str, Any], reason: Any, thought: bool) -> TopLogprobs:
    if not log_probs["content"]:
        if thought:
            message = "the service keeps a thought apart, and tells no log-probabilities of what follows it"
            raise Unusable("API_THOUGHT", message, again=False)
        refused = bool(log_probs.get("refusal"))
        code, what = (
            ("API_REFUSAL", "the model refused") if refused else ("API_EMPTY", f"nothing was written ({reason})")
        )
        raise Unusable(code, what, again=not refused)
    first = log_probs["content"][0]
    if not isinstance(first, dict) or not isinstance(first.get("top_logprobs"), list):
        raise _malformed("the first token has no list 'top_logprobs'")
    if not all(isinstance(token, dict) for token in first["top_logprobs"]):
        raise _malformed("a token is no object")
    drawn = (_text(first), first.get("logprob")) if isinstance(first.get("token"), str) else (None, None)
    return _checked([(_text(token), token.get("logprob")) for token in first["top_logprobs"]], *drawn)


def _parse_completion(log_probs: Mapping[str, Any]) -> TopLogprobs:
    top, tokens = log_probs.get("top_logprobs"), log_probs.get("tokens")
    if not isinstance(top, list) or not top or not isinstance(top[0], dict):
        raise Unusable("API_NO_LOGPROBS", "the answer tells no likeliest tokens", again=True)
    drawn = tokens[0] if isinstance(tokens, list) and tokens and isinstance(tokens[0], str) else None
    own = log_probs.get("token_logprobs")
    return _checked(list(top[0].items()), drawn, own[0] if isinstance(own, list) and own else None)


def _text(token: Mapping[str, Any]) -> str:
    """A token's text: its bytes where they are returned, since part of a letter has no text."""
    data = token.get("bytes")
    if isinstance(data, list) and all(type(byte) is int and 0 <= byte < 256 for byte in data):
        return bytes(data).decode("utf-8", "replace")
    if not isinstance(token.get("token"), str):
        raise _malformed("a token has no text")
    return str(token["token"])


def _checked(tokens: Sequence[tuple[str, Any]], drawn: str | None, drawn_log_prob: Any) -> TopLogprobs:
    """What the service lists, the drawn token included, whose own log-probability counts where the list lacks it."""
    if not 1 <= len(tokens) <= _MAX_LOGPROBS:
        raise _malformed(f"{len(tokens):,} tokens are told, 1 to {_MAX_LOGPROBS} were expected")
    log_probs, unread = [], []
    for text, value in tokens:
        if value is None:
            unread.append(text)
        elif value != -math.inf and (log_prob := _log_prob(value)) > _UNTOLD:
            log_probs.append((text, log_prob))
    if drawn is not None and drawn_log_prob is not None and drawn_log_prob != -math.inf:
        own = _log_prob(drawn_log_prob)
        listed = [log_prob for text, log_prob in log_probs if text == drawn]
        # Several tokens may be listed as one text where it is no whole letter: none of them is an option.
        if (
            listed
            and "\N{REPLACEMENT CHARACTER}" not in drawn
            and all(abs(own - log_prob_listed) > _SAME for log_prob_listed in listed)
        ):
            raise _malformed(
                f"the token {drawn[:40]!r} has log-probability {own:.4g} and, in the list, {listed[0]:.4g}"
            )
        if log_probs and not listed and own > _UNTOLD:
            log_probs.append((drawn, own))
            unread = [text for text in unread if text != drawn]
    if not log_probs or math.fsum(math.exp(log_prob) for _, log_prob in log_probs) > 1 + 1e-3:
        raise _malformed("the probabilities of the tokens are not those of one distribution")
    return TopLogprobs(tuple(log_probs), drawn, tuple(unread))


def _log_prob(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value > 1e-3:
        raise _malformed(f"{str(value)[:40]!r} is no log-probability")
    return min(0.0, float(value))


def echoed(reply: Any, prompt: str, form: str) -> tuple[float, int]:
    """Log-probability of `form` after `prompt`, which the service read and echoed, and the number of its tokens.

    Raises `Unusable`: `API_NO_ECHO` if it did not echo, `API_JOIN` if one token spans the end of the prompt.
    """
    choice = _choice(reply)
    log_probs = choice.get("logprobs")
    if not str(choice.get("text", "")).startswith(prompt + form) or not isinstance(log_probs, dict):
        message = "the service does not echo what it read with its log-probabilities"
        raise Unusable("API_NO_ECHO", message, again=False)
    offsets, values = log_probs.get("text_offset"), log_probs.get("token_logprobs")
    if not isinstance(offsets, list) or not isinstance(values, list) or len(offsets) != len(values):
        raise _malformed("tokens and their places do not agree")
    if not all(type(offset) is int for offset in offsets) or offsets != sorted(offsets):
        raise _malformed("the places of the tokens do not rise")
    inside = [
        (offset, value)
        for offset, value in zip(offsets, values, strict=True)
        if len(prompt) <= offset < len(prompt) + len(form)
    ]
    if not inside or inside[0][0] != len(prompt):
        message = f"a token spans the end of the prompt and the beginning of the option {form!r}"
        raise Unusable("API_JOIN", message, again=False)
    return math.fsum(_log_prob(value) for _, value in inside), len(inside)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One answer of a service."""

    answer: str | None
    """What follows the thought; None where that was not ended."""
    thought: str
    """The thought; empty where there was none."""


def drawn_of(reply: Any, requested: int, thinking: Thinking | None, *, line: bool) -> list[Drawn]:
    """The answers in a reply to a request for `asked`, at least one and no more than these; raises `Unusable`.

    A thought is what the service keeps apart, or what stands before the mark that ends one. What a filter held back,
    and an answer of nothing, are answers: they count as failures. `line` ends each at a newline.
    """
    _choice(reply)
    drawn = []
    for choice in reply["choices"][:requested]:
        if not isinstance(choice, dict):
            raise _malformed("a choice is no object")
        message = choice.get("message")
        text = message.get("content") if isinstance(message, dict) else choice.get("text")
        if text is not None and not isinstance(text, str):
            raise _malformed("the text of a choice is no text")
        if text is None and "text" not in choice and not isinstance(message, dict):
            raise _malformed("a choice has neither a message nor a text")
        thought, answer = split_thought(text or "", thinking)
        separate = thought_of(choice)
        if not text and separate:
            answer = None
        elif answer is not None and line and answer == text:
            answer = answer.partition("\n")[0]
        thoughts = "\n".join(filter(None, (separate, thought)))
        drawn.append(Drawn(None if answer is None else answer[-_MOST_ANSWER:], thoughts))
    return drawn


def usage_of(reply: Any) -> tuple[int, int] | None:
    """Tokens in and out as the service counted them, or None where it does not say."""
    usage = reply.get("usage") if isinstance(reply, dict) else None
    if not isinstance(usage, dict):
        return None
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens", 0))
    return counts if all(type(count) is int and 0 <= count < 2**40 for count in counts) else None  # type: ignore[return-value]


def thought_of(choice: Mapping[str, Any]) -> str:
    """The thought that a service gives beside the answer (`reasoning_content` or `reasoning`); empty without one."""
    message = choice.get("message")
    values = [message.get(name) for name in ("reasoning_content", "reasoning")] if isinstance(message, dict) else []
    return next((value for value in values if isinstance(value, str) and value), "")


def name_of(reply: Any, field: str) -> str | None:
    """The text of `model` or `system_fingerprint`, or None where there is none."""
    value = reply.get(field) if isinstance(reply, dict) else None
    return value if isinstance(value, str) and value else None


def _choice(reply: Any) -> Mapping[str, Any]:
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise _malformed("there is no choice in it")
    return choices[0]


def _malformed(what: str) -> Unusable:
    return Unusable("API_MALFORMED", f"the answer is malformed: {what}", again=True)
