"""Check a tokenizer: fast, from its own folder, and one that leaves the text of a prompt as it is."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from runner.artifacts.json_files import members, read_object, spelt
from runner.artifacts.reading import capped, shown, shown_some
from runner.artifacts.tree import Tree
from runner.core.errors import Fault

_MAX_TOKENIZER = 64 << 20
SETTINGS = "tokenizer_config.json"
_OLDER_SETTINGS, _OLDER_ADDED = "special_tokens_map.json", "added_tokens.json"
MAX_SETTINGS = 8 << 20
_MAX_REGEX = 2048
_MAX_PARTS = 32

_ADD = (
    "Let transformers write them into tokenizer.json, in the model's folder: python -c "
    "\"from transformers import PreTrainedTokenizerFast as T; T.from_pretrained('.').save_pretrained('.')\". "
    "If the model was not trained with them, delete them from the list instead."
)

_CLASS = re.compile(
    r"(TokenizersBackend|PreTrainedTokenizer|(Llama|CodeLlama|Mistral|Qwen2|GPT2|Bert|Roberta|Gemma|Cohere|GPTNeoX|Bloom|CodeGen)Tokenizer)(Fast)?"
)
_MODELS = frozenset({"BPE", "Unigram", "WordPiece", "WordLevel"})
_NORMALIZERS = frozenset({"ByteLevel", "NFC", "NFD", "NFKC", "NFKD", "Prepend", "Replace"})
_PRE_TOKENIZERS = frozenset(
    {"ByteLevel", "Metaspace", "Split", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit", "UnicodeScripts"}
)
_POST_PROCESSORS = frozenset({"ByteLevel", "TemplateProcessing", "BertProcessing", "RobertaProcessing"})
_ONLY_BERT = frozenset({"BertNormalizer", "BertPreTokenizer", "Lowercase", "StripAccents"})
# Keys of tokenizer_config.json that take the place of the tokenizer's own files.
_INSTEAD_OF_FILES = frozenset(
    {"vocab", "merges", "init_inputs", "fast_tokenizer_files", "tokenizer_object", "gguf_file"}
)
_PATH_KEY = re.compile(r"(_files?|_path|_dir|_folder)$")
_PATH_VALUE = re.compile(r"^[/~]|^[A-Za-z]:[\\/]|(^|[\\/])\.\.([\\/]|$)|://")

Section = Literal["normalizer", "pre_tokenizer", "post_processor"]


def tokenizer_faults(tree: Tree, model_type: str | None) -> list[Fault]:
    """Every static fault of the tokenizer in a model's folder (rule 8); `model_type` is None where it is not known.

    `TOKENIZER_KIND` without a tokenizer.json or with one of a kind that is not known to be deterministic;
    `TOKENIZER_REWRITES` for a step that changes or drops text; `TOKENIZER_LIMIT` for a regular expression that can take
    exponential time; `CONFIG_PATH` for a setting that leads to another file; `TOKENIZER_ADDED` for an added token that
    only a file beside tokenizer.json lists. An uncased BERT may lower the case.
    """
    document = None
    if not tree.holds("tokenizer.json"):
        hint = "Save the fast tokenizer: AutoTokenizer.from_pretrained('.').save_pretrained('.')."
        message = "There is no tokenizer.json; only fast tokenizers are supported."
        faults = [Fault("TOKENIZER_KIND", message, file=tree.shown_path(""), hint=hint)]
    else:
        faults, document = read_object(tree, "tokenizer.json", _MAX_TOKENIZER)
        if document is not None:
            faults += _document_faults(document, tree.shown_path("tokenizer.json"), model_type)
    settings: dict[str, dict[str, Any]] = {}
    for name in (SETTINGS, _OLDER_SETTINGS, _OLDER_ADDED):
        file_faults, values = read_object(tree, name, MAX_SETTINGS)
        faults += file_faults
        if values is not None:
            faults += _settings_faults(values, tree.shown_path(name))
            settings[name] = values
    if document is not None:
        faults += _added_faults(document, settings, tree)
    return faults


def _added_faults(document: Mapping[str, Any], settings: Mapping[str, dict[str, Any]], tree: Tree) -> list[Fault]:
    """Tokens that transformers would add to those of tokenizer.json, which alone is read here.

    Without them the template's marks are read letter by letter. They are not added here: their numbers would depend on
    the order of several files, and the model need not have rows for them.
    """
    here = frozenset(_contents(document.get("added_tokens"), names=False))
    newer = settings.get(SETTINGS, {})
    listed: list[tuple[str, str | None, Any]] = [
        (SETTINGS, key, newer.get(key)) for key in ("additional_special_tokens", "extra_special_tokens")
    ]
    if "added_tokens_decoder" in newer:
        listed.append((SETTINGS, "added_tokens_decoder", newer["added_tokens_decoder"]))
    else:  # transformers reads the older files only then
        older = settings.get(_OLDER_SETTINGS, {})
        listed.append((_OLDER_SETTINGS, "additional_special_tokens", older.get("additional_special_tokens")))
        listed.append((_OLDER_ADDED, None, settings.get(_OLDER_ADDED, {})))
    faults = []
    for name, key, tokens in listed:
        if missing := set(_contents(tokens, names=key is None)) - here:
            message = f"It lists {shown_some(missing)} as added tokens, which tokenizer.json does not add."
            path = f"$.{key}" if key else None
            faults.append(Fault("TOKENIZER_ADDED", message, file=tree.shown_path(name), path=path, hint=_ADD))
    return faults


def _contents(tokens: Any, *, names: bool) -> Iterator[str]:
    """The texts of a list or an object of tokens, each a text or an object with one; with `names` those of its keys."""
    match tokens:
        case dict():
            values = list(tokens) if names else list(tokens.values())
        case list():
            values = tokens
        case _:
            values = []
    for value in values:
        content = value.get("content") if isinstance(value, dict) else value
        if isinstance(content, str):
            yield content


def _document_faults(document: Mapping[str, Any], file: str, model_type: str | None) -> list[Fault]:
    faults = []
    model = document.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(kind, str) or kind not in _MODELS:
        message = f"The tokenizer is a {shown(kind)}, one of {', '.join(sorted(_MODELS))} was expected."
        faults.append(Fault("TOKENIZER_KIND", message, file=file, path="$.model.type"))
    elif model.get("dropout"):
        message = f"Merges are dropped at random with probability {shown(model['dropout'])}, none was expected."
        faults.append(Fault("TOKENIZER_KIND", message, file=file, path="$.model.dropout"))
    for path, step in _steps(document, "normalizer", "normalizers"):
        faults += _step_faults(step, path, file, _NORMALIZERS, model_type)
    for path, step in _steps(document, "pre_tokenizer", "pretokenizers"):
        faults += _step_faults(step, path, file, _PRE_TOKENIZERS, model_type)
    for path, step in _steps(document, "post_processor", "processors"):
        faults += _step_faults(step, path, file, _POST_PROCESSORS, model_type)
    return capped(faults)


def _steps(document: Mapping[str, Any], section: Section, inner: str) -> Iterator[tuple[str, Any]]:
    """The steps of a section with their JSON paths, sequences flattened; too many come out as None."""
    pending = [(f"$.{section}", document.get(section))]
    for _ in range(_MAX_PARTS):
        if not pending:
            return
        path, step = pending.pop(0)
        if isinstance(step, dict) and step.get("type") == "Sequence" and isinstance(step.get(inner), list):
            pending = [(f"{path}.{inner}[{position}]", part) for position, part in enumerate(step[inner])] + pending
        elif step is not None or "[" in path:
            yield path, step
    if pending:
        yield f"$.{section}", None


def _step_faults(step: Any, path: str, file: str, allowed: frozenset[str], model_type: str | None) -> list[Fault]:
    kind = step.get("type") if isinstance(step, dict) else None
    only_bert = isinstance(kind, str) and kind in _ONLY_BERT
    if not isinstance(kind, str) or not (kind in allowed or (only_bert and model_type in ("bert", None))):
        message = (
            f"The step {shown(kind)} is not among those that leave the text as it is: {', '.join(sorted(allowed))}."
        )
        return [Fault("TOKENIZER_REWRITES", message, file=file, path=path)]
    match kind:
        case "Prepend":
            problem = (
                None if step.get("prepend") == "▁" else f"It prepends {shown(step.get('prepend'))}, '▁' was expected."
            )
        case "Replace":
            pair = (step.get("pattern"), step.get("content"))
            is_harmless = pair in (({"String": " "}, "▁"), ({"String": "▁"}, " "))
            problem = (
                None
                if is_harmless
                else f"It replaces {_pattern(pair[0])} by {shown(pair[1])}, only ' ' by '▁' is allowed."
            )
        case "Metaspace":
            mark = step.get("replacement")
            problem = None if mark == "▁" else f"It replaces spaces by {shown(mark)}, '▁' was expected."
        case "Split" | "Punctuation":
            problem = "It drops what it splits at." if step.get("behavior") == "Removed" else None
        case "TemplateProcessing":
            problem = _template_problem(step.get("single"))
        case _:
            problem = None
    faults = [Fault("TOKENIZER_REWRITES", problem, file=file, path=path)] if problem else []
    if kind == "Split":
        faults += _regex_faults(step.get("pattern"), f"{path}.pattern", file)
    return faults


def _template_problem(single: Any) -> str | None:
    """Why a post-processor does not pass the text on exactly once."""
    parts = single if isinstance(single, list) else []
    texts = sum(isinstance(part, dict) and "Sequence" in part for part in parts)
    if texts == 1 and len(parts) <= 4:
        return None
    return f"It puts the text {texts} times among {len(parts)} parts, once among at most 4 was expected."


def _pattern(pattern: Any) -> str:
    return shown(next(iter(pattern.values()))) if isinstance(pattern, dict) and len(pattern) == 1 else shown(pattern)


def _regex_faults(pattern: Any, path: str, file: str) -> list[Fault]:
    text = pattern.get("Regex", "") if isinstance(pattern, dict) else ""
    if not isinstance(text, str) or len(text) > _MAX_REGEX:
        message = f"The regular expression is {shown(text)}, a text of at most {_MAX_REGEX:,} characters was expected."
        return [Fault("TOKENIZER_LIMIT", message, file=file, path=path)]
    if _repeats_a_repeat(text):
        message = f"The regular expression {shown(text)} repeats a repetition, and can take exponential time."
        return [Fault("TOKENIZER_LIMIT", message, file=file, path=path)]
    return []


# An escape, a character class, a count, a bracket, or any other character.
_REGEX_PART = re.compile(r"\\.|\[(?:\\.|[^\]\\])+\]|\{\d*,?\d*\}|[*+()]|.", re.DOTALL)
_UNBOUNDED = re.compile(r"[*+]|\{\d*,\}|\{(?:\d*,)?(?:[3-9]\d|\d{3,})\}")  # a count of 30 and more is as bad as none


def _repeats_a_repeat(text: str) -> bool:
    """Whether an unbounded repetition stands around another: `(a+)*`. The usual pre-tokenizers have none.

    Nesting is what makes a backtracking engine exponential on text that almost matches.
    """
    inside = [False]  # for each open group, whether it holds an unbounded repetition
    closed = False  # the same for the group that has just ended
    for part in _REGEX_PART.findall(text):
        unbounded = _UNBOUNDED.fullmatch(part) is not None
        if unbounded and closed:
            return True
        if unbounded:
            inside[-1] = True
        closed = False
        if part == "(":
            inside.append(False)
        elif part == ")" and len(inside) > 1:
            closed = inside.pop()
            inside[-1] = inside[-1] or closed
    return False


def _settings_faults(settings: dict[str, Any], file: str) -> list[Fault]:
    """Settings beside a tokenizer that choose another class or another file."""
    faults = []
    name = settings.get("tokenizer_class")
    if name is not None and not (isinstance(name, str) and _CLASS.fullmatch(name)):
        message = f"The class {shown(name)} is not among the known tokenizers."
        hint = "Use TokenizersBackend, which takes everything from tokenizer.json."
        faults.append(Fault("TOKENIZER_KIND", message, file=file, path="$.tokenizer_class", hint=hint))
    backend = settings.get("backend")
    if backend not in (None, "tokenizers"):
        message = f"The backend is {shown(backend)}, 'tokenizers' was expected."
        faults.append(Fault("TOKENIZER_KIND", message, file=file, path="$.backend"))
    for way, key, value in members(settings):
        if _leads_elsewhere(key, value, top=way == (None, key)):
            message = f"It holds {shown(value)}; a tokenizer is read from its own folder only."
            faults.append(Fault("CONFIG_PATH", message, file=file, path=spelt(way), hint="Delete the key."))
    return capped(faults)


def _leads_elsewhere(key: str, value: Any, top: bool) -> bool:
    """Whether a setting names, or stands in for, a file. Special tokens may look like paths; names are not followed."""
    if key == "name_or_path" or isinstance(value, int | None):
        return False
    if _PATH_KEY.search(key) or (top and key in _INSTEAD_OF_FILES and value):
        return True
    is_text = top and isinstance(value, str) and not key.endswith("_token") and key != "chat_template"
    return is_text and _PATH_VALUE.search(value) is not None


_SETTINGS_READ = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
    "add_bos_token",
    "add_eos_token",
    "added_tokens_decoder",
    "chat_template",
)


def reduce_tokenizer_settings(document: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json as it is read: special tokens, whether they are put around a text, and the template."""
    return {key: document[key] for key in _SETTINGS_READ if key in document}
