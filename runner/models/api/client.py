"""One question to a service over HTTP: guarded, bounded in size and time, asked again with patience."""

import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.request import getproxies, proxy_bypass

import httpx2
import openai

from runner.config.service import DEFAULT_BASE_URL
from runner.core.errors import BackendError, Fault
from runner.core.strict_json import JsonFault, parse
from runner.core.types import ServiceRef
from runner.models.api.access import redacted
from runner.models.api.answers import Unusable

T = TypeVar("T")

_MOST_BYTES = 4 << 20
_SENT_HEADERS = frozenset({"accept", "accept-encoding", "connection", "content-length", "content-type", "host"})
_OFFICIAL_HEADERS = frozenset({"openai-organization", "openai-project"})
_TRANSIENT = frozenset({408, 409, 425, 429, *range(500, 600)})
_MOST_FACTOR = 2.0
_LONGEST_BACKOFF = 60.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long is waited, in seconds: to connect, for a whole answer, at first between attempts, when told to wait.

    A service that asks for more than `most_told` seconds is not waited for: the run ends and can be resumed.
    """

    connect: float = 10.0
    answer: float = 120.0
    between: float = 0.5
    most_told: float = 300.0


PATIENCE = RetryPolicy()


class Stopped(Exception):
    """The run ends, so this question is not asked any more."""


class Client:
    """Holds the connections to one service, and the key, which is sent to that service and nowhere else.

    `requests` counts what was sent and `waits` the times that it was asked again; used from several threads at once.
    """

    def __init__(self, service: ServiceRef, key: str | None, attempts: int, patience: RetryPolicy = PATIENCE) -> None:
        self._key = key
        self._attempts = attempts
        self._patience = patience
        self._stop = threading.Event()
        self._counting = threading.Lock()
        self.requests = 0
        self.waits = 0
        base = httpx2.URL(service.base_url)
        seconds = httpx2.Timeout(patience.answer, connect=patience.connect)
        guard = _Guard(base, key, service.base_url == DEFAULT_BASE_URL, patience.answer)
        self._http = httpx2.Client(transport=guard, timeout=seconds, follow_redirects=False, trust_env=False)
        self._openai = openai.OpenAI(
            api_key=key or "none",
            base_url=service.base_url,
            max_retries=0,
            timeout=seconds,
            http_client=self._http,
        )
        self._create: Callable[..., Any] = (
            self._openai.chat.completions.with_raw_response.create
            if service.api == "chat"
            else self._openai.completions.with_raw_response.create
        )

    def ask(self, question: Mapping[str, Any], parse: Callable[[Any], T]) -> T:
        """What `parse` makes of the service's answer to `question`, the parameters of the interface.

        Transient failures, and answers of which `parse` says by `Unusable` that asking again might help, are met by
        waiting and asking again: for as long as the service says, or for a random time that doubles. Raises `Unusable`
        for what concerns this question only, `BackendError` for what concerns the service, `Stopped` after `close`.
        """
        for attempt in range(1, self._attempts + 1):
            if self._stop.is_set():
                raise Stopped
            with self._counting:
                self.requests += 1
            try:
                return parse(self._answer(question))
            except Unusable as problem:
                if not problem.again or attempt == self._attempts:
                    raise Unusable(problem.code, self.told(problem.message), again=False) from None
                wait = self._backoff(attempt)
            except openai.APIStatusError as problem:
                wait = self._wait_for(problem, attempt)
            except openai.APIConnectionError as problem:
                if attempt == self._attempts:
                    raise self._unreachable(problem) from None
                wait = self._backoff(attempt)
            with self._counting:
                self.waits += 1
            self._stop.wait(wait)
        raise AssertionError("an attempt ends in an answer, in an error or in a wait")

    def close(self) -> None:
        """End what is under way; whoever waits is woken."""
        self._stop.set()
        self._http.close()

    def told(self, text: str) -> str:
        """What the service says, fit to be kept and shown: without the key."""
        return redacted(text, self._key)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _answer(self, question: Mapping[str, Any]) -> Any:
        data = self._create(**question).content
        try:
            return parse(data, max_bytes=_MOST_BYTES, max_depth=32)
        except JsonFault as problem:
            raise Unusable("API_MALFORMED", f"the answer is malformed: {problem.message}", again=True) from None

    def _backoff(self, attempt: int) -> float:
        """Seconds that double with each attempt, drawn between half and all of them so that clients part ways."""
        longest = min(_LONGEST_BACKOFF, self._patience.between * _MOST_FACTOR**attempt)
        return longest * random.uniform(0.5, 1.0)

    def _wait_for(self, problem: openai.APIStatusError, attempt: int) -> float:
        """Seconds to wait after this status, or raises what it means."""
        status, code = problem.status_code, problem.code or ""
        if status in (401, 403):
            # The service's own words are left out: they quote parts of the key.
            message = f"The service refuses the key or the model (HTTP {status})."
            hint = "Check the key that is given, and what it may be used for."
            raise BackendError(Fault("API_KEY_REFUSED", message, hint=hint)) from None
        service_message = self.told(problem.message)
        if status in _TRANSIENT and code != "insufficient_quota":
            retry_after = _retry_after(problem.response.headers)
            if retry_after is not None and retry_after > self._patience.most_told:
                message = f"The service asks to wait {retry_after:,.0f} seconds (HTTP {status})."
                raise BackendError(Fault("API_BUSY", message, hint="Run the same command again then.")) from None
            if attempt == self._attempts:
                message = f"The service failed {attempt} times in a row, last with HTTP {status}: {service_message}"
                hint = "Run the same command again later; --api-concurrency asks less at once."
                raise BackendError(Fault("API_FAILED", message, hint=hint)) from None
            return self._backoff(attempt) if retry_after is None else retry_after + self._backoff(1)
        if code in ("context_length_exceeded", "content_filter"):
            raise Unusable(
                "API_REFUSAL", f"the service refused the prompt ({code}): {service_message}", again=False
            ) from None
        message = f"The service answered with HTTP {status}: {service_message}"
        hint = "Check model, api, base_url and top_logprobs in the submission."
        raise BackendError(Fault("API_REQUEST", message, hint=hint)) from None

    def _unreachable(self, problem: openai.APIConnectionError) -> BackendError:
        cause = problem.__cause__ or problem
        late = isinstance(problem, openai.APITimeoutError)
        what = "did not answer in time" if late else "could not be reached or broke the connection off"
        reason = self.told(str(cause)) or type(cause).__name__
        message = f"The service {what}, {self._attempts} times in a row: {reason}."
        return BackendError(Fault("API_UNREACHABLE", message, hint="Run the same command again to go on from there."))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or as a date; None where it says nothing of use."""
    text = headers.get("retry-after")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


