"""Is B better than A: the sign, the gates, and every reason why two cards may not be compared."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support import factories

from runner.cli import main
from runner.core.errors import InvalidInput, NotComparable, VerificationError
from runner.scorecard import filenames
from runner.scorecard.compare import Gate, compare


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """A knows the votes through much noise, B through little; C is A again under another name."""
    top = tmp_path_factory.mktemp("runs")
    return {
        "a": factories.scored(top, factories.sample_rows(seed=1, noise=2.0), "a"),
        "b": factories.scored(top, factories.sample_rows(seed=2, noise=0.2), "b"),
        "c": factories.scored(top, factories.sample_rows(seed=1, noise=2.0), "c"),
    }


@pytest.fixture
def copied(runs, tmp_path) -> Path:
    return shutil.copytree(runs["a"], tmp_path / "run")


def metrics(one: Path, other: Path, **more: Any) -> Any:
    return compare(one, other, factories.KEYRING, **more)["tasks"]["dilemmas"]["metrics"]


def measured(one: Path, other: Path) -> Any:
    """Without the Dirichlet-multinomial: to answers made from the votes no concentration can be fitted."""
    found = {name: row for name, row in metrics(one, other).items() if not name.startswith("dirichlet_multinomial")}
    assert all(row["difference"] is not None for row in found.values())
    assert len(found) == 15
    return found


# --- what it says -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_better_b_is_better(runs):
    found = metrics(runs["a"], runs["b"])
    for name in ("cross_entropy", "brier", "total_variation", "jensen_shannon", "kl", "accuracy", "macro_f1"):
        sign = -1 if found[name]["lower_is_better"] else 1
        assert sign * found[name]["difference"] > 0, name
        assert sign * found[name]["lower"] > 0 < sign * found[name]["upper"], name
    # The sample's dilemmas share few actions, so that six blocks can be flipped: enough for one test, not for nine.
    assert found["cross_entropy"]["verdict"] == "better"
    assert found["cross_entropy"]["p_adjusted"] == found["cross_entropy"]["p_value"] <= 0.05
    assert found["brier"]["p_adjusted"] > found["brier"]["p_value"]
    assert found["kl"]["verdict"] == found["seed_cross_entropy"]["verdict"] == "not tested"
    assert found["kl"]["same_as"] == "cross_entropy"
    assert found["entropy_gap"]["verdict"] in ("differs", "undecided")


@pytest.mark.slow
def test_gains_are_compared_as_shares_of_the_way(runs):
    task = compare(runs["a"], runs["b"], factories.KEYRING)["tasks"]["dilemmas"]
    cards = [factories.read_card(runs[name])["tasks"]["dilemmas"]["skills"] for name in "ab"]
    for name, row in task["skills"].items():
        assert row["difference"] == pytest.approx(cards[1][name]["value"] - cards[0][name]["value"]), name
        assert row["lower"] < row["difference"] < row["upper"]
        if name != "cross_entropy":
            gain = row["difference"] - task["skills"]["cross_entropy"]["difference"]
            assert row["beside_primary"]["difference"] == pytest.approx(gain)
    assert "brier" in task["skills"]
    assert "kl" not in task["skills"]


@pytest.mark.slow
def test_the_other_way_round_it_is_worse(runs):
    forth, back = measured(runs["a"], runs["b"]), measured(runs["b"], runs["a"])
    for name, row in forth.items():
        assert back[name]["difference"] == pytest.approx(-row["difference"])
        assert back[name]["lower"] == pytest.approx(-row["upper"])
        assert back[name]["p_value"] == row["p_value"]
        opposite = {"better": "worse", "worse": "better"}
        assert back[name]["verdict"] == opposite.get(row["verdict"], row["verdict"])


@pytest.mark.slow
def test_the_difference_is_that_of_the_cards(runs):
    values = {
        name: {
            key: metric["value"] for key, metric in factories.read_card(folder)["tasks"]["dilemmas"]["metrics"].items()
        }
        for name, folder in runs.items()
    }
    for name, row in measured(runs["a"], runs["b"]).items():
        assert row["difference"] == pytest.approx(values["b"][name] - values["a"][name], abs=1e-12), name


@pytest.mark.slow
def test_equal_cards_are_undecided(runs):
    for name, row in measured(runs["a"], runs["c"]).items():
        assert row["difference"] == row["lower"] == row["upper"] == 0, name
        assert row["verdict"] in ("undecided", "not tested")
        assert row["p_value"] in (1.0, None)
        assert row["p_adjusted"] in (1.0, None)


@pytest.mark.slow
def test_a_small_gain_on_one_item_is_undecided(runs, tmp_path):
    rows = factories.sample_rows(seed=1, noise=2.0)
    rows[0] = replace(rows[0], log_scores=(0.0, 0.0))
    row = metrics(runs["a"], factories.scored(tmp_path, rows))["cross_entropy"]
    assert row["difference"] != 0
    assert row["verdict"] == "undecided"
    assert row["p_value"] == 1.0  # one difference has the same size with either sign


@pytest.mark.slow
def test_a_metric_that_one_card_lacks_is_told_with_its_reason(runs, tmp_path):
    rows = [
        replace(row, answer_mass=None if number else 0.9) for number, row in enumerate(factories.sample_rows(noise=0.2))
    ]
    row = metrics(runs["a"], factories.scored(tmp_path, rows))["seed_cross_entropy"]
    assert row["difference"] is None
    assert "some rows do not say" in row["reason"]
    assert row["verdict"] == "not measured"


@pytest.mark.slow
def test_tasks_in_both_are_compared_and_the_others_named(runs, tmp_path):
    chosen = {"tasks": ("dilemmas", "anecdotes")}
    both = factories.scored(tmp_path, factories.sample_rows(chosen=factories.choice(**chosen)), **chosen)
    found = compare(runs["a"], both, factories.KEYRING)
    assert list(found["tasks"]) == ["dilemmas"]
    assert "Only B has: anecdotes." in found["notes"]
    assert sum("may not be ranked" in note for note in found["notes"]) == 2


@pytest.mark.slow
def test_another_way_of_fitting_is_said(runs, tmp_path):
    without = factories.scored(tmp_path, factories.sample_rows(fitting=False))
    found = compare(runs["a"], without, factories.KEYRING)
    assert any("A's held-out and B's cross-fitted" in note for note in found["notes"])
    assert not any("cross-fitted" in note for note in compare(runs["a"], runs["b"], factories.KEYRING)["notes"])


# --- what it refuses ----------------------------------------------------------------------------------------------


def reasons(one: Path, other: Path, **more: Any) -> list[str]:
    with pytest.raises(NotComparable) as caught:
        compare(one, other, factories.KEYRING, **more)
    assert {fault.code for fault in caught.value.faults} == {"NOT_COMPARABLE"}
    assert caught.value.exit_code == 4
    return [fault.message for fault in caught.value.faults]


@pytest.mark.slow
def test_another_benchmark(runs, tmp_path):
    changed = tmp_path / "benchmark.yaml"
    changed.write_text(
        factories.RELEASED.read_text(encoding="utf-8").replace("draws: 1000", "draws: 999"), encoding="utf-8"
    )
    other = factories.scored(tmp_path / "runs", factories.sample_rows(), benchmark=changed)
    (message,) = reasons(runs["a"], other)
    assert message.startswith("benchmark digest differs: sha256:")


@pytest.mark.slow
def test_another_version_of_the_benchmark_names_each_difference(runs, tmp_path):
    changed = tmp_path / "benchmark.yaml"
    text = factories.RELEASED.read_text(encoding="utf-8")
    changed.write_text(text.replace('version: "2.0.0"', 'version: "2.1.0"'), encoding="utf-8")
    found = reasons(runs["a"], factories.scored(tmp_path / "runs", factories.sample_rows(), benchmark=changed))
    assert [message.split(" differs")[0] for message in found] == ["benchmark version", "benchmark digest"]


@pytest.mark.slow
def test_a_limited_run(runs, tmp_path):
    rows = factories.sample_rows(chosen=factories.choice(limit=20))
    found = reasons(runs["a"], factories.scored(tmp_path, rows, limit=20))
    assert found == ["This run was limited to 20 items.", "items of dilemmas differs: 80 against 20."]


@pytest.mark.slow
def test_another_split(runs, tmp_path):
    other = factories.scored(tmp_path, factories.sample_rows(chosen=factories.choice(split="dev")), split="dev")
    assert reasons(runs["a"], other) == ["split of dilemmas differs: test against dev."]


@pytest.mark.slow
def test_another_suite(runs, scruples, tmp_path):
    chosen = {"suite": "full", "split": "dev", "data_dir": scruples, "limit": 12}
    other = factories.scored(tmp_path, factories.sample_rows(chosen=factories.choice(**chosen)), **chosen)
    found = {message.split(" differs")[0] for message in reasons(runs["a"], other)}
    assert found == {
        "This run was limited to 12 items.",
        "suite",
        "split of dilemmas",
        "dataset of dilemmas",
        "items of dilemmas",
    }


@pytest.mark.slow
def test_no_task_in_common(runs, tmp_path):
    chosen = {"tasks": ("anecdotes",)}
    other = factories.scored(tmp_path, factories.sample_rows(chosen=factories.choice(**chosen)), **chosen)
    assert reasons(runs["a"], other) == ["the list of tasks differs: dilemmas against anecdotes."]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card["data"]["sample-dilemmas/test"].update(sha256="0" * 64), "data sample-dilemmas/test sha256"),
        (lambda card: card["data"]["sample-dilemmas/dev"].update(sha256="0" * 64), "data sample-dilemmas/dev sha256"),
        (lambda card: card["tasks"]["dilemmas"].update(labels=["second", "first"]), "labels of dilemmas"),
        (lambda card: card["tasks"]["dilemmas"].update(items=79), "items of dilemmas"),
        (
            lambda card: card["tasks"]["dilemmas"]["prompts"].update({"dilemmas-letters": "sha256:" + "0" * 64}),
            "prompts",
        ),
    ],
)
def test_what_differs_is_named(runs, copied, change, words):
    card = factories.read_card(copied)
    change(card)
    factories.sign_again(copied, card)
    (message,) = reasons(runs["b"], copied)
    assert words in message
    assert "differs" in message


@pytest.mark.slow
def test_other_prompts_or_orders(runs, tmp_path):
    one_order = factories.scored(tmp_path, factories.sample_rows(prompts=1)[::2], "one")
    (message,) = reasons(runs["a"], one_order)
    assert message.startswith("prompts of dilemmas differs: dilemmas-letters/0, dilemmas-letters/1")
    others = [replace(row, prompt_id="dilemmas-seed-yes-no") for row in factories.sample_rows(prompts=1)[::2]]
    other = factories.scored(tmp_path, others, "other")
    assert "dilemmas-seed-yes-no/0" in reasons(runs["a"], other)[0]
    # Rows that name no prompt are compared as they are.
    unnamed = factories.scored(
        tmp_path, [replace(row, prompt_id=None) for row in factories.sample_rows(prompts=1)], "unnamed"
    )
    assert metrics(runs["a"], unnamed)


def test_every_reason_at_once(runs, copied):
    card = factories.read_card(copied)
    card["benchmark"]["name"] = "another"
    card["suite"] = "full"
    card["data"]["sample-dilemmas/test"]["sha256"] = "0" * 64
    card["tasks"]["dilemmas"]["split"] = "dev"
    factories.sign_again(copied, card)
    assert len(reasons(runs["a"], copied)) == 4


@pytest.mark.slow
def test_one_item_is_no_comparison(tmp_path):
    counts_file = tmp_path / "benchmark.yaml"
    counts_file.write_bytes(factories.RELEASED.read_bytes())
    folders = [
        factories.scored(tmp_path / name, factories.sample_rows(seed, chosen=factories.choice(limit=1)), name, limit=1)
        for seed, name in enumerate("ab")
    ]
    for folder in folders:
        card = factories.read_card(folder)
        card["run"]["limit"] = None
        factories.sign_again(folder, card)
    assert reasons(*folders) == ["Task dilemmas has one item, and a paired comparison needs two."]


def test_a_card_that_does_not_verify(runs, copied):
    (copied / filenames.ENVIRONMENT).write_bytes(b"{}")
    for pair in ((runs["b"], copied), (copied, runs["b"])):
        with pytest.raises(VerificationError):
            compare(*pair, factories.KEYRING)


def test_predictions_that_are_not_there(runs, copied):
    (copied / filenames.PREDICTIONS).unlink()
    with pytest.raises(InvalidInput, match="no predictions beside the card"):
        compare(runs["b"], copied, factories.KEYRING)


# --- gates --------------------------------------------------------------------------------------------------------


def gates(one: Path, other: Path, *wanted: Gate) -> list[bool]:
    return [gate["passed"] for gate in compare(one, other, factories.KEYRING, gates=wanted)["gates"]]


@pytest.mark.slow
def test_gates_are_passed_by_what_is_shown(runs):
    """Not worse by more than the margin, with the whole interval: a wide interval around nothing does not pass."""
    better = metrics(runs["a"], runs["b"])
    assert gates(runs["a"], runs["b"], Gate("cross_entropy", 0.0), Gate("accuracy", 0.0), Gate("macro_f1", 0.0)) == [
        True,
        True,
        better["macro_f1"]["lower"] >= 0,
    ]
    assert gates(runs["b"], runs["a"], Gate("cross_entropy", 0.0), Gate("accuracy", 0.0), Gate("macro_f1", 0.0)) == [
        False,
        False,
        False,
    ]
    worse = metrics(runs["b"], runs["a"])["cross_entropy"]
    upper = worse["upper"]
    assert gates(runs["b"], runs["a"], Gate("cross_entropy", upper + 1e-9), Gate("cross_entropy", upper - 1e-9)) == [
        True,
        False,
    ]
    lower = metrics(runs["b"], runs["a"])["accuracy"]["lower"]
    assert gates(runs["b"], runs["a"], Gate("accuracy", -lower + 1e-9), Gate("accuracy", -lower - 1e-9)) == [
        True,
        False,
    ]


@pytest.mark.slow
def test_equal_cards_pass_a_gate_without_a_margin(runs):
    assert gates(runs["a"], runs["c"], Gate("cross_entropy", 0.0), Gate("macro_f1", 0.0)) == [True, True]


@pytest.mark.slow
def test_what_was_not_measured_passes_no_gate(runs, tmp_path):
    rows = [replace(row, answer_mass=None if number else 0.9) for number, row in enumerate(factories.sample_rows())]
    other = factories.scored(tmp_path, rows)
    assert gates(runs["a"], other, Gate("seed_cross_entropy", 100.0), Gate("skill", 100.0)) == [False, False]


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """The command with the key of these runs as one's own."""
    home = tmp_path / "config" / "moral-ambiguity-benchmark"
    home.mkdir(parents=True)
    pem = factories.KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (home / "signing-key.pem").write_bytes(pem)
    (home / "signing-key.pem").chmod(0o600)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return lambda *arguments: CliRunner().invoke(main, ["compare", *map(str, arguments)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pair", "options", "code"),
    [
        ("ab", [], 0),
        ("ab", ["--gate", "cross_entropy=0"], 0),
        ("ab", ["--gate", "cross_entropy=0.1", "--gate", "accuracy=0"], 0),
        ("ba", ["--gate", "cross_entropy=0"], 4),
        ("ba", ["--gate", "cross_entropy=0", "--gate", "cross_entropy=99"], 4),
        ("ba", [], 0),
        ("ab", ["--gate", "cross_entrpy=0"], 2),
        ("ab", ["--gate", "entropy_gap=0"], 2),
        ("ab", ["--gate", "cross_entropy"], 2),
        ("ab", ["--gate", "cross_entropy=-1"], 2),
        ("ab", ["--gate", "cross_entropy=nan"], 2),
        ("ab", ["--gate", "cross_entropy=inf"], 2),
    ],
)
def test_exit_codes(cli, runs, pair, options, code):
    done = cli(runs[pair[0]], runs[pair[1]], *options)
    assert done.exit_code == code, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


@pytest.mark.slow
def test_not_comparable_is_exit_code_four_with_the_reasons(cli, runs, tmp_path):
    other = factories.scored(
        tmp_path / "runs", factories.sample_rows(chosen=factories.choice(split="dev")), split="dev"
    )
    done = cli(runs["a"], other)
    assert done.exit_code == 4
    assert "split of dilemmas differs: test against dev." in " ".join(done.output.split())


@pytest.mark.slow
def test_json_is_the_whole_result(cli, runs):
    import json

    done = cli(runs["a"], runs["b"], "--format", "json")
    assert json.loads(done.output) == json.loads(json.dumps(compare(runs["a"], runs["b"], factories.KEYRING)))


def test_p_values_hold_what_they_promise():
    """Two equally good models: over many pairs, B is called better or worse in about one of twenty at most."""
    from runner.scoring import comparison
    from runner.scoring.verdicts import PRIMARY, decide

    generator = np.random.default_rng(3)
    verdicts = []
    for seed in range(200):
        losses = generator.gamma(2.0, 1.0, (2, 80, 1))
        found = comparison.compare(losses[0], losses[1], draws=300, permutations=300, seed=seed)
        (one,) = decide(found.difference, found.standard_error, found.p_value, [PRIMARY], [True], 0.95)
        verdicts.append(one.verdict != "undecided")
    assert sum(verdicts) <= 20
