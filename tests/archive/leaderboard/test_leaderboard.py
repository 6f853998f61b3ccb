"""Ranking: only what is comparable, ties as ties, every run in sight, and no name believed."""

import csv
import io
import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console
from support.card_factory import Json, People, keyring_of

from runner.archive.add import add
from runner.archive.index import name_of, read_index
from runner.archive.leaderboard import Group, Leaderboard, formats, leaderboard
from runner.archive.leaderboard.candidates import candidates
from runner.archive.leaderboard.formats import csv_text, markdown_text, plain, render
from runner.archive.leaderboard.losses import rebuild
from runner.archive.leaderboard.ranking import standings
from runner.archive.objects import CARD, FILES
from runner.archive.store import Store, open_store
from runner.core import resources
from runner.core.canonical import manifest_digest, sha256_bytes, sha256_file
from runner.evaluation.baselines import write_baseline
from runner.evaluation.run_dir import write_card
from runner.evaluation.score import score_file
from runner.scorecard import filenames
from runner.scoring.intervals import bootstrap_means
from runner.tasks.predictions import read, to_line
from runner.tasks.selection import RunConfig, select

Make = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "archive"))


def ranked(group: Group, assurance: str = "self-reported") -> list[tuple[int, str]]:
    return [
        (row.rank, row.name) for section in group.sections if section.assurance == assurance for row in section.rows
    ]


# --- who is ranked, and with whom ------------------------------------------------------------------------------------


def test_rows_are_ranked_by_the_primary_metric_with_the_references_beside_them(
    store: Store, make: Make, people: People
) -> None:
    add(store, [make("worse", 0.65), make("best", 0.55), make("middle", 0.60)], people.keyring)
    board = leaderboard(store, people.keyring)
    (group,) = board.groups
    assert ranked(group) == [(1, "best"), (2, "middle"), (3, "worse")]
    assert (group.metric, group.lower_is_better) == ("cross_entropy", True)
    assert (group.measures.task, group.measures.split) == ("dilemmas", "test")
    assert {one.name: one.kind for one in group.references} == {
        "ceiling": "ceiling",
        "other people": "panel",
        "prior": "baseline",
        "uniform": "baseline",
    }
    uniform = next(one for one in group.references if one.name == "uniform")
    assert uniform.value == pytest.approx(math.log(2))
    assert board.damage == ()
    assert board.apart == ()


def test_a_limited_run_and_the_sample_are_never_ranked(store: Store, make: Make, people: People, real_run: Any) -> None:
    def limit(card: Json) -> None:
        card["run"]["limit"] = 10
        card.update(comparable=False, not_comparable=["limited to 10 items"])

    def sample(card: Json) -> None:
        card.update(suite="sample", comparable=False, not_comparable=["suite 'sample' is for trying things"])

    add(store, [make("limited", 0.1, edit=limit), make("sample", 0.2, edit=sample), make("whole")], people.keyring)
    seen: list[tuple[str, int, int]] = []
    board = leaderboard(store, people.keyring, observe=lambda *told: seen.append(told))
    assert seen == [("read", done, 3) for done in (1, 2, 3)]
    assert [ranked(group) for group in board.groups] == [[(1, "whole")]]
    assert [(one.kind, one.name, one.reasons) for one in board.apart] == [
        ("not comparable", "limited", ("limited to 10 items",)),
        ("not comparable", "sample", ("suite 'sample' is for trying things",)),
    ]
    entries = read_index(store).entries[:2]
    assert [(one.card, one.submission, one.tasks) for one in board.apart] == [
        (entry.card, entry.summary["submission"], ("dilemmas",)) for entry in entries
    ]


def _unlimited_by_its_own_word(card: Json) -> None:
    card["run"]["limit"] = 10


def _other_suite(card: Json) -> None:
    card["suite"] = "sample"


def _other_data(card: Json) -> None:
    card["data"]["scruples-dilemmas/test"]["sha256"] = "0" * 64


def _other_benchmark(card: Json) -> None:
    card["data"]["other/test"] = card["data"].pop("scruples-dilemmas/test")
    card["tasks"]["dilemmas"]["dataset"] = "other"


@pytest.mark.parametrize("edit", [_unlimited_by_its_own_word, _other_suite, _other_data, _other_benchmark])
def test_a_card_that_calls_itself_comparable_is_not_taken_at_its_word(
    store: Store, make: Make, people: People, edit: Callable[[Json], None]
) -> None:
    add(store, [make("claims", 0.1, edit=edit)], people.keyring)
    board = leaderboard(store, people.keyring)
    assert board.groups == ()
    assert [one.kind for one in board.apart] == ["not comparable"]


