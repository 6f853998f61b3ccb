"""A real service on this machine, the same weights for the causal backend, and a proxy between."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.gguf_model import write_gguf
from support.llama_server import CHAT, served
from support.proxy import Proxy, proxied


@pytest.fixture(scope="session")
def weights(root: Path) -> Path:
    """The folder of the tiny Llama, which the service runs as well."""
    return root / "submissions" / "tiny-llama" / "model"


@pytest.fixture(scope="session")
def service(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of llama.cpp's server with the tiny Llama."""
    model = write_gguf(weights, tmp_path_factory.mktemp("gguf") / "tiny.gguf", chat_template=CHAT)
    with served(model) as address:
        yield address


@pytest.fixture
def proxy(service: str) -> Iterator[Proxy]:
    with proxied(service) as running:
        yield running
