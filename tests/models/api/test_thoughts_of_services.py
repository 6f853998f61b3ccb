"""Thoughts before a service's answers, kept on request: each exactly once, whatever stops the run, and none shown."""

import hashlib
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.forked import Forked
from support.proxy import Handler, Proxy, proxied

from runner.core.types import Prompt, ServiceRef, Thinking
from runner.evaluation.thoughts import NOT_KEPT
from runner.models.api import Access
from runner.models.api.client import Client, RetryPolicy
from runner.models.api.service import Service
from runner.tasks.thoughts import MAX_CHARACTERS, with_thoughts

QUICK = RetryPolicy(connect=2.0, answer=5.0, between=0.001, max_retry_after=3.0)
KEY = "very-secret-0123456789"
CHOSEN = ("--suite", "sample", "--task", "dilemmas", "--elicitation", "sampled", "--limit", 5)
SUBMISSION = """\
schema_version: "1"
name: a-service
model:
  backend: api
  api: chat
  model: m
  base_url: {url}
  thinking: {{open: <think>, close: </think>, max_thought_tokens: 100}}
  price: {{currency: EUR, input: 1000, output: 10000}}
"""


@pytest.fixture
def script() -> Iterator[Proxy]:
    with proxied("http://127.0.0.1:9/v1") as running:
        yield running


@dataclass
class Thinks:
    """A service that decides each question by its text and numbers the thoughts that it gives to it, one at a time."""

    apart: bool = True
    seconds: float = 0.0
    given: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, handler: Handler) -> None:
        question = json.loads(handler.body)["messages"][-1]["content"]
        time.sleep(self.seconds)
        name = hashlib.sha256(question.encode()).hexdigest()
        with self.lock:
            number = self.given[name]
            self.given[name] += 1
        thought = f"\x1b[2J\u202e{number} of {name}, told by {KEY}"
        answer = "AB"[int(name, 16) % 2]
        if self.apart:
            message = {"content": answer, "reasoning_content": thought}
        else:
            message = {"content": f"<think>{thought}</think>\n{answer}"}
        usage = {"prompt_tokens": 20, "completion_tokens": 16}
        handler.answer(200, json.dumps({"model": "m", "choices": [{"message": message}], "usage": usage}).encode())


# --- what the backend hands over ------------------------------------------------------------------------------------


def asked(samples: int) -> Prompt:
    from test_sampled_services import prompts

    return with_thoughts(prompts(samples)[0])


@pytest.mark.parametrize(
    ("message", "label", "thought"),
    [
        ({"content": "A", "reasoning_content": "hm"}, "first", "hm"),
        ({"content": "A", "reasoning": "hm"}, "first", "hm"),
        ({"content": "<think>hm</think>B"}, "second", "hm"),
        ({"content": "hm</think>B"}, "second", "hm"),
        ({"content": "<think>hm</think>B", "reasoning_content": "before"}, "second", "before\nhm"),
        ({"content": "<think>never ended"}, None, "never ended"),
        ({"content": "", "reasoning_content": "hm"}, None, "hm"),
        ({"content": None, "reasoning_content": "hm"}, None, "hm"),
        ({"content": "A"}, "first", ""),
        ({"content": "A", "reasoning_content": None}, "first", ""),
        ({"content": "A", "reasoning_content": {"text": "hm"}}, "first", ""),
        ({"content": "I cannot say.", "reasoning_content": "hm"}, None, "hm"),
    ],
)
def test_a_thought_is_what_stands_apart_or_before_the_closing_mark(
    script: Proxy, message: dict[str, Any], label: str | None, thought: str
) -> None:
    script.always = lambda handler: handler.answer(200, json.dumps({"choices": [{"message": message}]}).encode())
    ref = ServiceRef(script.url, "m", "chat", 20, False, None, thinking=Thinking("<think>", "</think>", 100))
    with closing(Service(ref, Client(ref, None, 2, QUICK), Access(attempts=2))) as service:
        [row] = list(service.predict([asked(1)]))
    assert row.thoughts is not None
    assert [(one.label, one.text, one.characters) for one in row.thoughts] == [(label, thought, len(thought))]


def test_a_long_thought_is_cut(script: Proxy) -> None:
    message = {"content": "A", "reasoning_content": "x" * (MAX_CHARACTERS + 5)}
    script.always = lambda handler: handler.answer(200, json.dumps({"choices": [{"message": message}]}).encode())
    ref = ServiceRef(script.url, "m", "chat", 20, False, None)
    with closing(Service(ref, Client(ref, None, 2, QUICK), Access(attempts=2))) as service:
        [row] = list(service.predict([asked(1)]))
    assert row.thoughts is not None
    [thought] = row.thoughts
    assert (len(thought.text), thought.characters) == (MAX_CHARACTERS, MAX_CHARACTERS + 5)


# --- by the command -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    run = Forked(tmp_path_factory.mktemp("home"))
    run("keys", "new")
    return run


def arguments_for(script: Proxy, folder: Path) -> list[object]:
    path = folder / "submission.yaml"
    path.write_text(SUBMISSION.format(url=script.url), encoding="utf-8")
    return ["evaluate", path, *CHOSEN, "--api-base-url", script.url, "--api-concurrency", 2, "--quiet"]


