"""Submissions that reach for the labels, the key, the network and the parent's environment, with no check of files.

The check of files would refuse nearly all of them. Here it is switched off, as if it had a hole: what is left are the
libraries' own refusals and the protections of the process, and no submission gets anything. Where a library follows it,
the same submission is run without the protections too, and then it succeeds: it is they that stop it.
"""

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support import hostile_submissions as hostile
from support import tiny_models
from support.forked_worker import ForkedPopen, forked_workers, subprocess_with  # noqa: F401

from runner.cli import main
from runner.evaluation import evaluate as walk
from runner.evaluation import open_submission
from runner.models.worker import Limits, client, process
from runner.scorecard import filenames

pytestmark = pytest.mark.slow

SECRETS = ("votes-of-people", "PRIVATE-KEY-OF-THE-USER", "hf_token_of_the_user")
QUICK = Limits(plan_seconds=20, plan_seconds_per_prompt=0, call_seconds=60, memory_bytes=20 << 30)
DOCUMENT = """\
schema_version: "1"
name: reaching
model:
  backend: causal
  path: model
  format: chat
  dtype: float32
adapter:
  path: adapter
"""


@dataclass(frozen=True)
class Outside:
    """What lies outside a submission: `labels` (also as weights that the libraries could load), a key, a server."""

    labels: Path
    weights: Path
    adapter: Path
    tokenizer: Path
    key: Path
    address: str
    connections: Callable[[], int]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and an adapter with no fault, and the same with other weights, which lie elsewhere."""
    top = tmp_path_factory.mktemp("sound")
    tokenizer = tiny_models.byte_tokenizer()
    tokenizer.chat_template = hostile.TEMPLATE
    for name, seed in (("here", 0), ("elsewhere", 1)):
        model = tiny_models.model("llama", len(tokenizer), seed, max_position_embeddings=2048)
        tiny_models.save(top / name / "model", model, tokenizer)
        tiny_models.save(top / name / "adapter", tiny_models.adapter(model))
    return top


@pytest.fixture
def outside(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    place = tmp_path / "outside"
    shutil.copytree(sound / "elsewhere", place)
    (place / "labels.jsonl").write_text(json.dumps({"votes": [5, 0], "secret": SECRETS[0]}), encoding="utf-8")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert CliRunner().invoke(main, ["keys", "new"]).exit_code == 0
    (place / "key.pem").write_text(SECRETS[1], encoding="utf-8")
    monkeypatch.setenv("HF_TOKEN", SECRETS[2])
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)

        def connections() -> int:
            try:
                server.accept()[0].close()
            except BlockingIOError:
                return 0
            return 1

        yield Outside(
            labels=place / "labels.jsonl",
            weights=place / "model" / "model.safetensors",
            adapter=place / "adapter" / "adapter_model.safetensors",
            tokenizer=place / "model" / "tokenizer.json",
            key=place / "key.pem",
            address=f"http://127.0.0.1:{server.getsockname()[1]}",
            connections=connections,
        )


def link(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


def index(model: Path, outside: Outside) -> None:
    raw = (model / "model.safetensors").read_bytes()
    names = set(json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])) - {"__metadata__"}
    (model / "model.safetensors").unlink()
    value = {"metadata": {}, "weight_map": dict.fromkeys(sorted(names), f"../../outside/model/{outside.weights.name}")}
    hostile.write_json(model / "model.safetensors.index.json", value)


def template(text: str) -> Callable[[Path, Outside], None]:
    def make(folder: Path, outside: Outside) -> None:
        shown = text.replace("LABELS", str(outside.labels)).replace("KEY", str(outside.key))
        (folder / "model" / "chat_template.jinja").write_text(shown + hostile.TEMPLATE, encoding="utf-8")

    return make


def settings(file: str, **values: Any) -> Callable[[Path, Outside], None]:
    def make(folder: Path, outside: Outside) -> None:
        places = {"LABELS": str(outside.labels), "KEY": str(outside.key), "SERVER": outside.address}
        filled = {name: places.get(value, value) if isinstance(value, str) else value for name, value in values.items()}
        path = folder / file
        found = json.loads(path.read_text(encoding="utf-8"))
        hostile.write_json(path, {**found, **filled})

    return make


# What is tried, and with which file. The links and the index are followed by the libraries: only `files` is in the way.
FOLLOWED: dict[str, Callable[[Path, Outside], None]] = {
    "weights by an index": lambda folder, outside: index(folder / "model", outside),
    "weights by a link": lambda folder, outside: link(folder / "model" / "model.safetensors", outside.weights),
    "tokenizer by a link": lambda folder, outside: link(folder / "model" / "tokenizer.json", outside.tokenizer),
    "adapter by a link": lambda folder, outside: link(
        folder / "adapter" / "adapter_model.safetensors", outside.adapter
    ),
}
REFUSED: dict[str, Callable[[Path, Outside], None]] = {
    "labels by a link as template": lambda folder, outside: (
        (folder / "model" / "chat_template.jinja").unlink(missing_ok=True)
        or link_new(folder / "model" / "chat_template.jinja", outside.labels)
    ),
    "key by a link as settings": lambda folder, outside: link(folder / "model" / "tokenizer_config.json", outside.key),
    "key by a link as config": lambda folder, outside: link(folder / "model" / "config.json", outside.key),
    "labels by a link as adapter settings": lambda folder, outside: link(
        folder / "adapter" / "adapter_config.json", outside.labels
    ),
    "labels included by the template": template("{% include 'LABELS' %}"),
    "labels opened by the template": template("{{ cycler.__init__.__globals__.__builtins__.open('LABELS').read() }}"),
    "key imported by the template": template("{% import 'KEY' as key %}"),
    "environment by the template": template("{{ cycler.__init__.__globals__.os.environ }}"),
    "environment by the template's format": template("{{ '{0.__init__.__globals__}'.format(cycler) }}"),
    "a program by the template": template("{{ lipsum.__globals__['os'].popen('cat KEY').read() }}"),
    "network by the template": template("{{ (joiner.__init__.__globals__.__builtins__)['__import__']('socket') }}"),
}
# Settings that lead somewhere and that no library follows: the run ends as if they were not there.
IGNORED: dict[str, Callable[[Path, Outside], None]] = {
    "labels as vocabulary": settings("model/tokenizer_config.json", vocab_file="LABELS", merges_file="LABELS"),
    "a base on a server": settings("adapter/adapter_config.json", base_model_name_or_path="SERVER"),
    "a base elsewhere": settings("adapter/adapter_config.json", base_model_name_or_path="../../outside/model"),
    "code from a repository": settings("model/config.json", auto_map={"AutoModelForCausalLM": "evil/repo--m.Model"}),
    "generation settings": settings("model/config.json", suppress_tokens=[1, 2], forced_bos_token_id=5),
}


def link_new(path: Path, target: Path) -> None:
    path.symlink_to(target)


@dataclass
class Unbound:
    """In place of a private view: the folder as it was submitted, with all that lies in it."""

    folder: Path
    kind: Any
    stats: Any

    @property
    def files(self) -> list[dict[str, Any]]:
        return [{"name": "x", "size": 1, "sha256": "0" * 64}]

    def __enter__(self) -> "Unbound":
        return self

    def __exit__(self, *_: object) -> None: ...


Run = Callable[..., Result]


@pytest.fixture
def run(sound: Path, outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Evaluate a submission that `make` spoilt, with the check of files switched off; it may end in words only."""
    monkeypatch.setattr(walk, "check_submission_files", lambda *_, **__: ())
    monkeypatch.setattr(client, "LIMITS", QUICK)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # Neither are its files bound, which would refuse links as well: the libraries are given the submitted folder.
    monkeypatch.setattr(open_submission, "PrivateView", Unbound)
    monkeypatch.setattr(open_submission, "changed_files", lambda *_: [])
    monkeypatch.setattr(open_submission, "stat_files", lambda *_: ())

    def run(make: Callable[[Path, Outside], Any], entry: str | None = None) -> Result:
        if entry:
            monkeypatch.setattr(process, "ENTRY", entry)
        shutil.rmtree(tmp_path / "submitted", ignore_errors=True)
        shutil.copytree(sound / "here", tmp_path / "submitted")
        make(tmp_path / "submitted", outside)
        path = tmp_path / "submitted" / "submission.yaml"
        path.write_text(DOCUMENT, encoding="utf-8")
        arguments = ["evaluate", str(path), "--suite", "sample", "--task", "dilemmas", "--limit", "2", "--no-resume"]
        done = CliRunner().invoke(main, [*arguments, "-q", "--device", "cpu", "-o", str(tmp_path / "results")])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return done

    return run


