"""From values to a page: every string escaped, every number with its path in the card, nothing loaded."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from runner.core.text import is_unseen
from runner.report.html.words import warning, words


@dataclass(frozen=True, slots=True)
class Site:
    """A page's path in a site."""

    root: str
    """Relative address of the site's first page's folder: empty, or `../`."""
    badges: tuple[tuple[str, str], ...] = ()
    """(what it is of, address) of the badges of a card."""


def page(
    template: str, source: Mapping[str, Any], *, site: Site | None = None, script: str | None = None, **values: Any
) -> str:
    """The page that `template` makes of `values`; `number("card", "tasks", …)` in it shows a number of `source`.

    The page forbids itself the network and all scripts but `script` (the name of a template), so that a name that got
    past the escaping could still do nothing. With `site` it has links to the other pages.
    """
    css = _environment().get_template("style.css").render()
    code = None if script is None else _environment().get_template(script).render()
    policy = ["default-src 'none'", f"style-src '{_digest(css)}'", "base-uri 'none'", "form-action 'none'"]
    if code is not None:
        policy.insert(2, f"script-src '{_digest(code)}'")
    return (
        _environment()
        .get_template(template)
        .render(
            **values,
            css=Markup(css),
            policy="; ".join(policy),
            script=None if code is None else Markup(code),
            site=site,
            number=partial(number, source),
        )
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def drawing(template: str, **values: Any) -> str:
    """The SVG that `template` makes of `values`."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("runner.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(figure=figure, words=words, warning=warning)
    return environment


def number(
    source: Mapping[str, Any],
    start: str | Sequence[str | int],
    *more: str | int,
    form: str = "4",
    svg: bool = False,
) -> Markup:
    """The number in `source` along `start` and then `more`, as an element with its exact value and JSON pointer.

    What was not measured is a dash. `form` as in `figure`; `svg` for a place inside the text of a drawing.
    """
    steps = (start, *more) if isinstance(start, str) else (*start, *more)
    value: Any = source
    for step in steps:
        value = value[step]
    if value is None:
        return Markup('<span class="none">–</span>')
    pointer = _shown("".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps))
    text = figure(value, form)
    if svg:
        return Markup(f'<tspan data-value="{value!r}" data-at="{escape(pointer)}">{escape(text)}</tspan>')
    return Markup(f'<data value="{value!r}" data-at="{escape(pointer)}">{escape(text)}</data>')


def figure(value: float, form: str = "4") -> str:
    """A number for people: `4` digits after the point, `+4` with its sign, `%`, `d` whole, `g` three digits in all.

    A percentage that is not quite none or all is never shown as none or all.
    """
    if form == "d":
        text = f"{value:,}"
    elif form == "g":
        text = f"{value:.3g}"
    elif form == "%":
        text = f"{100 * value:.0f}"
        if text in ("0", "-0", "100") and value not in (0, 1):
            text = f"{100 * value:.2f}" if value > 0.5 else f"{100 * value:.1g}"
        text += "\u202f%"
    elif abs(value) >= 1e7:
        text = f"{value:.3g}"
    else:
        text = f"{value:{form[:-1]}.{form[-1]}f}"
        if float(text) == 0:
            text = text.lstrip("+-")
    return text.replace("-", "−") if form != "g" else text


def _shown(value: Any) -> Any:
    """A value as a page shows it; characters that hide or turn round the text after them are spelled out."""
    if value is None:
        raise TypeError("a page has no place for None: its template says what to show instead")
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return value if value.isascii() and value.isprintable() else "".join(map(_spelled, value))


def _spelled(character: str) -> str:
    hidden = is_unseen(character) and character not in "\n\t"
    hidden = hidden or ord(character) & 0xFFFE == 0xFFFE  # what XML cannot hold
    return f"⟨U+{ord(character):04X}⟩" if hidden else character
