"""A page as a reader's program sees it: its tree, its numbers with what they show, and its remaining text."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import html5lib

_TAG = re.compile(r"\{.*\}")


@dataclass(frozen=True)
class Number:
    """A number element: its JSON pointer (None where it has none), its exact value, and the text that is shown."""

    pointer: str | None
    value: float
    text: str


def tree(page: str) -> ElementTree.Element:
    """The page as HTML5 says it is to be read; a page with a syntax error is none."""
    parser = html5lib.HTMLParser(tree=html5lib.getTreeBuilder("etree"), namespaceHTMLElements=False)
    root = parser.parse(page)
    assert not parser.errors, parser.errors
    return root


def tag(element: ElementTree.Element) -> str:
    return _TAG.sub("", element.tag) if isinstance(element.tag, str) else ""


def numbers(root: ElementTree.Element) -> list[Number]:
    found = []
    for element in root.iter():
        exact = element.get("value") if tag(element) == "data" else element.get("data-value")
        if exact is not None:
            found.append(Number(element.get("data-at"), json.loads(exact), "".join(element.itertext())))
    return found


_NOT_NUMBERS = {"data", "code", "time", "bdi", "style", "title"}


def other_text(root: ElementTree.Element) -> Iterator[str]:
    """Text that is no number of the card, no name, time or digest, and no tick of an axis."""
    for element in root:
        own = element.get("data-at") or (element.get("class") or "").split()[:1] == ["tick"]
        if tag(element) not in _NOT_NUMBERS and not own:
            if element.text:
                yield element.text
            yield from other_text(element)
        if element.tail:
            yield element.tail


def resolve(source: Any, pointer: str) -> Any:
    """RFC 6901."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        source = source[int(name)] if isinstance(source, list | tuple) else source[name]
    return source


def shows(text: str, value: float) -> bool:
    """Whether the text is the value, rounded to the last digit that is shown."""
    plain = text.replace("−", "-").replace(",", "").replace("\u202f", "")
    factor = 1.0
    if plain.endswith("%"):
        plain, factor = plain[:-1], 100.0
    mantissa, _, exponent = plain.partition("e")
    decimals = len(mantissa.partition(".")[2])
    unit = 10.0 ** (int(exponent or 0) - decimals)
    return abs(float(plain) - factor * value) <= 0.5 * unit * (1 + 1e-9) + 1e-12
