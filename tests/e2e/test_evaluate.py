"""From two YAML files to a signed scorecard and back, once with the model in its own process."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from support.command import Command

FILES = {
    "benchmark.yaml",
    "environment.json",
    "predictions.jsonl",
    "scorecard.json",
    "scorecard.sigstore.json",
    "submission.yaml",
}
LABELS = {"dilemmas": 2, "anecdotes": 5, "anecdotes-binary": 2}
PHRASINGS = ("letters", "numbers", "words")

pytestmark = pytest.mark.slow


def read_rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def read_card(run: Path) -> dict[str, Any]:
    return json.loads((run / "scorecard.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def runs(
    submissions: Any, evaluate: Any, evaluate_installed: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The bare model and the model with its adapter, on a few items of each task of the sample.

    The second is run as users run it; that forks give the same bytes is one of the tests.
    """
    output = tmp_path_factory.mktemp("results")
    return {
        "base": evaluate(submissions.base, output, "--limit", 4),
        "lora": evaluate_installed(submissions.lora, output, "--limit", 4),
    }


@pytest.mark.parametrize("kind", ["base", "lora"])
def test_a_run_leaves_its_files_and_nothing_else(
    runs: dict[str, Path], submissions: Any, kind: str, root: Path
) -> None:
    run = runs[kind]
    assert {path.name for path in run.iterdir()} == FILES
    assert run.parent.name == f"tiny-{kind}"
    assert (run / "submission.yaml").read_bytes() == getattr(submissions, kind).read_bytes()
    assert (run / "benchmark.yaml").read_bytes() == (root / "benchmark.yaml").read_bytes()


