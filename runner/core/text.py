"""Text of strangers: made fit for a terminal, and the text by which a value is known."""


def printable(text: str) -> str:
    """`text` with characters that could steer a terminal, are invisible or half a character, written as escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
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
