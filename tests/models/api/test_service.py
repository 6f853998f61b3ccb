"""A real service against the same weights in the causal backend, which is another engine: numbers and bounds."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import tiny_models
from support.gguf_model import write_gguf
from support.llama_server import CHAT, served
from support.proxy import Handler, Proxy, changed

from runner.core.errors import BackendError, InvalidInput
from runner.core.types import Prediction, Prompt, SamplingFormat, ServiceRef
from runner.models.api import Access, open_service
from runner.models.api.service import Service
from runner.models.base import Backend, LoadOptions
from runner.models.local.open import open_backend
from runner.tasks.sampled import united

# Two engines multiply in another order. Measured: 2e-5 nats at most over the sample's 608 prompts.
TOLERANCE = 2e-4
PROMPTS = tiny_models.prompts()

Ask = Callable[..., Service]


@pytest.fixture
def opened(service: str) -> Iterator[Ask]:
    with ExitStack() as closing_all:

        def make(
            api: str = "completions", top: int = 20, echo: bool = False, url: str = service, unanswered: int = 0
        ) -> Service:
            ref = ServiceRef(url, "tiny", api, top, echo, None)
            access = Access(unanswered=unanswered, attempts=2)
            return closing_all.enter_context(closing(open_service(ref, None, access)))

        yield make


@pytest.fixture(scope="module")
def causal(weights: Path) -> Iterator[Backend]:
    with closing(open_backend(tiny_models.submission(weights), weights, None, LoadOptions(device="cpu"))) as backend:
        yield backend


def spread(ones: list[Prediction], others: list[Prediction]) -> float:
    pairs = zip(ones, others, strict=True)
    return max(abs(a - b) for one, other in pairs for a, b in zip(one.log_scores, other.log_scores, strict=True))


def test_completions_are_those_of_the_same_weights_here(opened: Ask, causal: Backend) -> None:
    told, computed = list(opened().predict(PROMPTS)), list(causal.predict(PROMPTS))
    assert spread(told, computed) < TOLERANCE
    for one, other in zip(told, computed, strict=True):
        assert one.bounded == ()
        assert one.answer_mass == pytest.approx(other.answer_mass, abs=TOLERANCE)
        # The same tokens were read, one BOS among them.
        assert (one.prompt_tokens, one.prompt_sha256) == (other.prompt_tokens, other.prompt_sha256)
        assert one.usage == (one.prompt_tokens, 1)
        assert (one.model_version, one.order, one.split) == ("tiny", 0, "dev")
        assert one.system_fingerprint


@pytest.mark.slow
def test_what_a_server_rounds_is_seen(causal: Backend, weights: Path, tmp_path: Path) -> None:
    """With keys and values in half precision, the server's default: thousandths of a nat, and no longer agreement."""
    with served(write_gguf(weights, tmp_path / "tiny.gguf"), halved=True) as url:
        ref = ServiceRef(url, "tiny", "completions", 20, False, None)
        with closing(open_service(ref, None, Access())) as rounding:
            apart = spread(list(rounding.predict(PROMPTS)), list(causal.predict(PROMPTS)))
    assert TOLERANCE < apart < 0.02


def test_a_chat_is_asked_in_one_turn_of_the_user(opened: Ask, causal: Backend) -> None:
    """The template of the server is written out here, and the causal backend asked what the server should have read."""

    def spelt(prompt: Prompt) -> Prompt:
        assert CHAT.startswith("{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}\n")
        template = f"<|user|>\n{prompt.template}{prompt.cue_plain}\n<|assistant|>\nAnswer:"
        return replace(prompt, template=template, cue_plain="", options=(("A",), (" A",), ("B",), (" B",)))

    told = list(opened("chat").predict(PROMPTS))
    with_spaces = [spelt(prompt) for prompt in PROMPTS]
    for one, other in zip(told, causal.predict(with_spaces), strict=True):
        apart = [math.exp(value) for value in other.log_scores]
        expected = [math.log(apart[0] + apart[1]), math.log(apart[2] + apart[3])]
        # Surface forms that are not among the 20 likeliest tokens are left out: at most that much is missing.
        assert one.log_scores == pytest.approx(expected, abs=2e-3)
        assert one.bounded == ()
        assert one.prompt_tokens == other.prompt_tokens


