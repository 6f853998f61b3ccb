"""A prompt with all its options to token ids, or every fault, before any model is used."""

from runner.models.tokenization.encode import EncodedPrompt, encode, encode_all, encode_with
from runner.models.tokenization.encoder_texts import EncodedTexts, encode_texts
from runner.models.tokenization.prompt_encoder import Format, PromptEncoder

__all__ = [
    "EncodedPrompt",
    "EncodedTexts",
    "Format",
    "PromptEncoder",
    "encode",
    "encode_all",
    "encode_texts",
    "encode_with",
]
