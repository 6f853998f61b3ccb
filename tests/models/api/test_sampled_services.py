"""Answers drawn from services, by a scripted server: n at once where that is offered, and nothing paid for twice."""

import hashlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from support import tiny_models
from support.command import Command
from support.forked import Forked
from support.proxy import Handler, Proxy, proxied, status

from runner.core.errors import BackendError
from runner.core.types import Prediction, Prompt, SamplingFormat, ServiceRef, Thinking
from runner.models.api import Access
from runner.models.api.client import Client, RetryPolicy
from runner.models.api.service import Service
from runner.tasks.sampled import united

QUICK = RetryPolicy(connect=2.0, answer=5.0, between=0.001, max_retry_after=3.0)
FORM = SamplingFormat((("A", "A."), ("B", "B.")), 8, 1.0, 1.0, 8)
THINKS = Thinking("<think>", "</think>", 500)


def prompts(samples: int = 8) -> list[Prompt]:
    form = replace(FORM, samples=samples)
    return [replace(one, options=(), labels=("first", "second"), sampling=form) for one in tiny_models.prompts()]


@pytest.fixture
def script() -> Iterator[Proxy]:
    with proxied("http://127.0.0.1:9/v1") as running:
        yield running


@dataclass
class Answering:
    """A service that gives these texts in turn to every question, at most `most` to a request; it counts them."""

    texts: list[str]
    most: int = 1024
    reasoning: str | None = None
    given: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, handler: Handler) -> None:
        sent = json.loads(handler.body)
        wanted = min(sent.get("n", 1), self.most)
        with self.lock:
            texts = [self.texts[(self.given + number) % len(self.texts)] for number in range(wanted)]
            self.given += wanted
        message = {} if self.reasoning is None else {"reasoning_content": self.reasoning}
        if "messages" in sent:
            choices: list[Any] = [{"message": {"content": text, **message}, "finish_reason": "stop"} for text in texts]
        else:
            choices = [{"text": text, "finish_reason": "stop"} for text in texts]
        usage = {"prompt_tokens": 20, "completion_tokens": 2 * wanted}
        handler.answer(200, json.dumps({"model": "m", "choices": choices, "usage": usage}).encode())


def opened(script: Proxy, api: str = "chat", **more: Any) -> Service:
    access = Access(attempts=2, concurrency=more.pop("concurrency", 4))
    ref = ServiceRef(script.url, "m", api, 20, False, None, **more)
    return Service(ref, Client(ref, None, 2, QUICK), access)


def drawn(script: Proxy, asked: list[Prompt], api: str = "chat", **more: Any) -> list[Prediction]:
    with closing(opened(script, api, **more)) as service:
        by_key: dict[Any, list[Prediction]] = {}
        for row in service.predict(asked):
            by_key.setdefault(row.key, []).append(row)
    return [united(by_key[prompt.key]) for prompt in asked]


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_n_answers_are_one_request_where_that_is_offered(script: Proxy, api: str) -> None:
    script.always = Answering(["A", "B", "A.", "maybe"])
    [row] = drawn(script, prompts()[:1], api)
    assert (row.samples, row.failures, row.failed) == ({"first": 4, "second": 2}, 2, ("maybe", "maybe"))
    assert row.usage == (20, 16)
    [sent] = script.asked
    assert (sent["n"], sent["temperature"], sent["top_p"], sent["max_tokens"]) == (8, 1.0, 1.0, 8)
    assert "logprobs" not in sent
    assert sent.get("stop") == (["\n"] if api == "completions" else None)


@pytest.mark.parametrize("most", [1, 3])
def test_fewer_answers_than_asked_for_are_asked_for_again(script: Proxy, most: int) -> None:
    service = script.always = Answering(["A", "B"], most)
    rows = drawn(script, prompts()[:2], concurrency=1)
    assert [sum((row.samples or {}).values()) for row in rows] == [8, 8]
    assert service.given == 16
    assert [sent["n"] for sent in script.asked] == [8, *[1] * (16 - most)]


@pytest.mark.parametrize(
    "words", ["Unsupported parameter: 'n' is not supported.", "Field 'n': Value must be between 1 <= value <= 2"]
)
def test_where_n_is_refused_answers_are_asked_for_one_by_one(script: Proxy, words: str) -> None:
    service = Answering(["A", "B"], 1)

    def refusing(handler: Handler) -> None:
        if "n" in json.loads(handler.body):
            handler.answer(400, json.dumps({"error": {"message": words}}).encode())
        else:
            service(handler)

    script.always = refusing
    rows = drawn(script, prompts()[:2], concurrency=1)
    assert [sum((row.samples or {}).values()) for row in rows] == [8, 8]
    assert len(script.asked) == 16 + 1


