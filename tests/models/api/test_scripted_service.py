"""Every shape of answer that services were seen to give, from a scripted server: what is scored, or refused."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from support import tiny_models
from support.proxy import Handler, Proxy, instead, proxied, status

from runner.core.errors import BackendError
from runner.core.types import Prediction, SamplingFormat, ServiceRef
from runner.models.api import Access
from runner.models.api.client import Client, RetryPolicy
from runner.models.api.questions import questions
from runner.models.api.service import Service

QUICK = RetryPolicy(connect=2.0, answer=2.0, between=0.001, max_retry_after=3.0)
PROMPT = tiny_models.prompt()
ABOVE = "<html><head><title>Sign in - Gateway</title></head><body>Please</body></html>"


@pytest.fixture
def script() -> Iterator[Proxy]:
    """A server without a service behind it: it answers as a test says."""
    with proxied("http://127.0.0.1:9/v1") as running:
        yield running


def ask(script: Proxy, api: str = "chat", unanswered: int = 0, key: str | None = None, **more: Any) -> Prediction:
    ref = ServiceRef(script.url, "m", api, 20, False, None, **more)
    with closing(Service(ref, Client(ref, key, 3, QUICK), Access(unanswered=unanswered, attempts=3))) as service:
        [answer] = service.predict([PROMPT])
    return answer


def faults(script: Proxy, api: str = "chat", **more: Any) -> list[Any]:
    with pytest.raises(BackendError) as caught:
        ask(script, api, **more)
    return list(caught.value.faults)


def chat(top: dict[str, Any], drawn: str, drawn_log_prob: Any, **message: Any) -> dict[str, Any]:
    listed = [{"token": text, "logprob": value} for text, value in top.items()]
    content = [{"token": drawn, "logprob": drawn_log_prob, "top_logprobs": listed}]
    choice = {"message": {"content": drawn, **message}, "logprobs": {"content": content}, "finish_reason": "length"}
    return {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}


def completions(top: dict[str, Any], drawn: str, drawn_log_prob: Any) -> dict[str, Any]:
    told = {"tokens": [drawn], "token_logprobs": [drawn_log_prob], "top_logprobs": [top], "text_offset": [0]}
    choice = {"text": drawn, "logprobs": told, "finish_reason": "length"}
    return {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}


FORMS: dict[str, Callable[..., dict[str, Any]]] = {"chat": chat, "completions": completions}
LOG = math.log

# What the answer tells (list, drawn token, its own log-probability); the scores of A and B, and which are bounds.
SCORED: dict[str, tuple[dict[str, Any], str, Any, tuple[float, float], tuple[int, ...]]] = {
    "drawn in the list": ({" A": LOG(0.85), " B": LOG(0.1)}, " A", LOG(0.85), (LOG(0.85), LOG(0.1)), ()),
    "drawn beside the list": ({" B": LOG(0.1), " C": LOG(0.001)}, " A", LOG(0.85), (LOG(0.85), LOG(0.1)), ()),
    "drawn is no option": ({" A": LOG(0.6), " B": LOG(0.2)}, " x", LOG(0.01), (LOG(0.6), LOG(0.2)), ()),
    "drawn bounds nobody": ({" A": LOG(0.6), " y": LOG(0.2)}, " x", LOG(0.01), (LOG(0.6), LOG(0.19)), (1,)),
    "drawn is not told": ({" A": LOG(0.6), " B": LOG(0.2)}, " x", None, (LOG(0.6), LOG(0.2)), ()),
    "null on no option": ({" A": LOG(0.6), " B": LOG(0.2), " x": None}, " A", LOG(0.6), (LOG(0.6), LOG(0.2)), ()),
    "-inf on no option": ({" A": LOG(0.6), " B": LOG(0.2), " x": -math.inf}, " A", LOG(0.6), (LOG(0.6), LOG(0.2)), ()),
    "-inf on an option": ({" A": LOG(0.6), " B": -math.inf, " x": LOG(0.3)}, " A", -0.51, (LOG(0.6), LOG(0.1)), (1,)),
    "null, but drawn": ({" A": None, " B": LOG(0.2)}, " A", LOG(0.6), (LOG(0.6), LOG(0.2)), ()),
    "rounded twice": ({" A": -0.51, " B": -1.6}, " A", -0.5108, (-0.51, -1.6), ()),
}  # fmt: skip


@pytest.mark.parametrize("api", FORMS)
@pytest.mark.parametrize("shape", SCORED)
def test_what_is_told_is_scored(script: Proxy, api: str, shape: str) -> None:
    top, drawn, own, expected, bounded = SCORED[shape]
    script.always = instead(json.dumps(FORMS[api](top, drawn, own)).encode())
    answer = ask(script, api)
    assert answer.log_scores == pytest.approx(expected, abs=1e-6)
    assert answer.bounded == bounded
    assert len(script.asked) == 1


# The same, and the code and words of what is refused.
REFUSED: dict[str, tuple[dict[str, Any], str, Any, str, str]] = {
    "says two things": ({" A": LOG(0.2), " B": LOG(0.1)}, " A", LOG(0.5), "API_MALFORMED", "' A' has log-prob"),
    "more than one": ({" B": LOG(0.4), " C": LOG(0.3)}, " A", LOG(0.5), "API_MALFORMED", "one distribution"),
    "null on an option": ({" A": LOG(0.6), " B": None}, " A", LOG(0.6), "API_NO_LOGPROBS", "option ' B'"),
    "nothing but -inf": ({" A": -math.inf, " B": -math.inf}, " A", -math.inf, "API_MALFORMED", "one distribution"),
    "a thought": ({"<think>": LOG(0.99), " A": LOG(1e-4)}, "<think>", LOG(0.99), "API_THOUGHT", "'<think>'"),
    "a piece of a thought": ({"<th": LOG(0.99), " A": LOG(1e-4)}, "<th", LOG(0.99), "API_THOUGHT", "'<th'"),
    "a channel": ({"<|channel|>": LOG(0.9), " A": LOG(0.01)}, "<|channel|>", LOG(0.9), "API_THOUGHT", "channel"),
    "no option": ({"I": LOG(0.9), "[": LOG(0.05)}, "I", LOG(0.9), "API_NO_OPTION", "'I'"),
}  # fmt: skip


@pytest.mark.parametrize("api", FORMS)
@pytest.mark.parametrize("shape", REFUSED)
def test_what_says_nothing_is_refused_or_left_unanswered(script: Proxy, api: str, shape: str) -> None:
    top, drawn, own, code, words = REFUSED[shape]
    script.always = instead(json.dumps(FORMS[api](top, drawn, own)).encode())
    [fault] = faults(script, api)
    assert (fault.code, words in fault.message) == (code, True)
    assert "--api-unanswered" in str(fault.hint)
    assert ("--elicitation sampled" in str(fault.hint)) == (code == "API_THOUGHT")
    answer = ask(script, api, unanswered=1)
    assert (answer.log_scores, answer.bounded) == ((0.0, 0.0), (0, 1))


def test_a_thought_that_the_service_keeps_apart_is_said(script: Proxy) -> None:
    reply = chat({}, "", None, reasoning_content="Let me think about it")
    reply["choices"][0]["logprobs"] = {"content": []}
    script.always = instead(json.dumps(reply).encode())
    assert faults(script)[0].code == "API_THOUGHT"


# What is in place of an answer: the code, the words that are told of it, and how often it is asked for.
IN_PLACE: dict[str, tuple[bytes, str, str, int]] = {
    "error of a gateway": (
        b'{"error": {"message": "Provider returned error", "code": 502}}',
        "API_FAILED", "HTTP 502: Provider returned error", 3,
    ),
    "error of a choice": (
        b'{"choices": [{"error": {"message": "Overloaded", "code": 529}}]}', "API_FAILED", "HTTP 529: Overloaded", 3
    ),
    "error in words": (b'{"error": "model is loading"}', "API_FAILED", "says success: model is loading", 3),
    "error of the model": (
        b'{"error": {"message": "No such model: m", "code": 404}}', "API_REQUEST", "HTTP 404: No such model: m", 1
    ),
    "error of the key": (b'{"error": {"message": "bad key", "code": 401}}', "API_KEY_REFUSED", "HTTP 401", 1),
    "sign-in page": (ABOVE.encode(), "API_MALFORMED", "a web page that says 'Sign in - Gateway'", 3),
    "page without a title": (
        b"<html><script>x()</script><p>Access   denied</p>", "API_MALFORMED", "a web page that says 'Access denied'", 3
    ),
    "stream": (b'data: {"choices": []}\n\ndata: [DONE]\n', "API_MALFORMED", "a stream of events: 'data: {", 3),
    "plain words": (b"upstream connect error", "API_MALFORMED", "it begins 'upstream connect error'", 3),
}  # fmt: skip


@pytest.mark.parametrize("shape", IN_PLACE)
def test_what_is_in_place_of_an_answer_is_told_by_its_first_words(script: Proxy, shape: str) -> None:
    data, code, words, times = IN_PLACE[shape]
    script.always = instead(data)
    [fault] = faults(script)
    assert fault.code == code
    assert words in fault.message
    assert len(script.asked) == times


def test_a_page_with_a_status_is_told_as_well(script: Proxy) -> None:
    script.always = lambda handler: handler.answer(404, ABOVE.encode())
    [fault] = faults(script)
    assert fault.code == "API_REQUEST"
    assert "HTTP 404: it is a web page that says 'Sign in - Gateway'" in fault.message


# --- parameters ----------------------------------------------------------------------------------------------------

GOOD = json.dumps(chat({" A": LOG(0.6), " B": LOG(0.2)}, " A", LOG(0.6))).encode()


def refuses(*names: str, words: str, status: int = 400) -> Callable[[Handler], None]:
    """A service that refuses a request with one of these parameters."""

    def answer(handler: Handler) -> None:
        sent = json.loads(handler.body)
        if refused := [name for name in names if name in sent]:
            body = {"error": {"message": words.format(refused[0]), "code": "unsupported_parameter"}}
            handler.answer(status, json.dumps(body).encode())
        else:
            handler.answer(200, GOOD)

    return answer


@pytest.mark.parametrize(
    ("names", "words", "last"),
    [
        (
            ["max_tokens"],
            "Unsupported parameter: '{}' is not supported with this model. Use 'max_completion_tokens' instead.",
            {"max_completion_tokens": 1},
        ),
        (["temperature"], "Unsupported value: '{}' does not support 1 with this model.", {"max_tokens": 1}),
        (["top_p"], "`{}` is deprecated for this model", {"temperature": 1}),
        (["n"], "Extra inputs are not permitted: n", {"temperature": 1}),
    ],
)
def test_a_refused_parameter_is_changed_as_the_service_says(
    script: Proxy, names: list[str], words: str, last: dict[str, Any]
) -> None:
    script.always = refuses(*names, words=words)
    ref = ServiceRef(script.url, "m", "chat", 20, False, None)
    with closing(Service(ref, Client(ref, None, 3, QUICK), Access(concurrency=1))) as service:
        answers = list(service.predict(tiny_models.prompts()[:3]))
        facts = service.describe()
    assert len(answers) == 3
    assert len(script.asked) == 4  # once more for the first prompt, and never again
    assert names[0] not in script.asked[-1]
    assert last.items() <= script.asked[-1].items()
    assert set(facts["adjusted_parameters"]) == set(names)


@pytest.mark.parametrize(
    "words",
    [
        "top_logprobs must be at most 5", "'logprobs' is not supported with this model",
        "max_tokens must be at least 16", "Invalid model",
    ],
)  # fmt: skip
def test_no_other_parameter_is_changed(script: Proxy, words: str) -> None:
    script.always = status(400, words)
    assert faults(script)[0].code == "API_REQUEST"
    assert len(script.asked) == 1


def test_a_submission_says_which_parameters_are_sent(script: Proxy) -> None:
    script.always = instead(GOOD)
    ask(script, max_tokens_name="max_completion_tokens", omitted=("temperature", "top_p"))
    [sent] = script.asked
    assert set(sent) == {"model", "n", "messages", "max_completion_tokens", "logprobs", "top_logprobs"}


def test_a_server_of_ones_own_is_asked_not_to_bend_what_is_drawn() -> None:
    neutral = (("min_p", 0), ("top_k", -1))
    ref = ServiceRef("http://127.0.0.1:8000/v1", "m", "completions", 20, False, None, neutral=neutral)
    drawn = replace(PROMPT, options=(), sampling=SamplingFormat((("A",), ("B",)), 4, 1.0, 1.0, 8))
    [asked] = questions(ref, drawn)
    assert (asked["min_p"], asked["top_k"], asked["n"]) == (0, -1, 4)
    [scored] = questions(ref, PROMPT)
    assert not {"min_p", "top_k"} & set(scored)


def test_azure_has_its_version_in_the_address_and_its_key_in_a_header(script: Proxy) -> None:
    script.always = instead(GOOD)
    ask(script, key="secret-0123456789", api_version="2024-10-21")
    assert script.paths == ["/v1/chat/completions?api-version=2024-10-21"]
    [sent] = script.headers
    assert sent["api-key"] == "secret-0123456789"
    assert "authorization" not in sent


def test_the_card_says_that_prompts_travelled_in_clear() -> None:
    ref = ServiceRef("http://node7:8000/v1", "m", "chat", 20, False, None)
    with closing(Service(ref, Client(ref, None, 1, QUICK), Access())) as service:
        assert service.describe()["encrypted"] is False
        assert "unencrypted" in service.isolation["network"]
