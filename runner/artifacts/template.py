"""Check a chat template as far as that can be done without rendering it."""

import re
from typing import Any

from runner.artifacts.json_files import read_object
from runner.artifacts.reading import open_regular, read_exactly, shown
from runner.artifacts.tree import Tree
from runner.core.errors import Fault

MAX_TEMPLATE = 64 << 10  # the longest of the field have 17 KB
_MAX_TEMPLATES = 16
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FILE = "chat_template.jinja"
_SETTINGS = "tokenizer_config.json"


def template_faults(tree: Tree) -> list[Fault]:
    """`TEMPLATE_UNSTABLE` for a template that is too long, or is given twice and differently.

    transformers 5 reads chat_template.jinja, and `chat_template` of tokenizer_config.json where that is missing;
    earlier versions read only the latter, so two that differ mean two models. Rendering is checked later, in a child.
    """
    faults: list[Fault] = []
    texts: list[str] = []
    if _FILE in tree.files:
        template = _read(tree)
        if isinstance(template, Fault):
            faults.append(template)
        else:
            texts.append(template)
            faults += _text_faults(template, tree.shown_path(_FILE), None)
    settings = read_object(tree, _SETTINGS, 8 << 20)[1] or {}
    chat_template = settings.get("chat_template")
    for position, name in enumerate(_names(chat_template)):
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            message = f"A template is named {shown(name)}; letters, digits, '-' and '_' were expected."
            path = f"$.chat_template[{position}].name"
            faults.append(Fault("CONFIG_PATH", message, file=tree.shown_path(_SETTINGS), path=path))
    for path, text in _named(chat_template):
        if isinstance(text, str):
            faults += _text_faults(text, tree.shown_path(_SETTINGS), path)
        else:
            message = f"It holds {shown(text)}, the text of a template was expected."
            faults.append(Fault("TEMPLATE_UNSTABLE", message, file=tree.shown_path(_SETTINGS), path=path))
    if isinstance(chat_template, str) and texts and texts[0] != chat_template:
        message = f"It differs from the template in {_FILE}; which is used depends on the version of the library."
        hint = "Submit a copy of the folder with one of the two."
        faults.append(
            Fault("TEMPLATE_UNSTABLE", message, file=tree.shown_path(_SETTINGS), path="$.chat_template", hint=hint)
        )
    return faults


def _names(chat_template: Any) -> list[Any]:
    """The names in a list of named templates: they become file names when a tokenizer is saved."""
    parts = chat_template[:_MAX_TEMPLATES] if isinstance(chat_template, list) else []
    return [part.get("name") for part in parts if isinstance(part, dict)]


def _named(chat_template: Any) -> list[tuple[str, Any]]:
    """The template, or of a list of named ones the default one, with its JSON path: no other is ever rendered."""
    if chat_template is None:
        return []
    if isinstance(chat_template, list):
        return [
            (f"$.chat_template[{position}]", part.get("template") if isinstance(part, dict) else part)
            for position, part in enumerate(chat_template[:_MAX_TEMPLATES])
            if not isinstance(part, dict) or part.get("name") == "default"
        ]
    return [("$.chat_template", chat_template)]


def _read(tree: Tree) -> str | Fault:
    file = tree.shown_path(_FILE)
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
    return []
