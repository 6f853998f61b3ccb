"""Which service may be reached, with which key: the operator's word, never a submission's."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.config.service import DEFAULT_BASE_URL, base_url_fault, host_of, normal_base_url, travels_in_clear
from runner.core.errors import Fault, InvalidInput
from runner.core.files import open_regular, read_exactly
from runner.core.types import ServiceRef

DEFAULT_KEY_VARIABLE = "OPENAI_API_KEY"
_KEY = re.compile(r"[!-~]{8,4096}")
_LOOKS_LIKE_A_KEY = re.compile(r"\b(?:sk|key|api)-[A-Za-z0-9_*-]{6,}")


@dataclass(frozen=True, slots=True)
class Access:
    """What the person who runs the command allows, by its options and environment.

    The key comes from the environment variable or the file that is named here, and from nowhere else.
    """

    base_url: str | None = None
    """A service, besides the official one, that prompts may be sent to."""
    key_variable: str | None = None
    """Environment variable that holds the key."""
    key_file: Path | None = None
    """File that holds the key."""
    concurrency: int = 8
    """Maximum of requests under way at once."""
    attempts: int = 6
    """Maximum of attempts for a request."""
    unanswered: int = 0
    """Maximum of prompts that may stay unanswered."""
    max_cost: float | None = None
    """What a run's answers may cost, in the currency of the submission's price."""
    http_host: str | None = None
    """A host, besides this machine, that prompts and a key may be sent to unencrypted."""


def allowed_key(service: ServiceRef, access: Access, environment: Mapping[str, str] = os.environ) -> str | None:
    """The key for `service`, or None where none is sent.

    Raises `InvalidInput`: `API_HOST` if nobody has allowed this service, `API_HTTP` if it is on another machine without
    encryption and nobody has allowed that, `API_KEY` if the key that is requested is not
    there or is none. The default variable is read for the official service only: no submission can have the key of one
    service sent to another.
    """
    if access.base_url is not None and (problem := base_url_fault(access.base_url)) is not None:
        raise InvalidInput(Fault("API_BASE_URL", problem, hint="Correct --api-base-url."))
    permitted = DEFAULT_BASE_URL if access.base_url is None else normal_base_url(access.base_url)
    if service.base_url != permitted:
        message = f"The submission has every prompt sent to {service.base_url}, allowed is {permitted}."
        hint = f"If you know that service and trust it with the prompts, give --api-base-url {service.base_url}"
        if travels_in_clear(service.base_url):
            hint += f" --api-allow-http {host_of(service.base_url)}"
        hint += ", and --api-key-env NAME or --api-key-file FILE if it wants a key."
        raise InvalidInput(Fault("API_HOST", message, hint=hint))
    if travels_in_clear(service.base_url) and host_of(service.base_url) != (access.http_host or "").lower():
        host = host_of(service.base_url)
        message = f"Prompts, and a key if there is one, would travel unencrypted to {host}."
        hint = f"If nobody listens on the way, give --api-allow-http {host}; the card will say it."
        raise InvalidInput(Fault("API_HTTP", message, hint=hint))
    if access.key_variable is not None and access.key_file is not None:
        raise InvalidInput(
            Fault("API_KEY", "There is both --api-key-env and --api-key-file.", hint="Give one of them.")
        )
    if access.key_file is not None:
        return _from_file(access.key_file)
    variable = access.key_variable
    if variable is None and service.base_url == DEFAULT_BASE_URL:
        variable = DEFAULT_KEY_VARIABLE
    if variable is None:
        return None
    if not environment.get(variable):
        hint = "Set it, or give --api-key-env NAME or --api-key-file FILE."
        raise InvalidInput(Fault("API_KEY", f"The environment variable {variable} is not set.", hint=hint))
    return _checked(environment[variable], f"The environment variable {variable}")


def _from_file(path: Path) -> str:
    try:
        with open_regular(path, descriptors=True) as stream:
            data = read_exactly(stream, 1 << 14)
    except OSError as problem:
        message = f"The key cannot be read: {problem.strerror}."
        raise InvalidInput(Fault("API_KEY", message, str(path))) from None
    return _checked(data.decode("utf-8", "replace"), f"The file {path}")


def _checked(text: str, where: str) -> str:
    key = text.strip()
    if _KEY.fullmatch(key) is None:
        message = f"{where} holds no key: one line of 8 to 4,096 printable ASCII characters was expected."
        raise InvalidInput(Fault("API_KEY", message))
    return key


def redacted(text: str, key: str | None, limit: int = 300) -> str:
    """What a service says, in one line of printable characters, without the key and what looks like one."""
    if key is not None:  # before anything is cut, so that no half of it stays
        text = text.replace(key, "[key]")
    text = _LOOKS_LIKE_A_KEY.sub("[key]", text[: 1 << 16])
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:limit]
