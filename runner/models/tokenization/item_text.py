"""An item's text is text: a tokenizer in which only the template's own added tokens are tokens."""

import json
import re
from dataclasses import dataclass
from typing import Any

_BLANK = " \t\n\r▁"


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """A copy of a tokenizer that knows its added tokens by other names only, and so reads none of them in a text.

    Runs of blanks stay: they are how some families read spaces, and say nothing of an item.
    """

    backend: Any
    """The copy, a `tokenizers.Tokenizer`."""
    pattern: re.Pattern[str]
    """Matches the original names of the added tokens."""
    original: dict[int, int]
    """Token id of the copy to that of the tokenizer, where they differ."""

    def alias(self, text: str) -> str:
        """`text`, written by a template, with the added tokens in it under the names that the copy knows."""
        return self.pattern.sub(lambda match: _alias(match.group()), text)

    def restore(self, ids: list[int]) -> list[int]:
        """Ids of the copy as the tokenizer's own."""
        return [self.original.get(number, number) for number in ids]


def added_tokens(backend: Any) -> dict[int, Any]:
    """The tokens that a tokenizer finds in a text before it reads it, by id, but for runs of blanks."""
    tokens = backend.get_added_tokens_decoder()
    return {number: token for number, token in tokens.items() if token.content.strip(_BLANK)}


def make_text_tokenizer(backend: Any) -> TextTokenizer:
    """The copy; its ids are those of `backend` wherever they can be, and translated where not.

    An added token that the vocabulary holds as well gives its name up and gets another id, behind all others, so that
    no id moves.
    """
    document = json.loads(backend.to_str())
    vocabulary = backend.get_vocab(with_added_tokens=False)
    renamed = {token.content for token in added_tokens(backend).values()}
    entries: list[dict[str, Any]] = []
    behind: list[dict[str, Any]] = []
    for entry in document["added_tokens"]:
        if entry["content"] in renamed:
            renamed_entries = behind if entry["content"] in vocabulary else entries
            renamed_entries.append(
                {**entry, "content": _alias(entry["content"]), "special": False, "normalized": False}
            )
        else:
            entries.append(entry)
    # The ids of those behind are given anew; where the file says others, the library warns.
    first = 1 + max([*vocabulary.values(), *(entry["id"] for entry in entries)], default=-1)
    behind = [{**entry, "id": first + position} for position, entry in enumerate(behind)]
    document |= {"added_tokens": [*entries, *behind], "truncation": None, "padding": None}
    copy = type(backend).from_str(json.dumps(document))
    names = {entry["content"]: entry["content"] for entry in entries} | {_alias(name): name for name in renamed}
    original = {copy.token_to_id(known): backend.token_to_id(name) for known, name in names.items()}
    longest_first = sorted(renamed, key=lambda content: (-len(content), content))
    return TextTokenizer(
        backend=copy,
        pattern=re.compile("|".join(map(re.escape, longest_first)) or r"(?!)"),
        original={here: there for here, there in original.items() if here != there},
    )


def _alias(content: str) -> str:
    """A name in characters for private use, which texts of people do not hold."""
    return f"\ue0f1{content[::-1]}\ue0f2"
