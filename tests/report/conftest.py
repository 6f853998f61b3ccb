"""One run on the embedded sample, signed, with everything measured that a page can show."""

import copy
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runner.core import resources
from runner.evaluation import run_dir
from runner.evaluation.score import score_file
from runner.scorecard import filenames
from runner.scorecard.load import OpenCard, open_card
from runner.signing.keyring import Keyring, keyring_of
from runner.tasks.predictions import to_line
from runner.tasks.selection import RunConfig, select

Json = dict[str, Any]


@pytest.fixture(scope="session")
def drawing(root: Path) -> Any:
    """The script that draws the picture of the documentation, and its invented model."""
    spec = importlib.util.spec_from_file_location("make_picture", root / "docs" / "pictures" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="session")
def keyring(key: Ed25519PrivateKey) -> Keyring:
    return keyring_of(key.public_key())


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, drawing: Any, key: Ed25519PrivateKey) -> Path:
    """The folder of a run over every task of the sample, each item asked in every order."""
    folder = tmp_path_factory.mktemp("pages")
    choice = RunConfig(resources.benchmark_file(), "sample")
    rows = folder / "invented.jsonl"
    rows.write_text("".join(map(to_line, drawing.example_rows(select(choice)))), encoding="utf-8")
    return score_file(rows, choice, "invented", folder, "a challenge", lambda: key)[0]


@pytest.fixture(scope="session")
def other_run(tmp_path_factory: pytest.TempPathFactory, drawing: Any, key: Ed25519PrivateKey) -> Path:
    """The same with another seed, to compare with."""
    folder = tmp_path_factory.mktemp("pages-other")
    choice = RunConfig(resources.benchmark_file(), "sample")
    rows = folder / "other.jsonl"
    rows.write_text("".join(map(to_line, drawing.example_rows(select(choice), seed=2))), encoding="utf-8")
    return score_file(rows, choice, "other", folder, None, lambda: key)[0]


@pytest.fixture(scope="session")
def opened(run: Path, keyring: Keyring) -> OpenCard:
    return open_card(run, keyring)


Resign = Callable[[Callable[[Json], None]], Path]


@pytest.fixture
def resign(run: Path, key: Ed25519PrivateKey, opened: OpenCard, tmp_path: Path) -> Resign:
    """A function that copies the run with an altered card, signed all the same: what a dishonest signer can do."""

    def alter(change: Callable[[Json], None]) -> Path:
        folder = tmp_path / "altered"
        shutil.copytree(run, folder)
        card = copy.deepcopy(dict(opened.card))
        change(card)
        (folder / filenames.BUNDLE).unlink()
        (folder / filenames.CARD).unlink()
        run_dir.write_card(folder, card, key)
        return folder

    return alter
