"""What a terminal says of a training."""

from pathlib import Path

import pytest

from runner.report import training

RECORD = {
    "name": "made",
    "training": {
        "kept_step": 20,
        "planned": 40,
        "stopped_early": True,
        "seconds": 12.4,
        "loss_before": 0.7,
        "loss_kept": 0.66,
        "outcome": "better",
    },
    "before": {"dilemmas": 0.7},
    "kept": {"dilemmas": 0.66},
    "evaluation": {
        "tasks": {
            "dilemmas": {
                "metrics": {"cross_entropy": {"value": 0.65}},
                "baselines": {"prior": {"cross_entropy": {"value": 0.6931}}},
                "ceiling": {"cross_entropy": {"value": 0.5}},
            }
        },
        "verbalized": {
            "dilemmas": {
                "metrics": {"cross_entropy": {"value": None}},
                "baselines": {"prior": {}},
                "ceiling": {},
            }
        },
    },
    "leaks": {"not_compared_since_absent": ["own/test"], "dropped": {"dilemmas": 3, "anecdotes": 0}},
}


def test_the_end_of_a_training(capsys: pytest.CaptureFixture[str]) -> None:
    training.print_record(RECORD, Path("out/made"))
    said = capsys.readouterr().out
    assert [line.split() for line in said.splitlines()] == [
        ["made", "step", "20", "of", "40", "kept,", "stopped", "early,", "12", "s"],
        ["cross-entropy", "before", "after", "difference", "all", "items", "prior", "ceiling"],
        ["dilemmas", "0.7000", "0.6600", "-0.0400", "0.6500", "0.6931", "0.5000"],
        ["dilemmas,", "written", "–", "–", "–", "–", "–", "–"],
        ["Not", "compared", "with", "own/test,", "which", "is", "not", "here."],
        ["dilemmas:", "3", "items", "left", "out", "that", "are", "scored."],
        ["Evaluate", "it", "with:", "benchmark", "evaluate", "out/made/submission.yaml"],
    ]


@pytest.mark.parametrize(
    ("step", "loss", "outcome", "line"),
    [
        (
            0,
            0.7,
            "same",
            "No state was better than the base: the result is the base itself (step 0), without an adapter.",
        ),
        (20, 0.7, "same", "The kept state is no better than the base."),
        (
            20,
            0.7123,
            "worse",
            "The kept state is worse than the base, by 0.0123 nats on the items asked during training.",
        ),
    ],
)
def test_a_training_that_made_nothing_better_says_so(
    step: int, loss: float, outcome: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {"kept_step": step, "loss_kept": loss, "outcome": outcome}
    training.print_record({**RECORD, "training": {**RECORD["training"], **state}}, Path("out/made"))
    assert line in " ".join(capsys.readouterr().out.split())


def test_a_line_for_each_stage_and_tenth_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with training.progress(quiet=False) as observe:
        observe("before", 0, 20, None)
        for step in range(1, 21):
            observe("train", step, 20, 0.5)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "Asking the model as it is …"
    assert said[1] == "Training: step 1 of 20, loss 0.5000"
    assert len(said) == 12


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with training.progress(quiet=True) as observe:
        observe("train", 1, 20, 0.5)
    assert capsys.readouterr() == ("", "")
