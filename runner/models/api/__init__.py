"""Models that a service runs: reached over the network, without any of their code or weights."""

from typing import TYPE_CHECKING

from runner.core.errors import BackendError, Fault
from runner.core.types import ServiceRef
from runner.models.api.access import Access, allowed_key

if TYPE_CHECKING:
    from runner.models.api.service import Service

__all__ = ["Access", "allowed_key", "open_service"]


def open_service(service: ServiceRef, key: str | None, access: Access) -> "Service":
    """The service as a backend; nothing is sent yet. Raises `BackendError` (`API_EXTRA`) without the HTTP client."""
    try:
        from runner.models.api.client import Client
        from runner.models.api.service import Service
    except ModuleNotFoundError as missing:
        if missing.name != "httpx2":
            raise
        message = "Services are asked through httpx2, which is not installed."
        hint = "pip install 'moral-ambiguity-benchmark[api]'"
        raise BackendError(Fault("API_EXTRA", message, hint=hint)) from None
    return Service(service, Client(service, key, access.attempts), access)
