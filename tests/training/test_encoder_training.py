"""Encoders from a recipe to a submission: losses against the rules, in full and by LoRA, scored as training said."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy.special import gammaln, log_softmax
from support import tiny_encoders
from support.forked import Forked
from support.recipe_factory import changed

from runner.config import load_submission
from runner.config.recipe import load_recipe
from runner.core.errors import InvalidInput
from runner.core.recipe_types import Objective
from runner.core.types import Prompt
from runner.evaluation.validate import check
from runner.models.base import LoadOptions
from runner.models.local.open import open_backend
from runner.scorecard.task_metrics import counts_of
from runner.scoring import rules
from runner.tasks.prompts import prompts_of
from runner.training import Settings, finetune
from runner.training.items import gather
from runner.training.objectives import losses
from runner.training.open_trainee import open_trainable

HEADS: dict[str, Any] = {
    "ranking": {"task": "dilemmas", "kind": "ranking", "max_tokens": 92},
    "classification": {
        "task": "anecdotes",
        "kind": "classification",
        "reads": ["title", "text"],
        "labels": list(tiny_encoders.ANECDOTES),
        "max_tokens": 48,
    },
}
LORA = {"kind": "lora", "rank": 4, "alpha": 8, "target_modules": ["query", "value"]}
RECIPE: dict[str, Any] = {
    "schema_version": "1",
    "name": "made",
    "base": {"backend": "encoder", "path": "model", "dtype": "float32", "head": HEADS["ranking"]},
    "data": {"suite": "sample", "items": 16},
    "objective": {"kind": "soft_cross_entropy"},
    "method": {"kind": "full"},
    "training": {"learning_rate": 0.002, "steps": 8, "batch_size": 16, "seed": 3},
    "evaluation": {"every": 4, "items": 8},
}
KINDS = ("soft_cross_entropy", "dirichlet_multinomial", "counts", "hard")
COUNTS = st.lists(st.integers(0, 60), min_size=2, max_size=5).filter(any)
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A pretrained encoder without a head of ours, as the Hub holds it."""
    return base(tmp_path, "bert")


def base(folder: Path, family: str) -> Path:
    tokenizer = tiny_encoders.tokenizer(family)
    made = tiny_encoders.model(family, "ranking", len(tokenizer), initializer_range=0.1)
    encoder = getattr(made, family)
    state = {f"{family}.{name}": value.contiguous() for name, value in encoder.state_dict().items()}
    state["cls.predictions.bias" if family == "bert" else "lm_head.bias"] = torch.zeros(len(tokenizer))
    tiny_encoders.save_tensors(folder / "model", state)
    made.config.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder


def train(home: Path, out: str = "out", **changes: Any) -> tuple[Path, dict[str, Any]]:
    path = home / "recipe.yaml"
    path.write_text(yaml.safe_dump(changed(RECIPE, changes)), encoding="utf-8")
    return finetune(path, Settings(home / out, home / "data"), lambda *_: None, lambda rows: b"<svg/>")


# --- losses ---------------------------------------------------------------------------------------------------------


def one(kind: str, logits: np.ndarray, counts: list[int]) -> float:
    found = losses(Objective(kind, 0.0, None), [torch.tensor(logits)], [torch.tensor(counts, dtype=torch.float64)], [])
    return float(found[0])


@given(COUNTS, SEEDS)
def test_the_four_losses_are_those_of_the_rules(counts: list[int], seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, len(counts))
    votes = np.array([counts])
    log_probs = log_softmax(logits)[None]
    soft = rules.RULES["cross_entropy"](log_probs, votes)[0]
    assert one("soft_cross_entropy", logits, counts) == pytest.approx(soft, rel=1e-9, abs=1e-12)
    assert one("counts", logits, counts) == pytest.approx(soft * sum(counts), rel=1e-9, abs=1e-12)
    assert one("hard", logits, counts) == pytest.approx(-log_probs[0, int(np.argmax(counts))], rel=1e-9)
    own = rules.dirichlet_multinomial(log_probs, votes, np.array([np.exp(logits).sum()]))[0]
    assert one("dirichlet_multinomial", logits, counts) == pytest.approx(own, rel=1e-6, abs=1e-9)
    # As Scruples writes it, from a = exp(logits).
    a, c = np.exp(logits), np.array(counts)
    scruples = -(gammaln(a.sum()) + gammaln(a + c).sum() - gammaln(a.sum() + c.sum()) - gammaln(a).sum())
    assert own == pytest.approx(scruples, rel=1e-6, abs=1e-9)