def test_prompts_chosen_by_hand_are_not_ranked(store: Store, make: Make, people: People) -> None:
    add(store, [make("own prompt", 0.1, prompts=("dilemmas-seed-yes-no",))], people.keyring)
    board = leaderboard(store, people.keyring)
    assert board.groups == ()
    assert "dilemmas-seed-yes-no" in board.apart[0].reasons[0]


def test_an_unmeasured_value_is_no_rank(store: Store, make: Make, people: People) -> None:
    def unmeasured(card: Json) -> None:
        card["tasks"]["dilemmas"]["metrics"]["cross_entropy"].update(
            value=None, standard_error=None, confidence_interval=None, reason="infinite on 3 items"
        )

    add(store, [make("infinite", edit=unmeasured)], people.keyring)
    board = leaderboard(store, people.keyring)
    assert board.groups == ()
    assert (board.apart[0].kind, board.apart[0].reasons) == (
        "not measured",
        ("cross_entropy was not measured: infinite on 3 items",),
    )


def test_what_differs_in_what_was_measured_is_in_another_group(store: Store, make: Make, people: People) -> None:
    def fewer(card: Json) -> None:
        card["tasks"]["dilemmas"]["items"] -= 1

    def other_prompt(card: Json) -> None:
        card["tasks"]["dilemmas"]["prompts"]["dilemmas-letters"] = f"sha256:{'0' * 64}"

    def one_order(card: Json) -> None:
        del card["tasks"]["dilemmas"]["views"][1:]

    edits = {"fewer": fewer, "other prompt": other_prompt, "one order": one_order}
    add(store, [make("plain"), *(make(name, edit=edit) for name, edit in edits.items())], people.keyring)
    groups = leaderboard(store, people.keyring).groups
    assert sorted(ranked(group)[0][1] for group in groups) == ["fewer", "one order", "other prompt", "plain"]


def test_cards_with_another_system_prompt_rank_apart(store: Store, make: Make, people: People) -> None:
    """Each prompt has a board of its own, and so have cards without one; the board says which prompt."""
    asked = {"none": None, "kind": "You are kind.", "kind too": "You are kind.", "strict": "You are strict."}

    def with_system(prompt: str | None) -> Callable[[Json], None]:
        def edit(card: Json) -> None:
            if prompt is not None:
                card["submission"]["model"]["system_prompt"] = prompt

        return edit

    cards = [make(name, 0.5 + 0.01 * at, edit=with_system(asked[name])) for at, name in enumerate(asked)]
    add(store, cards, people.keyring)
    board = leaderboard(store, people.keyring)
    assert {group.measures.system_prompt: ranked(group) for group in board.groups} == {
        None: [(1, "none")],
        "You are kind.": [(1, "kind"), (2, "kind too")],
        "You are strict.": [(1, "strict")],
    }
    assert render(board, "rich").count("system prompt: You are ") == 2


def test_task_and_split_choose(store: Store, make: Make, people: People) -> None:
    add(store, [make("one")], people.keyring)
    assert len(leaderboard(store, people.keyring, task="dilemmas", split="test").groups) == 1
    assert leaderboard(store, people.keyring, task="anecdotes").groups == ()
    assert leaderboard(store, people.keyring, split="dev").groups == ()


def test_predictions_from_a_file_are_marked_and_stand_beside_the_models(
    store: Store, make: Make, people: People
) -> None:
    panel = make("panel", 0.55, model=None, prompts=None)
    add(store, [make("model", 0.6), panel, make("from a file", 0.62, model=None)], people.keyring)
    models, files = leaderboard(store, people.keyring).groups
    assert ranked(models) == [(1, "model"), (2, "from a file")]
    assert [row.kind for row in models.sections[0].rows] == ["model", "file"]
    (file,) = [one for one in models.references if one.card]
    assert (file.name, file.kind, file.value, file.card) == ("panel", "file", 0.55, read_index(store).entries[1].card)
    assert (file.lower, file.upper) == pytest.approx((0.54, 0.56))
    assert file.skill == files.sections[0].rows[0].skill
    assert files.measures.prompts is None
    assert ranked(files) == [(1, "panel")]


def test_a_baseline_that_was_scored_from_a_file_stands_on_the_board_once(
    store: Store, make: Make, people: People
) -> None:
    """Uniform and the panel as files have the values that every card has of them."""
    uniform = make("uniform", math.log(2), model=None, prompts=None)
    add(store, [make("model", 0.6), uniform, make("other", 0.55, model=None, prompts=None)], people.keyring)
    models, files = leaderboard(store, people.keyring).groups
    named = [one for one in models.references if one.name == "uniform"]
    assert [(one.kind, one.card is not None) for one in named] == [("baseline", True)]
    assert ranked(files) == [(1, "other")]
    # Alone, without a model beside which it could stand, it is ranked as any other file.
    alone = open_store(f"{store.address}-alone")
    add(alone, [uniform], people.keyring)
    assert ranked(leaderboard(alone, people.keyring).groups[0]) == [(1, "uniform")]


