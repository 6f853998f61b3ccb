"""A service that fails in every way that a network has: what is asked again, and when, and what is said of it."""

import gzip
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from itertools import islice
from typing import Any

import pytest
from support import tiny_models
from support.proxy import Handler, Proxy, changed, cut, hung_up, instead, proxied, status

from runner.core.errors import BackendError, UserError
from runner.core.types import Prediction, ServiceRef
from runner.models.api import Access, open_service
from runner.models.api.client import Client, RetryPolicy
from runner.models.api.service import Service

QUICK = RetryPolicy(connect=2.0, answer=2.0, between=0.01, max_retry_after=3.0)
KEY = "very-secret-0123456789"
PROMPTS = tiny_models.prompts()


Ask = Callable[..., Service]


@pytest.fixture
def opened(proxy: Proxy) -> Iterator[Ask]:
    """Opens services behind the proxy, and closes them."""
    with ExitStack() as closing_all:

        def make(
            address: str = "", attempts: int = 4, key: str | None = None, patience: RetryPolicy = QUICK, **access: Any
        ) -> Service:
            service = ServiceRef(address or proxy.url, "tiny", "completions", 20, False, None)
            made = Service(service, Client(service, key, attempts, patience), Access(attempts=attempts, **access))
            return closing_all.enter_context(closing(made))

        yield make


@pytest.fixture
def undisturbed(opened: Ask) -> Prediction:
    return next(iter(opened().predict(PROMPTS[:1])))


def slow(handler: Handler) -> None:
    time.sleep(3)
    handler.answer(*handler.upstream())


def dripping(handler: Handler) -> None:
    """Sends a byte now and then, so that no single wait is long."""
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    for _ in range(40):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", str(1 << 40))
    handler.end_headers()
    for _ in range(64):
        handler.wfile.write(b" " * (1 << 20))
    handler.close_connection = True


def packed(handler: Handler) -> None:
    """Sixty-four thousand bytes that a library would unpack to 64 MiB, unasked."""
    handler.answer(200, gzip.compress(b" " * (64 << 20)), content_encoding="gzip")


def first(reply: dict[str, Any]) -> dict[str, Any]:
    """llama.cpp tells log-probabilities in the same form for both interfaces."""
    found: dict[str, Any] = reply["choices"][0]["logprobs"]["content"][0]
    return found


def not_a_number(handler: Handler) -> None:
    code, data = handler.upstream()
    handler.answer(code, data.replace(b'"logprob":-', b'"logprob":NaN,"was":-'))


TRANSIENT: dict[str, Callable[[Handler], None]] = {
    "429": status(429),
    "500": status(500),
    "502 of a gateway": lambda handler: handler.answer(502, b"<html>Bad gateway</html>"),
    "503": status(503, retry_after="0"),
    "cut connection": cut,
    "no answer": hung_up,
    "slow": slow,
    "dripping": dripping,
    "endless": endless,
    "packed": packed,
    "empty": instead(b""),
    "no JSON": instead(b"<html>hello</html>"),
    "half a JSON": instead(b'{"choices": ['),
    "no object": instead(b"[]"),
    "no choice": instead(b'{"choices": []}'),
    "not a number": not_a_number,
    "no log-probabilities": changed(lambda reply: reply["choices"][0].pop("logprobs")),
    "nothing told": changed(lambda reply: first(reply).update(top_logprobs=[])),
    "positive": changed(lambda reply: first(reply)["top_logprobs"][0].update(logprob=1.0)),
    "more than one": changed(lambda reply: [token.update(logprob=-0.1) for token in first(reply)["top_logprobs"]]),
}


@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
def test_what_passes_is_waited_out(
    proxy: Proxy, opened: Ask, undisturbed: Prediction, fault: Callable[[Handler], None]
) -> None:
    proxy.faults = [fault, None]
    proxy.asked.clear()
    service = opened(patience=replace(QUICK, answer=0.8) if fault in (slow, dripping) else QUICK)
    [answer] = service.predict(PROMPTS[:1])
    assert answer.log_scores == pytest.approx(undisturbed.log_scores, abs=1e-4)
    assert len(proxy.asked) == 2
    assert proxy.asked[0] == proxy.asked[1]
    assert (service.spent()["requests"], service.spent()["asked_again"]) == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (status(429), "API_FAILED"),
        (status(500), "API_FAILED"),
        (cut, "API_UNREACHABLE"),
        (hung_up, "API_UNREACHABLE"),
        (packed, "API_UNREACHABLE"),
        (instead(b"{}"), "API_MALFORMED"),
        (not_a_number, "API_MALFORMED"),
        (changed(lambda reply: reply["choices"][0].pop("logprobs")), "API_NO_LOGPROBS"),
    ],
)
def test_attempts_are_bounded(proxy: Proxy, opened: Ask, fault: Callable[[Handler], None], code: str) -> None:
    proxy.always = fault
    with pytest.raises(BackendError) as caught:
        list(opened(attempts=3).predict(PROMPTS[:1]))
    assert [fault.code for fault in caught.value.faults] == [code]
    assert len(proxy.asked) == 3


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (status(401, f"Incorrect API key provided: {KEY[:6]}***{KEY[-4:]}"), "API_KEY_REFUSED"),
        (status(403), "API_KEY_REFUSED"),
        (status(400, "top_logprobs is not supported"), "API_REQUEST"),
        (status(404, "The model `tiny` does not exist"), "API_REQUEST"),
        (status(429, "You exceeded your quota", code="insufficient_quota"), "API_REQUEST"),
        (status(429, retry_after="86400"), "API_BUSY"),
        (status(400, "held back", code="content_filter"), "API_REFUSAL"),
        (status(400, "too long", code="context_length_exceeded"), "API_REFUSAL"),
        (status(302, location="http://127.0.0.1:1/v1"), "API_REQUEST"),
    ],
)
def test_what_does_not_pass_is_asked_once(
    proxy: Proxy, opened: Ask, fault: Callable[[Handler], None], code: str
) -> None:
    proxy.always = fault
    with pytest.raises(BackendError) as caught:
        list(opened(key=KEY).predict(PROMPTS[:1]))
    assert [fault.code for fault in caught.value.faults] == [code]
    assert len(proxy.asked) == 1
    assert KEY[-4:] not in str(caught.value)