@given(COUNTS, SEEDS)
def test_with_much_concentration_the_dirichlet_tends_to_the_counts(counts: list[int], seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 1, len(counts))
    far = one("dirichlet_multinomial", logits + math.log(1e9), counts)
    assert far == pytest.approx(one("counts", logits, counts), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_numbers_at_extremes(kind: str) -> None:
    for logits in ([80.0, -80.0], [-80.0, -80.0], [80.0, 80.0], [0.0, -700.0]):
        scores = torch.tensor(logits, dtype=torch.float32, requires_grad=True)
        loss = losses(Objective(kind, 0.0, None), [scores], [torch.tensor([3.0, 2.0], dtype=torch.float64)], []).sum()
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(scores.grad).all()


# --- the whole way --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "kind"), [("bert", "ranking"), ("roberta", "ranking"), ("roberta", "classification")]
)
@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_is_trained_is_a_submission_that_scores_as_its_training_said(
    family: str, kind: str, method: str, tmp_path: Path
) -> None:
    home = base(tmp_path, family)
    folder, record = train(
        home,
        base={"head": HEADS[kind]},
        method=LORA if method == "lora" else {},
        objective={"kind": "dirichlet_multinomial"},
    )
    task = HEADS[kind]["task"]
    assert check(folder) == ()
    submission = load_submission(folder / "submission.yaml")
    head = submission.model.head
    assert head is not None
    assert (head.task, head.kind, head.concentration) == (task, kind, "own")
    assert (submission.adapter is None) is (method == "full")
    assert record["training"]["concentrations"] is None
    assert record["trained_on"][task]["examples"] == record["trained_on"][task]["items"] == 16  # not once per order
    rows = [json.loads(line) for line in (folder / "loss.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[0]["evaluation"][task] == record["before"][task]
    found = answers_of(folder, home)
    stated = record["evaluation"]["tasks"][task]
    assert found["cross_entropy"] == pytest.approx(stated["metrics"]["cross_entropy"]["value"], abs=1e-6)
    assert found["dirichlet_multinomial"] == pytest.approx(
        stated["metrics"]["dirichlet_multinomial"]["value"], abs=1e-5
    )


def answers_of(folder: Path, home: Path) -> dict[str, float]:
    """The mean losses of the saved submission on the split that the training was evaluated on."""
    submission = load_submission(folder / "submission.yaml")
    adapter = Path(submission.adapter.path) if submission.adapter and submission.adapter.path else None
    backend = open_backend(submission, Path(str(submission.model.path)), adapter, LoadOptions(device="cpu"))
    material = gather(load_recipe(home / "recipe.yaml"), home / "data")
    part = material.evaluation.tasks[0]
    spec = material.benchmark.prompts[part.task.prompts[0]]
    prompts: list[Prompt] = [next(iter(prompts_of(spec, part.task.labels, part.split, item))) for item in part.scored]
    answers = list(backend.predict(prompts))
    log_probs, votes = np.array([answer.log_scores for answer in answers]), counts_of(part.scored)
    own = np.array([answer.concentration for answer in answers])
    return {
        "cross_entropy": float(rules.RULES["cross_entropy"](log_probs, votes).mean()),
        "dirichlet_multinomial": float(rules.dirichlet_multinomial(log_probs, votes, own).mean()),
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_objective_lowers_its_loss(home: Path, kind: str) -> None:
    folder, _ = train(home, objective={"kind": kind}, training={"steps": 20}, evaluation={"every": 20, "keep": "last"})
    rows = [json.loads(line) for line in (folder / "loss.jsonl").read_text(encoding="utf-8").splitlines()]
    found = [row["loss"] for row in rows if "loss" in row]
    assert found[-1] < found[0] - 0.1
    document = yaml.safe_load((folder / "submission.yaml").read_bytes())
    assert document["model"]["head"]["concentration"] == ("own" if kind == "dirichlet_multinomial" else "fitted")


def test_training_starts_from_the_given_weights_and_a_seeded_head(home: Path) -> None:
    recipe = home / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    one, other = (open_trainable(load_recipe(recipe), home / "model", torch.device("cpu")) for _ in range(2))
    given = load_file(home / "model" / "model.safetensors")
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name])
        if name.startswith("bert."):
            assert torch.equal(value, given[name])
    assert one.model.classifier.weight.std() > 0
    recipe.write_text(yaml.safe_dump(changed(RECIPE, {"training": {"seed": 4}})), encoding="utf-8")
    another = open_trainable(load_recipe(recipe), home / "model", torch.device("cpu"))
    assert not torch.equal(one.model.classifier.weight, another.model.classifier.weight)


def test_a_checkpoint_does_not_hash_the_base_again(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = home / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    trainee = open_trainable(load_recipe(recipe), home / "model", torch.device("cpu"))
    hashed: list[object] = []
    monkeypatch.setattr("runner.artifacts.manifest.open_regular", hashed.append)
    trainee.save(tmp_path / "made")
    assert hashed == []
    assert {path.name for path in (tmp_path / "made").iterdir()} == {path.name for path in (home / "model").iterdir()}


def test_weights_that_are_too_coarse_are_not_trained_themselves(home: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        train(home, base={"dtype": "bfloat16"})
    assert [fault.code for fault in refused.value.faults] == ["RECIPE"]


@pytest.mark.slow
def test_by_the_command_and_evaluated_by_the_command(home: Path, tmp_path: Path) -> None:
    command = Forked(tmp_path)
    command("keys", "new")
    path = home / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    done = command("finetune", path, "--output-dir", home / "out", "--quiet")
    folder = Path(done.stdout.splitlines()[-1])
    command("validate", folder / "submission.yaml")
    asked = ("--suite", "sample", "--split", "dev", "--quiet", "--output-dir", home / "results")
    run = command("evaluate", folder / "submission.yaml", *asked)
    card = json.loads((Path(run.stdout.splitlines()[-1]) / "scorecard.json").read_text(encoding="utf-8"))
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    stated = record["evaluation"]["tasks"]["dilemmas"]["metrics"]
    for name in ("cross_entropy", "accuracy", "cross_entropy_calibrated"):
        assert card["tasks"]["dilemmas"]["metrics"][name]["value"] == pytest.approx(stated[name]["value"], abs=1e-6)
