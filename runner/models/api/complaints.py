"""What a service says that is no answer: errors, pages of a gateway, and parameters that it does not take."""

import re
from collections.abc import Mapping
from typing import Any

_LIMIT_NAMES = ("max_tokens", "max_completion_tokens")
_MAY_BE_LEFT_OUT = ("temperature", "top_p", "n", "seed")
_REFUSES = re.compile(
    r"not (?:be )?(?:supported|allowed|permitted|recognized)|un(?:supported|known|recognized|expected)"
    r"|does not support|extra inputs?|invalid parameter|deprecated",
    re.IGNORECASE,
)
_NAMES_N = re.compile(r"['\"`]n['\"`]")
_REFUSED = frozenset({400, 404, 422})
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_UNSEEN = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_MOST_WORDS = 100
_LOOKED_AT = 1 << 14


def adjustment(question: Mapping[str, Any], status: int, words: str) -> dict[str, str | None] | None:
    """What to ask otherwise, as the service's own words say: a parameter to its other name, or to None to leave it out.

    None where they name no parameter of `question` that may be changed. A limit of tokens is only renamed, and only
    where the words name both; what shapes the distribution is left to the service's default, which is 1.
    """
    if status not in _REFUSED:
        return None
    named = [name for name in (*_LIMIT_NAMES, *_MAY_BE_LEFT_OUT) if re.search(rf"(?<![a-z_]){name}(?![a-z_])", words)]
    for old, new in (_LIMIT_NAMES, _LIMIT_NAMES[::-1]):
        if old in question and old in named and (new in named or _REFUSES.search(words)):
            return {old: new}
    if question.get("n", 1) != 1 and _NAMES_N.search(words):
        return {"n": None}  # however many answers it gives at once, one by one is what every service does
    if _REFUSES.search(words):
        quoted = [name for name in named if name in question and re.search(rf"['\"`]{name}['\"`]|{name}\b", words)]
        return {quoted[0]: None} if quoted and quoted[0] in _MAY_BE_LEFT_OUT else None
    return None


def adjust(question: Mapping[str, Any], adjusted: Mapping[str, str | None]) -> dict[str, Any]:
    """`question` with parameters renamed, or left out, as `adjusted` says."""
    renamed = ((adjusted.get(name, name), value) for name, value in question.items())
    return {name: value for name, value in renamed if name is not None}


def error_in_reply(reply: Any) -> tuple[int, str, str] | None:
    """Status, code and words of an error inside an answer that says success, of a choice or of the whole; or None."""
    if not isinstance(reply, dict):
        return None
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    error = reply.get("error") or first.get("error")
    if not error:
        return None
    code, words = code_and_words(error)
    status = int(code) if re.fullmatch("[45][0-9][0-9]", code) else 200
    return status, code, words


def code_and_words(error: Any) -> tuple[str, str]:
    """Code and words of an error as services give it; empty where they are not given."""
    if isinstance(error, str):
        return "", error
    if not isinstance(error, dict):
        return "", ""
    code, message = error.get("code"), error.get("message")
    return "" if code is None else str(code), message if isinstance(message, str) else ""


def first_words(data: bytes) -> str:
    """What an answer that is no JSON is, by its own first words, to follow a semicolon; empty where it has none."""
    text = data[:_LOOKED_AT].decode("utf-8", "replace").strip()
    if not text or text[0] in "[{":
        return ""
    if text[0] == "<":
        title = _TITLE.search(text)
        words = " ".join(_UNSEEN.sub(" ", title[1] if title else text).split())[:_MOST_WORDS]
        return f"; it is a web page that says {words!r}" if words else "; it is a web page"
    kind = "it is a stream of events" if text.startswith(("data:", "event:", ": ", "id:")) else "it begins"
    return f"; {kind} {text[:_MOST_WORDS]!r}" if kind == "it begins" else f"; {kind}: {text[:_MOST_WORDS]!r}"
