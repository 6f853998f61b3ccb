"""Text of strangers made fit for a terminal."""


def printable(text: str) -> str:
    """`text` with characters that could steer a terminal, are invisible or half a character, written as escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
