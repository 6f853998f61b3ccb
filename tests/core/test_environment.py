"""What is told of the machine: enough to explain a number, and nothing about the person."""

import getpass
import json
import socket
from importlib import metadata
from pathlib import Path

import pytest

from runner import __version__
from runner.core.environment import describe, in_container, is_mounted, peak_memory_bytes, versions
from runner.core.errors import InvalidInput


def test_versions_are_those_installed():
    found = versions()
    assert found["runner"] == __version__
    for name in ("numpy", "scipy", "torch", "transformers", "rfc8785"):
        assert found[name] == metadata.version(name)


def test_a_library_that_is_not_there_is_null(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert versions()["torch"] is None


def test_it_is_json_without_names_of_user_or_host(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    text = json.dumps(describe(), allow_nan=False)
    assert json.loads(text)["variables"]["OMP_NUM_THREADS"] == "3"
    assert "hf_secret" not in text
    host = socket.gethostname()
    if len(host) > 3:
        assert host not in text
    if len(getpass.getuser()) > 4:
        assert getpass.getuser() not in text


IMAGE, REVISION = "BENCHMARK_IMAGE_DIGEST", "BENCHMARK_SOURCE_REVISION"


def test_what_launched_it_is_taken_over(monkeypatch):
    monkeypatch.delenv(IMAGE, raising=False)
    monkeypatch.delenv(REVISION, raising=False)
    assert (describe()["image_digest"], describe()["source_revision"]) == (None, None)
    monkeypatch.setenv(IMAGE, "sha256:" + "0a" * 32)
    monkeypatch.setenv(REVISION, "b" * 64)
    assert (describe()["image_digest"], describe()["source_revision"]) == ("sha256:" + "0a" * 32, "b" * 64)


def test_an_image_that_was_not_told_its_revision_says_none(monkeypatch):
    monkeypatch.setenv(REVISION, "")
    assert describe()["source_revision"] is None


def test_what_is_mounted_and_what_goes_with_the_container(monkeypatch, tmp_path):
    monkeypatch.delenv("BENCHMARK_CONTAINER", raising=False)
    assert not in_container()
    monkeypatch.setenv("BENCHMARK_CONTAINER", "1")
    assert in_container()
    monkeypatch.setattr(Path, "is_mount", lambda self: str(self) in ("/", str(tmp_path / "mounted")))
    assert is_mounted(tmp_path / "mounted" / "not there yet")
    assert is_mounted(tmp_path / "mounted")
    assert not is_mounted(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (IMAGE, ""),
        (IMAGE, "latest"),
        (IMAGE, "0a" * 32),
        (IMAGE, "sha256:" + "0A" * 32),
        (IMAGE, "sha256:" + "0a" * 32 + "\n"),
        (REVISION, "main"),
        (REVISION, "b" * 39),
        (REVISION, "b" * 50),
        (REVISION, "b" * 40 + "-dirty"),
    ],
)
def test_a_malformed_pin_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput) as caught:
        describe()
    (fault,) = caught.value.faults
    assert fault.code == "ENVIRONMENT"
    assert name in fault.message


def test_memory_is_in_bytes():
    held = bytearray(64 << 20)
    found = peak_memory_bytes()
    assert len(held) < found < 1 << 40
    assert describe()["system"]["memory_bytes"] > found
