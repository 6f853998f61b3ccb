"""Spoil a document at random, in ways that keep it a document more often than chance."""

import random

_WORDS = (
    b"null", b"true", b"-1", b"0", b"-0", b"1e999", b"1e400", b"9007199254740993", b"NaN", b"Infinity", b'""', b"[]",
    b"{}", b'"\\ud800"', b'"\\u0000"', b"\xff", b"\x00", b"\xef\xbb\xbf", b"&a ", b"*a", b"!!python/object", b"<<: ",
    b"- ", b"\n---\n", b"\t", b"'", b'"', b"{", b"}", b"[", b"]", b":", b",", b"\\", b"\n", b"..",
    b"/", b"\xe2\x80\xa8",
)  # fmt: skip


def mutated(seeds: list[bytes], chance: random.Random) -> bytes:
    """One of `seeds` with one to four changes."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(data))
        end = min(len(data), start + chance.choice((0, 1, 1, 2, 4, 8, 64, 512)))
        match chance.randrange(6):
            case 0:
                data[start:end] = b""
            case 1:
                data[start:end] = chance.choice(_WORDS)
            case 2:
                data[start:end] = chance.randbytes(end - start)
            case 3:
                data[start:start] = data[start:end] * chance.choice((1, 1, 2, 50))
            case 4:
                other = chance.choice(seeds)
                place = chance.randint(0, len(other))
                data[start:end] = other[place : place + chance.choice((1, 8, 64, 512))]
            case 5 if start < len(data):
                data[start] ^= 1 << chance.randrange(8)
    return bytes(data)
