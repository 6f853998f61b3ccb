"""Distributions that a model writes: batched, filled up and cached, they are what each prompt gives alone."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from support import tiny_models
from transformers import GenerationConfig

from runner.core.errors import BackendError
from runner.core.types import Prompt, VerbalizedFormat
from runner.models.local import lm_head
from runner.models.local.causal import Causal
from runner.tasks.prompts import text
from runner.tasks.verbalized import scores_or_none

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
TWO = VerbalizedFormat(("A", "B"), (0, 1), 0.5, 24)


def written_prompts(most: int = 24) -> list[Prompt]:
    return [
        replace(one, options=(), writing=replace(TWO, max_new_tokens=most))
        for one in tiny_models.prompts(name="written")
    ]


@pytest.fixture(scope="module")
def byte() -> Any:
    return tiny_models.byte_tokenizer()


def by_library(model: Any, tokenizer: Any, prompt: Prompt) -> tuple[str, int, float]:
    """Text, tokens and their log-probability by the library's own greedy search, one prompt at a time."""
    assert prompt.writing is not None
    asked = tokenizer(text(prompt) + prompt.cue_plain, return_tensors="pt")
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=prompt.writing.max_new_tokens,
        output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=0,
    )
    with torch.inference_mode():
        made = model.generate(**asked, generation_config=settings)
    new = made.sequences[0, asked["input_ids"].shape[1] :].tolist()
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    total = 0.0
    for number, token in enumerate(new):
        total += float(torch.log_softmax(made.logits[number][0].float(), dim=-1)[token])
        if token in special:
            return tokenizer.decode(new[:number]), number + 1, total
        if "\n" in (line := tokenizer.decode(new[: number + 1])):
            return line.split("\n")[0], number + 1, total
    return tokenizer.decode(new), len(new), total


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("budget", [1, 700], ids=["alone", "in batches"])
def test_agrees_with_the_librarys_greedy_search(kind: str, budget: int, byte: Any) -> None:
    model = tiny_models.model(kind, len(byte))
    prompts = written_prompts()
    backend = Causal(model, byte, "plain", budget)
    assert max(map(len, backend.plan(prompts))) == (1 if budget == 1 else 6)
    found = list(backend.predict(prompts))
    lengths = set()
    for one, prompt in zip(found, prompts, strict=True):
        line, tokens, log_prob = by_library(model, byte, prompt)
        assert (one.text, one.text_tokens) == (line, tokens)
        assert one.text_log_prob == pytest.approx(log_prob, abs=1e-3)
        assert one.log_scores == scores_or_none(line, prompt.writing)
        lengths.add(tokens)
    assert len({one.text for one in found}) > 4


def test_written_and_read_prompts_go_together_in_one_plan(byte: Any) -> None:
    backend = Causal(tiny_models.model("llama", len(byte)), byte, "plain", 2000)
    prompts = [*written_prompts(), *tiny_models.prompts()]
    plan = backend.plan(prompts)
    assert sorted(number for batch in plan for number in batch) == list(range(len(prompts)))
    for batch in plan:
        assert len({prompts[number].writing is None for number in batch}) == 1
    found = list(backend.predict(prompts))
    assert [one.text is None for one in found] == [prompt.writing is None for prompt in prompts]


def ending(byte: Any, token: int) -> Any:
    """A model that writes `token` and nothing else, whatever it reads."""
    made = tiny_models.model("llama", len(byte))
    with torch.no_grad():
        made.lm_head.weight.zero_()
        made.lm_head.weight[token] = 0
        made.lm_head = torch.nn.Linear(made.config.hidden_size, len(byte))
        made.lm_head.weight.zero_()
        made.lm_head.bias.zero_()
        made.lm_head.bias[token] = 5.0
    return made


