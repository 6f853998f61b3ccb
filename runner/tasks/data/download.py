"""One URL to one file over HTTP, with retries.

The standard library does it: `urllib.request` has proxies from the environment, redirects, certificates and time
limits, and needs no dependency. A download that breaks off begins anew.
"""

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runner.core.errors import BackendError, Fault, InvalidInput
from runner.core.version import __version__
from runner.tasks.data.retry import Retryable, RetryPolicy, retry

Progress = Callable[[int, int | None], None]
"""Called with the bytes there so far, and the bytes in all or None where the server does not say."""

_BLOCK = 1 << 17
_MAX_BYTES = 4 << 30
_MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})


def download(
    url: str, part: Path, patience: RetryPolicy, progress: Progress, retrying: Callable[[str], None] = lambda _: None
) -> None:
    """Write the content at `url` to the file `part`; what is there already is replaced.

    An attempt that fails in a passing way is repeated from the first byte; `retrying` is given a sentence on it. The
    caller must still check a digest: HTTP
    can say that bytes are missing, not that they are right.

    Raises `InvalidInput` (DATA_URL) for anything but a usable http or https URL, and `BackendError` (DATA_DOWNLOAD)
    when the server refuses or patience ends. An `OSError` that leaves is about the disk.
    """
    _require_http(url)
    why = retry(lambda: _attempt(url, part, patience.timeout, progress), patience, retrying)
    if why is not None:
        message = f"{url} could not be fetched in {patience.attempts} attempts; the last one ended so: {why}."
        raise BackendError(Fault("DATA_DOWNLOAD", message, hint="Run the same command again later."))


def _require_http(url: str) -> None:
    try:
        usable = urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname)
    except ValueError:
        usable = False
    if not usable:
        raise InvalidInput(Fault("DATA_URL", f"{url!r} cannot be fetched, an http or https URL was expected."))


def _attempt(url: str, part: Path, timeout: float, progress: Progress) -> None:
    headers = {"User-Agent": f"moral-ambiguity-benchmark/{__version__}", "Accept-Encoding": "identity"}
    with closing(_open(url, headers, timeout)) as response:
        if response.status in _MAY_PASS:
            raise Retryable(f"the server answered {response.status}")
        if response.status != 200:
            message = f"{url} cannot be fetched: the server answered {response.status}."
            raise BackendError(Fault("DATA_DOWNLOAD", message))
        have, total = 0, _length(response.headers)
        progress(have, total)
        with part.open("wb") as stream:
            for block in _blocks(response):
                have += len(block)
                if have > _MAX_BYTES:
                    message = f"{url} is longer than {_MAX_BYTES:,} bytes, which is more than is taken."
                    raise BackendError(Fault("DATA_DOWNLOAD", message))
                stream.write(block)
                progress(have, total)
    if total is not None and have != total:
        raise Retryable(f"the connection ended after {have:,} of {total:,} bytes")


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
        raise Retryable(str(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise Retryable(str(error) or type(error).__name__) from None


def _blocks(response: Any) -> Iterator[bytes]:
    while True:
        try:
            block = response.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise Retryable(str(error) or type(error).__name__) from None
        if not block:
            return
        yield block


def _length(headers: Message) -> int | None:
    """Content-Length, which means nothing beside Transfer-Encoding (RFC 9112, 6.3)."""
    length = headers.get("Content-Length", "")
    usable = length.isascii() and length.isdigit() and len(length) < 16 and "Transfer-Encoding" not in headers
    return int(length) if usable else None
