"""Encoders through the installed command: a signed card for the task of their head, and refusals in words."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from support import tiny_encoders
from support.command import Command

from runner.core import resources

pytestmark = pytest.mark.slow

DOCUMENT = """\
schema_version: "1"
name: {family}-{task}
model:
  backend: encoder
  path: model
  dtype: float32
  head: {{task: {task}, {head}}}
"""
HEADS = {
    "dilemmas": "kind: ranking, max_tokens: 92",
    "anecdotes": "kind: classification, reads: [title, text], max_tokens: 64, concentration: own",
    "anecdotes-binary": "kind: classification, reads: [text], max_tokens: 512",
}
LABELS = {"anecdotes": tiny_encoders.ANECDOTES, "anecdotes-binary": ("WRONG", "RIGHT")}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for each submission; the binary head has its labels in another order than the task."""
    top = tmp_path_factory.mktemp("encoders")
    for family, task in (("bert", "dilemmas"), ("roberta", "anecdotes"), ("bert", "anecdotes-binary")):
        tokenizer = tiny_encoders.tokenizer(family)
        kind = "ranking" if task == "dilemmas" else "classification"
        made = tiny_encoders.model(family, kind, len(tokenizer), LABELS.get(task, ()))
        folder = top / f"{family}-{task}"
        made.save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
        document = DOCUMENT.format(family=family, task=task, head=HEADS[task])
        if task == "anecdotes":
            tiny_encoders.adapter(made).save_pretrained(folder / "adapter")
            document += "adapter: {path: adapter}\n"
        (folder / "submission.yaml").write_text(document, encoding="utf-8")
    return top


@pytest.fixture(scope="module")
def runs(encoders: Path, command: Command, evaluate: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    command("validate", *sorted(encoders.glob("*/submission.yaml")))
    output = tmp_path_factory.mktemp("results")
    found = {
        folder.name: evaluate(folder / "submission.yaml", output, "--limit", 12)
        for folder in sorted(encoders.iterdir())
    }
    assert len(found) == 3
    return found


def read_rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_card_covers_the_task_of_the_head(runs: dict[str, Path], command: Command) -> None:
    for name, run in runs.items():
        card = json.loads((run / "scorecard.json").read_text(encoding="utf-8"))
        assert list(card["tasks"]) == [name.split("-", 1)[1]]
        assert card["submission"]["model"]["backend"] == "encoder"
        assert card["submission"]["model"]["format"] is None
        assert card["run"]["self_check"]["passed"]
        part = next(iter(card["tasks"].values()))
        assert part["answer_mass"]["mean"] is None
        assert part["answer_mass"]["reason"]
        command("verify", run, "--recompute")
        command("report", run, "--output", run.parent / "page.html")
        for form in ("eee", "csv"):
            command("export", run, "--to", form, "--force", "--output", run.parent / form)


def test_each_view_of_an_item_has_the_same_answer(runs: dict[str, Path]) -> None:
    for run in runs.values():
        by_item: dict[tuple[str, str], set[tuple[float, ...]]] = {}
        for row in read_rows(run):
            by_item.setdefault((row["split"], row["item_id"]), set()).add(tuple(row["log_scores"]))
        assert len(by_item) == 24
        assert {len(found) for found in by_item.values()} == {1}


def test_a_concentration_of_its_own_goes_to_the_rule(runs: dict[str, Path]) -> None:
    run = runs["roberta-anecdotes"]
    rows = read_rows(run)
    assert all(row["concentration"] > 0 for row in rows)
    assert any(row["truncated"] for row in rows)
    card = json.loads((run / "scorecard.json").read_text(encoding="utf-8"))
    assert card["run"]["self_check"]["adapter_effect"] > 0
    counts = _votes("sample-anecdotes", "test")
    losses = []
    for row in rows:
        if row["split"] == "test" and row["order"] == 0:
            alphas = [row["concentration"] * math.exp(score) for score in row["log_scores"]]
            votes = counts[row["item_id"]]
            total, number = sum(alphas), sum(votes)
            losses.append(
                -math.lgamma(total)
                + math.lgamma(total + number)
                - sum(math.lgamma(a + n) - math.lgamma(a) for a, n in zip(alphas, votes, strict=True))
            )
    stated = card["tasks"]["anecdotes"]["metrics"]["dirichlet_multinomial"]["value"]
    assert stated == pytest.approx(sum(losses) / len(losses), rel=1e-9)


def _votes(dataset: str, split: str) -> dict[str, list[int]]:
    file = resources.embedded_data("sample") / f"{split}.{dataset}.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {row["id"]: [row["label_scores"][label] for label in tiny_encoders.ANECDOTES] for row in rows}


def test_what_is_read_is_shown(encoders: Path, command: Command) -> None:
    done = command(
        "prompts", "--submission", encoders / "bert-dilemmas" / "submission.yaml", "--suite", "sample", "--limit", 2
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["task"] for row in rows} == {"dilemmas"}
    assert all(len(row["texts"]) == 2 and row["texts"][0]["token_ids"][0] == 2 for row in rows)


def test_another_task_than_the_heads_is_refused(encoders: Path, command: Command) -> None:
    submission = encoders / "bert-dilemmas" / "submission.yaml"
    done = command("evaluate", submission, "--suite", "sample", "--task", "anecdotes", code=1)
    assert "TASK_OF_HEAD" in done.stderr


def test_labels_of_another_task_are_refused(encoders: Path, command: Command, tmp_path: Path) -> None:
    folder = encoders / "bert-anecdotes-binary"
    wrong = folder / "wrong.yaml"
    head = HEADS["anecdotes"].replace("concentration: own", "concentration: fitted")
    wrong.write_text(DOCUMENT.format(family="wrong", task="anecdotes", head=head), encoding="utf-8")
    done = command("evaluate", wrong, "--suite", "sample", "--output-dir", tmp_path, code=1)
    assert "HEAD_LABELS" in done.stderr
    assert "WRONG, RIGHT" in " ".join(done.stderr.split())
