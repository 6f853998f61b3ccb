"""Check a chat template as far as that can be done without rendering it."""

import re
from typing import Any

from runner.artifacts.json_files import read_object
from runner.artifacts.reading import open_regular, read_exactly, shown
from runner.artifacts.tree import Tree
from runner.core.errors import Fault

MAX_TEMPLATE = 16 << 10
_MAX_TEMPLATES = 16
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FILE = "chat_template.jinja"
_SETTINGS = "tokenizer_config.json"


def template_faults(tree: Tree) -> list[Fault]:
    """`TEMPLATE_UNSTABLE` for a template that is too long, asks for the time, or is given twice and differently.

    transformers 5 reads chat_template.jinja, and `chat_template` of tokenizer_config.json where that is missing;
    earlier versions read only the latter, so two that differ mean two models. Rendering is checked later, in a child.
    """
    faults: list[Fault] = []
    texts: list[str] = []
    if _FILE in tree.files:
        found = _read(tree)
        if isinstance(found, Fault):
            faults.append(found)
        else:
            texts.append(found)
            faults += _text_faults(found, tree.place(_FILE), None)
    settings = read_object(tree, _SETTINGS, 8 << 20)[1] or {}
    stated = settings.get("chat_template")
    for place, name in enumerate(_names(stated)):
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            message = f"A template is named {shown(name)}; letters, digits, '-' and '_' were expected."
            path = f"$.chat_template[{place}].name"
            faults.append(Fault("CONFIG_PATH", message, file=tree.place(_SETTINGS), path=path))
    for path, text in _named(stated):
        if isinstance(text, str):
            faults += _text_faults(text, tree.place(_SETTINGS), path)
        else:
            message = f"It holds {shown(text)}, the text of a template was expected."
            faults.append(Fault("TEMPLATE_UNSTABLE", message, file=tree.place(_SETTINGS), path=path))
    if isinstance(stated, str) and texts and texts[0] != stated:
        message = f"It differs from the template in {_FILE}; which is used depends on the version of the library."
        hint = "Delete one of the two."
        faults.append(
            Fault("TEMPLATE_UNSTABLE", message, file=tree.place(_SETTINGS), path="$.chat_template", hint=hint)
        )
    return faults


def _names(stated: Any) -> list[Any]:
    """The names in a list of named templates: they become file names when a tokenizer is saved."""
    parts = stated[:_MAX_TEMPLATES] if isinstance(stated, list) else []
    return [part.get("name") for part in parts if isinstance(part, dict)]


def _named(stated: Any) -> list[tuple[str, Any]]:
    """The template, or each of a list of named ones, with its JSON path."""
    if stated is None:
        return []
    if isinstance(stated, list):
        return [
            (f"$.chat_template[{place}]", part.get("template") if isinstance(part, dict) else part)
            for place, part in enumerate(stated[:_MAX_TEMPLATES])
        ]
    return [("$.chat_template", stated)]


def _read(tree: Tree) -> str | Fault:
    file = tree.place(_FILE)
    try:
        with open_regular(tree.path(_FILE)) as stream:
            return read_exactly(stream, MAX_TEMPLATE * 4 + 1).decode()
    except OSError as error:
        return Fault("FILE_UNREADABLE", f"It cannot be read: {error.strerror or error}.", file=file)
    except UnicodeDecodeError as error:
        if tree.files[_FILE] > MAX_TEMPLATE * 4:  # cut within a letter
            return Fault("TEMPLATE_UNSTABLE", f"The template has more than {MAX_TEMPLATE:,} bytes.", file=file)
        return Fault("TEMPLATE_UNSTABLE", f"The template is not UTF-8 at byte {error.start}.", file=file)


def _text_faults(text: str, file: str, path: str | None) -> list[Fault]:
    if len(text.encode(errors="replace")) > MAX_TEMPLATE:
        message = f"The template has more than {MAX_TEMPLATE:,} bytes."
        return [Fault("TEMPLATE_UNSTABLE", message, file=file, path=path)]
    if "strftime_now" in text:
        hint = "Write the date out, so that every run asks the same."
        message = "The template asks for the present time, and would change from run to run."
        return [Fault("TEMPLATE_UNSTABLE", message, file=file, path=path, hint=hint)]
    return []
