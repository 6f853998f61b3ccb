"""The tiny submissions: small, of the form that is taken, made by the committed script, and better with the adapter."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.forked import Forked

from runner.config import load_benchmark

FILES = (
    "tiny-llama/model/config.json",
    "tiny-llama/model/model.safetensors",
    "tiny-llama/model/tokenizer.json",
    "tiny-llama/model/tokenizer_config.json",
    "tiny-llama-lora/adapter/adapter_config.json",
    "tiny-llama-lora/adapter/adapter_model.safetensors",
)


def test_weights_and_tokenizer_are_small(root: Path) -> None:
    sizes = {name: (root / "submissions" / name).stat().st_size for name in FILES}
    assert sum(size for name, size in sizes.items() if name.startswith("tiny-llama/")) < 3_000_000
    assert sizes[FILES[-1]] < 300_000


def test_nothing_else_lies_beside_them(root: Path) -> None:
    for folder in ("tiny-llama/model", "tiny-llama-lora/adapter"):
        found = {f"{folder}/{path.name}" for path in (root / "submissions" / folder).iterdir()}
        assert found == {name for name in FILES if name.startswith(folder)}


def relative_distance(made: Path, kept: Path) -> float:
    """Norm of the difference of all tensors, in units of the norm of those kept."""
    ours, theirs = load_file(made), load_file(kept)
    assert {name: part.shape for name, part in ours.items()} == {name: part.shape for name, part in theirs.items()}
    apart = sum(float(np.sum((ours[name] - theirs[name]) ** 2.0)) for name in theirs)
    return float(np.sqrt(apart / sum(float(np.sum(part**2.0)) for part in theirs.values())))


@pytest.mark.slow
def test_the_adapter_improves_the_cross_entropy_of_the_sample(root: Path, tmp_path: Path) -> None:
    benchmark, values = Forked(tmp_path), {}
    options = ("--suite", "sample", "--task", "anecdotes", "--task", "dilemmas", "-q", "-o", tmp_path)
    for name in ("tiny-llama", "tiny-llama-lora"):
        ran = benchmark("evaluate", root / "submissions" / name / "submission.yaml", *options)
        card = json.loads((Path(ran.stdout.splitlines()[-1]) / "scorecard.json").read_text(encoding="utf-8"))
        values[name] = {task: found["metrics"]["cross_entropy"]["value"] for task, found in card["tasks"].items()}
    base, adapted = values["tiny-llama"], values["tiny-llama-lora"]
    assert adapted["anecdotes"] < base["anecdotes"] - 0.1
    assert adapted["dilemmas"] < base["dilemmas"]


def test_they_were_made_by_the_script_as_it_is_from_the_prompts_as_they_are(root: Path) -> None:
    """Training takes minutes, so the script leaves digests of what went in and came out: both must be as they are."""
    folder = root / "submissions" / "tiny-llama"
    record = json.loads((folder / "made.json").read_text(encoding="utf-8"))
    spec = importlib.util.spec_from_file_location("tiny_train", folder / "train.py")
    assert spec is not None
    assert spec.loader is not None
    train = sys.modules["tiny_train"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    asked = train.questions(load_benchmark(root / "benchmark.yaml"))
    assert record["inputs_sha256"] == train.digest_inputs(asked), "run `python submissions/tiny-llama/train.py`"
    assert record["files"] == {
        name: hashlib.sha256((root / "submissions" / name).read_bytes()).hexdigest() for name in sorted(FILES)
    }


@pytest.mark.slow
@pytest.mark.skipif("RETRAIN" not in os.environ, reason="it trains for minutes; `make retrain` runs it")
def test_the_script_makes_them_again(root: Path, tmp_path: Path) -> None:
    script = root / "submissions" / "tiny-llama" / "train.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, capture_output=True, timeout=3600)
    for name in FILES:
        made, kept = tmp_path / name, root / "submissions" / name
        if name.endswith(".safetensors"):
            # Bit-equal on the machine they were made on. Rounding elsewhere moves them: by 0.0014 with two threads for
            # one; a changed recipe by 0.9 and more, so that weights which the script does not make are found anywhere.
            assert relative_distance(made, kept) < 0.2, name
        else:
            assert made.read_bytes() == kept.read_bytes(), f"{name} does not depend on the machine"