def test_trials_are_ranked_only_on_request_apart_and_under_their_title(
    store: Store, make: Make, people: People
) -> None:
    def sample(card: Json) -> None:
        card.update(suite="sample", comparable=False, not_comparable=["suite 'sample' is for trying things"])
        card["tasks"]["dilemmas"].update(dataset="sample-dilemmas", synthetic=True)
        card["data"] = {"sample-dilemmas/test": {"sha256": "0" * 64, "rows": 20}}

    def limit(card: Json) -> None:
        card["run"]["limit"] = 20
        card.update(comparable=False, not_comparable=["limited to 20 items"])

    def failed(card: Json) -> None:
        limit(card)
        card["not_comparable"].append("the self-check failed: scores depend on the batch")

    def both(card: Json) -> None:
        limit(card)
        card["not_comparable"].append(f"suite {card['suite']!r} is for trying things")

    edits = {"limited": limit, "both": both, "failed": failed, "sample": sample}
    add(store, [make("whole"), *(make(name, edit=edit) for name, edit in edits.items())], people.keyring)
    assert [group.measures.trial for group in leaderboard(store, people.keyring).groups] == [False]
    board = leaderboard(store, people.keyring, include_trial=True)
    assert [(set(ranked(group)), group.measures.trial) for group in board.groups] == [
        ({(1, "whole")}, False),
        ({(1, "limited"), (1, "both")}, True),
    ]
    assert board.groups[1].measures.limit == 20
    # The data of the sample are pinned, too; a failed self-check is no matter of trying.
    assert {one.name for one in board.apart} == {"failed", "sample"}
    for format in ("rich", "markdown"):
        text = render(board, format)  # type: ignore[arg-type]
        assert text.count(formats.TRIAL.split(":")[0]) == 1
    rows = list(csv.DictReader(io.StringIO(render(board, "csv"))))
    trials = {(row["name"], row["trial"]) for row in rows if row["rank"]}
    assert trials == {("whole", "false"), ("limited", "true"), ("both", "true")}


def test_rows_say_their_skill_and_what_they_are_warned_of(store: Store, make: Make, people: People) -> None:
    shared = {"code": "items", "task": "dilemmas", "value": 20.0, "threshold": 200, "message": "20 items, so few"}
    other_task = {**shared, "task": "anecdotes"}

    def warned(*codes: str) -> Callable[[Json], None]:
        def edit(card: Json) -> None:
            card["tasks"]["dilemmas"]["metrics"]["skill"].update(value=0.421)
            own = [{**shared, "code": code, "message": f"of {code}"} for code in codes]
            card["warnings"] = [shared, other_task, *own]

        return edit

    add(store, [make("steady", 0.5, edit=warned()), make("loose", edit=warned("order_gap"))], people.keyring)
    (group,) = leaderboard(store, people.keyring).groups
    first, second = group.sections[0].rows
    assert [warning.code for warning in group.warnings] == ["items"]
    assert [warning.code for warning in second.warnings] == ["items", "order_gap"]
    assert [warning.code for warning in group.own_warnings(second)] == ["order_gap"]
    assert group.own_warnings(first) == ()
    assert first.skill == pytest.approx(0.421)
    text = render(Leaderboard("a", None, 2, (group,), (), ()), "rich")
    lines = text.splitlines()
    assert "42 %" in next(line for line in lines if " steady " in line)
    assert lines[lines.index(next(line for line in lines if " loose " in line)) + 1].strip() == "! order_gap"
    assert text.count("20 items, so few") == 1


def test_one_model_asked_in_two_formats_is_two_rows(store: Store, make: Make, people: People) -> None:
    def chat(card: Json) -> None:
        card["submission"]["model"]["format"] = "chat"

    add(store, [make("model", 0.6), make("model", 0.59, edit=chat, again=1)], people.keyring)
    (group,) = leaderboard(store, people.keyring).groups
    assert [(row.format, len(row.runs)) for row in group.sections[0].rows] == [("chat", 1), ("plain", 1)]


# --- assurance, runs, trust ----------------------------------------------------------------------------------------


def test_reproduced_and_self_reported_are_apart_and_a_claim_stands_beside_its_check(
    store: Store, make: Make, people: People
) -> None:
    cards = [make("model", 0.50), make("other", 0.55), make("model", 0.58, key=people.verifier)]
    add(store, cards, people.keyring)
    (group,) = leaderboard(store, people.keyring).groups
    assert [section.assurance for section in group.sections] == ["independently reproduced", "self-reported"]
    assert ranked(group, "independently reproduced") == [(1, "model")]
    assert ranked(group) == [(1, "model"), (2, "other")]
    checked = group.sections[0].rows[0]
    assert (checked.value, checked.claimed, checked.signed_by) == (0.58, 0.50, "The organisers")


