"""What the options of the engine refuse before any work."""

import importlib.util
from pathlib import Path

import pytest
from support.command import run_here

SUBMISSION = str(Path(__file__).resolve().parents[3] / "submissions" / "tiny-llama" / "submission.yaml")


def said(*options: str) -> tuple[int, str]:
    code, output = run_here("evaluate", SUBMISSION, "--suite", "sample", "--limit", "1", *options)
    return code, " ".join(output.split())


def test_an_address_is_for_the_engine(tmp_path: Path) -> None:
    code, output = said("--ray-address", "127.0.0.1:6379", "-o", str(tmp_path))
    assert code == 2
    assert "--ray-address is for --engine ray" in output


def test_the_client_of_ray_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: object())  # as where Ray is installed
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    code, output = said("--engine", "ray", "--ray-address", "ray://127.0.0.1:10001", "-o", str(tmp_path / "out"))
    assert code == 1
    assert "OPTION" in output
    assert "HOST:PORT" in output
    assert not (tmp_path / "out").exists()


def test_without_ray_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "ray" else find(name, *more))
    code, output = said("--engine", "ray", "-o", str(tmp_path / "out"))
    assert code == 1
    assert "pip install 'moral-ambiguity-benchmark[ray]'" in output