def test_with_few_told_tokens_the_rest_is_bounded_from_above(opened: Ask, causal: Backend) -> None:
    words = tuple((form,) for form in (" A", " B", " first", " second", " C"))
    asked = tiny_models.prompts(words)
    exact = list(causal.predict(asked))
    bounded = 0
    for one, other in zip(opened(top=2).predict(asked), exact, strict=True):
        assert one.bounded
        for label, (value, true) in enumerate(zip(one.log_scores, other.log_scores, strict=True)):
            if label in one.bounded:
                bounded += 1
                assert value >= true - TOLERANCE
            else:
                assert value == pytest.approx(true, abs=TOLERANCE)
    assert bounded >= 2 * len(asked)
    assert spread(list(opened(top=100).predict(asked)), exact) < TOLERANCE


def test_options_of_several_words_need_an_echo(opened: Ask) -> None:
    with pytest.raises(InvalidInput) as caught:
        opened().plan(tiny_models.prompts(tiny_models.WORDS))
    assert {fault.code for fault in caught.value.faults} == {"API_OPTIONS"}
    assert len(caught.value.faults) == 3
    assert opened(echo=True).plan(tiny_models.prompts(tiny_models.WORDS))


def test_a_prompt_without_options_is_refused_before_anything_is_sent(opened: Ask) -> None:
    with pytest.raises(InvalidInput) as caught:
        opened().plan([tiny_models.prompt(options=())])
    assert caught.value.faults[0].code == "API_OPTIONS"


def test_an_option_that_begins_another_is_refused(opened: Ask) -> None:
    with pytest.raises(InvalidInput) as caught:
        opened().plan([tiny_models.prompt(options=((" A",), (" AB",)))])
    assert caught.value.faults[0].code == "JOIN_AMBIGUOUS"


def test_a_server_that_does_not_echo_is_found_out(opened: Ask) -> None:
    """llama.cpp's own server takes the parameter and does nothing about it."""
    with pytest.raises(BackendError) as caught:
        list(opened(echo=True).predict(tiny_models.prompts(tiny_models.WORDS)[:1]))
    assert caught.value.faults[0].code == "API_NO_ECHO"


@pytest.mark.slow
def test_an_echo_gives_options_of_any_length(opened: Ask, causal: Backend, weights: Path, proxy: Proxy) -> None:
    """Through a stand-in: no server at hand that echoes installs in a test. It answers in the form of the official
    interface, with tokens and log-probabilities of the causal backend's own model."""
    proxy.always = _echoing(weights)
    asked = tiny_models.prompts(tiny_models.WORDS, "words")[:3]
    told, computed = list(opened(echo=True, url=proxy.url).predict(asked)), list(causal.predict(asked))
    assert spread(told, computed) < TOLERANCE
    for one, other in zip(told, computed, strict=True):
        assert one.token_counts == other.token_counts
        assert one.bounded == ()
        assert one.usage is not None
        assert one.usage[1] == sum(map(len, tiny_models.WORDS))
    assert len(proxy.asked) == 3 * sum(map(len, tiny_models.WORDS))


def _echoing(weights: Path) -> Callable[[Handler], None]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights)
    model = AutoModelForCausalLM.from_pretrained(weights).eval()

    def answer(handler: Handler) -> None:
        text = json.loads(handler.body)["prompt"]
        read = tokenizer(text, return_offsets_mapping=True)
        with torch.no_grad():
            log_probs = model(torch.tensor([read["input_ids"]])).logits[0].float().log_softmax(-1)
        ids = read["input_ids"][1:]
        values = [float(log_probs[at, token]) for at, token in enumerate(ids)]
        written = tokenizer.decode([int(log_probs[-1].argmax())])
        told = {
            "tokens": [*(text[start:end] for start, end in read["offset_mapping"][1:]), written],
            "token_logprobs": [None, *values[1:], float(log_probs[-1].max())],
            "text_offset": [*(start for start, _ in read["offset_mapping"][1:]), len(text)],
            "top_logprobs": None,
        }
        reply = {"choices": [{"text": text + written, "logprobs": told, "finish_reason": "length"}], "model": "m"}
        usage = {"prompt_tokens": len(read["input_ids"]), "completion_tokens": 1}
        handler.answer(200, json.dumps({**reply, "usage": usage}).encode())

    return answer


