"""The second track through the installed command: the model writes the distribution, and what it wrote is kept."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from support import tiny_models
from support.command import Command
from support.verbalizing_model import SHARES, writer

pytestmark = pytest.mark.slow

ONLY = ("--task", "dilemmas", "--limit", 6)
SAMPLE = ("--suite", "sample", *ONLY, "--quiet")


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def card_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "scorecard.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def written(
    submissions: Any, evaluate: Any, tmp_path_factory: pytest.TempPathFactory, command: Command
) -> dict[str, Path]:
    """Runs of a model that writes distributions and of one that writes nonsense, and a run of the first track."""
    top = tmp_path_factory.mktemp("written")
    tokenizer = tiny_models.byte_tokenizer()
    tiny_models.save(top / "writer" / "model", writer(tokenizer), tokenizer)
    document = submissions.base.read_text(encoding="utf-8").replace("tiny-base", "tiny-writer")
    (top / "writer" / "submission.yaml").write_text(document, encoding="utf-8")
    track = ("--elicitation", "verbalized", *ONLY)
    return {
        "writer": evaluate(top / "writer" / "submission.yaml", top / "results", *track),
        "nonsense": evaluate(submissions.base, top / "results", *track),
        "logprob": evaluate(top / "writer" / "submission.yaml", top / "results", *ONLY),
    }


def scored(command: Command, rows: list[dict[str, Any]], folder: Path, *options: object, **code: Any) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return command("score", file, *SAMPLE, "--output-dir", folder, *options, **code)


def test_what_was_written_is_kept_and_is_what_is_scored(written: dict[str, Path]) -> None:
    rows, card = rows_of(written["writer"]), card_of(written["writer"])
    assert len(rows) == 2 * (6 + 6)
    high, low = (math.log(share / 100) for share in SHARES)
    for row in rows:
        assert row["text"] == " A: 70%, B: 30%"
        assert row["prompt_id"] == "dilemmas-written"
        assert row["log_scores"] == pytest.approx([high, low] if row["order"] == 0 else [low, high])
        assert row["text_log_prob"] < 0
        assert row["text_tokens"] > 5
        assert "answer_mass" not in row
    task = card["tasks"]["dilemmas"]
    assert task["elicitation"] == "verbalized"
    assert task["failures"] == {"asked": 12, "rows": 0, "rate": 0.0, "items": 0, "examples": []}
    # .7/.3 and .3/.7 averaged are equal shares: the cross-entropy is log 2 whatever people said.
    assert task["metrics"]["cross_entropy"]["value"] == pytest.approx(math.log(2))
    assert task["order"]["gap"] == pytest.approx(0.4)
    assert task["answer_mass"]["mean"] is None
    assert card["run"]["self_check"]["passed"] is True
    assert card["run"]["self_check"]["changed_texts"] == 0
    assert not any("could not be read" in reason for reason in card["not_comparable"])
    assert not any("prompts and orders" in reason for reason in card["not_comparable"])
    timing = json.loads((written["writer"] / "environment.json").read_text(encoding="utf-8"))["timing"]
    assert timing["tokens_written"] == sum(row["text_tokens"] for row in rows)


def test_answers_that_cannot_be_read_are_counted_and_never_guessed(written: dict[str, Path], command: Command) -> None:
    rows, card = rows_of(written["nonsense"]), card_of(written["nonsense"])
    assert all(row["log_scores"] is None and isinstance(row["text"], str) for row in rows)
    task = card["tasks"]["dilemmas"]
    assert task["items"] == 6
    assert (task["failures"]["rows"], task["failures"]["items"], task["failures"]["rate"]) == (12, 6, 1.0)
    assert len(task["failures"]["examples"]) == 5
    for example, row in zip(task["failures"]["examples"], rows, strict=False):
        assert (example["item_id"], example["order"]) == (row["item_id"], row["order"])
        assert row["text"].startswith(example["text"])
        assert "was expected" in example["reason"]
    assert all(metric["value"] is None and metric["reason"] for metric in task["metrics"].values())
    assert task["baselines"]["uniform"]["cross_entropy"]["value"] == pytest.approx(math.log(2))
    assert "dilemmas: 12 of 12 written answers could not be read" in card["not_comparable"]
    shown = command("evaluate", "--help").stdout
    assert "--elicitation" in shown


@pytest.mark.parametrize("kind", ["writer", "nonsense"])
def test_cards_of_the_track_verify_and_make_a_page(kind: str, written: dict[str, Path], command: Command) -> None:
    bundle = written[kind] / "scorecard.sigstore.json"
    assert "recompute" in command("verify", bundle, "--recompute").stdout
    page = command.home / f"{kind}.html"
    command("report", bundle, "--output", page)
    found = page.read_text(encoding="utf-8")
    assert "dilemmas-written" in found
    assert "written answers" in found


def test_the_two_tracks_are_not_compared(written: dict[str, Path], command: Command) -> None:
    done = command("compare", written["writer"], written["logprob"], code=4)
    assert "elicitation of dilemmas differs: verbalized against logprob" in " ".join(done.stderr.split())


def whole_rows(written: dict[str, Path], command: Command, tmp_path: Path) -> list[dict[str, Any]]:
    """A text for every item of the sample's Dilemmas in both orders."""
    asked = [
        json.loads(line)
        for line in command(
            "prompts", "--suite", "sample", "--task", "dilemmas", "--elicitation", "verbalized"
        ).stdout.splitlines()
    ]
    made = []
    for number, prompt in enumerate(asked):
        assert prompt["written"]["form"] == "A: ?%, B: ?%"
        first = 20 + number % 7 * 10
        shares = {"A": first, "B": 100 - first}
        made.append(
            {
                **{name: prompt[name] for name in ("task", "split", "item_id", "prompt_id", "order")},
                "text": f"A: {first}%, B: {100 - first}%",
                "log_scores": [
                    math.log(shares[prompt["written"]["names"][label]] / 100) for label in ("first", "second")
                ],
            }
        )
    return made


