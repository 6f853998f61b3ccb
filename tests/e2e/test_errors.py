"""Wrong files through the commands that use them: exit code 1, the place, the code, and no model loaded for nothing."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.command import Command
from support.paths import EXAMPLES

pytestmark = pytest.mark.slow

EXAMPLES = EXAMPLES / "invalid"
DATA = json.loads((EXAMPLES / "data" / "index.json").read_text(encoding="utf-8"))
ONE_TASK = ("--suite", "sample", "--task", "dilemmas")


INSTALLED = ("submission/several", "benchmark/several", "nope", "no JSON", "nothing", "item twice")
"""Cases that go through the installed command, in a process of its own; the others through a fork of one."""


@pytest.fixture
def said_by(command: Command, installed: Command) -> Callable[[str], Command]:
    return lambda case: installed if case in INSTALLED else command


def flat(text: str) -> str:
    """Words that were broken over lines, put together again."""
    return "".join(text.split())


@pytest.mark.parametrize(
    "name",
    [
        *("submission/several", "submission/typo", "submission/path-escapes", "submission/revision-branch"),
        *("submission/not-a-mapping", "yaml/alias-bomb", "yaml/python-tag", "yaml/norway-no", "yaml/deep"),
    ],
)
def test_a_malformed_submission_is_not_run(said_by: Any, tmp_path: Path, name: str) -> None:
    path = EXAMPLES / f"{name}.yaml"
    done = said_by(name)("evaluate", path, *ONE_TASK, "-o", tmp_path / "results", code=1)
    lines = path.read_text(encoding="utf-8").splitlines()
    for expected in [line.split()[2:] for line in lines if line.startswith("# expect: ")]:
        assert expected[0] in done.stderr
        assert flat(f"{path}:{expected[1]}") in flat(done.stderr)
    assert "Loading" not in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["several", "option-begins-another", "no-digest", "unknown-metric", "file-escapes"])
@pytest.mark.parametrize("how", ["evaluate", "score"])
def test_a_malformed_benchmark_is_not_used(said_by: Any, submissions: Any, tmp_path: Path, name: str, how: str) -> None:
    path = EXAMPLES / "benchmark" / f"{name}.yaml"
    given = submissions.base if how == "evaluate" else tmp_path / "rows.jsonl"
    command = said_by(f"benchmark/{name}" if how == "evaluate" else name)
    done = command(how, given, *ONE_TASK, "--benchmark", path, "-o", tmp_path / "results", code=1)
    lines = path.read_text(encoding="utf-8").splitlines()
    for expected in [line.split()[2:] for line in lines if line.startswith("# expect: ")]:
        assert flat(f"{path}:{expected[1]}") in flat(done.stderr) or how == "score"
    assert "Loading" not in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.fixture(scope="module")
def benchmark_over(root: Path) -> Callable[[Path, Path, str, int | None], Path]:
    """The released benchmark with one dataset, both of whose splits are the given file."""

    def write(to: Path, data: Path, task: str, rows: int | None) -> Path:
        content = data.read_bytes()
        split = {
            "file": data.name,
            "rows": rows or max(1, len(content.splitlines())),
            "sha256": hashlib.sha256(content if data.name != "other-digest.jsonl" else b"other").hexdigest(),
        }
        document = yaml.safe_load((root / "benchmark.yaml").read_text(encoding="utf-8"))
        document["datasets"]["broken"] = {
            "description": "Broken.",
            "synthetic": True,
            "source": {"url": "https://data.example/broken.tar.gz", "folder": "broken"},
            "splits": {"dev": dict(split), "test": dict(split)},
        }
        document["suites"]["broken"] = {
            "description": "Broken.",
            "comparable": False,
            "split": "test",
            "datasets": {task: "broken"},
        }
        path = to / "benchmark.yaml"
        path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("name", DATA)
def test_malformed_data_is_told_before_the_model_is_loaded(
    command: Command, submissions: Any, tmp_path: Path, benchmark_over: Any, name: str
) -> None:
    case = DATA[name]
    benchmark = benchmark_over(tmp_path, EXAMPLES / "data" / name, case["task"], case.get("rows"))
    command("validate", benchmark)
    done = command(
        *("evaluate", submissions.base, "--benchmark", benchmark, "--data-dir", EXAMPLES / "data"),
        *("--suite", "broken", "-o", tmp_path / "results"),
        code=1,
    )
    assert "Loading" not in done.stderr
    assert not (tmp_path / "results").exists()
    said = flat(done.stderr)
    for fault in case["faults"]:
        assert fault["code"] in said
        if fault.get("line"):
            assert flat(f"{EXAMPLES / 'data' / name}:{fault['line']}") in said


ROWS = 80


def change(at: int, **fields: Any) -> Callable[[list[dict[str, Any]]], list[str]]:
    """Rows as lines, with fields of one row changed (None: taken out)."""

    def apply(rows: list[dict[str, Any]]) -> list[str]:
        rows[at] = {name: value for name, value in {**rows[at], **fields}.items() if value is not None}
        return [json.dumps(row) for row in rows]

    return apply


def line(at: int, text: str) -> Callable[[list[dict[str, Any]]], list[str]]:
    """Rows as lines, with one line replaced."""
    return lambda rows: [text if number == at else json.dumps(row) for number, row in enumerate(rows)]


PREDICTIONS: dict[str, tuple[Callable[[list[dict[str, Any]]], list[str]], int | None, str]] = {
    "no JSON": (line(3, "{"), 4, "PREDICTION_ROW"),
    "blank line": (line(3, ""), 4, "PREDICTION_ROW"),
    "NaN": (line(0, '{"task": "dilemmas", "item_id": "x", "log_scores": [NaN, 0]}'), 1, "PREDICTION_ROW"),
    "infinity": (line(0, '{"task": "dilemmas", "item_id": "x", "log_scores": [1e999, 0]}'), 1, "PREDICTION_ROW"),
    "key twice": (line(5, '{"task": "dilemmas", "task": "x", "item_id": "x", "log_scores": [0, 0]}'), 6, "twice"),
    "no object": (line(79, "[1, 2]"), 80, "PREDICTION_ROW"),
    "no task": (change(7, task=None), 8, "'task' is missing"),
    "no item": (change(7, item_id=None), 8, "'item_id' is missing"),
    "no scores": (change(7, log_scores=None), 8, "'log_scores' is missing"),
    "unknown field": (change(7, probability=0.5), 8, "unknown field 'probability'"),
    "scores as text": (change(7, log_scores="-1"), 8, "log_scores"),
    "one score": (change(7, log_scores=[-1.0]), 8, "log_scores"),
    "three scores": (change(7, log_scores=[-1.5, -1.5, -1.5]), None, "3 scores, the task has 2 labels"),
    "true as a score": (change(7, log_scores=[True, False]), 8, "log_scores"),
    "number as an item": (change(7, item_id=7), 8, "item_id"),
    "unknown task": (change(7, task="nope"), 8, "'nope'"),
    "unknown item": (change(7, item_id="nope"), None, "'nope'"),
    "unknown split": (change(7, split="nope"), 8, "not among what is scored"),
    "order below zero": (change(7, order=-1), 8, "order"),
    "item twice": (lambda rows: [json.dumps(row) for row in [*rows, rows[3]]], None, "answered twice"),
    "item missing": (lambda rows: [json.dumps(row) for row in rows[:-1]], None, "has no answer"),
    "nothing": (lambda rows: [], None, "no row for any of the tasks"),
}


@pytest.fixture(scope="module")
def uniform(command: Command, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("baseline") / "uniform.jsonl"
    command("baseline", "uniform", *ONE_TASK, "-o", path)
    rows = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    scored = [row for row in rows if row.get("split") != "dev"]
    assert len(scored) == ROWS
    return scored


@pytest.mark.parametrize("name", PREDICTIONS)
def test_malformed_predictions_are_not_scored(
    said_by: Any, uniform: list[dict[str, Any]], tmp_path: Path, name: str
) -> None:
    make, number, says = PREDICTIONS[name]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{text}\n" for text in make([dict(row) for row in uniform])), encoding="utf-8")
    done = said_by(name)("score", path, *ONE_TASK, "-o", tmp_path / "results", code=1)
    assert flat(says) in flat(done.stderr)
    if number is not None:
        assert flat(f"{path}:{number}") in flat(done.stderr)
    assert not (tmp_path / "results").exists()


def test_the_unchanged_predictions_are_scored(command: Command, uniform: list[dict[str, Any]], tmp_path: Path) -> None:
    """So that each of the faults above is the one that was put in."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in uniform), encoding="utf-8")
    done = command("score", path, *ONE_TASK, "-o", tmp_path / "results")
    assert (Path(done.stdout.splitlines()[-1]) / "scorecard.json").is_file()


