"""Each hostile submission that only shows when it is run is refused with its code, in words, and leaves no score."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support import hostile_submissions as hostile
from support import tiny_models
from support.forked_worker import forked_workers  # noqa: F401

from runner.cli import main
from runner.core.errors import BackendError, InvalidInput
from runner.models.worker import Limits, client, process, server
from runner.scorecard import filenames

pytestmark = pytest.mark.slow

QUICK = Limits(plan_seconds=4, plan_seconds_per_prompt=0, plan_bytes=1 << 30, call_seconds=60, memory_bytes=20 << 30)
DOCUMENT = """\
schema_version: "1"
name: hostile
model:
  backend: causal
  path: model
  format: {form}
  dtype: float32
{adapter}"""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and an adapter with no fault."""
    top = tmp_path_factory.mktemp("sound")
    tokenizer = tiny_models.byte_tokenizer()
    model = tiny_models.model("llama", len(tokenizer), max_position_embeddings=2048)
    tiny_models.save(top / "model", model, tokenizer)
    tiny_models.save(top / "adapter", tiny_models.adapter(model))
    return top


@pytest.fixture
def submitted(sound: Path, tmp_path: Path) -> Callable[[Any], Path]:
    """The submission file of an attack, in a copy of the sound folders."""

    def make(attack: Any) -> Path:
        shutil.copytree(sound, tmp_path / "hostile")
        adapter = "adapter:\n  path: adapter\n" if attack.kind == "lora" else ""
        attack.make(tmp_path / "hostile" / ("adapter" if adapter else "model"))
        form = "chat" if attack.kind == "chat" else "plain"
        path = tmp_path / "hostile" / "submission.yaml"
        path.write_text(DOCUMENT.format(form=form, adapter=adapter), encoding="utf-8")
        return path

    return make


@pytest.fixture
def evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`benchmark evaluate` on two items of the sample; it may end in words only."""
    monkeypatch.setattr(client, "LIMITS", QUICK)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def run(submission: Path, *options: str) -> Result:
        arguments = ["evaluate", str(submission), "--suite", "sample", "--task", "dilemmas", "--limit", "2"]
        done = CliRunner().invoke(main, [*arguments, "--device", "cpu", "-o", str(tmp_path / "results"), *options])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        assert "Traceback" not in done.output
        return done

    return run


# What ends at a limit only, whichever it is: to reach a lower one is cheaper.
ENDLESS = ("tok/slow-regex", "tok/nested-range")
# What a run last asks of the model's process, and the stage that this is.
STAGES = {"load": "load", "plan": "plan", "predict": "predict", "adapter off": "check"}


def asked_of_the_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the process is asked to do, as far as it is a stage."""
    requests: list[str] = []
    send = process.Process.send

    def watched(self: process.Process, message: Any, seconds: float, doing: str) -> None:
        done = message.get("do")
        if done in STAGES and "adapter off" not in requests:
            requests.append(done)
        send(self, message, seconds, doing)

    monkeypatch.setattr(process.Process, "send", watched)
    return requests


def scores(results: Path) -> list[Path]:
    return [path for name in (filenames.CARD, filenames.BUNDLE, filenames.PREDICTIONS) for path in results.rglob(name)]


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize("attack", hostile.DYNAMIC, ids=lambda attack: attack.name)
def test_what_only_shows_in_a_run_is_refused(
    attack: Any,
    submitted: Callable[[Any], Path],
    evaluate: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if attack.name in ENDLESS:
        monkeypatch.setattr(client, "LIMITS", replace(QUICK, plan_seconds=1))
        monkeypatch.setattr(server, "_GRACE_SECONDS", 1)
    requests = asked_of_the_process(monkeypatch)
    done = evaluate(submitted(attack))
    assert STAGES[requests[-1]] == attack.stage, requests
    assert [code for code in attack.codes if code in done.output] == list(attack.codes), done.output
    of_the_model = attack.codes[0] in ("WEIGHTS_NON_FINITE", "LOGITS_NON_FINITE", "ADAPTER_NO_EFFECT")
    assert done.exit_code == (BackendError if of_the_model else InvalidInput).exit_code, done.output
    assert scores(tmp_path / "results") == []


@pytest.mark.parametrize("attack", hostile.MISBEHAVIOUR, ids=lambda attack: attack.name)
def test_a_process_that_misbehaves_ends_the_run(
    attack: Any,
    submitted: Callable[[Any], Path],
    evaluate: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "ENTRY", f"support.misbehaving_worker:{attack.name.partition('/')[2]}")
    monkeypatch.setattr(
        client, "LIMITS", Limits(call_seconds=3 if attack.name == "worker/sleep" else 60, memory_bytes=1 << 30)
    )
    submission = submitted(attack)
    done = evaluate(submission)
    assert attack.codes[0] in done.output
    assert done.exit_code == BackendError.exit_code
    assert scores(tmp_path / "results") == []
    # Not tried again in silence: the journal holds no answer, and asking again is the user's to do.
    (journal,) = (tmp_path / "results").rglob("journal.jsonl")
    assert len(journal.read_bytes().splitlines()) == 1
    monkeypatch.setattr(process, "ENTRY", "support.misbehaving_worker:sound")
    assert evaluate(submission).exit_code == 0
    assert list((tmp_path / "results").rglob("journal.jsonl")) == []


@pytest.mark.usefixtures("forked_workers")
def test_generation_settings_do_not_change_a_score(
    submitted: Callable[[Any], Path], evaluate: Callable[..., Result], tmp_path: Path
) -> None:
    submission = submitted(hostile.MISBEHAVIOUR[0])  # nothing is done to its files
    rows = []
    for _ in range(2):
        done = evaluate(submission, "--quiet")
        assert done.exit_code == 0, done.output
        rows.append((Path(done.stdout.splitlines()[-1]) / filenames.PREDICTIONS).read_bytes())
        hostile.write_json(
            submission.parent / "model" / "generation_config.json",
            {"suppress_tokens": list(range(400)), "forced_bos_token_id": 5, "temperature": 9.0, "do_sample": True},
        )
    assert rows[0] == rows[1]


def test_the_card_names_the_protections(
    submitted: Callable[[Any], Path], evaluate: Callable[..., Result], tmp_path: Path
) -> None:
    done = evaluate(submitted(hostile.MISBEHAVIOUR[0]), "--quiet")
    card = json.loads((Path(done.stdout.splitlines()[-1]) / filenames.CARD).read_text(encoding="utf-8"))
    assert card["run"]["isolation"]["environment"] == "active"
    assert set(card["run"]["isolation"]) >= {"files", "network", "processes", "memory"}
