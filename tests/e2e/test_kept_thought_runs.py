"""Thoughts of models on this machine: each once after a kill, and merged from parts of which one kept none."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.forked import Forked

from runner.evaluation.thoughts import NOT_KEPT

pytestmark = pytest.mark.slow

TRACK = ("--suite", "sample", "--task", "dilemmas", "--limit", 12, "--elicitation", "sampled", "--batch-tokens", 800)
# The template begins a thought, and a letter that the toy writes soon ends it.
TEMPLATE = (
    "{% for turn in messages %}{{ turn['content'] }}{% endfor %}{% if add_generation_prompt %}\n<think>{% endif %}"
)
SUBMISSION = """\
schema_version: "1"
name: tiny-thinks
model:
  backend: causal
  path: model
  format: chat
  dtype: float32
  thinking: {open: <think>, close: e, max_thought_tokens: 20}
"""


@pytest.fixture(scope="module")
def submission(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thinks")
    shutil.copytree(root / "submissions" / "tiny-llama" / "model", folder / "model")
    config = json.loads((folder / "model" / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["chat_template"] = TEMPLATE
    (folder / "model" / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "submission.yaml").write_text(SUBMISSION, encoding="utf-8")
    return folder / "submission.yaml"


@pytest.fixture(scope="module")
def whole(command: Command, submission: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    done = command("evaluate", submission, *TRACK, "--keep-thoughts", "-q", "-o", tmp_path_factory.mktemp("whole"))
    return Path(done.stdout.splitlines()[-1])


def thoughts_in(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "thoughts.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_killed_run_ends_in_the_same_thoughts(command: Forked, submission: Path, whole: Path, tmp_path: Path) -> None:
    lines = thoughts_in(whole)
    assert [line["draw"] for line in lines] == list(range(8)) * 24 * 2  # both orders; half of the items are fitted on
    assert all(line["characters"] == len(line["thought"]) and "e" not in line["thought"] for line in lines)
    assert sum(bool(line["thought"]) for line in lines) > len(lines) / 2
    arguments = ["evaluate", submission, *TRACK, "--keep-thoughts", "--quiet", "-o", tmp_path]
    with command.start_fork(arguments) as process:
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end:
            journals = list(tmp_path.glob("tiny-thinks/*/journal.jsonl"))
            if journals and len(journals[0].read_bytes().splitlines()) > 4:
                break
            time.sleep(0.002)
        process.kill()
        process.communicate()
    run = Path(command(*arguments).stdout.splitlines()[-1])
    for name in ("predictions.jsonl", "thoughts.jsonl"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def test_parts_are_merged_with_their_thoughts(command: Command, submission: Path, whole: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", submission, *TRACK, "-q", "-o", tmp_path / "parts"]
    parts = [
        Path(command(*arguments, "--shard", f"{part}/2", *(["--keep-thoughts"] if part else [])).stdout.split()[-1])
        for part in range(2)
    ]
    merged = Path(command("merge", *parts, "-q", "-o", tmp_path / "merged").stdout.splitlines()[-1])
    assert (merged / "predictions.jsonl").read_bytes() == (whole / "predictions.jsonl").read_bytes()
    lines = thoughts_in(merged)
    kept = [line for line in lines if line["thought"] is not None]
    assert {line["reason"] for line in lines if line["thought"] is None} == {NOT_KEPT}
    assert 0 < len(kept) < len(lines)
    expected = thoughts_in(whole)
    assert len(lines) == len(expected)
    assert [line for line, one in zip(expected, lines, strict=True) if one["thought"] is not None] == kept
    (parts[1] / "thoughts.jsonl").write_bytes(b"{}\n")
    refused = command("merge", *parts, "-q", "-o", tmp_path / "again", code=1)
    assert "SHARD_DAMAGED" in refused.stderr
    assert not (tmp_path / "again").exists()
    (parts[1] / "thoughts.jsonl").unlink()
    merged = Path(command("merge", *parts, "-q", "-o", tmp_path / "again").stdout.splitlines()[-1])
    assert not (merged / "thoughts.jsonl").exists()
