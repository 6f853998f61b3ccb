"""Does every prompt of a benchmark work: its options, its orders, its template, and what a written answer needs?"""

import re
from collections.abc import Iterator, Mapping
from string import Template
from typing import Any

from runner.config.lookup import Sound, section_of, unknown_name
from runner.config.scalars import shown
from runner.config.schema import did_you_mean
from runner.config.source import Document, JsonPath, fault_at
from runner.core.errors import Fault

_NAME = re.compile(r"[A-Za-z]+")


def check_prompt(document: Document, sound: Sound, name: str) -> Iterator[Fault]:
    """The faults of the prompt `name` that no schema can see."""
    path: JsonPath = ("prompts", name)
    prompt = document.value["prompts"][name]
    tasks = section_of(document, "tasks")
    yield from _surface_forms(document, path, prompt["options"], whole=prompt["elicitation"] == "sampled")
    yield from _elicitation(document, path, prompt)
    if tasks is None:
        return
    if prompt["task"] not in tasks:
        yield unknown_name(document, (*path, "task"), "task", prompt["task"], tasks)
    elif sound(("tasks", prompt["task"])):
        task = tasks[prompt["task"]]
        yield from _labels(document, path, prompt, task["labels"])
        yield from _templates(document, path, prompt, task["labels"], list(task["item"]["fields"]))


def _surface_forms(
    document: Document, path: JsonPath, options: list[list[str]], *, whole: bool = False
) -> Iterator[Fault]:
    """No form may be given twice or begin another: what counts for one answer would also count for the other.

    Where answers are drawn a form is the `whole` line, and may begin another.
    Forms of different answers must also differ by more than blanks around them, which chat templates may strip.
    """
    forms = [(number, index, form) for number, group in enumerate(options) for index, form in enumerate(group)]
    for position, (number, index, form) in enumerate(forms):
        for other_number, _, other in forms[:position]:
            if form == other:
                message = f"The answer {shown(form)} is given twice."
            elif not whole and (form.startswith(other) or other.startswith(form)):
                message = f"Of the answers {shown(other)} and {shown(form)} one begins the other."
            elif number != other_number and form.strip() == other.strip():
                message = f"The answers {shown(other)} and {shown(form)} of two options differ only in blanks."
            else:
                continue
            yield fault_at(document, "OPTIONS", (*path, "options", number, index), message)


def _elicitation(document: Document, path: JsonPath, prompt: Mapping[str, Any]) -> Iterator[Fault]:
    """What a written answer needs, and nothing of it where none is written."""
    kind = prompt["elicitation"]
    for key, (needed, taken) in _WRITTEN_KEYS.items():
        if kind in needed and key not in prompt:
            message = f"A prompt with the elicitation {kind!r} needs {key!r}."
            yield fault_at(document, "ELICITATION", (*path, "elicitation"), message, key=True)
        elif kind not in taken and key in prompt:
            message = f"{key!r} is for prompts with the elicitation {' or '.join(map(repr, taken))}."
            yield fault_at(document, "ELICITATION", (*path, key), message, key=True)
    if kind == "sampled":
        yield from _drawn(document, path, prompt)
    if kind != "verbalized":
        return
    for number, forms in enumerate(prompt["options"]):
        if len(forms) != 1 or _NAME.fullmatch(forms[0]) is None:
            message = "In a written distribution an option has one name, of letters without blanks."
            yield fault_at(document, "OPTIONS", (*path, "options", number), message)
    for kind, cue in prompt["cue"].items():
        if cue != cue.rstrip(" "):
            message = "The cue ends with a blank, which a tokenizer would put before the answer's first word."
            yield fault_at(document, "CUE", (*path, "cue", kind), message)


_BOTH, _SAMPLED = ("verbalized", "sampled"), ("sampled",)
_WRITTEN_KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "max_new_tokens": (_BOTH, _BOTH),
    "zero_percent": (("verbalized",), ("verbalized",)),
    "samples": (_SAMPLED, _SAMPLED),
    "temperature": ((), _SAMPLED),
    "top_p": ((), _SAMPLED),
}
"""Key to the elicitations that need it, and those that take it."""


