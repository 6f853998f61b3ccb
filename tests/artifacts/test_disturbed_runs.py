"""A run during which files, or the clock, change: what is measured is what was hashed, or there is no card.

The model's process answers without a model; what is tested is the walk around it.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support import hostile_submissions as hostile
from support import tiny_models
from support.forked_worker import forked_workers  # noqa: F401

from runner.artifacts import binding, model_manifest
from runner.cli import main
from runner.core.canonical import manifest_digest
from runner.evaluation import open_submission
from runner.evaluation.journal import Journal
from runner.models.worker import process
from runner.report import console
from runner.scorecard import filenames

pytestmark = pytest.mark.slow

DOCUMENT = """\
schema_version: "1"
name: disturbed
model:
  backend: causal
  path: model
  format: plain
  dtype: float32
"""


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    hostile.make_model(tmp_path / "submitted" / "model")
    path = tmp_path / "submitted" / "submission.yaml"
    path.write_text(DOCUMENT, encoding="utf-8")
    return path


Evaluate = Callable[..., Result]


@pytest.fixture
def evaluate(submission: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """Evaluate on two items; `at` a stage of the run, when so much is done of it, `disturb` is called once."""
    monkeypatch.setattr(process, "ENTRY", "support.misbehaving_worker:sound")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def run(*options: str, at: tuple[str, int] | None = None, disturb: Callable[[], Any] | None = None) -> Result:
        from contextlib import contextmanager

        left = [disturb] if disturb else []

        @contextmanager
        def progress(_quiet: bool) -> Any:
            def tell(stage: str, done: int, _total: int) -> None:
                if left and (stage, done) == at:
                    left.pop()()

            yield tell

        monkeypatch.setattr(console, "progress", progress)
        arguments = ["evaluate", str(submission), "--suite", "sample", "--task", "dilemmas", "--limit", "2", "--quiet"]
        done = CliRunner().invoke(main, [*arguments, "--device", "cpu", "-o", str(tmp_path / "results"), *options])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        assert left == [], "the stage was never reached"
        return done

    return run


def folder_of(done: Result) -> Path:
    assert done.exit_code == 0, done.output
    return Path(done.stdout.splitlines()[-1])


def card_of(done: Result) -> dict[str, Any]:
    return json.loads((folder_of(done) / filenames.CARD).read_text(encoding="utf-8"))


def rewritten(path: Path) -> Callable[[], None]:
    """Write other bytes of the same size in place."""

    def disturb() -> None:
        raw = path.read_bytes()
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))

    return disturb


def exchanged(path: Path) -> Callable[[], None]:
    """Put another file in its place."""

    def disturb() -> None:
        other = path.with_name("model.part")
        raw = path.read_bytes()
        other.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        other.replace(path)

    return disturb


def in_secret(path: Path) -> Callable[[], None]:
    """Write other bytes and set the time back."""

    def disturb() -> None:
        before = path.stat()
        rewritten(path)()
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return disturb


# --- weights -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("how", [rewritten, exchanged])
@pytest.mark.parametrize("answered", [0, 3])
def test_what_is_answered_after_a_change_is_not_kept(
    evaluate: Evaluate, submission: Path, tmp_path: Path, name: str, how: Any, answered: int
) -> None:
    path = submission.parent / "model" / name
    sound, times = path.read_bytes(), path.stat()
    done = evaluate(at=("predict", answered), disturb=how(path))
    assert done.exit_code == 1
    assert "BYTES_CHANGED" in done.output
    assert list(tmp_path.rglob(filenames.BUNDLE)) == []
    (journal,) = tmp_path.rglob("journal.jsonl")
    assert journal.read_bytes().count(b"\n") == 1 + answered
    # With the bytes that were hashed in place again the run goes on from the answers that are theirs.
    path.write_bytes(sound)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    run = folder_of(evaluate())
    assert run == journal.parent
    timing = json.loads((run / filenames.ENVIRONMENT).read_text(encoding="utf-8"))["timing"]
    assert timing["prompts_resumed"] == answered


def test_a_change_in_secret_is_found_by_the_kernels_clock(evaluate: Evaluate, submission: Path, tmp_path: Path) -> None:
    done = evaluate(at=("predict", 3), disturb=in_secret(submission.parent / "model" / "model.safetensors"))
    assert done.exit_code == 1
    assert "BYTES_CHANGED" in done.output
    assert list(tmp_path.rglob(filenames.BUNDLE)) == []


def test_a_change_that_nothing_shows_is_found_by_content_and_no_answer_is_kept(
    evaluate: Evaluate, submission: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_submission, "raise_if_modified", lambda _: None)
    done = evaluate(at=("predict", 3), disturb=in_secret(submission.parent / "model" / "model.safetensors"))
    assert done.exit_code == 1
    assert "BYTES_CHANGED" in done.output
    assert list((tmp_path / "results" / "disturbed").iterdir()) == []


def test_a_touched_file_ends_the_run_and_the_same_command_goes_on(
    evaluate: Evaluate, submission: Path, tmp_path: Path
) -> None:
    """Another mode or a further link moves no byte; but the kernel tells it by what also tells a hidden change."""

    def disturb() -> None:
        path = submission.parent / "model" / "model.safetensors"
        (tmp_path / "backup").hardlink_to(path)
        (tmp_path / "backup").unlink()

    done = evaluate(at=("predict", 3), disturb=disturb)
    assert done.exit_code == 1
    assert "BYTES_CHANGED" in done.output
    run = folder_of(evaluate())
    timing = json.loads((run / filenames.ENVIRONMENT).read_text(encoding="utf-8"))["timing"]
    assert timing["prompts_resumed"] == 3
    assert card_of(evaluate())["run"]["bytes_bound"] == binding(tmp_path)


@pytest.mark.usefixtures("forked_workers")
def test_a_model_is_read_once_before_and_once_after(evaluate: Evaluate, submission: Path, tmp_path: Path) -> None:
    """16 GB shaped in small: 200 MB as a hole, pinned by digest; the process that would load it reads nothing here."""
    if not Path("/proc/self/io").is_file():
        pytest.skip("this system does not count the bytes that a process reads")
    folder = submission.parent / "model"
    shapes = {**hostile.SHAPES, "model.embed_tokens.weight": [800_000, 32], "lm_head.weight": [800_000, 32]}
    small = folder.with_name("small")
    hostile.make_model(small)
    hostile.setting("config.json", vocab_size=800, max_position_embeddings=2048)(small)
    rows = {"model.embed_tokens.weight": [800, 32], "lm_head.weight": [800, 32]}
    hostile.write_tensors(small / "model.safetensors", {**hostile.SHAPES, **rows})
    tiny_models.byte_tokenizer().save_pretrained(small)
    hostile.setting("config.json", vocab_size=800_000, max_position_embeddings=2048)(folder)
    tiny_models.byte_tokenizer().save_pretrained(folder)  # `validate` reads the prompts with it
    header = hostile.header_of(shapes)
    raw = json.dumps(header).encode()
    hostile.write_raw(folder / "model.safetensors", raw, b"")
    os.truncate(folder / "model.safetensors", 8 + len(raw) + hostile.data_bytes(header))
    size = (folder / "model.safetensors").stat().st_size
    assert size > 200_000_000
    pin = f"  digest: {manifest_digest(model_manifest(folder))}\n"
    submission.write_text(DOCUMENT + pin, encoding="utf-8")

    def reads(call: Callable[[], Result]) -> float:
        def count() -> int:
            return int(Path("/proc/self/io").read_text().split("rchar:")[1].split()[0])

        before = count()
        done = call()
        assert done.exit_code == 0, done.output
        return (count() - before) / size

    def validate() -> Result:
        return CliRunner().invoke(main, ["validate", str(submission)])

    # The kernel counts what a child read, once it has ended: the process with the tokenizer may import libraries,
    # whatever the model's size. That is taken off, as a model of a few rows shows it.
    large = submission.read_text(encoding="utf-8")
    submission.write_text(DOCUMENT.replace("path: model", "path: small"), encoding="utf-8")
    assert validate().exit_code == 0
    imports = reads(validate)
    submission.write_text(large, encoding="utf-8")
    assert 1 <= reads(validate) - imports < 1.1
    assert 2 <= reads(evaluate) < 2.2
    submission.write_text(DOCUMENT, encoding="utf-8")
    assert reads(validate) - imports < 0.1


def test_a_wrong_pin_is_told_before_the_model_is_loaded(
    evaluate: Evaluate, submission: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission.write_text(f"{DOCUMENT}  digest: sha256:{'0' * 64}\n", encoding="utf-8")
    monkeypatch.setattr(process, "ENTRY", "nowhere:main")
    done = evaluate()
    assert done.exit_code == 1
    assert "DIGEST_MISMATCH" in done.output


# --- data and descriptions -----------------------------------------------------------------------------------------


def test_data_and_descriptions_are_read_once(evaluate: Evaluate, submission: Path, tmp_path: Path, root: Path) -> None:
    """What changes after that changes nothing: the card and the copies beside it are of what was read."""
    benchmark = tmp_path / "benchmark.yaml"
    text = (root / "benchmark.yaml").read_text(encoding="utf-8")
    benchmark.write_text(
        text.replace("embedded: sample", "url: https://example.org/mine.tar.gz\n      folder: mine").replace(
            "draws: 1000", "draws: 20"
        )
    )
    data = tmp_path / "data" / "mine"
    data.mkdir(parents=True)
    for file in (root / "runner" / "embedded" / "sample").iterdir():
        (data / file.name).write_bytes(file.read_bytes())
    before = {path: path.read_bytes() for path in (benchmark, submission, *data.glob("*dilemmas*"))}
    assert len(before) >= 4

    def disturb() -> None:
        for path, content in before.items():
            path.write_bytes(content.replace(b"1", b"2").replace(b"disturbed", b"distorted"))

    options = ("--benchmark", str(benchmark), "--data-dir", str(tmp_path / "data"))
    undisturbed = card_of(evaluate(*options))
    done = evaluate(*options, at=("predict", 3), disturb=disturb)
    card = card_of(done)
    for name in ("tasks", "data", "benchmark", "submission", "predictions"):
        assert card[name] == undisturbed[name], name
    run = folder_of(done)
    assert (run / filenames.BENCHMARK).read_bytes() == before[benchmark]
    assert (run / filenames.SUBMISSION).read_bytes() == before[submission]
    assert CliRunner().invoke(main, ["verify", str(run)]).exit_code == 0
    changed = CliRunner().invoke(main, ["verify", str(run), "--recompute", *options[2:]])
    assert changed.exit_code == 1
    assert "DATA_DIGEST" in changed.output
    assert evaluate(*options).exit_code == 1


# --- the clock -----------------------------------------------------------------------------------------------------

TIMES = {
    "set back by years": ["2026-06-01T12:00:00Z", "2000-01-01T00:00:00Z"],
    "set forward by years": ["2026-06-01T12:00:00Z", "2038-01-19T03:14:08Z"],
    "standing still": ["2026-06-01T12:00:00Z", "2026-06-01T12:00:00Z"],
}


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
def test_a_clock_that_jumps_loses_no_run_and_is_told(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: list[str]
) -> None:
    clock = [times[0]]
    monkeypatch.setattr("runner.core.clock.now", lambda: clock[0])
    done = evaluate(at=("predict", 3), disturb=lambda: clock.__setitem__(0, times[1]))
    card = card_of(done)
    assert [card["run"]["started_at"], card["run"]["finished_at"]] == times
    assert folder_of(done).name == times[0].replace(":", "-")
    timing = json.loads((folder_of(done) / filenames.ENVIRONMENT).read_text(encoding="utf-8"))["timing"]
    assert 0 <= timing["predict_seconds"] < 100  # by another clock, which nobody can set
    verified = CliRunner().invoke(main, ["verify", str(folder_of(done)), "--recompute"])
    assert verified.exit_code == 0, verified.output
    assert ("the clock was set back" in " ".join(verified.output.split())) is (times[0] > times[1])
    # The same time again: no run writes into the folder of another.
    clock[0] = times[0]
    assert folder_of(evaluate()).name == f"{times[0].replace(':', '-')}-2"


def test_a_stopped_run_goes_on_though_the_clock_was_set_back(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("runner.core.clock.now", lambda: "2026-06-01T12:00:00Z")
    assert evaluate(at=("predict", 3), disturb=stop).exit_code == 5
    monkeypatch.setattr("runner.core.clock.now", lambda: "2001-01-01T00:00:00Z")
    run = folder_of(evaluate())
    assert run.name == "2026-06-01T12-00-00Z"
    assert list(run.parent.iterdir()) == [run]


# --- the disk ------------------------------------------------------------------------------------------------------


def test_a_disk_without_room_keeps_what_is_there(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Journal.append

    def full(journal: Journal, rows: Any) -> None:
        if len(journal.done) == 3:
            raise OSError(28, "No space left on device")
        append(journal, rows)

    monkeypatch.setattr(Journal, "append", full)
    done = evaluate()
    assert done.exit_code == 5
    assert "No space left on device) after 3 of 24 prompts" in " ".join(done.output.split())
    monkeypatch.setattr(Journal, "append", append)
    run = folder_of(evaluate())
    assert json.loads((run / filenames.ENVIRONMENT).read_text(encoding="utf-8"))["timing"]["prompts_resumed"] == 3
    assert list(run.parent.iterdir()) == [run]
