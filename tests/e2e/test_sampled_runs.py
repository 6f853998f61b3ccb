"""The third track through the command: drawn answers are counted, the same after a kill, in a track of its own."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from support.forked import Forked

pytestmark = pytest.mark.slow

TRACK = ("--suite", "sample", "--task", "dilemmas", "--limit", 12, "--elicitation", "sampled", "--batch-tokens", 400)


def card_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "scorecard.json").read_text(encoding="utf-8"))
    return found


def test_a_killed_run_ends_in_the_same_bytes_and_its_card_stands_apart(
    command: Forked, root: Path, tmp_path: Path
) -> None:
    model = root / "submissions" / "tiny-llama" / "submission.yaml"
    arguments = ["evaluate", model, *TRACK, "--quiet"]
    whole = Path(command(*arguments, "-o", tmp_path / "whole").stdout.splitlines()[-1])
    with command.start_fork([*arguments, "-o", tmp_path / "killed"]) as process:
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end:
            journals = list((tmp_path / "killed").glob("tiny-llama/*/journal.jsonl"))
            if journals and len(journals[0].read_bytes().splitlines()) > 4:
                break
            time.sleep(0.002)
        process.kill()
        process.communicate()
    run = Path(command(*arguments, "-o", tmp_path / "killed").stdout.splitlines()[-1])
    assert (run / "predictions.jsonl").read_bytes() == (whole / "predictions.jsonl").read_bytes()
    command("verify", run, "--recompute")
    task = card_of(run)["tasks"]["dilemmas"]
    assert (task["elicitation"], task["sampling"]["samples"], task["sampling"]["prior"]) == ("sampled", 16, 0.5)
    assert task["sampling"]["standard_error"] > 0
    assert task["failures"]["asked"] == 12 * 16
    assert card_of(run)["run"]["self_check"]["changed_texts"] == 0
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(sum(row["samples"].values()) + row["failures"] == 8 for row in rows)
    assert all(list(row["samples"]) == ["first", "second"] for row in rows)
    # Altered counts are found, and so are scores that are not those of the counts.
    rows[0]["samples"] = {"first": 0, "second": 8 - rows[0]["failures"]}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = ("--suite", "sample", "--task", "dilemmas", "--limit", 12, "-o", tmp_path)
    assert "PREDICTION_TEXT" in command("score", tmp_path / "rows.jsonl", *options, code=1).stderr
    # The tracks never mix.
    logprob = [*TRACK[:6], "--elicitation", "logprob", "-q", "-o", tmp_path / "logprob"]
    other = Path(command("evaluate", model, *logprob).stdout.splitlines()[-1])
    assert "elicitation of dilemmas differs" in " ".join(command("compare", run, other, code=4).stderr.split())
    command("report", run, "--output", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Answers were drawn and counted" in page
