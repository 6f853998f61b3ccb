"""The locked libraries are past the versions whose holes are known, and the one that fetches code is not among them."""

import re
from importlib import metadata
from pathlib import Path

import pytest

FLOORS = {"torch": (2, 10), "transformers": (5, 10), "peft": (0, 21), "jinja2": (3, 1, 6), "safetensors": (0, 8)}


def locked(root: Path) -> dict[str, str]:
    text = (root / "requirements" / "constraints.txt").read_text(encoding="utf-8")
    return {name.lower(): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)}


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_locked_and_installed_is_past_known_holes(root: Path, name: str) -> None:
    for version in (locked(root)[name], metadata.version(name)):
        assert tuple(int(part) for part in re.findall(r"\d+", version)[:3]) >= FLOORS[name]


def test_the_library_that_fetches_kernels_is_not_there(root: Path) -> None:
    """With it, an `attn_implementation` in a config.json would name code on the Hub."""
    assert "kernels" not in locked(root)
    assert '"kernels' not in (root / "pyproject.toml").read_text(encoding="utf-8")
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("kernels")
