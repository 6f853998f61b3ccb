"""Every number of a card follows from its predictions: what was edited and signed again is found, and where."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import factories

from runner.core.canonical import sha256_file
from runner.core.errors import InvalidInput, VerificationError
from runner.scorecard import filenames
from runner.scorecard.recompute import _differences, _leaves, recompute
from runner.scorecard.signed_run import benchmark_of
from runner.scorecard.verify import verify


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return factories.scored(tmp_path_factory.mktemp("runs"), factories.sample_rows())


@pytest.fixture
def copied(run, tmp_path) -> Path:
    return shutil.copytree(run, tmp_path / "run")


def again(folder: Path, **more: Any):
    given_files = {"predictions": None, "benchmark_file": None, "data_dir": None, **more}
    return recompute(verify(folder, factories.KEYRING), **given_files)


def refused(folder: Path, **more: Any):
    with pytest.raises(VerificationError) as caught:
        again(folder, **more)
    return caught.value.faults


@pytest.mark.slow
def test_an_honest_card_is_rebuilt(run):
    report = again(run)
    check = report.checks[-1]
    assert (check.name, check.state) == ("recompute", "ok")
    numbers = sum(
        1 for _ in _leaves({name: factories.read_card(run)[name] for name in ("tasks", "data", "predictions")})
    )
    assert int(check.message.split()[1].replace(",", "")) > numbers


def edited(folder: Path, path: str, change: Any) -> None:
    card = factories.read_card(folder)
    *parents, last = path.removeprefix("$.").split(".")
    place = card
    for name in parents:
        place = place[name]
    place[last] = change(place[last]) if callable(change) else change
    factories.sign_again(folder, card)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("$.tasks.dilemmas.metrics.cross_entropy.value", lambda value: value - 0.001),
        ("$.tasks.dilemmas.metrics.cross_entropy.value", lambda value: value + 1e-8),
        ("$.tasks.dilemmas.metrics.accuracy.confidence_interval.upper", lambda value: value + 0.01),
        ("$.tasks.dilemmas.metrics.skill.standard_error", None),
        ("$.tasks.dilemmas.ablations.cross_entropy_pmi.value", 0.1),
        ("$.tasks.dilemmas.ceiling.cross_entropy.value", lambda value: value + 0.1),
        ("$.tasks.dilemmas.baselines.prior.accuracy.value", 0.0),
        ("$.tasks.dilemmas.fitted.temperature", 1.0),
        ("$.tasks.dilemmas.answer_mass.mean", 1.0),
        ("$.tasks.dilemmas.items", 81),
        ("$.tasks.dilemmas.truncated", 1),
        ("$.tasks.dilemmas.order.gap", 0.0),
        ("$.tasks.dilemmas.prior_method", "by guessing"),
        ("$.missing_tasks", []),
        ("$.benchmark.version", "1.0.1"),
        ("$.benchmark.name", "another"),
        ("$.predictions.rows", 1),
        ("$.not_comparable", ["no reason"]),
    ],
)
def test_one_edited_value_is_named(copied, path, change):
    edited(copied, path, change)
    (fault,) = refused(copied)
    assert fault.code == "SIG_RECOMPUTE"
    assert fault.path == path or fault.path.startswith(f"{path}[")
    assert "the card says" in fault.message or "follow" in fault.message


@pytest.mark.slow
def test_a_reason_for_a_missing_panel_is_held_against_the_data_unless_the_card_is_older(tmp_path):
    """Cards before the field lack it: they verify for ever."""
    chosen = {"tasks": ("anecdotes",), "limit": 20}
    folder = factories.scored(tmp_path, factories.sample_rows(chosen=factories.choice(**chosen)), **chosen)
    card = factories.read_card(folder)
    task = card["tasks"]["anecdotes"]
    assert (task["panel"], task["panel_reason"]) == (None, "the data have no second group of people on these items")
    assert again(folder).checks[-1].state == "ok"
    edited(folder, "$.tasks.anecdotes.panel_reason", "nobody looked")
    assert [fault.path for fault in refused(folder)] == ["$.tasks.anecdotes.panel_reason"]
    del task["panel_reason"]
    factories.sign_again(folder, card)
    assert again(folder).checks[-1].state == "ok"


@pytest.mark.slow
def test_a_card_that_calls_itself_comparable_is_found_out(copied):
    card = factories.read_card(copied)
    factories.sign_again(copied, {**card, "comparable": True, "not_comparable": []})
    assert [fault.path for fault in refused(copied)] == ["$.comparable", "$.not_comparable"]


@pytest.mark.slow
def test_a_metric_that_was_left_out_or_added_is_named(copied):
    card = factories.read_card(copied)
    del card["tasks"]["dilemmas"]["metrics"]["brier"]
    card["tasks"]["dilemmas"]["metrics"]["mine"] = card["tasks"]["dilemmas"]["metrics"]["accuracy"]
    factories.sign_again(copied, card)
    found = {fault.path: fault.message for fault in refused(copied)}
    assert found == {
        "$.tasks.dilemmas.metrics.brier": "follows from the predictions, but is not on the card.",
        "$.tasks.dilemmas.metrics.mine": "is on the card, but does not follow from the predictions.",
    }


@pytest.mark.slow
def test_rounding_of_another_machine_is_no_difference(copied):
    edited(copied, "$.tasks.dilemmas.metrics.cross_entropy.value", lambda value: value * (1 + 1e-11))
    assert again(copied).checks[-1].state == "ok"


@pytest.mark.slow
@pytest.mark.parametrize(("moved", "differs"), [(5e-7, False), (5e-6, True)])
def test_a_metric_that_can_rest_on_few_digits_may_differ_more(moved, differs, copied):
    edited(copied, "$.tasks.dilemmas.metrics.entropy_correlation.value", lambda value: (value or 0.0) + moved)
    if differs:
        assert [fault.path for fault in refused(copied)] == ["$.tasks.dilemmas.metrics.entropy_correlation.value"]
    else:
        assert again(copied).checks[-1].state == "ok"


@pytest.mark.slow
def test_many_differences_are_counted(copied):
    card = factories.read_card(copied)
    changed = 0
    for metric in card["tasks"]["dilemmas"]["metrics"].values():
        changed += 1 + (metric["confidence_interval"] is not None)
        metric["value"] = (metric["value"] or 0.0) + 1.0
        if metric["confidence_interval"] is not None:
            metric["confidence_interval"]["upper"] += 1.0
    factories.sign_again(copied, card)
    faults = refused(copied)
    assert len(faults) == 21
    assert faults[-1].message == f"… and {changed - 20} more."


# --- other predictions, data, benchmark ---------------------------------------------------------------------------


def test_edited_predictions_are_not_the_cards(copied):
    rows = copied / filenames.PREDICTIONS
    rows.write_text(
        rows.read_text(encoding="utf-8").replace('"log_scores":[-', '"log_scores":[-1', 1), encoding="utf-8"
    )
    with pytest.raises(VerificationError) as caught:
        verify(copied, factories.KEYRING)
    assert caught.value.faults[0].code == "SIG_FILES"


@pytest.mark.slow
def test_given_predictions_are_held_against_the_card(run, copied, tmp_path):
    moved = tmp_path / "elsewhere.jsonl"
    (copied / filenames.PREDICTIONS).rename(moved)
    assert again(copied, predictions=moved).checks[-1].state == "ok"
    with pytest.raises(InvalidInput) as missing:
        again(copied)
    assert missing.value.faults[0].code == "FILE_MISSING"
    moved.write_bytes(moved.read_bytes() + b"\n")
    (fault,) = refused(copied, predictions=moved)
    assert (fault.code, fault.file) == ("SIG_FILES", str(moved))


@pytest.mark.slow
def test_other_predictions_signed_with_the_old_numbers(copied, tmp_path):
    """Both digests are right; only the numbers are not those of these rows."""
    rows = factories.write_rows(copied / filenames.PREDICTIONS, factories.sample_rows(seed=1))
    edited(copied, "$.predictions", {"sha256": sha256_file(rows), "rows": 960})
    faults = refused(copied)
    assert all(fault.code == "SIG_RECOMPUTE" for fault in faults)
    assert all(fault.path.startswith(("$.tasks.dilemmas.", "$.warnings[")) for fault in faults[:-1])
    assert "more" in faults[-1].message


@pytest.mark.slow
def test_rows_that_do_not_answer_every_item(copied):
    rows = factories.write_rows(copied / filenames.PREDICTIONS, factories.sample_rows()[:-1])
    edited(copied, "$.predictions", {"sha256": sha256_file(rows), "rows": 319})
    with pytest.raises(InvalidInput, match="has no answer"):
        again(copied)


@pytest.mark.slow
def test_other_data_under_the_cards_digest(copied):
    edited(copied, "$.data.sample-dilemmas/test.sha256", "0" * 64)
    (fault,) = refused(copied)
    assert fault.path == "$.data.sample-dilemmas/test.sha256"


@pytest.mark.slow
def test_edited_data_is_refused_before_anything_is_rebuilt(scruples, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    name = "dev.scruples-dilemmas.jsonl"
    shutil.copy(scruples / name, data / name)
    chosen = factories.choice(suite="full", split="dev", data_dir=data, limit=12)
    folder = factories.scored(
        tmp_path / "runs", factories.sample_rows(chosen=chosen), suite="full", split="dev", data_dir=data, limit=12
    )
    assert again(folder, data_dir=data).checks[-1].state == "ok"
    lines = (data / name).read_bytes().splitlines(keepends=True)
    first = json.loads(lines[0])
    first["gold_annotations"] = first["gold_annotations"][::-1]
    (data / name).write_bytes(json.dumps(first).encode() + b"\n" + b"".join(lines[1:]))
    with pytest.raises(InvalidInput) as caught:
        again(folder, data_dir=data)
    assert caught.value.faults[0].code == "DATA_DIGEST"
    assert caught.value.exit_code == 1


def test_another_benchmark_is_not_the_cards(run, copied, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(
        factories.RELEASED.read_text(encoding="utf-8").replace("draws: 1000", "draws: 999"), encoding="utf-8"
    )
    (fault,) = refused(run, benchmark_file=other)
    assert fault.code == "SIG_FILES"
    assert str(other) in fault.message
    # Beside the card it is a changed file.
    (copied / filenames.BENCHMARK).write_bytes(other.read_bytes())
    with pytest.raises(VerificationError) as caught:
        verify(copied, factories.KEYRING)
    assert caught.value.faults[0].file.endswith(filenames.BENCHMARK)


@pytest.mark.slow
def test_without_a_benchmark_beside_it_the_released_one_will_do(copied):
    (copied / filenames.BENCHMARK).unlink()
    card = factories.read_card(copied)
    assert benchmark_of(card, copied, None) == factories.RELEASED
    assert again(copied).checks[-1].state == "ok"


# --- other kinds of run -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {"limit": 12},
        {"tasks": ("dilemmas", "anecdotes-binary")},
        {"split": "dev"},
        {"tasks": ("anecdotes",), "split": "train", "limit": 25},
    ],
)
def test_the_choice_is_read_from_the_card(tmp_path, more):
    folder = factories.scored(tmp_path, factories.sample_rows(chosen=factories.choice(**more)), **more)
    assert again(folder).checks[-1].state == "ok"


@pytest.mark.slow
def test_a_card_without_rows_to_fit_on(tmp_path):
    folder = factories.scored(tmp_path, factories.sample_rows(fitting=False))
    assert factories.read_card(folder)["tasks"]["dilemmas"]["fitted"]["method"] == "cross-fitted"
    assert again(folder).checks[-1].state == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("prompt", ["dilemmas-seed-yes-no", "a prompt of mine", None])
def test_a_card_of_other_prompts(tmp_path, prompt):
    rows = [replace(row, prompt_id=prompt, order=0) for row in factories.sample_rows(prompts=1)[::2]]
    folder = factories.scored(tmp_path, rows)
    assert again(folder).checks[-1].state == "ok"


@pytest.mark.slow
def test_a_card_of_two_tasks_with_other_prompts(tmp_path):
    """The reasons come in one order, although a signed card's tasks are sorted."""
    chosen = factories.choice(tasks=())
    rows = [replace(row, prompt_id=f"mine-{row.task}") for row in factories.sample_rows(chosen=chosen, prompts=1)]
    folder = factories.scored(tmp_path, rows, tasks=())
    assert len(factories.read_card(folder)["not_comparable"]) == 4
    assert again(folder).checks[-1].state == "ok"