# --- drawn answers -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_drawn_answers_have_the_distribution_that_the_server_tells(opened: Ask) -> None:
    """llama.cpp's own server draws 200 first tokens of one prompt: within four standard errors of what it tells."""
    prompt = PROMPTS[0]
    [told] = opened().predict([prompt])
    answers = tuple(tuple(form.strip() for form in forms) for forms in prompt.options)
    form = SamplingFormat(answers, 200, 1.0, 1.0, 1)
    rows = opened().predict([replace(prompt, options=(), labels=("first", "second"), sampling=form)])
    drawn = united(list(rows))
    assert drawn.samples is not None
    assert drawn.failures is not None
    assert sum(drawn.samples.values()) + drawn.failures == 200
    for share, number in zip(map(math.exp, told.log_scores), drawn.samples.values(), strict=True):
        assert abs(number / 200 - share) < 4 * math.sqrt(share * (1 - share) / 200) + 0.01


# --- length --------------------------------------------------------------------------------------------------------


def story(length: int, **changes: Any) -> Prompt:
    words = " ".join(f"word{number}" for number in range(length))
    prompt = tiny_models.prompt(template="Story: $text\n\nAnswer with A or B.", shorten="text", **changes)
    return replace(prompt, values={"text": words})


def test_a_long_story_is_cut_until_it_fits_as_the_service_counts(opened: Ask, proxy: Proxy, causal: Backend) -> None:
    prompt = story(300, max_tokens=400)
    [whole] = opened(url=proxy.url).predict([replace(prompt, max_tokens=4096)])
    assert whole.prompt_tokens is not None
    assert whole.prompt_tokens > 600
    assert not whole.truncated
    proxy.asked.clear()
    [answer] = opened(url=proxy.url).predict([prompt])
    assert answer.truncated
    assert answer.prompt_tokens is not None
    assert 300 < answer.prompt_tokens <= 400
    assert answer.prompt_sha256 == whole.prompt_sha256
    assert 2 <= len(proxy.asked) <= 3
    asked = proxy.asked[-1]["prompt"]
    assert asked.endswith("\n\nAnswer with A or B.\nAnswer:")
    kept = asked.removeprefix("Story: ").removesuffix("\n\nAnswer with A or B.\nAnswer:")
    assert prompt.values["text"].startswith(kept)
    # All that was asked on the way is counted, since all of it is paid for.
    assert answer.usage is not None
    assert answer.usage[1] == len(proxy.asked)
    assert answer.usage[0] > answer.prompt_tokens
    [computed] = causal.predict([replace(prompt, values={"text": kept}, max_tokens=4096)])
    assert answer.log_scores == pytest.approx(computed.log_scores, abs=TOLERANCE)


def test_what_may_not_be_cut_is_refused(opened: Ask) -> None:
    prompt = replace(story(300, max_tokens=100), shorten=None)
    with pytest.raises(BackendError) as caught:
        list(opened().predict([prompt]))
    assert caught.value.faults[0].code == "PROMPT_TOO_LONG"


# --- answers that say nothing --------------------------------------------------------------------------------------


def elsewhere(reply: dict[str, Any]) -> None:
    """The same probabilities, of tokens that are no option."""
    first = reply["choices"][0]["logprobs"]["content"][0]
    for token in [first, *first["top_logprobs"]]:
        token.update(token="I" + token["token"], bytes=None)


def test_an_answer_that_says_nothing_of_the_options_is_never_guessed(opened: Ask, proxy: Proxy) -> None:
    proxy.faults = [changed(elsewhere)]
    with pytest.raises(BackendError) as caught:
        list(opened(url=proxy.url).predict(PROMPTS[:1]))
    assert caught.value.faults[0].code == "API_NO_OPTION"
    assert "Item 0" in caught.value.faults[0].message
    assert len(proxy.asked) == 1


def test_as_many_as_are_allowed_stay_unanswered_and_are_marked(opened: Ask, proxy: Proxy) -> None:
    proxy.faults = [changed(elsewhere)]
    service = opened(url=proxy.url, unanswered=1)
    [answer] = service.predict(PROMPTS[:1])
    assert (answer.log_scores, answer.bounded, answer.answer_mass) == ((0.0, 0.0), (0, 1), 0.0)
    proxy.faults = [changed(elsewhere)]
    with pytest.raises(BackendError):
        list(service.predict(PROMPTS[:1]))


@pytest.mark.slow
def test_what_a_service_calls_itself_comes_clean(opened: Ask, proxy: Proxy) -> None:
    proxy.faults = [changed(lambda reply: reply.update(model="m\x1b[31mé" + "x" * 500, system_fingerprint=7))]
    [answer] = opened(url=proxy.url).predict(PROMPTS[:1])
    assert answer.model_version is not None
    assert answer.model_version.startswith("m [31m\\xe9xxx")
    assert len(answer.model_version) == 200
    assert answer.system_fingerprint is None
