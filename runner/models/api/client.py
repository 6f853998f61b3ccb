"""One question to a service over HTTP: guarded, bounded in size and time, retried with a delay."""

import json
import math
import os
import random
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, TypeVar
from urllib.request import getproxies, proxy_bypass

import httpx2

from runner.config.service import DEFAULT_BASE_URL
from runner.core.errors import BackendError, Fault
from runner.core.strict_json import JsonFault, parse
from runner.core.types import ServiceRef
from runner.models.api.access import redacted
from runner.models.api.answers import Unusable
from runner.models.api.complaints import adjust, adjustment, code_and_words, error_in_reply, first_words

T = TypeVar("T")

_MOST_BYTES = 4 << 20
_OFFICIAL_HEADERS = {"OPENAI_ORG_ID": "openai-organization", "OPENAI_PROJECT_ID": "openai-project"}
"""Environment variables that name the payer, and the headers that carry them to the official service."""
_HEADER = re.compile(r"[!-~]{1,256}")
_PATHS = {"chat": "/chat/completions", "completions": "/completions"}
_TRANSIENT = frozenset({408, 409, 425, 429, *range(500, 600)})
_SUCCESS = 200
_MOST_FACTOR = 2.0
_LONGEST_BACKOFF = 60.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a service is waited for, in seconds."""

    connect: float = 10.0
    """Timeout of a connection."""
    answer: float = 120.0
    """Timeout of a whole answer."""
    between: float = 0.5
    """First delay between attempts."""
    max_retry_after: float = 300.0
    """Longest delay that a service may ask for; beyond it the run ends and can be resumed."""


PATIENCE = RetryPolicy()


class Stopped(Exception):
    """The run ends, so this request is not sent any more."""


@dataclass(eq=False)
class _Refused(Exception):
    """An answer with a status other than success."""

    status: int
    """HTTP status."""
    headers: Mapping[str, str]
    """Headers of the answer."""
    code: str
    """The service's code for the error."""
    message: str
    """The service's message."""


