"""QLoRA: an adapter is trained on reduced weights, and scores on reduced weights what its training said."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from support import tiny_models
from support.forked import Forked
from support.recipe_factory import Workshop

from runner.training.curve import rows_of

pytestmark = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="the extra `quantized` is not installed")


@pytest.fixture
def wide(tmp_path: Path) -> Workshop:
    """A base whose layers are wide enough for blocks of 64 weights."""
    tokenizer = tiny_models.byte_tokenizer()
    shape = {"hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 4096}
    tiny_models.save(tmp_path / "model", tiny_models.model("llama", len(tokenizer), **shape), tokenizer)
    return Workshop(tmp_path)


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in rows_of(folder / "loss.jsonl") if "loss" in row]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["nf4", "int8"])
def test_the_base_is_reduced_in_training_as_well(form: str, wide: Workshop) -> None:
    some = {"training": {"steps": 3}, "evaluation": {"every": 3}}
    found = {name: wide.train(out=name, base={"quantization": name}, **some) for name in ("none", form)}
    first = {name: losses(folder)[0] for name, (folder, _) in found.items()}
    assert first["none"] != pytest.approx(first[form], abs=1e-3)
    folder, record = found[form]
    assert record["base"]["quantization"] == form
    assert f"quantization: {form}" in (folder / "submission.yaml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_checkpointing_changes_nothing(wide: Workshop) -> None:
    found: dict[bool, Any] = {}
    for kept in (True, False):
        training = {"steps": 3, "gradient_checkpointing": kept}
        folder, _ = wide.train(out=str(kept), base={"quantization": "nf4"}, training=training, evaluation={"every": 3})
        found[kept] = losses(folder)
    assert found[True] == pytest.approx(found[False], abs=1e-4)


@pytest.mark.slow
def test_evaluate_gives_what_the_training_said(wide: Workshop) -> None:
    folder, record = wide.train(base={"quantization": "nf4"})
    command = Forked(wide.home)
    command("keys", "new")
    done = command(
        *("evaluate", folder / "submission.yaml", "--suite", "sample", "--task", "dilemmas", "--split", "dev"),
        *("--quiet", "--output-dir", wide.home / "results"),
    )
    card = json.loads((Path(done.stdout.splitlines()[-1]) / "scorecard.json").read_text(encoding="utf-8"))
    said, found = (tasks["dilemmas"]["metrics"] for tasks in (record["evaluation"]["tasks"], card["tasks"]))
    for name in ("cross_entropy", "total_variation", "accuracy"):
        assert found[name]["value"] == pytest.approx(said[name]["value"], abs=1e-6)
    assert card["submission"]["model"]["facts"]["quantization"]["form"] == "nf4"
    assert card["run"]["self_check"]["adapter_effect"] > 0
