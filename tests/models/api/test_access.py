"""Prompts and keys go where the person who runs says, and nowhere else."""

from pathlib import Path

import pytest
from support import tiny_models

from runner.config.submission import load_submission
from runner.core.errors import InvalidInput
from runner.core.types import ServiceRef
from runner.evaluation.validate import check
from runner.models.api.access import Access, allowed_key, redacted
from runner.models.api.questions import questions

OFFICIAL = ServiceRef("https://api.openai.com/v1", "m", "chat", 20, False, None)
ELSEWHERE = ServiceRef("https://collector.example/v1", "m", "chat", 20, False, None)
HERE = ServiceRef("http://127.0.0.1:8080/v1", "m", "chat", 20, False, None)
SECRETS = {"OPENAI_API_KEY": "sk-official-0123456789", "AWS_SECRET_ACCESS_KEY": "aws0123456789"}


def code(service: ServiceRef, access: Access, environment: dict[str, str] = SECRETS) -> str:
    with pytest.raises(InvalidInput) as caught:
        allowed_key(service, access, environment)
    said = str(caught.value)
    assert not any(secret in said for secret in SECRETS.values())
    return caught.value.faults[0].code


def test_the_official_service_gets_the_official_key() -> None:
    assert allowed_key(OFFICIAL, Access(), SECRETS) == SECRETS["OPENAI_API_KEY"]
    assert code(OFFICIAL, Access(), {}) == "API_KEY"


@pytest.mark.parametrize("service", [ELSEWHERE, HERE])
def test_no_other_service_is_asked_unless_the_person_who_runs_names_it(service: ServiceRef) -> None:
    assert code(service, Access()) == "API_HOST"
    assert code(service, Access(key_variable="OPENAI_API_KEY")) == "API_HOST"
    assert code(service, Access(base_url="https://another.example/v1")) == "API_HOST"
    assert code(service, Access(base_url=f"{service.base_url}/more")) == "API_HOST"
    assert code(service, Access(base_url="ftp://collector.example/v1")) == "API_BASE_URL"


def test_prompts_travel_in_clear_only_to_the_host_that_the_person_who_runs_names() -> None:
    node = ServiceRef("http://node7:8000/v1", "m", "chat", 20, False, None)
    assert code(node, Access(http_host="node7")) == "API_HOST"
    assert code(node, Access(base_url=node.base_url)) == "API_HTTP"
    assert code(node, Access(base_url=node.base_url, http_host="node8")) == "API_HTTP"
    assert allowed_key(node, Access(base_url=node.base_url, http_host="NODE7"), {}) is None
    with pytest.raises(InvalidInput) as caught:
        allowed_key(node, Access(), {})
    assert "--api-base-url http://node7:8000/v1 --api-allow-http node7" in str(caught.value.faults[0].hint)


@pytest.mark.parametrize("service", [ELSEWHERE, HERE])
def test_another_service_never_gets_a_key_by_default(service: ServiceRef) -> None:
    assert allowed_key(service, Access(base_url=service.base_url), SECRETS) is None


def test_another_service_gets_the_key_that_is_named_for_it(tmp_path: Path) -> None:
    written = Access(base_url="HTTPS://collector.example:443/v1/", key_variable="AWS_SECRET_ACCESS_KEY")
    assert allowed_key(ELSEWHERE, written, SECRETS) == "aws0123456789"
    file = tmp_path / "key"
    file.write_text("  file-key-0123456789\n", encoding="utf-8")
    assert allowed_key(ELSEWHERE, Access(base_url=ELSEWHERE.base_url, key_file=file), {}) == "file-key-0123456789"


def test_where_another_service_is_allowed_the_official_one_is_not_asked_by_mistake() -> None:
    assert code(OFFICIAL, Access(base_url=ELSEWHERE.base_url)) == "API_HOST"


@pytest.mark.parametrize("text", ["", "short", "two lines\nof a key", "k" * 5000, "schlüssel-0123456789"])
def test_what_is_no_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        allowed_key(OFFICIAL, Access(key_file=file), {})
    assert caught.value.faults[0].code == "API_KEY"
    assert not text or text not in str(caught.value)


def test_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    assert code(OFFICIAL, Access(key_file=tmp_path / "nowhere")) == "API_KEY"
    assert code(OFFICIAL, Access(key_file=tmp_path)) == "API_KEY"
    assert code(OFFICIAL, Access(key_file=tmp_path / "a", key_variable="B")) == "API_KEY"


def test_what_a_service_says_is_shown_without_the_key() -> None:
    key = "very-secret-0123456789"
    assert redacted(f"no\x1b[31m such\nmodel {key}{key}", key) == "no [31m such model [key][key]"
    assert redacted("Incorrect API key provided: sk-proj-ab***************xyz9.", None) == (
        "Incorrect API key provided: [key]."
    )
    assert len(redacted("x" * 10_000, None)) == 300
    assert "secret" not in redacted("x" * 290 + key, key)
    for length in (65536, 65530, 8190, 299):
        assert "very" not in redacted("y" * length + key, key, limit=1 << 20)


def test_the_row_of_gpt_4o_is_valid_and_asks_the_official_service(root: Path) -> None:
    path = root / "submissions" / "gpt-4o" / "submission.yaml"
    assert check(path) == ()
    service = load_submission(path).service
    assert service is not None
    assert (service.base_url, service.model, service.api) == (OFFICIAL.base_url, "gpt-4o-2024-08-06", "chat")
    [request] = questions(service, tiny_models.prompt())
    assert request["max_completion_tokens"] == 1
    assert (request["logprobs"], request["top_logprobs"]) == (True, 20)