class _Guard(httpx2.BaseTransport):
    """The last to see what leaves and the first to see what comes, whatever the layers above do.

    Only the one service is asked; of headers only those that it needs go out, so that nothing of the environment that a
    client library picks up goes along; an answer ends when it is too long or takes too long, and none is unpacked.
    """

    def __init__(self, base: httpx2.URL, key: str | None, official: bool, seconds: float) -> None:
        self._origin = (base.scheme, base.host, base.port)
        self._key = key
        self._sent = _SENT_HEADERS | (_OFFICIAL_HEADERS if official else frozenset())
        self._seconds = seconds
        proxy: str | None = (
            getproxies().get("https") if base.scheme == "https" and not proxy_bypass(base.host) else None
        )
        self._inner = httpx2.HTTPTransport(proxy=proxy, limits=httpx2.Limits(max_connections=256))

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send, and hand on an answer that cannot run away."""
        if (request.url.scheme, request.url.host, request.url.port) != self._origin:
            raise httpx2.UnsupportedProtocol(f"nothing is sent to {request.url.host}", request=request)
        headers = {name: value for name, value in request.headers.items() if name.lower() in self._sent}
        headers |= {"accept-encoding": "identity", "user-agent": "moral-ambiguity-benchmark"}
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key}"
        # A copy: the layers above look at their own headers again when the answer comes.
        sent = httpx2.Request(
            request.method, request.url, headers=headers, stream=request.stream, extensions=request.extensions
        )
        end = time.monotonic() + self._seconds
        response = self._inner.handle_request(sent)
        assert isinstance(response.stream, httpx2.SyncByteStream)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            # Nobody asked for it, and a few bytes of it can become more than any memory holds.
            response.stream.close()
            raise httpx2.DecodingError("the answer is compressed, which was not asked for", request=request)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Bounded(response.stream, end, request),
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


class _Bounded(httpx2.SyncByteStream):
    """An answer's bytes, as long as they are few and come in time."""

    def __init__(self, inner: httpx2.SyncByteStream, end: float, request: httpx2.Request) -> None:
        self._inner, self._end, self._request = inner, end, request

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for part in self._inner:
            size += len(part)
            if size > _MOST_BYTES:
                raise httpx2.ReadError(f"the answer has more than {_MOST_BYTES:,} bytes", request=self._request)
            if time.monotonic() > self._end:
                raise httpx2.ReadTimeout("the answer took too long", request=self._request)
            yield part

    def close(self) -> None:
        """Let go of the connection."""
        self._inner.close()