@pytest.mark.parametrize("kind", ["base", "lora"])
def test_the_card_says_what_was_run_and_pins_what_lies_beside_it(
    runs: dict[str, Path], submissions: Any, kind: str
) -> None:
    card, rows = read_card(runs[kind]), read_rows(runs[kind])
    for name in ("predictions.jsonl", "environment.json"):
        stated = card[name.split(".")[0]]["sha256"]
        assert hashlib.sha256((runs[kind] / name).read_bytes()).hexdigest() == stated
    assert card["predictions"]["rows"] == len(rows)
    assert card["suite"] == "sample"
    assert card["run"]["limit"] == 4
    assert card["comparable"] is False
    assert len(card["not_comparable"]) == 2
    assert set(card["tasks"]) == set(LABELS)
    assert (card["submission"]["adapter"] is None) is (kind == "base")
    check = card["run"]["self_check"]
    assert check["passed"] is True
    assert (check["adapter_effect"] is None) is (kind == "base")
    # The pins of the submission are those of its files, computed here anew.
    folder = getattr(submissions, kind).parent
    for entry in card["submission"]["files"]:
        data = (folder / entry["name"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() in json.dumps(entry)


@pytest.mark.parametrize("kind", ["base", "lora"])
def test_every_item_prompt_and_order_is_one_row_with_every_field(runs: dict[str, Path], kind: str) -> None:
    rows = read_rows(runs[kind])
    assert {row["prompt_id"] for row in rows} == {f"{task}-{phrasing}" for task in LABELS for phrasing in PHRASINGS}
    # 4 scored items and 4 that are fitted on, each in three prompts and two orders
    assert len(rows) == len(LABELS) * len(PHRASINGS) * (4 + 4) * 2
    seen = {(row["task"], row["split"], row["item_id"], row["prompt_id"], row["order"]) for row in rows}
    assert len(seen) == len(rows)
    for row in rows:
        labels = LABELS[row["task"]]
        assert set(row) - {"truncated"} == {
            *("task", "split", "item_id", "prompt_id", "order", "log_scores"),
            *("prompt_sha256", "prompt_tokens", "token_counts", "answer_mass"),
        }
        assert len(row["log_scores"]) == len(row["token_counts"]) == labels
        assert all(score < 0 for score in row["log_scores"])
        assert row["answer_mass"] == pytest.approx(sum(map(math.exp, row["log_scores"])), rel=1e-9)
        assert row["prompt_tokens"] > 20
        assert len(row["prompt_sha256"]) == 64


def test_an_adapter_changes_every_answer(runs: dict[str, Path]) -> None:
    base, lora = read_rows(runs["base"]), read_rows(runs["lora"])
    assert [row["prompt_sha256"] for row in base] == [row["prompt_sha256"] for row in lora]
    assert not any(one["log_scores"] == two["log_scores"] for one, two in zip(base, lora, strict=True))


@pytest.mark.parametrize("kind", ["base", "lora"])
def test_a_card_verifies_and_every_number_can_be_computed_again(
    command: Command, runs: dict[str, Path], kind: str
) -> None:
    done = command("verify", runs[kind], "--recompute", "--format", "json")
    report = json.loads(done.stdout)
    assert report["verified"] is True
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert {"signature", "predictions.jsonl", "environment.json", "scorecard.json"} <= set(states)
    assert "skipped" not in states.values()


def test_what_was_altered_does_not_verify(command: Command, runs: dict[str, Path], tmp_path: Path) -> None:
    for name, old, new in (
        ("predictions.jsonl", b"dilemma", b"dilemmb"),
        ("environment.json", b'"python"', b'"Python"'),
        ("scorecard.json", b'"sample"', b'"full"'),
        ("scorecard.sigstore.json", b'"payload": "ey', b'"payload": "fy'),
    ):
        folder = tmp_path / name
        folder.mkdir()
        for path in runs["base"].iterdir():
            data = path.read_bytes()
            if path.name == name:
                assert old in data
                data = data.replace(old, new, 1)
            (folder / path.name).write_bytes(data)
        done = command("verify", folder, code=4)
        assert name in done.stderr.replace("\n", "")
        assert not done.stdout


def test_a_second_run_gives_the_same_bytes_and_numbers(
    runs: dict[str, Path], submissions: Any, evaluate: Any, tmp_path: Path
) -> None:
    again = evaluate(submissions.lora, tmp_path, "--limit", 4)
    assert (again / "predictions.jsonl").read_bytes() == (runs["lora"] / "predictions.jsonl").read_bytes()
    one, two = read_card(runs["lora"]), read_card(again)
    assert one["tasks"] == two["tasks"]
    assert one["submission"] == two["submission"]
    assert one["run"]["isolation"] == two["run"]["isolation"]
    assert one["run"]["id"] != two["run"]["id"]


def test_the_size_of_batches_does_not_move_the_scores(submissions: Any, evaluate: Any, tmp_path: Path) -> None:
    small = read_rows(evaluate(submissions.lora, tmp_path, "--limit", 4, "--batch-tokens", 1))
    large = read_rows(evaluate(submissions.lora, tmp_path, "--limit", 4, "--batch-tokens", 20_000))
    difference = 0.0
    for one, two in zip(small, large, strict=True):
        assert {**one, "log_scores": 0, "answer_mass": 0} == {**two, "log_scores": 0, "answer_mass": 0}
        difference = max(difference, *(abs(a - b) for a, b in zip(one["log_scores"], two["log_scores"], strict=True)))
    assert difference <= 1e-5


def test_predictions_alone_give_the_same_numbers(command: Command, runs: dict[str, Path], tmp_path: Path) -> None:
    done = command(
        *("score", runs["lora"] / "predictions.jsonl", "--suite", "sample", "--limit", 4, "-q", "-o", tmp_path)
    )
    scored = read_card(Path(done.stdout.splitlines()[-1]))
    whole = read_card(runs["lora"])
    assert scored["tasks"] == whole["tasks"]
    assert scored["predictions"] == whole["predictions"]
    assert scored["submission"]["model"] is None


@pytest.fixture(scope="module")
def whole(submissions: Any, evaluate: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs without a limit, which can be compared with each other; one task."""
    output = tmp_path_factory.mktemp("whole")
    return {name: evaluate(getattr(submissions, name), output, "--task", "dilemmas") for name in ("base", "lora")}


def test_two_cards_compare(command: Command, whole: dict[str, Path]) -> None:
    found = json.loads(command("compare", whole["base"], whole["lora"], "--format", "json").stdout)
    same = json.loads(command("compare", whole["base"], whole["base"], "--format", "json").stdout)
    assert set(found["tasks"]) == {"dilemmas"}
    values = [
        read_card(whole[kind])["tasks"]["dilemmas"]["metrics"]["cross_entropy"]["value"] for kind in ("base", "lora")
    ]
    row = found["tasks"]["dilemmas"]["metrics"]["cross_entropy"]
    assert row["difference"] == pytest.approx(values[1] - values[0], abs=1e-12)
    assert same["tasks"]["dilemmas"]["metrics"]["cross_entropy"]["difference"] == 0
    assert "tiny-base" in command("compare", whole["base"], whole["lora"]).stdout


def test_a_gate_is_an_exit_code(command: Command, whole: dict[str, Path]) -> None:
    command("compare", whole["base"], whole["base"], "--gate", "cross_entropy=0.5")
    values = {kind: read_card(whole[kind])["tasks"]["dilemmas"]["metrics"]["cross_entropy"]["value"] for kind in whole}
    good, bad = sorted(whole, key=values.__getitem__)
    done = command("compare", whole[good], whole[bad], "--gate", "cross_entropy=0", code=4)
    assert "cross_entropy" in done.stdout


def test_limited_runs_are_not_compared(command: Command, runs: dict[str, Path]) -> None:
    assert "limited to 4 items" in command("compare", runs["base"], runs["lora"], code=4).stderr


def test_words_are_shown_unless_quiet(command: Command, submissions: Any, tmp_path: Path) -> None:
    done = command(
        "evaluate", submissions.base, "--suite", "sample", "--task", "dilemmas", "--limit", 2, "-v", "-o", tmp_path
    )
    assert "cross_entropy" in done.stdout
    assert "ceiling" in done.stdout
    assert "Predicting" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert (Path(done.stdout.splitlines()[-1]) / "scorecard.sigstore.json").is_file()
    (said,) = [line for line in done.stdout.splitlines() if line.startswith("Not comparable: ")]
    assert "suite 'sample'" in said, "what is piped is not wrapped"
    assert "limited to 2 items" in said
    quiet = command(
        "evaluate", submissions.base, "--suite", "sample", "--task", "dilemmas", "--limit", 2, "-q", "-o", tmp_path
    )
    assert len(quiet.stdout.splitlines()) == 1
    assert not quiet.stderr


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-llama-lora"])
def test_the_shipped_models_run(command: Command, evaluate: Any, root: Path, tmp_path: Path, name: str) -> None:
    path = root / "submissions" / name / "submission.yaml"
    if not path.is_file():
        pytest.skip(f"{name} is not in this checkout")
    run = evaluate(path, tmp_path, "--task", "dilemmas")
    command("verify", run, "--recompute")
    task = read_card(run)["tasks"]["dilemmas"]
    assert task["items"] == 80
    assert task["ceiling"]["cross_entropy"]["value"] < task["metrics"]["cross_entropy"]["value"]