# --- the comparison itself ----------------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


def leaf_paths(value: Any, path: tuple = ()) -> list[tuple]:
    if isinstance(value, dict):
        return [found for name, inner in value.items() for found in leaf_paths(inner, (*path, name))]
    if isinstance(value, list):
        return [found for number, inner in enumerate(value) for found in leaf_paths(inner, (*path, number))]
    return [path]


@given(values)
def test_equal_values_do_not_differ(value):
    assert list(_differences("$", value, copy.deepcopy(value), 0.0)) == []


@given(st.dictionaries(st.text(max_size=2), values, min_size=1, max_size=3), st.data())
def test_any_one_change_is_found_at_its_place(value, choose):
    paths = leaf_paths(value)
    if not paths:
        return
    path = choose.draw(st.sampled_from(paths))
    other = copy.deepcopy(value)
    place = other
    for step in path[:-1]:
        place = place[step]
    old = place[path[-1]]
    replacements = [None, True, False, 5, "else", [], {}, *([old + 1e-3] if type(old) is float else [])]
    place[path[-1]] = choose.draw(
        st.sampled_from([new for new in replacements if type(new) is not type(old) or new != old])
    )
    expected = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    assert [where for where, _ in _differences("$", value, other, 1e-9)] == [expected]


@pytest.mark.parametrize(
    ("stated", "rebuilt", "same"),
    [
        (1.0, 1, True),
        (1, True, False),
        (0, False, False),
        (None, 0, False),
        (1e6, 1e6 + 1e-4, True),
        (1e6, 1e6 + 1e-2, False),
        (1e-12, 2e-12, True),
        (0.5, 0.5 + 2e-9, False),
    ],
)
def test_tolerance_is_relative_above_one_and_absolute_below(stated, rebuilt, same):
    assert (list(_differences("$", stated, rebuilt, 1e-9)) == []) is same
