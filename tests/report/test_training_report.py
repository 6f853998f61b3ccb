"""What a terminal says of a training."""

from pathlib import Path

import pytest

from runner.report import training

RECORD = {
    "name": "made",
    "training": {"kept_step": 20, "planned": 40, "stopped_early": True, "seconds": 12.4},
    "before": {"dilemmas": 0.7},
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
        ["cross-entropy", "before", "after", "difference", "prior", "ceiling"],
        ["dilemmas", "0.7000", "0.6500", "-0.0500", "0.6931", "0.5000"],
        ["dilemmas,", "written", "–", "–", "–", "–", "–"],
        ["Not", "compared", "with", "own/test,", "which", "is", "not", "here."],
        ["dilemmas:", "3", "items", "left", "out", "that", "are", "scored."],
        ["Evaluate", "it", "with:", "benchmark", "evaluate", "out/made/submission.yaml"],
    ]


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
