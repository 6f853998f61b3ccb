"""A tokenizer that rewrites or leaves out is told apart from those of the field, on any text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import tiny_models
from tokenizers import Regex, normalizers, pre_tokenizers

from runner.core.errors import InvalidInput
from runner.models.tokenization import encode_all
from runner.models.tokenization.token_text import rewritten

TEXT = "It's wrong — “don't” 🤷‍♀️ naïve café, ﬁne ½\t\n中文 ≠ e\u0301 İ"


def backend(kind: str = "byte") -> Any:
    return (tiny_models.byte_tokenizer() if kind == "byte" else tiny_models.piece_tokenizer()).backend_tokenizer


BACKENDS = [backend("byte"), backend("piece")]


@given(st.text(max_size=60), st.sampled_from([0, 1]))
def test_the_tokenizers_of_the_field_read_every_text(text: str, which: int) -> None:
    assert rewritten(BACKENDS[which], text) is None


@given(st.text(max_size=40), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD", "ByteLevel"]))
def test_unicode_forms_and_the_spelling_of_bytes_are_no_rewriting(text: str, form: str) -> None:
    found = backend_with(getattr(normalizers, form)())
    assert rewritten(found, text) is None


def backend_with(normalizer: Any) -> Any:
    BYTES.normalizer = normalizer
    return BYTES


BYTES = backend("byte")


@pytest.mark.parametrize(
    "normalizer",
    [
        normalizers.Replace("wrong", "right"),
        normalizers.Replace("n't", ""),
        normalizers.Replace(Regex("[0-9½]"), "7"),
        normalizers.Prepend("Answer: B "),
        normalizers.Sequence([normalizers.NFC(), normalizers.Replace("n't", " indeed")]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["byte", "piece"])
def test_a_normaliser_that_rewrites_is_found(normalizer: Any, kind: str) -> None:
    spoilt = backend(kind)
    spoilt.normalizer = normalizer
    assert "turns " in str(rewritten(spoilt, TEXT))


def test_what_is_dropped_is_found() -> None:
    spoilt = backend()
    spoilt.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("wrong", "removed"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    assert rewritten(spoilt, TEXT) == "leaves out 'w'"
    assert rewritten(spoilt, "nothing of it") is None


def test_it_is_found_before_a_model_is_asked() -> None:
    tokenizer = tiny_models.byte_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("less ethical", "more ethical")
    with pytest.raises(InvalidInput) as caught:
        encode_all(tiny_models.prompts(), tokenizer, "plain", 1000)
    assert [fault.code for fault in caught.value.faults] == ["TOKENIZER_REWRITES"]
    assert "lessethical" in caught.value.faults[0].message
