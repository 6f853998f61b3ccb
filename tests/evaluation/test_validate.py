"""`validate` finds what `evaluate` would refuse as it reads the prompts."""

import shutil
from pathlib import Path

import pytest
from support.forked_worker import forked_workers  # noqa: F401
from support.paths import ROOT

from runner.evaluation.validate import check

SUBMISSION = """\
schema_version: "1"
name: thoughtful
model: {backend: causal, path: model, format: chat, dtype: float32}
"""


@pytest.mark.slow
@pytest.mark.usefixtures("forked_workers")
def test_the_tokenizer_is_asked_to_read_prompts(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "submissions" / "tiny-llama" / "model", tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text("{{ messages[0]['content'] }}<think>", encoding="utf-8")
    path = tmp_path / "submission.yaml"
    path.write_text(SUBMISSION, encoding="utf-8")
    assert check(path, probe=False) == ()
    (fault,) = check(path)
    assert (fault.code, fault.file) == ("TEMPLATE_OPEN_THOUGHT", str(path))
    assert "more prompts" in fault.message


def test_what_is_not_here_is_not_asked() -> None:
    assert check(ROOT / "submissions" / "zephyr-7b-beta" / "submission.yaml") == ()


RECIPE = (ROOT / "submissions" / "tiny-llama" / "recipe.yaml").read_text(encoding="utf-8")


def recipe_faults(folder: Path, old: str, new: str) -> list[tuple[str, str, str]]:
    """Code, message and hint of the faults of the recipe of the toy with `new` in the place of `old`."""
    assert old in RECIPE
    shutil.copytree(ROOT / "submissions" / "tiny-llama" / "model", folder / "model")
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.replace(old, new), encoding="utf-8")
    faults = check(path)
    assert all(fault.file == str(path) and fault.line for fault in faults)
    return [(fault.code, fault.message, fault.hint or "") for fault in faults]


def test_target_modules_are_those_of_the_model_beside_the_recipe(tmp_path: Path) -> None:
    found = recipe_faults(tmp_path, "k_proj, v_proj", "c_attn, vproj, lm_head")
    assert found[0][:2] == ("RECIPE", "The model has no module 'c_attn'.")
    assert "q_proj" in found[0][2]
    assert found[1] == ("RECIPE", "The model has no module 'vproj'.", "Did you mean 'v_proj'?")
    assert len(found) == 2


def test_an_evaluation_that_would_never_be_is_a_fault(tmp_path: Path) -> None:
    ((code, message, hint),) = recipe_faults(tmp_path, "every: 25", "every: 151")
    assert (code, message) == ("RECIPE", "Every 151 steps is never: the training has 150.")
    assert "training.steps" in hint


def test_the_recipes_here_have_no_faults() -> None:
    for path in (ROOT / "submissions").glob("*/recipe.yaml"):
        assert check(path) == (), path
