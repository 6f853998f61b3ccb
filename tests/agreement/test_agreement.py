"""The comparison with other scorers runs and agrees, on a small model and prompts of the benchmark."""

import json
import os
import re
from pathlib import Path

import pytest
from support import tiny_models
from support.forked_script import run_script

SCRIPT = Path(__file__).with_name("compare.py")
PEER = "BENCHMARK_PEER_PYTHON"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, an adapter, and rows of data in the released form."""
    folder = tmp_path_factory.mktemp("agreement")
    tokenizer = tiny_models.piece_tokenizer()
    base = tiny_models.model("mistral", len(tokenizer), sliding_window=1024, max_position_embeddings=1024)
    tiny_models.save(folder / "model", base, tokenizer)
    tiny_models.save(folder / "adapter", tiny_models.adapter(base))
    pairs = zip(tiny_models.ACTIONS, tiny_models.ACTIONS[1:], strict=False)
    rows = [
        {"id": str(number), "actions": [{"description": one}, {"description": other}]}
        for number, (one, other) in enumerate(pairs)
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def compare(folder: Path, *options: str) -> str:
    places = ("--model", str(folder / "model"), "--data", str(folder / "data.jsonl"))
    found = run_script(SCRIPT, *places, *options)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plain", "chat"])
def test_transformers(folder: Path, form: str) -> None:
    said = compare(folder, "--format", form, "--adapter", str(folder / "adapter"), "--tolerance", "1e-5")
    found = re.search(r"one option at a time, transformers .*over (\d+) options", said)
    assert found is not None
    assert int(found[1]) == 2 * 2 * (len(tiny_models.ACTIONS) - 1)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plain", "chat"])
def test_harness(folder: Path, form: str) -> None:
    python = os.environ.get(PEER)
    if python is None:
        pytest.skip(f"{PEER} does not name the interpreter of an environment with lm-eval; see compare.py")
    said = compare(folder, "--format", form, "--peer-python", python, "--tolerance", "1e-4")
    assert "where it reads the same tokens" in said
    assert "reads other tokens" not in said