def test_it_waits_as_long_as_it_is_told(proxy: Proxy, opened: Ask) -> None:
    proxy.faults = [status(429, retry_after="0.4")]
    started = time.monotonic()
    list(opened().predict(PROMPTS[:1]))
    assert 0.4 <= time.monotonic() - started < 10


def test_it_waits_until_the_date_it_is_told(proxy: Proxy, opened: Ask) -> None:
    then = math.ceil(time.time() + 0.3)  # a date has whole seconds
    date = Handler.date_time_string(BaseHTTPRequestHandler.__new__(Handler), then)
    proxy.faults = [status(503, retry_after=date)]
    list(opened().predict(PROMPTS[:1]))
    assert then <= time.time() < then + 10


def test_no_more_are_under_way_than_are_allowed(proxy: Proxy, opened: Ask) -> None:
    service = opened(concurrency=3)
    assert [len(batch) for batch in service.plan(PROMPTS)] == [3, 3, 2]

    def unhurried(handler: Handler) -> None:
        time.sleep(0.05)
        handler.answer(*handler.upstream())

    proxy.always = unhurried
    assert len(list(service.predict(PROMPTS))) == len(PROMPTS)
    assert proxy.most_under_way == 3


def test_one_failure_keeps_no_other_answer_back(proxy: Proxy, opened: Ask) -> None:
    proxy.faults = [None, status(400, "no"), None, None]
    answers = opened(concurrency=1).predict(PROMPTS[:4])
    given = list(islice(answers, 3))
    assert len({answer.item_id for answer in given}) == 3
    with pytest.raises(BackendError, match="HTTP 400"):
        next(answers)


def test_a_closed_service_wakes_who_waits(proxy: Proxy, opened: Ask) -> None:
    proxy.always = status(503, retry_after="30")
    service = opened(patience=RetryPolicy(max_retry_after=60))
    stopping = threading.Timer(0.1, service.close)
    started = time.monotonic()
    stopping.start()
    with pytest.raises(BackendError, match="stopped"):
        list(service.predict(PROMPTS[:1]))
    stopping.join()
    assert time.monotonic() - started < 10
    assert len(proxy.asked) == 1


def test_a_service_that_is_not_there(proxy: Proxy, opened: Ask) -> None:
    with pytest.raises(BackendError) as caught:
        list(opened("http://127.0.0.1:9/v1", attempts=2).predict(PROMPTS[:1]))
    assert caught.value.faults[0].code == "API_UNREACHABLE"


# --- what leaves ---------------------------------------------------------------------------------------------------

AMBIENT = {
    "OPENAI_API_KEY": "sk-ambient-0123456789",
    "OPENAI_ADMIN_KEY": "sk-admin-0123456789",
    "OPENAI_ORG_ID": "org-ambient",
    "OPENAI_PROJECT_ID": "proj-ambient",
    "OPENAI_CUSTOM_HEADERS": "X-Token: ambient-token\nAuthorization: Bearer ambient-bearer",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}


@pytest.mark.parametrize("key", [None, KEY])
def test_nothing_of_the_environment_is_sent(
    proxy: Proxy, opened: Ask, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    for name, value in AMBIENT.items():
        monkeypatch.setenv(name, value)
    service = ServiceRef(proxy.url, "tiny", "chat", 20, False, None)
    with closing(open_service(service, key, Access())) as asked:
        list(asked.predict(PROMPTS[:1]))
    [sent] = proxy.headers
    assert set(sent) <= {
        "host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent",
        "authorization",
    }  # fmt: skip
    assert sent.get("authorization") == (f"Bearer {key}" if key else None)
    assert "ambient" not in str(proxy.headers)


def test_no_redirect_is_followed(proxy: Proxy, opened: Ask, service: str) -> None:
    with proxied(service) as elsewhere:
        proxy.always = status(307, location=f"{elsewhere.url}/completions")
        with pytest.raises(UserError):
            list(opened(key=KEY).predict(PROMPTS[:1]))
        assert elsewhere.asked == []
    assert len(proxy.asked) == 1


def test_what_is_sent_is_the_question_and_how_to_answer(proxy: Proxy, opened: Ask) -> None:
    list(opened().predict(PROMPTS[:1]))
    [sent] = proxy.asked
    assert set(sent) == {"model", "prompt", "max_tokens", "temperature", "top_p", "n", "logprobs"}
    assert proxy.paths == ["/v1/completions"]
