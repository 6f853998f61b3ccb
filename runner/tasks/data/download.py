"""One URL to one file over HTTP, going on where an earlier attempt was cut off.

The standard library does it: the client that travels with huggingface_hub is not the same from one release of it to
the next, and a range request with a condition needs no more than `urllib.request` has (proxies from the environment,
redirects, certificates, time limits).
"""

import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runner import __version__
from runner.core import canonical, strict_json
from runner.core.errors import BackendError, Fault, InvalidInput

Progress = Callable[[int, int | None], None]
"""Called with the bytes there so far, and the bytes in all or None where the server does not say."""

_BLOCK = 1 << 17
_MAX_BYTES = 4 << 30
_MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15}|\*)")
_WHOLE = re.compile(r"bytes \*/([0-9]{1,15})")
_LENGTH = re.compile(r"[0-9]{1,15}")
_STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]{0,512}"')
_DATE = re.compile(r"[A-Za-z0-9,: ]{1,64}")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a server is waited for: at most `attempts`, with waits between them that double from `wait` up to
    `longest_wait` seconds, and within one attempt `timeout` seconds of silence.
    """

    attempts: int = 6
    wait: float = 0.5
    longest_wait: float = 30.0
    timeout: float = 30.0


class _Retryable(Exception):
    """An attempt failed in a way that the next may not; the argument says how."""


def validator_file(part: Path) -> Path:
    """Where the server's name for the version that `part` is the beginning of is kept."""
    return part.with_name(f"{part.name}.json")


def discard(part: Path) -> None:
    """Forget what has arrived, so that the next call begins anew."""
    part.unlink(missing_ok=True)
    validator_file(part).unlink(missing_ok=True)


def download(url: str, part: Path, patience: RetryPolicy, progress: Progress) -> None:
    """Bring the file `part` to the full content at `url`.

    What an earlier call left there is kept if the server confirms that it still offers the same bytes, asked by
    `If-Range` with its strong ETag or its date of change (RFC 9110, 13.1.5); otherwise the download begins anew. The
    caller must still check a digest: HTTP can say that bytes are missing, not that they are right.

    Raises `InvalidInput` (DATA_URL) for anything but a usable http or https URL, and `BackendError` (DATA_DOWNLOAD)
    when the server refuses or patience ends, with `part` kept. An `OSError` that leaves is about the disk.
    """
    _require_http(url)
    wait, why = patience.wait, "no attempt was allowed"
    for attempt in range(patience.attempts):
        if attempt:
            time.sleep(wait)
            wait = min(2 * wait, patience.longest_wait)
        try:
            _attempt(url, part, patience.timeout, progress)
            return
        except _Retryable as cut:
            why = str(cut)
    message = f"{url} could not be fetched in {patience.attempts} attempts; the last one ended so: {why}."
    raise BackendError(Fault("DATA_DOWNLOAD", message, hint="Run the same command again: what has arrived is kept."))


def _require_http(url: str) -> None:
    try:
        usable = urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname)
    except ValueError:
        usable = False
    if not usable:
        raise InvalidInput(Fault("DATA_URL", f"{url!r} cannot be fetched, an http or https URL was expected."))


def _attempt(url: str, part: Path, timeout: float, progress: Progress) -> None:
    have = part.stat().st_size if part.exists() else 0
    validator = _recall_validator(part, url)
    headers = {"User-Agent": f"moral-ambiguity-benchmark/{__version__}", "Accept-Encoding": "identity"}
    if have and validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    with closing(_open(url, headers, timeout)) as response:
        match response.status:
            case 200:
                have, total = 0, _length(response.headers)
                discard(part)
                _keep_validator(part, url, response.headers)
            case 206:
                described = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
                if described is None or int(described[1]) != have:
                    discard(part)
                    raise _Retryable("the server sent another range than it was asked for")
                total = None if described[2] == "*" else int(described[2])
            case 416:
                # Nothing lies beyond what is here. Whether that is all of it, the server says beside the refusal.
                whole = _WHOLE.fullmatch(response.headers.get("Content-Range", ""))
                if whole is not None and int(whole[1]) == have:
                    progress(have, have)
                    return
                discard(part)
                raise _Retryable("the server has no more, yet does not confirm what is here")
            case code if code in _MAY_PASS:
                raise _Retryable(f"the server answered {code}")
            case code:
                raise BackendError(Fault("DATA_DOWNLOAD", f"{url} cannot be fetched: the server answered {code}."))
        progress(have, total)
        with part.open("ab") as stream:
            for block in _blocks(response):
                have += len(block)
                if have > _MAX_BYTES:
                    message = f"{url} is longer than {_MAX_BYTES:,} bytes, which is more than is taken."
                    raise BackendError(Fault("DATA_DOWNLOAD", message))
                stream.write(block)
                stream.flush()
                progress(have, total)
    if total is not None and have != total:
        raise _Retryable(f"the connection ended after {have:,} of {total:,} bytes")


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS with redirects and proxies; unlike urllib's own opener no ftp, no file and no data URLs."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _open(url: str, headers: dict[str, str], timeout: float) -> Any:
    """A response of any status."""
    try:
        return _opener().open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as answer:
        return answer
    except (http.client.InvalidURL, UnicodeError):
        raise InvalidInput(Fault("DATA_URL", f"{url!r} is not a URL that can be asked for.")) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            message = f"{url} cannot be fetched: the server's certificate is not trusted ({error.reason})."
            raise BackendError(Fault("DATA_DOWNLOAD", message)) from None
        raise _Retryable(str(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _Retryable(str(error) or type(error).__name__) from None


def _blocks(response: Any) -> Iterator[bytes]:
    while True:
        try:
            block = response.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _Retryable(str(error) or type(error).__name__) from None
        if not block:
            return
        yield block


def _length(headers: Message) -> int | None:
    """Content-Length, which means nothing beside Transfer-Encoding (RFC 9112, 6.3)."""
    length = headers.get("Content-Length", "")
    return int(length) if _LENGTH.fullmatch(length) and "Transfer-Encoding" not in headers else None


def _keep_validator(part: Path, url: str, headers: Message) -> None:
    tag, date = headers.get("ETag", ""), headers.get("Last-Modified", "")
    if validator := tag if _STRONG_TAG.fullmatch(tag) else date:
        validator_file(part).write_bytes(canonical.to_bytes({"url": url, "validator": validator}))


def _recall_validator(part: Path, url: str) -> str | None:
    """The validator kept for this URL; None where there is none, or what is there is not one."""
    try:
        kept = strict_json.parse(validator_file(part).read_bytes())
    except (FileNotFoundError, strict_json.JsonFault):
        return None
    validator = kept.get("validator") if isinstance(kept, dict) and kept.get("url") == url else None
    if not isinstance(validator, str) or not (_STRONG_TAG.fullmatch(validator) or _DATE.fullmatch(validator)):
        return None
    return validator
