"""Text of strangers: made fit for a terminal, and the text by which a value is known."""

import unicodedata

# Letters and marks that nobody sees, though they are no control or format characters (Default_Ignorable_Code_Point of
# the Unicode Character Database). U+FE0E and U+FE0F, which choose between two looks of the sign before them, may stay.
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0").union(
    map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE0E), *range(0xE0100, 0xE01F0)))
)


def is_unseen(character: str) -> bool:
    """Whether a character draws nothing of its own: a control, a mark of format or direction, half a character."""
    return character in _UNSEEN or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def printable(text: str) -> str:
    """`text` with characters that could steer a terminal, are invisible or half a character, written as escapes."""
    return "".join(
        character
        if character.isprintable() and character not in _UNSEEN
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def name_of(value: object) -> str | None:
    """The text that stands for a name in data: itself, a whole number in decimal digits, true or false; else None.

    A label may be called 1, 1.0, "1" or true by those who publish: the first three are one name.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int():
            return str(value)
        case float() if value.is_integer():
            return str(int(value))
    return None
