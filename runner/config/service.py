"""The address of a service: which are taken, and how one is written."""

from urllib.parse import urlsplit

DEFAULT_BASE_URL = "https://api.openai.com/v1"
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


def base_url_fault(text: str) -> str | None:
    """Why `text` is no address of a service, or None: https or http, and nothing but host, port and path.

    Whether prompts may travel unencrypted to another machine (`travels_in_clear`) is up to the person who runs.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "This is no address."
    if parts.scheme not in ("http", "https") or not host:
        return "This is no address of a service."
    if parts.username is not None or parts.password is not None:
        return "An address may not hold a user name or a password."
    if parts.query or parts.fragment or "?" in text or "#" in text:
        return "An address may have neither a query nor a fragment."
    if "\\" in text or "%" in parts.netloc or any(part in (".", "..") for part in parts.path.split("/")):
        return "An address must be written plainly, without backslashes, escapes or dots that lead elsewhere."
    return None


def travels_in_clear(base_url: str) -> bool:
    """Whether what is sent to this address, which has no fault, leaves this machine unencrypted."""
    parts = urlsplit(base_url)
    return parts.scheme == "http" and parts.hostname not in _THIS_MACHINE


def host_of(base_url: str) -> str:
    """The host of an address that has no fault."""
    return urlsplit(base_url).hostname or ""


def normal_base_url(text: str) -> str:
    """The one way to write an address that has no fault: scheme and host in small letters, no slash at the end."""
    parts = urlsplit(text)
    default = {"https": 443, "http": 80}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in (None, default) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
