"""The whole way: from a recipe to a submission that scores what its training said."""

import itertools
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from support.forked import Forked
from support.recipe_factory import Workshop

from runner.config import load_submission
from runner.core.errors import BackendError, Fault, InvalidInput
from runner.evaluation.validate import check
from runner.training import checkpoints, objectives, trainer
from runner.training.curve import rows_of
from runner.training.finetune import Settings, _device, finetune


def rows(folder: Path) -> list[dict[str, Any]]:
    return list(rows_of(folder / "loss.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["soft_cross_entropy", "dirichlet_multinomial", "hard", pytest.param("text", marks=pytest.mark.slow)],
)
def test_every_objective_lowers_its_loss(workshop: Workshop, kind: str) -> None:
    training = {"steps": 12, "batch_size": 24, "learning_rate": 0.02}
    folder, record = workshop.train(
        objective={"kind": kind}, training=training, data={"items": 12}, evaluation={"every": 12}
    )
    losses = [row["loss"] for row in rows(folder) if "loss" in row]
    assert losses[-1] < losses[0] - 0.1
    learned = record["training"]["concentrations"]
    assert (learned is not None) == (kind == "dirichlet_multinomial")
    assert (record["evaluation"]["verbalized"] is not None) == (kind == "text")
    assert check(folder) == ()


@pytest.mark.slow
def test_the_folder_holds_what_was_done(workshop: Workshop) -> None:
    folder, record = workshop.train(description="Small.")
    assert {path.name for path in folder.iterdir()} == {
        "adapter", "loss.jsonl", "loss.svg", "recipe.yaml", "submission.yaml", "training.json"
    }  # fmt: skip
    assert (folder / "recipe.yaml").read_bytes() == (workshop.home / "recipe.yaml").read_bytes()
    assert json.loads((folder / "training.json").read_bytes()) == json.loads(json.dumps(record))
    submission = load_submission(folder / "submission.yaml")
    assert (submission.name, submission.description) == ("made", "Small.")
    assert submission.model.path == str(workshop.home / "model")
    kinds = [("loss" in row, row["step"]) for row in rows(folder)]
    assert kinds == [
        (False, 0), (True, 1), (True, 2), (True, 3), (False, 3), (True, 4), (True, 5), (True, 6), (False, 6)
    ]  # fmt: skip
    assert record["before"] == rows(folder)[0]["evaluation"]
    best = min((row for row in rows(folder) if "evaluation" in row), key=lambda row: row["evaluation"]["selection"])
    assert record["training"]["kept_step"] == best["step"] > 0
    assert record["kept"] == best["evaluation"]
    assert record["training"]["outcome"] == "better"
    assert record["trained_on"]["dilemmas"] == {
        "split": "train",
        "items": 24,
        "prompts": ["dilemmas-letters", "dilemmas-numbers", "dilemmas-words"],
        "examples": 144,  # two orders of each
        "truncated": 0,
    }


@pytest.mark.slow
def test_gradient_accumulation_is_a_larger_batch_and_checkpointing_changes_nothing(workshop: Workshop) -> None:
    data = {"items": 8}
    found = {}
    for name, training in {
        "whole": {"batch_size": 8, "steps": 4},
        "parts": {"batch_size": 2, "gradient_accumulation": 4, "steps": 4},
        "checkpointing": {"batch_size": 8, "steps": 4, "gradient_checkpointing": True},
    }.items():
        folder, _ = workshop.train(out=name, data=data, training=training, evaluation={"every": 4})
        found[name] = [row["loss"] for row in rows(folder) if "loss" in row]
    assert found["parts"] == pytest.approx(found["whole"], abs=2e-4)
    assert found["checkpointing"] == pytest.approx(found["whole"], abs=1e-5)


@pytest.mark.slow
def test_a_step_is_a_mean_over_its_prompts_also_where_the_last_batch_is_smaller(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six prompts of one item as 6×1, 4×2 (four and two: the mean of the two means is another number) and 1×6."""
    made: list[torch.Tensor] = []

    def noted(*arguments: Any) -> torch.Tensor:
        values = objectives.losses(*arguments)
        made.append(values.detach())
        return values

    monkeypatch.setattr(trainer, "losses", noted)
    found = {}
    for size, parts in ((6, 1), (4, 2), (1, 6)):
        made.clear()
        training = {"batch_size": size, "gradient_accumulation": parts, "steps": 3}
        folder, _ = workshop.train(out=f"{size}x{parts}", data={"items": 1}, training=training, evaluation={"every": 3})
        found[size] = [row["loss"] for row in rows(folder) if "loss" in row]
        first = torch.cat(made[: len(made) // 3])
        assert len(first) == 6
        assert found[size][0] == pytest.approx(float(first.mean()), rel=1e-6)
        if size == 4:
            means = [float(values.mean()) for values in made[:2]]
            assert abs(found[size][0] - sum(means) / 2) > 1e-3
    # The weights after each step too, as far as the next losses show them.
    assert found[4] == pytest.approx(found[6], abs=2e-5)
    assert found[1] == pytest.approx(found[6], abs=2e-5)


@pytest.mark.slow
def test_early_stopping_keeps_the_best_state(workshop: Workshop) -> None:
    training = {"learning_rate": 0.01, "steps": 40}
    folder, record = workshop.train(training=training, evaluation={"every": 1, "patience": 2})
    evaluated = [row["evaluation"]["selection"] for row in rows(folder) if "evaluation" in row]
    best = evaluated.index(min(evaluated))
    assert record["training"]["stopped_early"]
    assert record["training"]["kept_step"] == best > 0
    assert record["training"]["steps"] == best + 2 < 40
    assert record["training"]["outcome"] == "better"


@pytest.fixture
def always_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every evaluation during training is worse than the one before."""
    losses = itertools.count(50)
    monkeypatch.setattr("runner.training.evaluation.interim", lambda *_: {"dilemmas": next(losses) / 100})


@pytest.mark.slow
@pytest.mark.usefixtures("always_worse")
def test_where_nothing_is_learnt_the_base_is_kept(workshop: Workshop) -> None:
    """Step 0 is still there after a stop between the evaluations."""
    changes: dict[str, Any] = {"training": {"steps": 9}, "evaluation": {"every": 1, "patience": 5}}
    with pytest.raises(_Stopped):
        workshop.train(observe=stop_at("train", 4), **changes)
    folder, record = workshop.train(**changes)
    assert record["training"]["loss_before"] == record["training"]["loss_kept"] == 0.5
    assert (record["training"]["kept_step"], record["training"]["outcome"]) == (0, "same")
    assert (record["training"]["steps"], record["training"]["stopped_early"]) == (5, True)
    assert record["kept"] == record["before"]
    assert not (folder / "adapter").exists()
    assert load_submission(folder / "submission.yaml").adapter is None
    assert check(folder) == ()


@pytest.mark.slow
@pytest.mark.usefixtures("always_worse")
def test_the_last_state_can_be_kept(workshop: Workshop) -> None:
    _, record = workshop.train(training={"steps": 6}, evaluation={"every": 1, "keep": "last"})
    assert record["training"]["kept_step"] == 6
    assert record["training"]["outcome"] == "worse"
    assert (record["training"]["loss_before"], record["training"]["loss_kept"]) == (0.5, 0.56)


@pytest.mark.slow
def test_a_given_concentration_stays(workshop: Workshop) -> None:
    _, record = workshop.train(objective={"kind": "dirichlet_multinomial", "concentration": 7})
    assert record["training"]["concentrations"] == {"dilemmas": pytest.approx(7)}


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_training(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "losses", lambda *_: torch.tensor([float("nan")], requires_grad=True))
    with pytest.raises(BackendError) as caught:
        workshop.train()
    assert caught.value.faults[0].code == "LOSS_NON_FINITE"


def faults(workshop: Workshop, **changes: Any) -> tuple[Fault, ...]:
    with pytest.raises(InvalidInput) as caught:
        workshop.train(**changes)
    return caught.value.faults


@pytest.mark.slow
def test_nobody_is_asked_for_the_base(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = "peft.utils.save_and_load.check_file_exists_on_hf_hub"
    monkeypatch.setattr(asked, lambda *_: pytest.fail("asks the Hub for a model of the base's name"))
    folder, _ = workshop.train(method={"target_modules": ["v_proj", "q_proj"]})
    assert check(folder) == ()


def test_several_devices_are_refused() -> None:
    with pytest.raises(BackendError) as caught:
        _device("cpu,cpu")
    assert "Training runs on one device, not on several (cpu,cpu)." in str(caught.value)


@pytest.mark.slow
def test_nothing_is_written_over(workshop: Workshop) -> None:
    folder = workshop.home / "out" / "made"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text("another: one\n", encoding="utf-8")
    assert [fault.code for fault in faults(workshop)] == ["OUTPUT_EXISTS"]
    (folder / "recipe.yaml").unlink()
    workshop.train()
    assert [fault.code for fault in faults(workshop)] == ["OUTPUT_EXISTS"]


class _Stopped(Exception):
    """Stands for a kill: nothing is said, nothing is cleaned up."""


def stop_at(stage: str, step: int = 0) -> Any:
    def observe(now: str, done: int, total: int, loss: float | None) -> None:
        if (now, done) == (stage, step):
            raise _Stopped

    return observe


@pytest.mark.slow
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(workshop: Workshop) -> None:
    changes: dict[str, Any] = {
        "objective": {"kind": "dirichlet_multinomial"},
        "method": {"dropout": 0.1},
        "data": {"items": 16},
        "training": {"steps": 18, "gradient_accumulation": 2, "schedule": "cosine", "warmup": 0.2},
        "evaluation": {"every": 3, "patience": 4, "keep": "last"},
    }
    whole, record = workshop.train(out="whole", **changes)
    for stop in (("train", 2), ("train", 5), ("train", 14), ("evaluate", 0)):
        with pytest.raises(_Stopped):
            workshop.train(observe=stop_at(*stop), **changes)
    torn = workshop.home / "out" / "made" / ".training" / "checkpoint-99"
    torn.mkdir()
    (torn / "optimizer.pt").write_bytes(b"half")
    folder, resumed = workshop.train(**changes)
    assert resumed["training"]["resumed_at"] == [0, 3, 12]
    for name in ("loss.jsonl", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    assert resumed["evaluation"] == record["evaluation"]
    assert resumed["training"]["concentrations"] == record["training"]["concentrations"]


@pytest.mark.slow
def test_a_training_goes_on_from_before_its_first_evaluation(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {
        "method": {"dropout": 0.1},
        "training": {"steps": 8, "gradient_accumulation": 2},
        "evaluation": {"every": 8, "keep": "last"},
    }
    whole, _ = workshop.train(out="whole", **changes)
    stages: list[tuple[str, int]] = []
    with pytest.raises(_Stopped):
        workshop.train(observe=stop_at("train", 1), **changes)
    monkeypatch.setattr(checkpoints, "_SECONDS_BETWEEN", 0.0)
    with pytest.raises(_Stopped):
        workshop.train(observe=lambda *what: [stages.append(what[:2]), stop_at("train", 5)(*what)], **changes)
    assert ("before", 0) not in stages  # the base was asked once
    folder, record = workshop.train(**changes)
    assert record["training"]["resumed_at"] == [0, 4]
    for name in ("loss.jsonl", "adapter/adapter_model.safetensors"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
def test_an_unfinished_training_of_something_else_is_not_gone_on_with(workshop: Workshop) -> None:
    with pytest.raises(_Stopped):
        workshop.train(observe=stop_at("train", 4))
    [fault] = faults(workshop, training={"seed": 4})
    assert fault.code == "OUTPUT_EXISTS"
    assert fault.message == "An unfinished training is here that differs in: examples, recipe."
    workshop.train()


@pytest.mark.slow
def test_a_training_that_was_killed_after_its_last_write_is_finished(workshop: Workshop) -> None:
    folder, record = workshop.train()
    result = {path: path.read_bytes() for path in folder.rglob("*.*")}

    def kill_while_cleaning_up() -> None:
        (folder / ".training" / "checkpoint-6").mkdir(parents=True)
        (folder / ".training" / "lock").touch()

    kill_while_cleaning_up()
    stages: list[str] = []
    again, read = workshop.train(observe=lambda stage, *_: stages.append(stage))
    assert (again, read, stages) == (folder, json.loads(json.dumps(record)), [])
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == result
    assert not (folder / ".training").exists()
    # Anything else is there already, as before.
    assert [fault.code for fault in faults(workshop)] == ["OUTPUT_EXISTS"]
    kill_while_cleaning_up()
    assert [fault.code for fault in faults(workshop, training={"seed": 4})] == ["OUTPUT_EXISTS"]
    with pytest.raises(InvalidInput, match="OUTPUT_EXISTS"):
        finetune(workshop.recipe(), Settings(workshop.home / "out", resume=False), lambda *_: None, lambda _: b"")
    assert {path: path.read_bytes() for path in folder.rglob("*.json")}.items() <= result.items()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("watched", "moment", "again"),
    [
        (True, ("train", 5), [4, 5, 6]),
        (True, ("evaluate", 0), []),
        # Nobody knows since when: nothing is gone on from.
        (False, ("evaluate", 0), [1, 2, 3, 4, 5, 6]),
    ],
    ids=["watched, training", "watched, at the end", "only hashed again"],
)
def test_a_base_that_changes_meanwhile_is_in_no_result(
    workshop: Workshop, watched: bool, moment: tuple[str, int], again: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = workshop.home / "model" / "model.safetensors"
    before = weights.read_bytes()
    if not watched:
        monkeypatch.setattr(sys.modules[finetune.__module__], "raise_if_modified", lambda _: None)

    def change(stage: str, step: int, *_: object) -> None:
        if (stage, step) == moment and weights.read_bytes() == before:
            weights.write_bytes(before[:-4] + b"\0\0\0\0")

    folder = workshop.home / "out" / "made"
    with pytest.raises(InvalidInput) as refused:
        workshop.train(observe=change)
    assert {fault.code for fault in refused.value.faults} == {"BYTES_CHANGED"}
    assert [fault.file for fault in refused.value.faults] == [str(weights)]
    assert {path.name for path in folder.iterdir()} == {".training"}
    weights.write_bytes(before)
    steps: list[int] = []
    workshop.train(observe=lambda stage, step, *_: steps.append(step) if stage == "train" else None)
    assert steps == again


@pytest.mark.slow
def test_evaluate_gives_the_numbers_of_the_last_evaluation_after_a_kill(workshop: Workshop) -> None:
    benchmark = Forked(workshop.home)
    workshop.recipe(training={"steps": 40}, evaluation={"every": 4})
    work = workshop.home / "out" / "made" / ".training"
    with benchmark.start_fork(["finetune", "recipe.yaml", "-o", "out"]) as started:
        until = time.monotonic() + 120
        while not list(work.glob("checkpoint-[!0]*/complete.json")) and time.monotonic() < until:
            time.sleep(0.01)
        started.kill()
    assert list(work.glob("checkpoint-[!0]*/complete.json"))
    said = benchmark("finetune", "recipe.yaml", "-o", "out")
    assert "Training: step" in said.stderr
    folder = workshop.home / "out" / "made"
    record = json.loads((folder / "training.json").read_bytes())
    [resumed_at] = record["training"]["resumed_at"]
    assert 4 <= resumed_at < 40
    benchmark("validate", folder / "submission.yaml", folder / "recipe.yaml", code=1)  # the recipe's base is elsewhere
    benchmark("validate", folder / "submission.yaml", "recipe.yaml")
    ran = benchmark(
        "evaluate",
        folder / "submission.yaml",
        "--suite",
        "sample",
        "--task",
        "dilemmas",
        "--split",
        "dev",
        "-q",
        "-o",
        "runs",
    )
    card = json.loads((workshop.home / ran.stdout.splitlines()[-1] / "scorecard.json").read_bytes())
    assert set(card["tasks"]) == {"dilemmas"}
    for name, task in card["tasks"].items():
        for metric, value in task["metrics"].items():
            ours = record["evaluation"]["tasks"][name]["metrics"][metric]["value"]
            # Equal where both ran on as many threads; the tolerance is that of rounding in float32.
            assert ours == pytest.approx(value["value"], abs=1e-5), (name, metric)


@pytest.mark.slow
def test_a_polite_stop_is_told_and_the_cap_on_memory_holds(workshop: Workshop) -> None:
    benchmark = Forked(workshop.home)
    workshop.recipe(training={"steps": 4000}, evaluation={"every": 2})
    work = workshop.home / "out" / "made" / ".training"
    with benchmark.start_fork(["finetune", "recipe.yaml", "-o", "out"]) as started:
        until = time.monotonic() + 120
        while not list(work.glob("checkpoint-*/complete.json")) and time.monotonic() < until:
            time.sleep(0.05)
        started.send_signal(signal.SIGTERM)
        _, said = started.communicate(timeout=60)
    assert started.returncode == 5
    assert "INTERRUPTED" in said
    workshop.recipe(name="small", training={"memory_gib": 0.3})
    said = benchmark("finetune", "recipe.yaml", "-o", "out", code=3).stderr
    assert "OUT_OF_MEMORY" in said