@pytest.mark.parametrize(
    ("texts", "reasoning", "thinking", "samples", "failures"),
    [
        (["<think>B?</think>\nA"], None, None, {"first": 8, "second": 0}, 0),
        (["[T]B[/T]A"], None, Thinking("[T]", "[/T]", 9), {"first": 8, "second": 0}, 0),
        (["<think>A"], None, THINKS, {"first": 0, "second": 0}, 8),
        (["Both are bad.\n\nB."], "A or B, hm", THINKS, {"first": 0, "second": 8}, 0),
        ([""], "A or B, hm", THINKS, {"first": 0, "second": 0}, 8),
        (["A", "I cannot say."], None, None, {"first": 4, "second": 0}, 4),
    ],
)
def test_thoughts_are_dropped_and_what_is_no_answer_is_a_failure(
    script: Proxy,
    texts: list[str],
    reasoning: str | None,
    thinking: Thinking | None,
    samples: dict[str, int],
    failures: int,
) -> None:
    script.always = Answering(texts, reasoning=reasoning)
    [row] = drawn(script, prompts()[:1], thinking=thinking)
    assert (row.samples, row.failures) == (samples, failures)
    assert (row.log_scores is None) == (failures > sum(samples.values()))
    assert script.asked[0]["max_tokens"] == 8 + (thinking.max_thought_tokens if thinking else 0)
    assert "think" not in json.dumps(row.failed or "") or failures == 8


def test_a_line_ends_an_answer_of_completions(script: Proxy) -> None:
    script.always = Answering([" A\nB"])
    [row] = drawn(script, prompts()[:1], "completions")
    assert row.samples == {"first": 8, "second": 0}


def test_the_system_prompt_is_a_turn_of_its_own(script: Proxy) -> None:
    script.always = Answering(["A"])
    drawn(script, prompts()[:1], system_prompt="Be careful.")
    assert [turn["role"] for turn in script.asked[0]["messages"]] == ["system", "user"]


def test_what_was_drawn_before_a_failure_is_given(script: Proxy) -> None:
    service = Answering(["A"], 1)
    script.faults = [service, service, service]
    script.always = status(400, "no more")
    with closing(opened(script, concurrency=1)) as asked:
        answers = asked.predict(prompts()[:1])
        rows: list[Prediction] = []
        with pytest.raises(BackendError, match="no more"):
            rows.extend(answers)
    # `extend` takes what came before the failure.
    assert [sum((row.samples or {}).values()) for row in rows] == [1, 1, 1]


# --- by the command -------------------------------------------------------------------------------------------------

SUBMISSION = """\
schema_version: "1"
name: a-service
model:
  backend: api
  api: chat
  model: m
  base_url: {url}
"""
CHOSEN = ("--suite", "sample", "--task", "dilemmas", "--elicitation", "sampled", "--limit", 5)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    run = Forked(tmp_path_factory.mktemp("home"))
    run("keys", "new")
    return run


PRICED = SUBMISSION + "  price: {{currency: EUR, input: 1000, output: 10000}}\n"


@pytest.mark.slow
def test_a_dry_run_says_what_a_run_would_take_and_asks_nobody(
    command: Command, script: Proxy, tmp_path: Path, root: Path
) -> None:
    path = tmp_path / "submission.yaml"
    path.write_text(PRICED.format(url=script.url), encoding="utf-8")
    done = command("evaluate", path, *CHOSEN, "--dry-run", "--quiet", "-o", tmp_path / "out")
    told = json.loads(done.stdout)
    # Five items to score and five to fit on, in both orders; eight answers of eight tokens at most to each.
    assert (told["prompts"], told["answers"]) == (20, 160)
    assert (told["requests"]["value"], told["requests"]["at_most"]) == (20, 160)
    assert told["output_tokens"]["at_most"] == 160 * 8
    assert "rule of thumb" in told["input_tokens"]["source"]
    assert (told["seconds"]["value"], told["memory_bytes"]["value"]) == (None, None)
    read = told["input_tokens"]["value"]
    assert told["cost"]["value"] == pytest.approx((read * 1000 + 1280 * 10000) / 1e6)
    assert told["cost"]["at_most"] == pytest.approx((8 * read * 1000 + 1280 * 10000) / 1e6)
    assert (script.asked, (tmp_path / "out").exists()) == ([], False)
    lines = command("evaluate", path, *CHOSEN, "--dry-run", "-o", tmp_path / "out").stdout
    assert "160 answers" in lines
    assert "EUR" in lines
    model = root / "submissions" / "tiny-llama" / "submission.yaml"
    local = json.loads(command("evaluate", model, *CHOSEN, "--dry-run", "-q", "-o", tmp_path / "out").stdout)
    assert local["input_tokens"]["source"] == "counted by the submission's own tokenizer"
    assert local["cost"]["value"] is None
    assert local["memory_bytes"]["value"] > 0
    source = local["memory_bytes"]["source"]
    # Keys and values: two of 2 layers, 2 heads, 16 numbers, 4 bytes; logits: 2,048 numbers of 4 bytes.
    assert "the weights alone, in float32; on top come 0.5 KiB of keys and values for each token of a batch" in source
    assert "8.0 KiB of logits for each place" in source


