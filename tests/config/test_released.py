"""A released benchmark never changes under its version."""

import json
import re
from pathlib import Path

from runner.config import RELEASED, is_released, load_benchmark
from runner.core import resources


def test_the_shipped_benchmark_is_the_released_one() -> None:
    benchmark = load_benchmark(resources.benchmark_file())
    assert is_released(benchmark), (
        f"benchmark.yaml says version {benchmark.version}, but its digest {benchmark.digest} is not the one released "
        f"under that version: give it a new version, and add the digest to runner/config/released.py and "
        f"tests/released.json. Never change the digest of a version that is out."
    )


def test_released_versions_are_pinned_twice(root: Path) -> None:
    """The second list is here so that a release cannot be rewritten in passing."""
    pinned = json.loads((root / "tests" / "released.json").read_text(encoding="utf-8"))
    assert {version: digest for (_, version), digest in RELEASED.items()} == pinned
    assert {name for name, _ in RELEASED} == {"moral-ambiguity"}
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in pinned.values())
