"""The tokenizer of a model's folder: the bytes of its tokenizer.json, and nothing that takes their place."""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from runner.core.errors import BackendError, Fault
from runner.models.local.library_errors import quiet, translate_errors

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FLAGS = ("lstrip", "rstrip", "single_word", "normalized")


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of `folder`: its tokenizer.json with the special tokens and the chat template of its settings.

    `AutoTokenizer` is not used: for many classes it keeps the vocabulary of tokenizer.json and puts a normaliser, a
    pre-tokenizer and a kind of model of its own in place of the file's. Of tokenizer_config.json and
    special_tokens_map.json only the names of special tokens and the template are read. A named token is read as one
    wherever a text has it, also where tokenizer.json has it in its vocabulary alone; where that lists it as an added
    token, as it says. One that it does not know is left out, since it has no number. Raises `BackendError`
    (`TOKENIZER_LOAD`, `TOKENIZER_KIND`).
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        message = "There is no tokenizer.json; only fast tokenizers are supported."
        raise BackendError(Fault("TOKENIZER_KIND", message, file=str(folder)))
    with translate_errors("TOKENIZER_LOAD", "The tokenizer cannot be loaded", folder), quiet():
        backend = Tokenizer.from_file(str(file))
        settings = _read_settings(folder)
        special = {
            name: token
            for name in _SPECIAL
            if (token := _named_token(settings.get(name))) is not None and backend.token_to_id(str(token)) is not None
        }
        post_processor = backend.post_processor
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=backend, chat_template=_template(folder, settings), **special
        )
        # The class puts one of its own where the file has none.
        tokenizer.backend_tokenizer.post_processor = post_processor
    return tokenizer


def _read_settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json; special_tokens_map.json over it, which transformers reads where no tokens are listed."""
    settings = _read_object(folder / "tokenizer_config.json")
    older = {} if "added_tokens_decoder" in settings else _read_object(folder / "special_tokens_map.json")
    return settings | older


def _read_object(file: Path) -> dict[str, Any]:
    document = json.loads(file.read_bytes()) if file.exists() else {}
    if not isinstance(document, dict):
        raise ValueError(f"{file.name} holds no object")
    return document


def _named_token(token: Any) -> AddedToken | None:
    """A special token, given by its text or as an object, which may say how the text around it is read."""
    settings = token if isinstance(token, dict) else {"content": token}
    content = settings.get("content")
    if not isinstance(content, str) or not content:
        return None
    flags = {flag: settings[flag] for flag in _FLAGS if isinstance(settings.get(flag), bool)}
    return AddedToken(content, special=True, **flags)


def _template(folder: Path, settings: dict[str, Any]) -> Any:
    file = folder / "chat_template.jinja"
    return file.read_text(encoding="utf-8") if file.exists() else settings.get("chat_template")