class Client:
    """Holds the connections to one service, and the key, which is sent to that service and nowhere else.

    `requests` counts what was sent and `waits` the retries; used from several threads at once.
    `adjusted` has the parameters that the service refused by name, with the name that it wants instead or None where
    they are left out.
    """

    def __init__(self, service: ServiceRef, key: str | None, attempts: int, patience: RetryPolicy = PATIENCE) -> None:
        self._key = key
        self._attempts = attempts
        self._patience = patience
        self._stop = threading.Event()
        self._counting = threading.Lock()
        self.requests = 0
        self.waits = 0
        self._service = service
        self.adjusted: dict[str, Any] = {}
        query = {} if service.api_version is None else {"api-version": service.api_version}
        self._url = httpx2.URL(service.base_url + _PATHS[service.api], params=query)
        self._http = httpx2.Client(
            transport=httpx2.HTTPTransport(
                verify=_authorities(), proxy=_proxy(self._url), limits=httpx2.Limits(max_connections=256)
            ),
            timeout=httpx2.Timeout(patience.answer, connect=patience.connect),
            headers=_headers(key, service),
            follow_redirects=False,
            trust_env=False,
        )

    def ask(self, question: Mapping[str, Any], parse: Callable[[Any], T]) -> T:
        """What `parse` makes of the service's answer to `question`, the parameters of the interface.

        Transient failures, and answers of which `parse` says by `Unusable` that asking again might help, are met by
        waiting and asking again: for as long as the service says, or for a random time that doubles. Raises `Unusable`
        for what concerns this question only, `BackendError` for what concerns the service, `Stopped` after `close`.
        A parameter that the service refuses by name is renamed or left out, as it says, and sent once more.
        """
        for attempt in range(1, self._attempts + 1):
            if self._stop.is_set():
                raise Stopped
            with self._counting:
                self.requests += 1
            adjusted = dict(self.adjusted)
            try:
                return parse(self._answer(adjust(question, adjusted)))
            except Unusable as problem:
                if not problem.again or attempt == self._attempts:
                    raise Unusable(problem.code, self.without_key(problem.message), again=False) from None
                wait = self._backoff(attempt)
            except _Refused as problem:
                if self._adjusts(question, adjusted, problem) and attempt < self._attempts:
                    continue
                wait = self._wait_for(problem, attempt)
            except httpx2.HTTPError as problem:
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

    def without_key(self, text: str) -> str:
        """The service's message without the key, fit to be stored and shown."""
        return redacted(text, self._key)

    def mask_key(self, text: str) -> str:
        """A text of the model's own, as it is but for the key."""
        return text if self._key is None else text.replace(self._key, "[key]")

    # --- inside ----------------------------------------------------------------------------------------------------

    def _answer(self, question: Mapping[str, Any]) -> Any:
        try:
            data = self._post(json.dumps(question, allow_nan=False).encode())
        except RuntimeError:
            if self._stop.is_set():  # the connections were closed meanwhile
                raise Stopped from None
            raise
        try:
            reply = parse(data, max_bytes=_MOST_BYTES, max_depth=32, minus_infinity=True)
        except JsonFault as problem:
            what = f"the answer is malformed: {problem.message}{first_words(data)}"
            raise Unusable("API_MALFORMED", what, again=True) from None
        if (error := error_in_reply(reply)) is not None:
            raise _Refused(error[0], {}, *error[1:])
        return reply

    def _adjusts(self, question: Mapping[str, Any], sent: Mapping[str, Any], problem: _Refused) -> bool:
        """Whether the service's words say what to ask otherwise; another thread may have followed them meanwhile."""
        change = adjustment(adjust(question, sent), problem.status, problem.message)
        if change is None:
            return False
        with self._counting:
            self.adjusted |= change
        return True

    def _post(self, content: bytes) -> bytes:
        """The bytes of a successful answer, few and in time; raises `_Refused` for others, and `httpx2.HTTPError`."""
        end = time.monotonic() + self._patience.answer
        data = bytearray()
        with self._http.stream("POST", self._url, content=content) as response:
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                # Nobody requested it, and a few bytes of it can become more than any memory holds.
                raise httpx2.DecodingError("the answer is compressed, which was not asked for")
            for part in response.iter_raw():
                data += part
                if len(data) > _MOST_BYTES:
                    raise httpx2.ReadError(f"the answer has more than {_MOST_BYTES:,} bytes")
                if time.monotonic() > end:
                    raise httpx2.ReadTimeout("the answer took too long")
        if not response.is_success:
            raise _Refused(response.status_code, response.headers, *_error_in(bytes(data)))
        return bytes(data)

    def _backoff(self, attempt: int) -> float:
        """Seconds that double with each attempt, drawn between half and all of them so that clients part ways."""
        longest = min(_LONGEST_BACKOFF, self._patience.between * _MOST_FACTOR**attempt)
        return longest * random.uniform(0.5, 1.0)

    def _wait_for(self, problem: _Refused, attempt: int) -> float:
        """Seconds to wait after this status, or raises what it means."""
        status, code = problem.status, problem.code
        if status in (401, 403):
            # The service's own words are left out: they quote parts of the key.
            message = f"The service refuses the key or the model (HTTP {status})."
            hint = "Check the key that is given, and what it may be used for."
            raise BackendError(Fault("API_KEY_REFUSED", message, hint=hint)) from None
        words = self.without_key(problem.message)
        service_message = f"HTTP {status}: {words}" if words else f"HTTP {status}, without a reason"
        if status == _SUCCESS:
            service_message = f"an error inside an answer that says success: {words or 'without a reason'}"
        if (status in _TRANSIENT or status == _SUCCESS) and code != "insufficient_quota":
            retry_after = _retry_after(problem.headers)
            if retry_after is not None and retry_after > self._patience.max_retry_after:
                message = f"The service asks to wait {retry_after:,.0f} seconds (HTTP {status})."
                raise BackendError(Fault("API_BUSY", message, hint="Run the same command again then.")) from None
            if attempt == self._attempts:
                message = f"The service failed {attempt} times in a row, last with {service_message}"
                hint = "Run the same command again later; --api-concurrency asks less at once."
                raise BackendError(Fault("API_FAILED", message, hint=hint)) from None
            return self._backoff(attempt) if retry_after is None else retry_after + self._backoff(1)
        if code in ("context_length_exceeded", "content_filter"):
            raise Unusable("API_REFUSAL", f"the service refused the prompt ({code}): {words}", again=False) from None
        message = f"The service answered with {service_message}"
        hint = "Check model, api, base_url, top_logprobs and parameters in the submission."
        raise BackendError(Fault("API_REQUEST", message, hint=hint)) from None

    def _unreachable(self, problem: httpx2.HTTPError) -> BackendError:
        late = isinstance(problem, httpx2.TimeoutException)
        what = "did not answer in time" if late else "could not be reached or broke the connection off"
        reason = self.without_key(str(problem)) or type(problem).__name__
        message = f"The service {what}, {self._attempts} times in a row: {reason}."
        return BackendError(Fault("API_UNREACHABLE", message, hint="Run the same command again to go on from there."))


@cache
def _authorities() -> ssl.SSLContext:
    """Whose certificates are trusted, as the environment says; to read them takes 30 ms, so they are read once."""
    return httpx2.create_ssl_context()


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


def _headers(key: str | None, service: ServiceRef) -> dict[str, str]:
    """All that is sent beside a question; of the environment only who pays, and to the official service only."""
    headers = {
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": "moral-ambiguity-benchmark",
    }
    if key is not None and service.api_version is not None:
        headers["api-key"] = key
    elif key is not None:
        headers["authorization"] = f"Bearer {key}"
    if service.base_url == DEFAULT_BASE_URL:
        given = {header: os.environ.get(variable, "") for variable, header in _OFFICIAL_HEADERS.items()}
        headers |= {header: value for header, value in given.items() if _HEADER.fullmatch(value)}
    return headers


def _proxy(url: httpx2.URL) -> str | None:
    """The environment's proxy for https; what is not encrypted stays on this machine."""
    return getproxies().get("https") if url.scheme == "https" and not proxy_bypass(url.host) else None


def _error_in(data: bytes) -> tuple[str, str]:
    """Code and words of an error as services give it; empty where they are not given."""
    try:
        body = parse(data, max_bytes=_MOST_BYTES, max_depth=32)
    except JsonFault:
        return "", first_words(data).removeprefix("; ")
    return code_and_words(body.get("error", body) if isinstance(body, dict) else None)
