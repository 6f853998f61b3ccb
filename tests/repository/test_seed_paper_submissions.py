"""The rows of the seed paper: complete, valid without a network, pairs on the same base, commands as documented."""

import pytest
from support.paths import ROOT

from runner.config.recipe import load_recipe
from runner.config.submission import load_submission
from runner.core.errors import InvalidInput

ROWS = ROOT / "submissions"
MODELS = ("llama-3.1-8b-instruct", "zephyr-7b-beta", "mistral-7b-instruct-v0.3")
SAMPLED = ("gpt-5", "claude-sonnet-4.5", "gemini-2.5-flash", "reasoning-vllm")
ENCODERS = ("bert-large", "roberta-large")
RECIPES = [f"{name}-lora" for name in MODELS] + [
    f"{name}-{task}" for name in ENCODERS for task in ("dilemmas", "anecdotes")
]


@pytest.mark.parametrize("name", MODELS)
def test_a_pair_differs_in_the_adapter_alone(name):
    before = load_submission(ROWS / name / "submission.yaml")
    recipe = load_recipe(ROWS / f"{name}-lora" / "recipe.yaml")
    assert before.name == name
    assert before.model == recipe.base
    assert before.model.revision is not None


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_writes_the_submission_beside_it(name):
    recipe = load_recipe(ROWS / name / "recipe.yaml")
    assert recipe.name == name
    assert recipe.base.revision is not None


def test_a_row_that_is_not_trained_yet_says_how_to():
    with pytest.raises(InvalidInput) as caught:
        load_submission(ROWS / RECIPES[0] / "submission.yaml")
    (fault,) = caught.value.faults
    assert fault.code == "FILE_MISSING"
    assert f"benchmark finetune {ROWS / RECIPES[0] / 'recipe.yaml'}" in (fault.hint or "")


def test_every_row_is_documented_with_its_commands():
    page = (ROOT / "docs" / "seed-paper.md").read_text()
    for name in (*MODELS, *RECIPES, "gpt-4o"):
        assert f"`benchmark evaluate submissions/{name}/submission.yaml`" in page
    for name in RECIPES:
        assert f"`benchmark finetune submissions/{name}/recipe.yaml`" in page
    folders = {path.name for path in ROWS.iterdir() if path.is_dir()}
    others = {"tiny-llama", "tiny-llama-lora", "smollm2-135m-instruct", *SAMPLED}
    assert folders == {*MODELS, *RECIPES, "gpt-4o", *others}