def test_unread_answers_leave_their_items_out_here_and_in_a_comparison(
    written: dict[str, Path], command: Command, tmp_path: Path
) -> None:
    rows = whole_rows(written, command, tmp_path)
    options = ("--suite", "sample", "--task", "dilemmas", "--quiet")

    def score(changed: list[dict[str, Any]], name: str) -> Path:
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in changed), encoding="utf-8")
        return Path(command("score", file, *options, "--output-dir", tmp_path).stdout.splitlines()[-1])

    items = [row["item_id"] for row in rows if row["split"] == "test" and row["order"] == 0]
    gone = {(items[3], 0), (items[5], 0), (items[5], 1)}
    broken = [
        {**row, "text": "I would rather not say.", "log_scores": None}
        if (row["item_id"], row["order"]) in gone
        else row
        for row in rows
    ]
    whole, part = score(rows, "whole"), score(broken, "part")
    task = card_of(part)["tasks"]["dilemmas"]
    assert (task["items"], task["failures"]["rows"], task["failures"]["items"]) == (80, 3, 2)
    assert task["failures"]["examples"][0]["reason"].startswith("'A: ' was expected at 'I would rather")
    # The same numbers as if those items did not exist: compared on the items that both could be read on.
    both = json.loads(command("compare", whole, part, "--format", "json").stdout)
    assert both["tasks"]["dilemmas"]["items"] == 78
    assert all(one["difference"] in (0, None) for one in both["tasks"]["dilemmas"]["metrics"].values())
    assert any("A fails on 0, B on 2" in note for note in both["notes"])
    assert "3 of 160 written answers (1.9%) could not be read" in " ".join(
        command("score", tmp_path / "part.jsonl", *options[:-1], "--output-dir", tmp_path).stdout.split()
    )
    command("verify", part / "scorecard.sigstore.json", "--recompute")


def test_scores_that_are_not_those_of_the_text_are_refused(
    written: dict[str, Path], command: Command, tmp_path: Path
) -> None:
    rows = rows_of(written["writer"])
    rows[3]["log_scores"] = [-0.1, -2.0]
    rows[5]["log_scores"] = None
    rows[7]["text"] = "A: 40%, B: 60%"
    del rows[9]["text"]
    rows[11]["prompt_id"] = "dilemmas-letters"
    done = scored(command, rows, tmp_path, code=1)
    assert done.stderr.count("PREDICTION_TEXT") == 5
    for line in (4, 6, 8, 10, 12):
        assert f"rows.jsonl:{line}" in done.stderr.replace("\n", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--elicitation", "verbalized", "--prompt", "dilemmas-letters"), "need runs of their own"),
        (("--prompt", "dilemmas-written", "--prompt", "dilemmas-letters"), "need runs of their own"),
    ],
)
def test_one_run_is_of_one_track(options: tuple[str, ...], said: str, submissions: Any, command: Command) -> None:
    done = command("evaluate", submissions.base, *SAMPLE, *options, code=1)
    assert said in " ".join(done.stderr.split())
