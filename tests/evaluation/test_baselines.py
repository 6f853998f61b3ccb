"""Predictions of the baselines: rows like any other, fitted where they may be."""

import math

import numpy as np
import pytest
from support import factories

from runner.core.errors import InvalidInput, OutputError
from runner.evaluation.baselines import write_baseline
from runner.evaluation.score import score_file
from runner.scorecard.recompute import recompute
from runner.scorecard.verify import verify
from runner.scoring.calibration import prior
from runner.tasks.predictions import read
from runner.tasks.selection import align_predictions, select


def written(name, folder, **more):
    path = folder / "deep" / "rows.jsonl"
    number = write_baseline(name, factories.choice(**more), path)
    rows = list(read(path))
    assert len(rows) == number
    return rows, path


@pytest.mark.parametrize("name", ["uniform", "prior"])
def test_every_item_of_both_splits_has_one_row(tmp_path, name):
    rows, _ = written(name, tmp_path, tasks=())
    selection = select(factories.choice(tasks=()))
    wanted = [(task, split, item.id) for (task, split), members in selection.items().items() for item in members]
    assert sorted((row.task, row.split, row.item_id) for row in rows) == sorted(wanted)
    assert align_predictions(selection, rows)
    for row in rows:
        assert math.fsum(map(math.exp, row.log_scores)) == pytest.approx(1)


def test_uniform_is_uniform(tmp_path):
    rows, _ = written("uniform", tmp_path, tasks=("anecdotes",))
    assert {row.log_scores for row in rows} == {(-math.log(5),) * 5}


def test_the_prior_is_that_of_the_fitting_split_and_not_of_the_scored_one(tmp_path):
    rows, _ = written("prior", tmp_path)
    part = select(factories.choice()).tasks[0]
    expected = prior([item.counts for item in part.fitting])
    assert {row.log_scores for row in rows} == {tuple(expected.tolist())}
    assert expected != pytest.approx(prior([item.counts for item in part.scored]))


@pytest.mark.slow
def test_the_prior_of_the_fitting_split_itself_is_cross_fitted(tmp_path):
    rows, path = written("prior", tmp_path, split="dev")
    part = select(factories.choice(split="dev")).tasks[0]
    # Every item's shares are those of the other folds: five different ones, none of them the split's own.
    assert 1 < len({row.log_scores for row in rows}) <= 5
    assert all(row.log_scores != pytest.approx(prior([item.counts for item in part.scored])) for row in rows)
    value = np.mean(
        [-np.dot(np.array(i.counts) / sum(i.counts), r.log_scores) for i, r in zip(part.scored, rows, strict=True)]
    )
    card = score_file(path, factories.choice(split="dev"), "prior", tmp_path, None, lambda: factories.KEY)[1]
    task = card["tasks"][part.task.name]
    assert task["metrics"]["cross_entropy"]["value"] == pytest.approx(value)
    assert task["baselines"]["prior"]["cross_entropy"]["value"] == pytest.approx(value)


def test_too_few_items_to_cross_fit_a_prior_on(tmp_path):
    with pytest.raises(InvalidInput, match="too few items"):
        written("prior", tmp_path, split="dev", limit=5)


@pytest.mark.slow
def test_the_panel_is_smoothed_by_its_own_votes_alone(scruples, tmp_path):
    rows, _ = written("panel", tmp_path, suite="full", split="dev", data_dir=scruples)
    part = select(factories.choice(suite="full", split="dev", data_dir=scruples)).tasks[0]
    panel = np.array([item.panel for item in part.scored])
    shares = np.exp([row.log_scores for row in rows])
    # Equal votes of the panel give equal rows, whatever the gold votes are.
    for votes in np.unique(panel, axis=0):
        same = shares[(panel == votes).all(axis=1)]
        assert len(same) > 100
        assert np.ptp(same, axis=0).max() == 0
        strengths = votes + np.array([0.99, 0.95])
        assert same[0] == pytest.approx(strengths / strengths.sum(), abs=0.02)
    assert np.isfinite([row.log_scores for row in rows]).all()


def test_a_task_without_a_panel(tmp_path):
    with pytest.raises(InvalidInput) as caught:
        written("panel", tmp_path, tasks=("anecdotes",))
    assert caught.value.faults[0].code == "NO_PANEL"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uniform", "prior", "panel"])
def test_a_baseline_is_scored_and_recomputed_like_any_other(tmp_path, name):
    _, path = written(name, tmp_path)
    folder, card = score_file(path, factories.choice(), name, tmp_path, None, lambda: factories.KEY)
    assert recompute(verify(folder, factories.KEYRING), None, None, None).checks[-1].state == "ok"
    task = card["tasks"]["dilemmas"]
    if name in task["baselines"]:  # the card shows the same numbers beside every model
        for metric, known in task["baselines"][name].items():
            assert task["metrics"][metric]["value"] == pytest.approx(known["value"]) or known["value"] is None


@pytest.mark.slow
def test_the_prior_has_no_skill_and_the_panel_has_some(tmp_path):
    skills = {}
    for name in ("prior", "panel"):
        _, path = written(name, tmp_path)
        card = score_file(path, factories.choice(), name, tmp_path, None, lambda: factories.KEY)[1]
        skills[name] = card["tasks"]["dilemmas"]["metrics"]["skill"]["value"]
    assert skills["prior"] == pytest.approx(0, abs=1e-12)
    assert skills["panel"] > 0.2


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(OutputError):
        write_baseline("uniform", factories.choice(), tmp_path / "file" / "rows.jsonl")