def test_results_of_score_that_cannot_be_written_are_a_failure(
    command: Command, uniform: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in uniform), encoding="utf-8")
    (tmp_path / "taken").write_text("", encoding="utf-8")
    done = command("score", path, *ONE_TASK, "-o", tmp_path / "taken", code=3)
    assert "OUTPUT_UNWRITABLE" in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--suite", "nope"], "there are: full, sample"),
        (["--task", "nope"], "it has: dilemmas, anecdotes, anecdotes-binary"),
        (["--split", "nope"], "it has: train, dev, test"),
        (
            ["--prompt", "nope"],
            "there are: dilemmas-letters, dilemmas-numbers, dilemmas-words, dilemmas-written, dilemmas-sampled,"
            " dilemmas-seed-yes-no, anecdotes-letters, anecdotes-numbers, anecdotes-words",
        ),
        (["--key", "nope.pem"], "nope.pem"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_known_is_told_with_what_is(
    command: Command, submissions: Any, tmp_path: Path, options: list[str], says: str
) -> None:
    done = command("evaluate", submissions.base, "--suite", "sample", *options, "-o", tmp_path, code=1)
    assert flat(says) in flat(done.stderr)
    assert "Loading" not in done.stderr


@pytest.mark.parametrize("device", ["nope", "cuda:99", "tpu", "cuda:-1"])
def test_a_device_that_is_not_there_is_exit_code_3(said_by: Any, submissions: Any, tmp_path: Path, device: str) -> None:
    done = said_by(device)("evaluate", submissions.base, *ONE_TASK, "--device", device, "-o", tmp_path, code=3)
    assert "DEVICE" in done.stderr
