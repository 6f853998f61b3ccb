"""What a run covers: faults named before any work, the same items for every model, and why a card is no result."""

from dataclasses import replace

import numpy as np
import pytest
from support import factories

from runner.core.errors import InvalidInput
from runner.core.types import Prediction
from runner.tasks.selection import RunConfig, align_predictions, prompts, select


def faults_of(**more):
    with pytest.raises(InvalidInput) as caught:
        select(factories.choice(**more))
    return caught.value.faults


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ({"suite": "smaple"}, "UNKNOWN_SUITE", "full, sample"),
        ({"tasks": ("dilemas",)}, "UNKNOWN_TASK", "dilemmas, anecdotes"),
        ({"split": "train2"}, "UNKNOWN_SPLIT", "train, dev, test"),
        ({"prompts": ("letters",)}, "UNKNOWN_PROMPT", "dilemmas-letters"),
        ({"prompts": ("anecdotes-words",)}, "UNKNOWN_PROMPT", "'anecdotes', which is not run"),
    ],
)
def test_what_there_is_not_is_told_with_what_there_is(more, code, words):
    (fault,) = faults_of(**more)
    assert fault.code == code
    assert words in fault.message


def test_the_faults_of_all_data_files_come_at_once(tmp_path):
    (tmp_path / "test.scruples-dilemmas.jsonl").write_text("{}\n", encoding="utf-8")
    faults = faults_of(suite="full", tasks=(), data_dir=tmp_path)
    assert [fault.code for fault in faults] == ["DATA_DIGEST", "DATA_MISSING"]
    # both anecdote tasks miss the same files, and all that was not fetched is one fault
    assert "dev of scruples-dilemmas, test and dev of scruples-anecdotes" in faults[1].message
    assert faults[1].message.startswith(f"3 files of the data were not found in {tmp_path}: ")
    assert f"benchmark data fetch --data-dir {tmp_path}" in faults[1].hint


def test_the_sample_and_what_it_is_fitted_on():
    found = select(factories.choice(tasks=()))
    assert [part.task.name for part in found.tasks] == ["dilemmas", "anecdotes", "anecdotes-binary"]
    part = found.tasks[0]
    assert (part.split, part.fitting_split, part.synthetic) == ("test", "dev", True)
    assert (len(part.scored), len(part.fitting), len(part.answered_fitting)) == (80, 80, 80)
    assert not {item.id for item in part.scored} & {item.id for item in part.fitting}
    assert set(found.data) == {
        "sample-dilemmas/test",
        "sample-dilemmas/dev",
        "sample-anecdotes/test",
        "sample-anecdotes/dev",
    }


def test_a_task_given_twice_is_run_once():
    assert [part.task.name for part in select(factories.choice(tasks=("dilemmas", "dilemmas"))).tasks] == ["dilemmas"]


def test_the_fitting_split_itself_has_nothing_to_fit_on_beside_it():
    part = select(factories.choice(split="dev")).tasks[0]
    assert (part.split, part.fitting_split, part.fitting, part.answered_fitting) == ("dev", "dev", (), ())


def test_a_seeded_part_of_a_large_fitting_split_is_asked(tmp_path):
    changed = tmp_path / "benchmark.yaml"
    text = factories.RELEASED.read_text(encoding="utf-8")
    changed.write_text(text.replace("    items: 500\n", "    items: 30\n"), encoding="utf-8")
    part = select(factories.choice(benchmark=changed)).tasks[0]
    again = select(factories.choice(benchmark=changed, limit=7)).tasks[0]
    assert len(part.fitting) == 80
    assert len(part.answered_fitting) == 30
    place = {item.id: number for number, item in enumerate(part.fitting)}
    order = [place[item.id] for item in part.answered_fitting]
    assert order == sorted(set(order))
    assert max(order) > 60  # not the first thirty
    assert again.answered_fitting == part.answered_fitting[:7]
    assert again.scored == part.scored[:7]


@pytest.mark.parametrize(
    ("more", "reasons"),
    [
        ({}, ["suite 'sample'"]),
        ({"limit": 3}, ["suite 'sample'", "limited to 3 items"]),
        ({"prompts": ("dilemmas-seed-yes-no",)}, ["suite 'sample'"]),  # said by the card, from the rows
    ],
)
def test_why_a_card_may_not_be_compared(more, reasons):
    found = select(factories.choice(**more)).not_comparable
    assert len(found) == len(reasons)
    assert all(words in reason for words, reason in zip(reasons, found, strict=True))


