"""Answers drawn from models on this machine: they have the model's distribution, and no batch changes them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support import tiny_models

from runner.core.types import Prompt, SamplingFormat, Thinking
from runner.models.local import sampling
from runner.models.local.causal import Causal
from runner.models.local.sampling import Reading
from runner.tasks.prompts import text

LABELS = ("first", "second")
FAMILIES = ("llama", "qwen3")


def drawn(samples: int = 8, most: int = 6, answers: Any = (("A",), ("B",)), **changes: Any) -> list[Prompt]:
    form = SamplingFormat(answers, samples, changes.pop("temperature", 1.0), changes.pop("top_p", 1.0), most)
    return [
        replace(one, options=(), labels=LABELS, sampling=form, **changes) for one in tiny_models.prompts(name="sampled")
    ]


@pytest.fixture(scope="module")
def byte() -> Any:
    return tiny_models.byte_tokenizer()


@pytest.fixture(scope="module")
def model(byte: Any) -> Any:
    return tiny_models.model("llama", len(byte))


@pytest.mark.parametrize("kind", FAMILIES)
def test_neither_batch_nor_neighbours_change_an_answer(kind: str, byte: Any) -> None:
    backend = Causal(tiny_models.model(kind, len(byte)), byte, "plain", 4000)
    prompts = drawn()
    assert len(backend.plan(prompts)) < len(prompts)
    together = list(backend.predict(prompts))
    alone = [next(iter(backend.predict([prompt]))) for prompt in prompts]
    assert together == alone
    assert list(backend.predict(prompts[::-1])) == together[::-1]
    small = Causal(tiny_models.model(kind, len(byte)), byte, "plain", 1)
    assert list(small.predict(prompts)) == together


def test_more_answers_begin_with_the_same_ones(byte: Any, model: Any) -> None:
    """Each answer has a generator of its own, so that the first eight of sixteen are the eight."""
    few, many = (_texts(model, byte, drawn(samples, most=5)) for samples in (8, 16))
    assert [texts[:8] for texts in many] == few
    assert len({text for texts in many for text in texts}) > 16


def _texts(model: Any, tokenizer: Any, prompts: list[Prompt]) -> list[list[str | None]]:
    backend = Causal(model, tokenizer, "plain", 4000)
    reading = Reading(line=False, thinking=None, thought_begun=False)
    with torch.inference_mode():
        found = sampling.draw(model, tokenizer, prompts, backend.read(prompts), frozenset(), reading)
    return [[sample.answer for sample in samples] for samples in found]


def test_first_tokens_have_the_models_distribution(byte: Any, model: Any) -> None:
    """4,000 answers of one token against the softmax of the same prompt by the library: total variation."""
    [prompt] = drawn(4000, most=1)[:1]
    [texts] = _texts(model, byte, [prompt])
    with torch.inference_mode():
        logits = model(**byte(text(prompt) + prompt.cue_plain, return_tensors="pt")).logits[0, -1].float()
    shares = torch.softmax(logits, dim=-1).numpy()
    by_text: dict[str, float] = {}
    for token, share in enumerate(shares):
        name = byte.decode([token])
        by_text[name] = by_text.get(name, 0.0) + float(share)
    values, counts = np.unique(np.array(texts, dtype=object), return_counts=True)
    empirical = dict(zip(values, counts / 4000, strict=True))
    distance = 0.5 * sum(abs(empirical.get(name, 0.0) - share) for name, share in by_text.items())
    # Half the sum of mean absolute deviations of binomial shares, and a third more.
    expected = 0.5 * sum(np.sqrt(2 * share * (1 - share) / np.pi / 4000) for share in by_text.values())
    assert distance < 1.34 * expected


def test_top_p_and_temperature_leave_the_likeliest(byte: Any, model: Any) -> None:
    [warm], [cold], [narrow] = (
        _texts(model, byte, drawn(200, most=1, **how)[:1]) for how in ({}, {"temperature": 0.01}, {"top_p": 1e-6})
    )
    assert len(set(warm)) > 20
    assert set(narrow) == set(cold)
    assert len(set(cold)) == 1


@pytest.mark.slow
def test_the_distribution_of_many_answers_is_that_of_the_log_probabilities(byte: Any, model: Any) -> None:
    """The two tracks ask the same of the same model: at n = 2,000 they differ by less than three standard errors."""
    asked = [replace(one, options=((" A", "A"), (" B", "B")), labels=LABELS) for one in tiny_models.prompts()[:3]]
    backend = Causal(model, byte, "plain", 4000)
    shares = [np.exp(one.log_scores) for one in backend.predict(asked)]  # type: ignore[arg-type]
    n = 2_000
    form = SamplingFormat((("A",), ("B",)), n, 1.0, 1.0, 1)
    found = list(backend.predict([replace(one, options=(), sampling=form) for one in asked]))
    for one, share in zip(found, shares, strict=True):
        assert one.samples is not None
        for label, name in enumerate(LABELS):
            error = np.sqrt(share[label] * (1 - share[label]) / n)
            assert abs(one.samples[name] / n - share[label]) < 3 * error + 1 / n


# --- reading --------------------------------------------------------------------------------------------------------


class _Scripted:
    """Stands for a tokenizer: token n is the n-th piece of a script."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces

    def decode(self, tokens: Any, **_: Any) -> str:
        return "".join(self.pieces[token] for token in tokens)


def finish(pieces: list[str], reading: Reading, most: int = 4, end: bool = False) -> tuple[int, str | None] | None:
    """After how many pieces an answer is over, and what it is; `end` is whether the last piece is a token that ends."""
    form = SamplingFormat((("A",), ("B",)), 1, 1.0, 1.0, most)
    ends = frozenset({len(pieces) - 1} if end else ())
    for number in range(1, len(pieces) + 1):
        row = sampling._Row(0, tuple(range(number)))
        if (sample := sampling._finished(_Scripted(pieces), row, form, ends, reading)) is not None:
            return number, sample.answer
    return None


PLAIN = Reading(line=True, thinking=None, thought_begun=False)
CHAT = Reading(line=False, thinking=None, thought_begun=False)
THINKS = Reading(line=False, thinking=Thinking("<think>", "</think>", 3), thought_begun=False)
BEGUN = replace(THINKS, thought_begun=True)


@pytest.mark.parametrize(
    ("pieces", "reading", "over", "answer"),
    [
        ([" A", "\n", "x"], PLAIN, 2, " A"),
        ([" The", " x"], PLAIN, 1, " The"),
        ([" ", "A", "B"], PLAIN, 3, " AB"),
        (["A", "\n", "B", "!", "x"], CHAT, 4, "A\nB!"),
        (["<think>", "a", "b", "</think>", "A", "B", "C"], THINKS, 7, "ABC"),
        (["<think>", *"abcdefg"], THINKS, 7, None),
        (["a", "</think>", "A", "B", "C", "D", "E", "F"], BEGUN, 7, "ABCDE"),
        (["<think>", "a", "</think>", "A"], PLAIN, 4, "A"),
    ],
)
def test_an_answer_is_over_where_it_is(pieces: list[str], reading: Reading, over: int, answer: str | None) -> None:
    assert finish(pieces, reading) == (over, answer)


def test_a_token_that_ends_is_no_part_of_the_answer() -> None:
    assert finish(["A", "<eos>"], CHAT, end=True) == (2, "A")
    assert finish(["<think>", "a", "<eos>"], THINKS, end=True) == (3, None)