def nothing_got_out(done: Result, outside: Outside, tmp_path: Path) -> None:
    said = done.output + "".join(
        path.read_text(encoding="utf-8") for path in (tmp_path / "results").rglob("*") if path.is_file()
    )
    for secret in SECRETS:
        assert secret not in said
    assert outside.connections() == 0


def predictions(done: Result) -> bytes:
    assert done.exit_code == 0, done.output
    return (Path(done.stdout.splitlines()[-1]) / filenames.PREDICTIONS).read_bytes()


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize("name", FOLLOWED)
def test_what_a_library_would_follow_is_out_of_reach(name: str, run: Run, outside: Outside, tmp_path: Path) -> None:
    done = run(FOLLOWED[name])
    assert done.exit_code in (1, 3), done.output
    nothing_got_out(done, outside, tmp_path)
    assert list((tmp_path / "results").rglob(filenames.BUNDLE)) == []
    # Nothing but the protection stood in the way.
    assert run(FOLLOWED[name], "support.sandbox_probes:bare").exit_code == 0


@pytest.mark.parametrize("name", REFUSED)
def test_what_reaches_out_ends_without_a_score(
    name: str, run: Run, outside: Outside, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not name.startswith(("environment", "a program", "network")):
        request.getfixturevalue("forked_workers")
    done = run(REFUSED[name])
    assert done.exit_code in (1, 3), done.output
    nothing_got_out(done, outside, tmp_path)
    assert list((tmp_path / "results").rglob(filenames.BUNDLE)) == []


def test_what_no_library_follows_changes_nothing_and_the_card_names_the_protections(
    run: Run, outside: Outside, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as forked:
        forked.setattr(process, "subprocess", subprocess_with(ForkedPopen))
        undisturbed = predictions(run(lambda *_: None))
    done = run(lambda folder, outside: [make(folder, outside) for make in IGNORED.values()])
    nothing_got_out(done, outside, tmp_path)
    assert predictions(done) == undisturbed
    card = json.loads((Path(done.stdout.splitlines()[-1]) / filenames.CARD).read_text(encoding="utf-8"))
    named = card["run"]["isolation"]
    assert set(named) >= {"files", "network", "environment", "file_descriptors", "processes", "signals"}
