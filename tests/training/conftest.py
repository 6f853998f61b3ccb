"""A small model made on the spot, and a benchmark over data that a test writes."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import tiny_models
from support.forked_worker import forked_workers  # noqa: F401
from support.recipe_factory import Workshop

from runner.core import resources


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = tiny_models.byte_tokenizer()
    made = tiny_models.model("llama", len(tokenizer), max_position_embeddings=4096)
    return tiny_models.save(tmp_path_factory.mktemp("base") / "model", made, tokenizer)


@pytest.fixture(autouse=True)
def _forked_workers(forked_workers: None) -> None:  # noqa: F811
    """What checks a trained submission reads prompts in a fork."""


@pytest.fixture
def workshop(model_folder: Path, tmp_path: Path) -> Workshop:
    shutil.copytree(model_folder, tmp_path / "model")
    return Workshop(tmp_path)


Rows = Sequence[Mapping[str, Any]]


@pytest.fixture
def own_data(workshop: Workshop) -> Callable[..., None]:
    """Writes splits of Dilemmas and a benchmark, beside the recipe, whose suite `own` has them."""

    def write(**splits: Rows) -> None:
        value = yaml.safe_load(resources.benchmark_file().read_bytes())
        pinned = {}
        (workshop.home / "data").mkdir(exist_ok=True)
        for name, rows in splits.items():
            data = "".join(json.dumps(row) + "\n" for row in rows).encode()
            (workshop.home / "data" / f"{name}.jsonl").write_bytes(data)
            pinned[name] = {"file": f"{name}.jsonl", "rows": len(rows), "sha256": hashlib.sha256(data).hexdigest()}
        value["datasets"]["own"] = {
            "description": "Made by a test.",
            "synthetic": True,
            "source": {"url": "https://data.example/own.tar.gz", "folder": "own"},
            "splits": pinned,
        }
        value["suites"]["own"] = {
            "description": "Made by a test.",
            "comparable": False,
            "split": "test",
            "datasets": {"dilemmas": "own"},
        }
        (workshop.home / "benchmark.yaml").write_text(yaml.safe_dump(value), encoding="utf-8")

    return write