def _drawn(document: Document, path: JsonPath, prompt: Mapping[str, Any]) -> Iterator[Fault]:
    """What answers that are drawn need: a sample in each order, and answers that are lines without blanks around."""
    if "samples" in prompt and prompt["samples"] % len(prompt["orders"]):
        message = f"{prompt['samples']} samples cannot be shared by {len(prompt['orders'])} orders alike."
        yield fault_at(document, "SAMPLES", (*path, "samples"), message, "Give a multiple of the number of orders.")
    for number, forms in enumerate(prompt["options"]):
        for index, form in enumerate(forms):
            if form != form.strip() or "\n" in form:
                message = f"The answer {shown(form)} is compared with a line without blanks around it."
                yield fault_at(document, "OPTIONS", (*path, "options", number, index), message, "Leave the blanks out.")


def _labels(document: Document, path: JsonPath, prompt: Mapping[str, Any], labels: list[str]) -> Iterator[Fault]:
    for number, order in enumerate(prompt["orders"]):
        if sorted(order) != sorted(labels):
            message = f"An order must list every label of the task once: {', '.join(labels)}."
            yield fault_at(document, "ORDERS", (*path, "orders", number), message)
    if len(prompt["options"]) != len(labels):
        message = f"There are {len(prompt['options'])} options for {len(labels)} labels."
        yield fault_at(document, "OPTIONS", (*path, "options"), message, key=True)
    for label in prompt.get("shows", {}):
        if label not in labels:
            yield unknown_name(document, (*path, "shows", label), "label", label, labels, key=True)


def _templates(
    document: Document, path: JsonPath, prompt: Mapping[str, Any], labels: list[str], fields: list[str]
) -> Iterator[Fault]:
    shows = prompt.get("shows", {})
    options = [f"option_{position}" for position in range(1, len(labels) + 1)]
    yield from _template(document, (*path, "template"), prompt["template"], [*fields, *options])
    for label, template in shows.items():
        yield from _template(document, (*path, "shows", label), template, fields)

    used = variables(prompt["template"])
    used_options = [name for name in used if name in options]
    if used_options and (unshown := [label for label in labels if label not in shows]):
        message = f"The template uses {used_options[0]!r}, but 'shows' lacks {', '.join(map(repr, unshown))}."
        yield fault_at(document, "SHOWS", (*path, "shows" if shows else "template"), message, key=True)
    if not used_options and len(prompt["orders"]) > 1:
        message = "There are several orders, but the template shows no option, so they ask the same question."
        yield fault_at(document, "ORDERS", (*path, "orders"), message, key=True)
    shown_fields = [name for template in shows.values() for name in variables(template)] if used_options else []
    if not {*used, *shown_fields} & {*fields}:
        message = "The template uses no field of the item, so every item gets the same question."
        yield fault_at(document, "TEMPLATE", (*path, "template"), message, key=True)
    shorten = prompt.get("shorten")
    if shorten is not None and shorten not in fields:
        yield unknown_name(document, (*path, "shorten"), "field", shorten, fields)
    elif shorten is not None and shorten not in used:
        message = f"The field {shorten!r} may be shortened, but the template does not use it."
        yield fault_at(document, "SHORTEN", (*path, "shorten"), message)


def variables(template: str) -> list[str]:
    """Names that `template` refers to as `$name` or `${name}`."""
    return Template(template).get_identifiers()


def _template(document: Document, path: JsonPath, template: str, known: list[str]) -> Iterator[Fault]:
    if not Template(template).is_valid():
        hint = "Write $name for a field, or $$ for a dollar sign."
        yield fault_at(document, "TEMPLATE", path, "The text has a '$' that begins no name.", hint)
    for name in variables(template):
        if name not in known:
            message = f"The text uses ${shown(name)[1:-1]}, which is not known here."
            yield fault_at(document, "TEMPLATE", path, message, did_you_mean(name, known))