def thoughts_in(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "thoughts.jsonl").read_text(encoding="utf-8").splitlines()]


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("task", "split", "item_id", "prompt_id", "order"))


def check_each_once(run: Path) -> list[dict[str, Any]]:
    """The lines of thoughts.jsonl, which are the draws of the predictions in their order, with the labels counted."""
    lines = thoughts_in(run)
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    draws = [(key_of(row), draw) for row in rows for draw in range(sum(row["samples"].values()) + row["failures"])]
    assert [(key_of(line), line["draw"]) for line in lines] == draws
    for row in rows:
        labels = Counter(line["label"] for line in lines if key_of(line) == key_of(row) and line["thought"] is not None)
        if all(line["thought"] is not None for line in lines if key_of(line) == key_of(row)):
            assert labels == Counter({**row["samples"], None: row["failures"]}) - Counter()
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("apart", [True, False])
def test_the_option_changes_one_file_and_nothing_else(
    command: Command, script: Proxy, tmp_path: Path, apart: bool
) -> None:
    arguments = arguments_for(script, tmp_path)
    script.always = Thinks(apart)
    key = {"MY_KEY": KEY}
    arguments += ["--api-key-env", "MY_KEY"]
    without = Path(command(*arguments, "-o", tmp_path / "without", env=key).stdout.splitlines()[-1])
    script.always = Thinks(apart)
    done = command(*arguments[:-1], "MY_KEY", "--keep-thoughts", "-o", tmp_path / "with", env=key)
    run = Path(done.stdout.splitlines()[-1])
    assert {path.name for path in run.iterdir()} - {path.name for path in without.iterdir()} == {"thoughts.jsonl"}
    assert (run / "predictions.jsonl").read_bytes() == (without / "predictions.jsonl").read_bytes()
    one, other = (json.loads((folder / "scorecard.json").read_text(encoding="utf-8")) for folder in (run, without))
    for card in (one, other):
        card["run"] = {
            name: card["run"][name] for name in card["run"] if name not in ("id", "started_at", "finished_at")
        }
        del card["environment"]  # the seconds that it took
    assert one == other
    lines = check_each_once(run)
    assert len(lines) == 160
    assert len({line["thought"] for line in lines}) == 160
    data = (run / "thoughts.jsonl").read_bytes()
    assert KEY.encode() not in data
    assert all(line.decode("utf-8").isprintable() for line in data.splitlines())
    assert "\x1b[2J" in lines[0]["thought"]
    assert "\x1b" not in done.stdout + done.stderr
    command("verify", run, "--recompute")


@pytest.mark.slow
def test_thoughts_before_a_stop_are_kept_and_what_was_not_asked_for_is_said(
    command: Command, script: Proxy, tmp_path: Path
) -> None:
    """The run is stopped by its cost, once with and once without the option, and goes on the other way."""
    arguments = arguments_for(script, tmp_path)
    for first, second in ((["--keep-thoughts"], []), ([], ["--keep-thoughts"])):
        service = script.always = Thinks()
        output = tmp_path / ("with-first" if first else "without-first")
        command(*arguments, *first, "-o", output, "--api-max-cost", 8, code=5)
        before = sum(service.given.values())
        assert 0 < before < 160
        run = Path(command(*arguments, *second, "-o", output, "--api-max-cost", 1000).stdout.splitlines()[-1])
        assert sum(service.given.values()) == 160
        lines = check_each_once(run)
        kept = [line for line in lines if line["thought"] is not None]
        assert len(kept) == (before if first else 160 - before)
        assert {line.get("reason") for line in lines if line["thought"] is None} == {NOT_KEPT}
        assert not any("reason" in line for line in kept)


def test_the_option_is_for_the_track_in_which_models_think(command: Command, script: Proxy, tmp_path: Path) -> None:
    arguments = arguments_for(script, tmp_path)
    at = arguments.index("sampled")
    done = command(*arguments[: at - 1], *arguments[at + 1 :], "--keep-thoughts", "-o", tmp_path, code=2)
    assert "--keep-thoughts is for --elicitation sampled" in " ".join(done.stderr.split())
    assert script.asked == []


@pytest.mark.slow
def test_killed_and_resumed_each_thought_is_there_once(command: Forked, script: Proxy, tmp_path: Path) -> None:
    """Killed twice: the file has a line for each answer that is counted, and no thought of any twice."""
    arguments = [*arguments_for(script, tmp_path), "--keep-thoughts", "-o", tmp_path / "killed"]
    service = script.always = Thinks(seconds=0.01)
    for enough in (30, 90):
        with command.start_fork(arguments) as running:
            end = time.monotonic() + 60
            while sum(service.given.values()) < enough and time.monotonic() < end:
                time.sleep(0.005)
            running.send_signal(signal.SIGKILL)
            running.communicate(timeout=30)
        assert enough <= sum(service.given.values()) < 160
    run = Path(command(*arguments).stdout.splitlines()[-1])
    lines = check_each_once(run)
    assert len(lines) == 160
    assert len({line["thought"] for line in lines}) == 160
    assert not (run / "journal.jsonl").exists()
    command("verify", run, "--recompute")