@pytest.mark.slow
def test_a_dry_run_tells_the_memory_that_a_run_before_took(command: Command, tmp_path: Path, root: Path) -> None:
    """That of the process which held the model, not of the one that started it: torch alone has more than 200 MiB."""
    model = root / "submissions" / "tiny-llama" / "submission.yaml"
    chosen = ["evaluate", model, "--suite", "sample", "--task", "dilemmas", "--limit", 1, "-o", tmp_path / "out", "-q"]
    command(*chosen)
    memory = json.loads(command(*chosen, "--dry-run").stdout)["memory_bytes"]
    assert memory["value"] > 200 << 20
    assert memory["source"].startswith("most in this machine's memory in the run ")


@pytest.mark.slow
def test_a_run_stops_at_its_cost_and_goes_on_with_more(command: Command, script: Proxy, tmp_path: Path) -> None:
    service = script.always = Answering(["A", "B"])
    path = tmp_path / "submission.yaml"
    path.write_text(PRICED.format(url=script.url), encoding="utf-8")
    arguments = ["evaluate", path, *CHOSEN, "--api-base-url", script.url, "--api-concurrency", 2, "-q"]
    arguments += ["-o", tmp_path / "out"]
    # A prompt costs 20 tokens in and 16 out: 0.02 + 0.16.
    done = command(*arguments, "--api-max-cost", 1, code=5)
    assert "API_MAX_COST" in done.stderr
    assert "The answers have cost 1.08 EUR, 1 are allowed" in " ".join(done.stderr.split())
    assert len(script.asked) == 6
    run = Path(command(*arguments, "--api-max-cost", 100).stdout.splitlines()[-1])
    assert service.given == 160
    card = json.loads((run / "scorecard.json").read_text(encoding="utf-8"))
    assert card["submission"]["model"]["facts"]["cost"]["amount"] == pytest.approx(20 * 0.18)
    path.write_text(SUBMISSION.format(url=script.url), encoding="utf-8")
    assert "price" in command(*arguments, "--api-max-cost", 1, code=1).stderr


@dataclass
class Deciding:
    """A service that always gives one question the same answer, one at a time, in a while; it counts them."""

    seconds: float = 0.01
    given: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, handler: Handler) -> None:
        sent = json.loads(handler.body)
        time.sleep(self.seconds)
        digest = hashlib.sha256(sent["messages"][-1]["content"].encode()).digest()
        with self.lock:
            self.given += 1
        reply = {"model": "m", "choices": [{"message": {"content": "AB"[digest[0] % 2]}}]}
        handler.answer(200, json.dumps(reply).encode())


@pytest.mark.slow
def test_answers_that_were_paid_for_are_not_asked_again(command: Forked, script: Proxy, tmp_path: Path) -> None:
    """Killed twice and resumed: the same predictions to the byte, and what a kill loses is what was under way."""
    service = script.always = Deciding()
    path = tmp_path / "submission.yaml"
    path.write_text(SUBMISSION.format(url=script.url), encoding="utf-8")
    arguments = ["evaluate", path, *CHOSEN, "--api-base-url", script.url, "--api-concurrency", 2, "--quiet"]
    whole = Path(command(*arguments, "-o", tmp_path / "whole").stdout.splitlines()[-1])
    needed = 10 * 16  # five items to score and five to fit on, sixteen answers to each
    assert service.given == needed
    service.given = 0
    for enough in (30, 90):
        with command.start_fork([*arguments, "-o", tmp_path / "killed"]) as running:
            end = time.monotonic() + 60
            while service.given < enough and time.monotonic() < end:
                time.sleep(0.005)
            running.send_signal(signal.SIGKILL)
            running.communicate(timeout=30)
        assert enough <= service.given < needed
    run = Path(command(*arguments, "-o", tmp_path / "killed").stdout.splitlines()[-1])
    assert (run / "predictions.jsonl").read_bytes() == (whole / "predictions.jsonl").read_bytes()
    # What a kill loses is what had not been handed over: the answers of the questions under way.
    assert needed <= service.given <= needed + 2 * 2 * 8
    command("verify", run, "--recompute")
    card = json.loads((run / "scorecard.json").read_text(encoding="utf-8"))
    task = card["tasks"]["dilemmas"]
    assert (task["elicitation"], task["sampling"]["samples"]) == ("sampled", 16)
    assert task["failures"]["rows"] == 0
    assert card["run"]["self_check"]["prompts"] == 0