def test_the_full_suite_of_the_released_benchmark_is_comparable(scruples):
    assert select(factories.choice(suite="full", split="dev", data_dir=scruples)).not_comparable == ()


def test_a_changed_benchmark_is_not_comparable(tmp_path):
    changed = tmp_path / "benchmark.yaml"
    text = factories.RELEASED.read_text(encoding="utf-8")
    changed.write_text(text.replace("draws: 1000", "draws: 999"), encoding="utf-8")
    assert changed.read_text(encoding="utf-8") != text
    (first, second) = select(factories.choice(benchmark=changed)).not_comparable
    assert "not a released benchmark" in first
    assert "sample" in second


def test_a_comment_in_the_benchmark_changes_nothing(tmp_path):
    changed = tmp_path / "benchmark.yaml"
    changed.write_text("# a note\n" + factories.RELEASED.read_text(encoding="utf-8"), encoding="utf-8")
    assert len(select(factories.choice(benchmark=changed)).not_comparable) == 1


def test_fewer_tasks_need_less_data():
    found = select(factories.choice(tasks=()))
    assert set(found.only(found.tasks[:1]).data) == {"sample-dilemmas/test", "sample-dilemmas/dev"}
    assert set(found.only(found.tasks[1:]).data) == {"sample-anecdotes/test", "sample-anecdotes/dev"}


def test_every_item_is_asked_in_every_order_and_nothing_about_people_is_in_a_prompt():
    found = select(factories.choice(limit=5))
    asked = prompts(found)
    assert len(asked) == (5 + 5) * 2 * 3
    assert {(prompt.split, prompt.item_id, prompt.order) for prompt in asked} == {
        (split, item.id, order) for (_, split), members in found.items().items() for item in members for order in (0, 1)
    }
    assert {name for prompt in asked for name in prompt.values} == {"first", "second", "option_1", "option_2"}


def test_another_prompt_is_asked_instead_for_its_task_only():
    found = select(factories.choice(tasks=(), prompts=("dilemmas-seed-yes-no",), limit=2))
    assert {prompt.prompt_id for prompt in prompts(found)} == {
        "dilemmas-seed-yes-no",
        *(f"{task}-{form}" for task in ("anecdotes", "anecdotes-binary") for form in ("letters", "numbers", "words")),
    }


# --- rows to answers ----------------------------------------------------------------------------------------------


def test_fitting_rows_may_be_left_out_only_where_that_is_allowed():
    found = select(factories.choice(limit=12))
    rows = factories.sample_rows(chosen=factories.choice(limit=12), fitting=False)
    assert align_predictions(found, rows, optional_fitting=True)["dilemmas"].fitting is None
    with pytest.raises(InvalidInput, match="has no answer"):
        align_predictions(found, rows)


def test_fitting_rows_are_there_all_or_none():
    found = select(factories.choice(limit=12))
    rows = factories.sample_rows(chosen=factories.choice(limit=12))
    with pytest.raises(InvalidInput, match="has no answer"):
        align_predictions(found, rows[:-1], optional_fitting=True)
    assert align_predictions(found, rows, optional_fitting=True)["dilemmas"].fitting is not None


def test_rows_without_a_split_are_found_by_their_ids():
    found = select(factories.choice(limit=12))
    rows = factories.sample_rows(chosen=factories.choice(limit=12))
    bare = [replace(row, split=None) for row in rows]
    one, other = align_predictions(found, rows), align_predictions(found, bare)
    for key in one:
        assert np.array_equal(one[key].scored.log_probs, other[key].scored.log_probs)
        assert np.array_equal(one[key].fitting.log_probs, other[key].fitting.log_probs)


def test_a_row_of_a_task_that_is_not_run_is_a_fault():
    found = select(factories.choice(limit=12))
    rows = [*factories.sample_rows(chosen=factories.choice(limit=12)), Prediction("anecdotes", "x", (0, 0, 0, 0, 0))]
    with pytest.raises(InvalidInput, match="not among what is scored"):
        align_predictions(found, rows)


def test_a_choice_needs_nothing_but_a_benchmark():
    assert RunConfig(factories.RELEASED).suite == "full"