@pytest.mark.parametrize("end", ["<|eot_id|>", "<|end_of_text|>", "\n"])
def test_a_special_token_or_a_newline_ends_the_answer(end: str, byte: Any) -> None:
    (token,) = byte.encode(end, add_special_tokens=False)
    (one,) = Causal(ending(byte, token), byte, "plain", 100).predict(written_prompts()[:1])
    assert (one.text, one.text_tokens, one.log_scores) == ("", 1, None)
    log_prob = 5 - torch.logsumexp(torch.tensor([5.0] + [0.0] * (len(byte) - 1)), 0)
    assert one.text_log_prob == pytest.approx(float(log_prob), abs=1e-5)


def test_an_answer_without_end_is_cut_where_the_prompt_says(byte: Any) -> None:
    (token,) = byte.encode("a", add_special_tokens=False)
    (one,) = Causal(ending(byte, token), byte, "plain", 100).predict(written_prompts(7)[:1])
    assert (one.text, one.text_tokens) == ("a" * 7, 7)


def test_the_end_token_of_config_json_ends_the_answer_as_well(byte: Any) -> None:
    (token,) = byte.encode("a", add_special_tokens=False)
    made = ending(byte, token)
    made.config.eos_token_id = [1, token]
    (one,) = Causal(made, byte, "plain", 100).predict(written_prompts()[:1])
    assert (one.text, one.text_tokens) == ("", 1)


def test_room_is_left_for_the_answer(byte: Any) -> None:
    made = tiny_models.model("llama", len(byte))
    prompt = written_prompts()[0]
    tokens = len(byte(prompt.template)["input_ids"])
    made.config.max_position_embeddings = tokens + 24  # the prompt, with its texts, and some of the answer
    with pytest.raises(Exception, match="tokens, and no field of it may be shortened") as caught:
        Causal(made, byte, "plain", 100).plan([prompt])
    assert "PROMPT_TOO_LONG" in {fault.code for fault in caught.value.faults}
    made.config.max_position_embeddings = tokens + 48
    Causal(made, byte, "plain", 100).plan([replace(prompt, writing=replace(TWO, max_new_tokens=1))])


def test_a_model_without_finite_probabilities_is_refused(byte: Any) -> None:
    made = tiny_models.model("llama", len(byte))
    with torch.no_grad():
        made.lm_head.weight[3] = torch.nan
    with pytest.raises(BackendError, match="no finite probability"):
        list(Causal(made, byte, "plain", 100).predict(written_prompts()[:2]))


@pytest.mark.slow
def test_memory_that_runs_out_halves_the_batch(byte: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Causal(tiny_models.model("llama", len(byte)), byte, "plain", 4000)
    prompts = written_prompts()
    whole = list(backend.predict(prompts))
    forward, sizes = type(backend._base.base_model).forward, []

    def small(self: Any, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(backend._base.base_model), "forward", small)
    assert [one.text for one in backend.predict(prompts)] == [one.text for one in whole]
    assert max(sizes) == 8
    assert sizes.count(8) == 1


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_the_most_probable_token_of_a_vocabulary_in_pieces(bias: bool, whole: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr(lm_head, "_WEIGHTS_AT_ONCE", {"cpu": 7 * 5})
    monkeypatch.setattr(lm_head, "_STATE_CHUNK", 3)
    torch.manual_seed(0)
    linear = torch.nn.Linear(5, 23, bias=bias).double()
    states = torch.randn(11, 5).double()
    with torch.no_grad():
        linear.weight[9] = linear.weight[2]  # equal logits: the first counts
        if bias:
            linear.bias[9] = linear.bias[2]
        expected = torch.log_softmax(linear(states), dim=1)
        given = torch.nn.Sequential(linear) if whole else linear
        tokens, log_probs = lm_head.most_probable(given, states)
    assert tokens.tolist() == [int((row == row.max()).nonzero()[0]) for row in expected.float()]
    assert log_probs.tolist() == pytest.approx(expected.max(dim=1).values.tolist(), abs=1e-6)
    assert 9 not in tokens.tolist()
