"""Fixtures of the archive's and the leaderboard's tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.card_factory import Json, People, maker

from runner.core import resources
from runner.evaluation.baselines import write_baseline
from runner.evaluation.score import score_file
from runner.tasks.selection import RunConfig


@pytest.fixture(scope="session")
def people() -> People:
    return People()


@pytest.fixture(scope="session")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Json, Path]:
    """The card and folder of a real `score` run on the sample data."""
    folder = tmp_path_factory.mktemp("real")
    choice = RunConfig(resources.benchmark_file(), "sample", tasks=("dilemmas",))
    write_baseline("uniform", choice, folder / "uniform.jsonl")
    key = Ed25519PrivateKey.generate()
    place, card = score_file(folder / "uniform.jsonl", choice, None, folder / "runs", None, lambda: key)
    return card, place


@pytest.fixture
def make(real_run: tuple[Json, Path], tmp_path: Path, people: People) -> Callable[..., Path]:
    """A function that writes the folder of a signed, comparable run with a given name and cross-entropy."""
    card, place = real_run
    return maker(card, place, tmp_path / "made", people.lab)