def test_assurance_is_that_of_today(store: Store, make: Make, people: People) -> None:
    add(store, [make("model", key=people.verifier)], people.keyring)
    demoted = keyring_of(people.entries[0], {**people.entries[1], "role": "lab"})
    (group,) = leaderboard(store, demoted).groups
    assert [section.assurance for section in group.sections] == ["self-reported"]
    revoked = {"at": "2026-01-01T00:00:00Z", "reason": "stolen", "honour_digests": []}
    board = leaderboard(store, keyring_of(people.entries[0], {**people.entries[1], "revoked": revoked}))
    assert board.groups == ()
    assert board.apart[0].kind == "refused"
    assert "SIG_KEY_REVOKED" in board.apart[0].reasons[0]
    stranger = leaderboard(store, keyring_of(people.entries[0]))
    assert "SIG_UNTRUSTED" in stranger.apart[0].reasons[0]


def test_the_latest_run_is_ranked_and_the_better_ones_before_it_are_shown(
    store: Store, make: Make, people: People
) -> None:
    add(store, [make("tried often", value, again=n) for n, value in enumerate((0.60, 0.50, 0.65))], people.keyring)
    add(store, [make("tried once", 0.62)], people.keyring)
    board = leaderboard(store, people.keyring)
    (group,) = board.groups
    assert ranked(group) == [(1, "tried once"), (2, "tried often")]
    row = group.sections[0].rows[1]
    assert [run.value for run in row.runs] == [0.60, 0.50, 0.65]
    assert row.submissions_of_signer == 2
    assert "3 runs 0.5000…0.6500" in render(board, "rich")
    assert "3 runs 0.5000…0.6500" in render(board, "markdown")


def test_a_card_changed_in_the_archive_is_damage_and_not_ranked(store: Store, make: Make, people: People) -> None:
    add(store, [make("sound"), make("changed", 0.3), make("gone", 0.4)], people.keyring)
    _, changed, gone = read_index(store).entries
    folder = Path(store.address)
    (folder / CARD.name(changed.card)).write_bytes((folder / CARD.name(gone.card)).read_bytes())
    (folder / CARD.name(gone.card)).unlink()
    board = leaderboard(store, people.keyring)
    assert [ranked(group) for group in board.groups] == [[(1, "sound")]]
    assert len(board.damage) == 2
    assert {one.name for one in board.apart} == {"changed", "gone"}
    (folder / name_of(2)).unlink()
    assert any("ARCHIVE_GAP" in problem for problem in leaderboard(store, people.keyring).damage)


