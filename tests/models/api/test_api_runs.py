"""A service evaluated by the command: what is paid for is kept, what is secret stays so, the card says who answered."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.command import Command
from support.forked import Forked
from support.proxy import Handler, Proxy, changed, status

KEY = "very-secret-0123456789"
DOCUMENT = """\
schema_version: "1"
name: {name}
model:
  backend: api
  api: {api}
  model: tiny
  base_url: {url}
  top_logprobs: {top}
{more}"""
SAMPLE = ("--suite", "sample", "--benchmark", "quick.yaml")
# The tiny model behind the service has letters for tokens, and so no word that it could tell as a first token.
LETTERS = "runner/embedded/benchmarks/1.0.0.yaml"
DILEMMAS = (*SAMPLE, "--task", "dilemmas")
PROMPTS = 320  # 80 items to score and 80 to fit on, in both orders
SELF_CHECK = 16  # 8 prompts alone and together

Evaluate = Callable[..., Path]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Command:
    """With a benchmark beside it whose intervals are rough and quick, and whose options are letters alone."""
    run = Forked(tmp_path_factory.mktemp("home"))
    text = (root / LETTERS).read_text(encoding="utf-8")
    (run.home / "quick.yaml").write_text(text.replace("draws: 1000", "draws: 20"), encoding="utf-8")
    run("keys", "new")
    return run


def submission(folder: Path, url: str, *, name: str = "a-service", api: str = "completions", **keys: Any) -> Path:
    top = keys.pop("top", 20)
    more = "".join(f"  {key}: {value}\n" for key, value in keys.items())
    path = folder / f"{name}.yaml"
    path.write_text(DOCUMENT.format(name=name, api=api, url=url, top=top, more=more), encoding="utf-8")
    return path


def card_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "scorecard.json").read_text(encoding="utf-8"))
    return found


def rows_of(folder: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    rows = map(json.loads, (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines())
    return {(row["task"], row["split"], row["item_id"], row["order"]): row for row in rows}


def evaluate(command: Command, path: Path, url: str, output: Path, *options: object, **more: Any) -> Path:
    arguments = (path, "--output-dir", output, "--api-base-url", url, "--quiet", *options)
    return Path(command("evaluate", *arguments, **more).stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_card_of_a_service_verifies_and_says_who_answered(command: Command, service: str, tmp_path: Path) -> None:
    path = submission(tmp_path, service, price="{currency: EUR, input: 2.5, output: 10}")
    command("validate", path)
    run = evaluate(command, path, service, tmp_path, *DILEMMAS)
    command("verify", run, "--recompute")
    card = card_of(run)
    told = card["tasks"]["dilemmas"]["service"]
    assert (told["rows"], told["bounded_rows"], told["unanswered_rows"]) == (PROMPTS, 0, 0)
    assert (told["model_versions"], told["output_tokens"]) == ({"tiny": PROMPTS}, PROMPTS)
    model = card["submission"]["model"]
    assert (model["backend"], model["dtype"], model["format"]) == ("api", None, "plain")
    assert model["facts"]["base_url"] == service
    assert model["facts"]["answered"] == told
    cost = (told["input_tokens"] * 2.5 + PROMPTS * 10) / 1e6
    assert model["facts"]["cost"] == {"currency": "EUR", "amount": pytest.approx(cost)}
    assert [file["name"] for file in card["submission"]["files"]] == ["submission.yaml"]
    check = card["run"]["self_check"]
    assert (check["tolerance"], check["passed"]) == (None, None)
    assert check["reason"]
    assert check["largest_difference"]["alone"] < 1e-3
    assert set(card["run"]["isolation"]) == {"submitted_code", "process", "network"}
    assert "active" not in card["run"]["isolation"].values()
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    assert environment["service"]["requests"] == PROMPTS + SELF_CHECK
    assert environment["service"]["output_tokens"] == PROMPTS + SELF_CHECK
    page = run / "page.html"
    command("report", run, "--output", page)
    assert "A service answered, as <bdi>tiny</bdi>" in page.read_text(encoding="utf-8")
    assert f"<bdi>tiny</bdi> of the service at <code>{service}</code>" in page.read_text(encoding="utf-8")
    command("archive", "add", tmp_path / "cards", run)
    command("leaderboard", tmp_path / "cards")
    table = command("export", "--to", "csv", "--force", run).stdout.splitlines()
    assert dict(zip(table[0].split(","), table[1].split(","), strict=False))["model"] == "tiny"
    command("export", "--to", "eee", "--force", run, "-o", tmp_path / "eee")


@pytest.mark.slow
def test_nobody_is_asked_whom_nobody_allowed(command: Command, proxy: Proxy, tmp_path: Path) -> None:
    secrets = {"OPENAI_API_KEY": "sk-official-0123456789"}
    path = submission(tmp_path, proxy.url)
    for options in ((), ("--api-key-env", "OPENAI_API_KEY"), ("--api-base-url", "http://127.0.0.1:9/v1")):
        done = command("evaluate", path, *DILEMMAS, "-o", tmp_path, *options, code=1, env=secrets)
        assert "API_HOST" in done.stderr
        assert f"--api-base-url {proxy.url}" in " ".join(done.stderr.split()).replace("- ", "-")
    assert proxy.asked == []
    evaluate(command, path, proxy.url, tmp_path, *DILEMMAS, "--limit", 2, env=secrets)
    assert proxy.asked
    assert not any("authorization" in sent for sent in proxy.headers)


@pytest.mark.slow
def test_the_key_goes_to_the_service_and_nowhere_else(command: Command, proxy: Proxy, tmp_path: Path) -> None:
    """The service repeats it wherever it can."""

    def repeats(reply: dict[str, Any]) -> None:
        reply.update(model=f"tiny {KEY}", system_fingerprint=KEY, id=KEY)

    path = submission(tmp_path, proxy.url)
    options = (*DILEMMAS, "--limit", 3, "--api-key-env", "MY_KEY")
    proxy.always = changed(repeats)
    run = evaluate(command, path, proxy.url, tmp_path / "out", *options, env={"MY_KEY": KEY})
    assert {sent["authorization"] for sent in proxy.headers} == {f"Bearer {KEY}"}
    assert card_of(run)["tasks"]["dilemmas"]["service"]["model_versions"] == {"tiny [key]": 12}
    proxy.always = status(400, f"what is {KEY}?")
    arguments = ("evaluate", path, "-o", tmp_path / "out", "--api-base-url", proxy.url, *options, "--no-resume")
    done = command(*arguments, code=3, env={"MY_KEY": KEY})
    assert "what is [key]?" in " ".join(done.stderr.split())
    assert KEY not in done.stdout + done.stderr
    files = [file for file in command.home.rglob("*") if file.is_file()] + [
        file for file in tmp_path.rglob("*") if file.is_file()
    ]
    assert any(file.name == "journal.jsonl" for file in files)
    assert not [file for file in files if KEY.encode() in file.read_bytes()]


@pytest.mark.slow
def test_what_was_paid_for_before_a_kill_is_not_asked_again(command: Forked, proxy: Proxy, tmp_path: Path) -> None:
    def unhurried(handler: Handler) -> None:
        time.sleep(0.02)
        handler.answer(*handler.upstream())

    proxy.always = unhurried
    path = submission(tmp_path, proxy.url)
    arguments = ["evaluate", path, *DILEMMAS, "--api-base-url", proxy.url, "--api-concurrency", 4, "--quiet"]
    for enough in (60, 180):
        with command.start_fork([*arguments, "-o", tmp_path / "killed"]) as running:
            end = time.monotonic() + 60
            while len(proxy.asked) < enough and time.monotonic() < end:
                time.sleep(0.01)
            running.send_signal(signal.SIGKILL)
            running.communicate(timeout=30)
        assert len(proxy.asked) >= enough
    proxy.always = None
    run = evaluate(command, path, proxy.url, tmp_path / "killed", *DILEMMAS, "--api-concurrency", 4)
    # Each kill loses at most what was under way.
    assert PROMPTS + SELF_CHECK <= len(proxy.asked) <= PROMPTS + SELF_CHECK + 2 * 4
    whole = evaluate(command, path, proxy.url, tmp_path / "whole", *DILEMMAS)
    assert rows_of(run).keys() == rows_of(whole).keys()
    assert card_of(run)["tasks"]["dilemmas"]["service"]["output_tokens"] == PROMPTS


@pytest.mark.slow
def test_what_was_answered_beside_a_failure_is_kept(command: Command, proxy: Proxy, tmp_path: Path) -> None:
    path = submission(tmp_path, proxy.url)
    options = (*DILEMMAS, "--limit", 4)
    proxy.faults = [None, None, None, status(400, "no")]
    done = command("evaluate", path, *options, "-o", tmp_path, "--api-base-url", proxy.url, "-q", code=3)
    assert "API_REQUEST" in done.stderr
    assert len(proxy.asked) == 8
    evaluate(command, path, proxy.url, tmp_path, *options)
    assert len(proxy.asked) == 16 + 1 + SELF_CHECK


@pytest.mark.slow
def test_a_model_that_changes_during_the_run_is_not_comparable(command: Command, proxy: Proxy, tmp_path: Path) -> None:
    proxy.faults = [*([None] * 6), changed(lambda reply: reply.update(model="tiny-2", system_fingerprint="fp_2"))]
    run = evaluate(command, submission(tmp_path, proxy.url), proxy.url, tmp_path, *DILEMMAS, "--limit", 4)
    card = card_of(run)
    told = card["tasks"]["dilemmas"]["service"]
    assert told["model_versions"] == {"tiny": 15, "tiny-2": 1}
    assert set(told["system_fingerprints"].values()) == {15, 1}
    assert "the service changed the model during the run: tiny, tiny-2" in card["not_comparable"]
    command("verify", run, "--recompute")


@pytest.mark.slow
def test_bounds_and_unanswered_prompts_are_counted(command: Command, proxy: Proxy, tmp_path: Path) -> None:
    def nothing_told(reply: dict[str, Any]) -> None:
        first = reply["choices"][0]["logprobs"]["content"][0]
        for token in [first, *first["top_logprobs"]]:
            token.update(token="I" + token["token"], bytes=None)

    proxy.faults = [changed(nothing_told)]
    path = submission(tmp_path, proxy.url, top=2)
    options = (*SAMPLE, "--task", "anecdotes", "--limit", 4)
    run = evaluate(command, path, proxy.url, tmp_path, *options, "--api-unanswered", 1)
    card = card_of(run)
    told = card["tasks"]["anecdotes"]["service"]
    assert (told["rows"], told["bounded_rows"], told["unanswered_rows"]) == (16, 16, 1)
    assert told["bounded_scores"] == sum(len(row["bounded"]) for row in rows_of(run).values())
    # Two tokens are told, and the drawn one besides: of the five options two or three are exact.
    assert 15 * 2 + 5 <= told["bounded_scores"] <= 15 * 3 + 5
    assert "1 prompts were not answered and are scored as equal probabilities" in card["not_comparable"]
    command("verify", run, "--recompute")
    again = evaluate(command, path, proxy.url, tmp_path / "again", *options)
    assert not any("not answered" in reason for reason in card_of(again)["not_comparable"])


def test_a_chat_can_be_asked_every_prompt_of_the_released_benchmark(
    command: Command, proxy: Proxy, root: Path, tmp_path: Path
) -> None:
    path = submission(tmp_path, proxy.url, api="chat")
    chosen = ("--suite", "sample", "--benchmark", root / "benchmark.yaml", "--limit", 1)
    shown = command("prompts", *chosen, "--submission", path).stdout.splitlines()
    names = {json.loads(line)["prompt_id"] for line in shown}
    released = yaml.safe_load((root / "benchmark.yaml").read_text(encoding="utf-8"))
    assert names == {name for task in released["tasks"].values() for name in task["prompts"]}
    assert proxy.asked == []


@pytest.mark.slow
def test_options_of_several_words_are_refused_and_the_others_of_the_benchmark_are_asked(
    command: Command, proxy: Proxy, root: Path, tmp_path: Path
) -> None:
    path = submission(tmp_path, proxy.url)
    text = (root / "benchmark.yaml").read_text(encoding="utf-8")
    (tmp_path / "wordy.yaml").write_text(text.replace('" first", " First"', '" the first"'), encoding="utf-8")
    options = ("--suite", "sample", "--benchmark", tmp_path / "wordy.yaml", "--task", "dilemmas", "--limit", 2)
    done = command("evaluate", path, *options, "-o", tmp_path, "--api-base-url", proxy.url, code=1)
    assert "API_OPTIONS" in done.stderr
    assert "--prompt" in done.stderr
    assert proxy.asked == []
    run = evaluate(command, path, proxy.url, tmp_path, *options, "--prompt", "dilemmas-letters")
    assert card_of(run)["tasks"]["dilemmas"]["service"]["rows"] == 8  # 2 items to score and 2 to fit on, in both orders
    assert card_of(run)["not_comparable"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--dtype", "float32"), "--dtype"),
        (("--device", "cpu"), "--device"),
        (("--batch-tokens", "9"), "--batch-tokens"),
    ],
)
def test_options_of_models_are_refused(
    command: Command, service: str, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    arguments = (submission(tmp_path, service), *DILEMMAS, "--api-base-url", service, *options, "-o", tmp_path)
    assert said in command("evaluate", *arguments, code=1).stderr


def test_options_of_services_are_refused_for_models(command: Command, root: Path, tmp_path: Path) -> None:
    model = root / "submissions" / "tiny-llama" / "submission.yaml"
    done = command("evaluate", model, *DILEMMAS, "--api-base-url", "http://127.0.0.1:9/v1", "-o", tmp_path, code=1)
    assert "OPTION" in done.stderr


def test_what_is_sent_can_be_looked_at(command: Command, service: str, tmp_path: Path) -> None:
    path = submission(tmp_path, service, api="chat")
    done = command("prompts", *DILEMMAS, "--limit", 1, "--submission", path)
    rows = list(map(json.loads, done.stdout.splitlines()))
    assert rows
    for row in rows:
        [request] = row["requests"]
        assert request["messages"] == [{"role": "user", "content": row["text"] + row["cue"]["plain"]}]
        assert (request["model"], request["top_logprobs"]) == ("tiny", 20)


@pytest.mark.slow
def test_two_hundred_real_dilemmas_as_the_same_weights_answer_them_here(
    command: Command, service: str, root: Path, scruples: Path, tmp_path: Path
) -> None:
    """Two engines, llama.cpp and transformers, over the same float32 weights."""
    chosen = ("--benchmark", root / LETTERS, "--task", "dilemmas", "--split", "dev", "--limit", 200)
    chosen = (*chosen, "--data-dir", scruples)
    told = evaluate(command, submission(tmp_path, service), service, tmp_path, *chosen)
    model = root / "submissions" / "tiny-llama" / "submission.yaml"
    computed = Path(command("evaluate", model, "-q", "-o", tmp_path, *chosen).stdout.splitlines()[-1])
    ours, theirs = rows_of(told), rows_of(computed)
    assert ours.keys() == theirs.keys()
    assert len(ours) == 400
    apart = [
        abs(one - other)
        for key, row in ours.items()
        for one, other in zip(row["log_scores"], theirs[key]["log_scores"], strict=True)
    ]
    assert max(apart) < 2e-4
    assert all(row["prompt_tokens"] == theirs[key]["prompt_tokens"] for key, row in ours.items())
    assert all(row["bounded"] == [] for row in ours.values())
    values = [card_of(run)["tasks"]["dilemmas"]["metrics"]["cross_entropy"]["value"] for run in (told, computed)]
    assert values[0] == pytest.approx(values[1], abs=1e-5)
    command("compare", told, computed, "--gate", "cross_entropy=0.0001", code=4)
