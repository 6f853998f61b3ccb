"""The images, a key, and folders for containers; without `make image-test` every test here is skipped."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine import UID, Containers, Key, Service
from support.command import Command


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "BENCHMARK_IMAGE_TEST" not in os.environ:
        for item in items:
            if item.nodeid.startswith("tests/image/"):
                item.add_marker(pytest.mark.skip(reason="needs the images: run `make image-test`"))


@pytest.fixture(scope="session")
def containers() -> Containers:
    return Containers()


@pytest.fixture(scope="session")
def inspect() -> Callable[[str, str], str]:
    """A fact about an image, by a template of `podman image inspect`."""

    def ask(image: str, template: str) -> str:
        return Containers.finished(
            ["podman", "image", "inspect", "--format", template, f"localhost/{image}"]
        ).stdout.strip()

    return ask


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder that the containers' user owns."""
    folder = tmp_path / "results"
    folder.mkdir()
    os.chown(folder, UID, UID)
    return folder


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    host = Command(tmp_path_factory.mktemp("host"))
    host("keys", "new")
    folder = tmp_path_factory.mktemp("keys")
    for file in (host.home / "config" / "moral-ambiguity-benchmark").iterdir():
        os.chown(shutil.copy(file, folder), UID, UID)
    os.chown(folder, UID, UID)
    return Key(folder, host)


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Service]:
    if shutil.which("docker") is None:
        pytest.skip("there is no docker client")
    socket = tmp_path / "podman.sock"
    process = subprocess.Popen(["podman", "system", "service", "--time", "0", f"unix://{socket}"])
    try:
        service = Service(str(socket))
        for _ in range(100):
            if service("version", code=None).returncode == 0:
                break
        yield service
    finally:
        process.terminate()
        process.wait(30)