def test_a_signed_card_of_another_form_is_refused_not_a_crash(
    store: Store, make: Make, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`read_signed` leaves the schema out, so a trusted key could bring anything into an archive by other ways."""
    from runner.archive import add as adding

    def spoil(card: Json) -> None:
        card["tasks"]["dilemmas"]["items"] = "many"
        card["tasks"]["dilemmas"]["metrics"]["cross_entropy"]["value"] = [0.1]

    folder = make("odd", edit=spoil)
    data = (folder / "scorecard.sigstore.json").read_bytes()
    card = adding._card_in(data)
    from runner.archive.index import Appender, begun
    from runner.core.canonical import sha256_bytes

    benchmark = (folder / "benchmark.yaml").read_bytes()
    begun(store)
    from runner.archive import objects

    for kind, content in ((objects.FILES["benchmark"], benchmark), (CARD, data)):
        objects.put(store, kind, content)
    summary = adding.summary(card, "0" * 64, "accuracy")
    files = {**dict.fromkeys(objects.FILES), "benchmark": sha256_bytes(benchmark)}
    Appender(store).append(sha256_bytes(data), files, summary, recomputed=False)
    board = leaderboard(store, people.keyring)
    assert board.groups == ()
    assert board.apart[0].kind == "refused"


def test_cards_that_disagree_on_the_ceiling_are_told(store: Store, make: Make, people: People) -> None:
    def lift(card: Json) -> None:
        card["tasks"]["dilemmas"]["ceiling"]["cross_entropy"]["value"] += 0.1

    add(store, [make("lifted", edit=lift), make("honest", key=people.verifier)], people.keyring)
    (group,) = leaderboard(store, people.keyring).groups
    assert any("do not agree on ceiling" in note for note in group.notes)
    honest = next(one for one in group.references if one.kind == "ceiling")
    alone = leaderboard(store, keyring_of(people.entries[0])).groups[0]
    lifted = next(one for one in alone.references if one.kind == "ceiling")
    assert lifted.value == pytest.approx(honest.value + 0.1)  # the verifier's word counted before the lab's


# --- ranks ---------------------------------------------------------------------------------------------------------


def test_standings_by_hand() -> None:
    found = standings(
        [0.50, 0.52, 0.60, 0.60],
        [(0.48, 0.53), (0.50, 0.54), (0.58, 0.62), (0.58, 0.62)],
        np.empty((0, 0)),
        [None] * 4,
        lower_is_better=True,
        level=0.95,
    )
    assert [(one.row, one.rank, one.best, one.worst, one.tied) for one in found] == [
        (0, 1, 1, 2, False),
        (1, 2, 1, 2, True),
        (2, 3, 3, 4, False),
        (3, 3, 3, 4, True),
    ]


def test_higher_is_better_turns_everything_round() -> None:
    values, bounds = [0.1, 0.3, 0.2], [(0.05, 0.15), (0.25, 0.35), (0.1, 0.3)]
    found = standings(values, bounds, np.empty((0, 0)), [None] * 3, lower_is_better=False, level=0.95)
    assert [(one.row, one.rank, one.best, one.worst) for one in found] == [(1, 1, 1, 2), (2, 2, 1, 3), (0, 3, 2, 3)]


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.booleans())
def test_paired_ranks_hold_for_all_pairs_at_once(seed: int, rows: int, lower_is_better: bool) -> None:
    """The oracle goes pair by pair: each difference against the quantile of the largest ratio of all pairs."""
    generator = np.random.default_rng(seed)
    common = generator.normal(size=(60, 1))
    losses = common + generator.normal(scale=0.3, size=(60, rows)) + np.linspace(0, 0.3, rows)
    drawn = bootstrap_means(losses, 200, 5)
    values = losses.mean(axis=0)
    found = standings(
        values.tolist(),
        [(-math.inf, math.inf)] * rows,
        drawn,
        list(range(rows)),
        lower_is_better=lower_is_better,
        level=0.9,
    )
    gaps = {
        (one, other): drawn[:, one] - drawn[:, other] for one in range(rows) for other in range(rows) if one != other
    }
    ratios = np.array([np.abs(gap - gap.mean()) / gap.std() for gap in gaps.values()])
    critical = np.quantile(ratios.max(axis=0), 0.9)
    for one in found:
        shown = [
            (values[other] - values[one.row]) * (1 if lower_is_better else -1)
            for other in range(rows)
            if other != one.row and abs(values[other] - values[one.row]) > critical * gaps[other, one.row].std()
        ]
        assert one.best == 1 + sum(gap < 0 for gap in shown)
        assert one.worst == rows - sum(gap > 0 for gap in shown)
    assert [one.rank for one in found] == sorted(one.rank for one in found)


def test_twenty_equal_models_are_not_told_apart() -> None:
    """Pairs looked at one by one would show a difference on nearly every such board; whole: make simulate."""
    generator = np.random.default_rng(1)
    hits = 0
    for seed in range(20):
        losses = generator.normal(size=(300, 1)) + 0.5 * generator.normal(size=(300, 20))
        drawn = bootstrap_means(losses, 400, seed)
        ends = [(-math.inf, math.inf)] * 20
        found = standings(losses.mean(axis=0).tolist(), ends, drawn, list(range(20)), lower_is_better=True, level=0.95)
        hits += all((one.best, one.worst) == (1, 20) for one in found)
    assert hits >= 16


def test_pairing_finds_what_intervals_alone_do_not() -> None:
    """A small difference on every item, under a large spread between items (as lm-eval#3868: p .080 against .008)."""
    generator = np.random.default_rng(0)
    common = generator.normal(size=500)
    losses = np.column_stack([common, common + 0.02 + generator.normal(scale=0.05, size=500)])
    drawn = bootstrap_means(losses, 500, 1)
    bounds = [tuple(np.quantile(drawn[:, row], [0.025, 0.975])) for row in range(2)]
    alone = standings(losses.mean(axis=0), bounds, np.empty((0, 0)), [None, None], lower_is_better=True, level=0.95)
    paired = standings(losses.mean(axis=0), bounds, drawn, [0, 1], lower_is_better=True, level=0.95)
    assert [one.tied for one in alone] == [False, True]
    assert [one.tied for one in paired] == [False, False]


def test_a_row_without_draws_is_held_against_the_others_by_its_interval() -> None:
    drawn = np.array([[0.50, 0.51], [0.49, 0.50], [0.51, 0.52]])
    bounds = [(0.40, 0.60), (0.41, 0.61), (0.45, 0.70)]
    found = standings([0.50, 0.51, 0.60], bounds, drawn, [0, 1, None], lower_is_better=True, level=0.9)
    assert [(one.best, one.worst, one.tied) for one in found] == [(1, 2, False), (2, 3, False), (1, 3, True)]


# --- on the real data ----------------------------------------------------------------------------------------------


def _mixed(path: Path, towards: Path, share: float, out: Path) -> Path:
    """Predictions between those of two files."""
    rows = []
    for one, other in zip(read(path), read(towards), strict=True):
        mixed = np.log((1 - share) * np.exp(one.log_scores) + share * np.exp(other.log_scores))
        rows.append(to_line(replace(one, log_scores=tuple(mixed.tolist()))))
    out.write_text("".join(rows))
    return out


@pytest.fixture(scope="module")
def dilemmas(
    scruples: Path, people: People, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Store, dict[str, str], Path]:
    """Cards of real data: uniform, panel, and mixtures of them that differ by little and by much."""
    folder = tmp_path_factory.mktemp("dilemmas")
    choice = RunConfig(resources.benchmark_file(), "full", tasks=("dilemmas",), split="dev", data_dir=scruples)
    files = {name: folder / f"{name}.jsonl" for name in ("uniform", "panel")}
    for name, path in files.items():
        write_baseline(name, choice, path)
    for name, share in (("half", 0.5), ("half-and-a-bit", 0.501), ("nearly", 0.9), ("none", 0.0)):
        files[name] = _mixed(files["uniform"], files["panel"], share, folder / f"{name}.jsonl")
    store = open_store(str(folder / "archive"))
    cards = {}
    for name, path in files.items():
        place, _ = score_file(path, choice, name, folder / "runs", None, lambda: people.lab)
        cards[name] = sha256_file(place / "scorecard.sigstore.json")
        add(store, [place], people.keyring)
    return store, cards, scruples


@pytest.mark.slow
def test_real_predictions_are_rebuilt_and_paired(dilemmas: Any, people: People) -> None:
    store, _, data = dilemmas
    paired = leaderboard(store, people.keyring, data_dir=data).groups[0]
    rows = paired.sections[0].rows
    assert all(row.paired for row in rows)
    assert [row.value for row in rows] == sorted(row.value for row in rows)
    # `none` has the very rows of `uniform`, so it is the same submission under another name.
    assert rows[-1].name == "none"
    assert len(rows[-1].runs) == 2
    by_name = {row.name: row for row in rows}
    # A difference of a ten-thousandth, on all items in the same direction, is beyond the cards' own intervals.
    alone = {row.name: row for row in leaderboard(store, people.keyring).groups[0].sections[0].rows}
    assert not any(row.paired for row in alone.values())
    assert alone["half"].best < alone["half"].rank
    assert by_name["half"].best == by_name["half"].worst == by_name["half"].rank
    panel = next(row for row in rows if row.name == "panel")
    assert panel.value == pytest.approx(0.5573, abs=5e-5)


@pytest.mark.slow
def test_a_number_that_its_predictions_do_not_give_is_refused(
    dilemmas: Any, people: People, tmp_path: Path, make: Make
) -> None:
    """A trusted lab signs a better number than its own rows give; everything else of the card is sound."""
    from runner.archive.get import get

    store, cards, data = dilemmas
    folder = get(store, cards["half"], tmp_path)
    card = json.loads((folder / filenames.CARD).read_text())
    card["submission"]["name"] = "flattered"
    card["tasks"]["dilemmas"]["metrics"]["cross_entropy"]["value"] -= 0.01
    write_card(folder, card, people.lab)
    other = open_store(str(tmp_path / "archive"))
    add(other, [folder], people.keyring)
    assert ranked(leaderboard(other, people.keyring).groups[0]) == [(1, "flattered")]
    board = leaderboard(other, people.keyring, data_dir=data)
    assert board.groups[0].sections == ()
    assert board.apart[0].kind == "refused"
    assert "its predictions give" in board.apart[0].reasons[0]


def test_without_the_data_the_ranks_stand_on_the_cards(dilemmas: Any, people: People, tmp_path: Path) -> None:
    store, _, _ = dilemmas
    (group,) = leaderboard(store, people.keyring, data_dir=tmp_path).groups
    assert not any(row.paired for row in group.sections[0].rows)
    assert any("Not rebuilt" in note for note in group.notes)


@dataclass(frozen=True)
class OnTheSample:
    """Cards of the sample's own rows, and what each row of the predictions loses."""

    store: Store
    losses: dict[str, Any]
    """By the name of the submission: (items,) cross-entropies."""


@pytest.fixture(scope="module")
def sampled(real_run: Any, people: People, tmp_path_factory: pytest.TempPathFactory) -> OnTheSample:
    """Uniform; a guess of chance; and as if of others: one without rows, and one with a better number than its rows."""
    folder = tmp_path_factory.mktemp("sampled")
    choice = RunConfig(resources.benchmark_file(), "sample", tasks=("dilemmas",))
    _, uniform = real_run
    generator = np.random.default_rng(3)
    lines = []
    for one in read(uniform / filenames.PREDICTIONS):
        lines.append(to_line(replace(one, log_scores=tuple(np.log(generator.dirichlet([9.0, 9.0])).tolist()))))
    (folder / "guess.jsonl").write_text("".join(lines))
    guess, _ = score_file(folder / "guess.jsonl", choice, "guess", folder / "runs", None, lambda: people.lab)
    places = {"uniform": folder / "uniform", "rowless": folder / "rowless", "flattered": folder / "flattered"}
    for name, place in places.items():
        shutil.copytree(uniform if name == "uniform" else guess, place)
        card = json.loads((place / filenames.CARD).read_text())
        card["submission"]["name"] = name
        card["submission"]["files"][0]["sha256"] = sha256_bytes(name.encode())
        card["submission"]["digest"] = manifest_digest(card["submission"]["files"])
        if name == "flattered":
            card["tasks"]["dilemmas"]["metrics"]["cross_entropy"]["value"] -= 0.01
        if name == "rowless":
            (place / filenames.PREDICTIONS).unlink()
        write_card(place, card, people.lab)
    store = open_store(str(folder / "archive"))
    add(store, [*places.values(), guess], people.keyring)
    (scored,) = select(choice).tasks
    votes = np.array([item.counts for item in scored.scored], dtype=float)
    losses = {}
    for name, file in (("uniform", uniform / filenames.PREDICTIONS), ("guess", folder / "guess.jsonl")):
        by_item = {one.item_id: np.array(one.log_scores) for one in read(file)}
        logs = np.array([by_item[item.id] for item in scored.scored])
        losses[name] = -(votes * logs).sum(axis=1) / votes.sum(axis=1)
    return OnTheSample(store, losses)


def test_predictions_are_scored_again_and_a_number_that_they_do_not_give_is_refused(
    sampled: OnTheSample, people: People, tmp_path: Path
) -> None:
    seen: list[tuple[str, int, int]] = []
    board = leaderboard(
        sampled.store,
        people.keyring,
        include_trial=True,
        data_dir=tmp_path,
        observe=lambda *told: seen.append(told),
    )
    assert [told for told in seen if told[0] == "rebuild"] == [("rebuild", done, 4) for done in (1, 2, 3, 4)]
    (group,) = board.groups
    rows = {row.name: row for row in group.sections[0].rows}
    assert {name: row.paired for name, row in rows.items()} == {"uniform": True, "guess": True, "rowless": False}
    for name, losses in sampled.losses.items():
        assert rows[name].value == pytest.approx(losses.mean())
    assert "1 of 4 rows have no predictions in the archive." in group.notes
    (flattered,) = board.apart
    assert (flattered.kind, flattered.name, flattered.tasks) == ("refused", "flattered", ("dilemmas",))
    truth = sampled.losses["guess"].mean()
    assert flattered.reasons == (f"it says {truth - 0.01:.6f}, its predictions give {truth:.6f}",)
    # Without data nothing is rebuilt, and the number is believed.
    assert len(leaderboard(sampled.store, people.keyring, include_trial=True).groups[0].sections[0].rows) == 4


def test_draws_are_means_over_drawn_items(sampled: OnTheSample, people: People, tmp_path: Path) -> None:
    ranked_cards, *_ = candidates(
        sampled.store, read_index(sampled.store), people.keyring, lambda *_: True, lambda *_: None, include_trial=True
    )
    both = [one for one in ranked_cards if one.name in sampled.losses]
    found = rebuild(sampled.store, both[0].measures, both, tmp_path, lambda *_: None)
    assert (found.refused, found.notes) == ({}, ())
    draws = {card.name: found.draws[card.card] for card in both}
    # Of uniform shares every item loses log 2, whichever items are drawn.
    assert draws["uniform"] == pytest.approx(np.full(len(draws["guess"]), math.log(2)))
    losses = sampled.losses["guess"]
    error = losses.std() / np.sqrt(len(losses))
    assert draws["guess"].mean() == pytest.approx(losses.mean(), abs=0.2 * error)
    # The sample's items share authors or actions, so that theirs is another error, though not of another size.
    assert 0.5 * error < draws["guess"].std() < 2 * error


def test_damaged_predictions_are_refused_when_they_are_scored_again(
    sampled: OnTheSample, people: People, tmp_path: Path
) -> None:
    shutil.copytree(sampled.store.address, tmp_path / "archive")
    store = open_store(str(tmp_path / "archive"))
    uniform = next(entry for entry in read_index(store).entries if entry.summary["name"] == "uniform")
    (tmp_path / "archive" / FILES["predictions"].name(str(uniform.files["predictions"]))).write_bytes(b"broken")
    board = leaderboard(store, people.keyring, include_trial=True, data_dir=tmp_path)
    (refused,) = [one for one in board.apart if one.name == "uniform"]
    assert (refused.kind, refused.card) == ("refused", uniform.card)
    assert refused.reasons[0].startswith("its predictions: is not an xz file")


# --- words ---------------------------------------------------------------------------------------------------------

HOSTILE = [
    "[bold red]markup[/]",
    "\x1b[2J\x1b]0;title\x07",
    "a\nb\r\nc\td",
    "\u202egpj.exe",
    "| a | b |",
    "\\| out of the cell |",
    "[click](https://example.org) <b>x</b> <script>alert(1)</script> `code` ![i](x)",
    '=HYPERLINK("http://example.org")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    '"quoted", and more',
    "界" * 60,
    "x" * 80,
]


@pytest.fixture
def hostile(store: Store, make: Make, people: People) -> Leaderboard:
    def limit(card: Json) -> None:
        card.update(comparable=False, not_comparable=["=cmd|' /C calc'!A0", "\x1b[31mred | <b>"])

    cards = [make(name[:80], 0.5 + place / 100, model=name) for place, name in enumerate(HOSTILE)]
    add(store, [*cards, make("=limited", edit=limit)], people.keyring)
    return leaderboard(store, people.keyring)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["rich", "markdown", "json", "csv"])
def test_no_name_steers_a_terminal(hostile: Leaderboard, format: Any) -> None:
    text = render(hostile, format)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "\u202e" not in text


@pytest.mark.slow
def test_piped_output_is_plain_and_no_sentence_is_wrapped(hostile: Leaderboard) -> None:
    lines = render(hostile, "rich").splitlines()
    console = Console(width=200)
    rankings = [line for line in lines if re.match(r" *=?\d+ ", line)]
    assert len(rankings) > 3
    assert max(console.measure(line.replace("[", "(")).maximum for line in rankings) <= 80
    (reasons,) = [row.reasons for row in hostile.apart]
    for reason in reasons:
        assert any(line.endswith(plain(reason)) for line in lines)
    assert "[bold red]markup[/]" in "\n".join(lines)


@pytest.mark.slow
def test_markdown_has_the_cells_of_its_head_and_no_markup_of_a_stranger(hostile: Leaderboard) -> None:
    lines = render(hostile, "markdown").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + len(HOSTILE)
    for line in rows:
        cells, escaped = 0, False
        for character in line:  # as GFM splits: a backslash takes the next character along
            cells += character == "|" and not escaped
            escaped = character == "\\" and not escaped
        assert cells == 10, line
    text = "\n".join(lines)
    assert "\\<script" in text
    assert re.search(r"(?<!\\)[<`]|(?<!\\)[]](?=[(])", text) is None


@given(st.text(max_size=40))
def test_a_markdown_reader_sees_the_name_and_nothing_else(text: str) -> None:
    """Another implementation, with tables, as the oracle: the cell holds plain text."""
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = reader.parse(f"| a | b |\n| --- | --- |\n| x {markdown_text(text)} | y |\n")
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    assert {child.type for child in cells[2].children or ()} <= {"text", "text_special"}
    assert "".join(child.content for child in cells[2].children or ()) == f"x {formats.plain(text)}".rstrip()


@given(st.text(max_size=40))
def test_markdown_text_leaves_nothing_active_unescaped(text: str) -> None:
    found = markdown_text(text)
    rest = re.sub(r"\\.", "", found)  # what is escaped, gone
    assert not set(rest) & set("\\\\`*_[]<>|~&!:@#$")
    assert "www." not in found
    assert found.replace("\\", "") == "".join(formats.plain(text)).replace("\\", "")


@pytest.mark.slow
def test_csv_reads_back_and_no_cell_is_a_formula(hostile: Leaderboard) -> None:
    rows = list(csv.DictReader(io.StringIO(render(hostile, "csv"))))
    assert [row["section"] for row in rows].count("self-reported") == len(HOSTILE)
    for row in rows:
        for cell in row.values():
            if cell and cell.lstrip()[:1] in ("=", "+", "-", "@"):
                float(cell)  # only a number of ours may begin so
    assert rows[0]["rank"] == "1"
    assert float(rows[0]["value"]) == 0.5
    assert {row["name"] for row in rows} >= {'\'=HYPERLINK("http://example.org")', "'@SUM(A1)", "'=limited"}


@given(st.text(max_size=20))
def test_csv_text_never_begins_as_a_formula(text: str) -> None:
    assert csv_text(text).lstrip()[:1] not in ("=", "+", "-", "@")


@pytest.mark.slow
def test_json_is_the_value(hostile: Leaderboard) -> None:
    found = json.loads(render(hostile, "json"))
    assert [row["name"] for row in found["groups"][0]["sections"][0]["rows"]] == [name[:80] for name in HOSTILE]
    assert found["cards"] == len(HOSTILE) + 1


def test_an_empty_archive_says_so(store: Store, make: Make, people: People) -> None:
    from runner.archive.index import begun

    board = leaderboard(begun(store), people.keyring)
    assert (board.groups, board.cards, board.head) == ((), 0, None)
    assert "No card here can be ranked." in render(board, "rich")
