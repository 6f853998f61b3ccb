"""The rows for services without log-probabilities: valid, drawn from, and never asked without a key."""

import os

import pytest
from support import factories
from support.paths import ROOT

from runner.config.submission import load_submission
from runner.core.errors import InvalidInput
from runner.core.types import Item
from runner.evaluation.validate import check
from runner.models.api.access import Access, allowed_key
from runner.models.api.questions import sampling_question
from runner.tasks.prompts import prompts_of

ROWS = ("gpt-5", "claude-sonnet-4.5", "gemini-2.5-flash", "reasoning-vllm")
PAGE = (ROOT / "submissions" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_valid_and_asks_for_answers_alone(name: str) -> None:
    path = ROOT / "submissions" / name / "submission.yaml"
    assert check(path) == ()
    submission = load_submission(path)
    assert submission.name == name
    assert submission.service is not None
    item = Item("i", {"first": "eating", "second": "sleeping"}, (3, 2), None, None)
    prompt = next(prompts_of(factories.benchmark().prompts["dilemmas-sampled"], ("first", "second"), "test", item))
    sent = sampling_question(submission.service, prompt, 8)
    assert "logprobs" not in sent
    assert sent["n"] == 8
    assert sent.get("temperature", 1.0) == 1.0
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("name", ROWS)
def test_nobody_is_asked_without_being_allowed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    service = load_submission(ROOT / "submissions" / name / "submission.yaml").service
    assert service is not None
    with pytest.raises(InvalidInput) as caught:
        allowed_key(service, Access(), os.environ)
    assert caught.value.faults[0].code == ("API_KEY" if name == "gpt-5" else "API_HOST")
