"""A prompt with all its options to token ids, or every fault, before any model is used."""

from runner.encoding.reader import Format, Reader
from runner.encoding.split import EncodedPrompt, encode, encode_all, encode_with
from runner.encoding.texts import EncodedTexts, encode_texts

__all__ = [
    "EncodedPrompt",
    "EncodedTexts",
    "Format",
    "Reader",
    "encode",
    "encode_all",
    "encode_texts",
    "encode_with",
]
