"""The walk through a sweep with an evaluation that is made up: order, failures, stops, and what is not done again."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.paths import EXAMPLES

from runner.core import resources
from runner.core.errors import Fault, InvalidInput, OutputError
from runner.core.json_schema import mismatches
from runner.sweep import plan, state
from runner.sweep.plan import Entry
from runner.sweep.process import Outcome
from runner.sweep.run import exit_code, run_sweep
from runner.sweep.state import Record
from runner.tasks.selection import RunConfig

CONFIG = RunConfig(resources.benchmark_file(), suite=None)
YAML = """\
schema_version: "1"
name: {name}
model: {{backend: causal, path: model, format: plain, dtype: float32}}
"""


def submission(folder: Path, name: str, size: int = 0) -> Path:
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.safetensors").write_bytes(b"0" * size)
    (folder / "submission.yaml").write_text(YAML.format(name=name), encoding="utf-8")
    return folder / "submission.yaml"


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    paths = [submission(tmp_path / name, name, size) for name, size in (("small", 1), ("large", 9), ("middle", 5))]
    return plan.plan_entries(plan.read_spec(paths), CONFIG, {})


class Evaluations:
    """A made-up `evaluate`: what it was asked for, and how each is to end."""

    def __init__(self, folder: Path, **codes: int) -> None:
        self.folder = folder
        self.codes = codes
        self.asked: list[str] = []
        self.stop_at: str | None = None

    def __call__(self, entry: Entry, progress: Callable[[str, int, int], None]) -> Outcome:
        self.asked.append(entry.name)
        progress("predict", 1, 2)
        states = [record["state"] for record in saved(self.folder)["entries"] if record["name"] == entry.name]
        assert states == ["running"]
        code, stopped = self.codes.get(entry.name, 0), self.stop_at == entry.name
        if stopped:
            return Outcome(5, faults=(Fault("INTERRUPTED", "Stopped."),), stopped=True)
        if code:
            return Outcome(code, faults=(Fault("SOME_CODE", "It failed.", line=3),), seconds=0.5)
        run = Path(tempfile.mkdtemp(dir=self.folder))
        card = {"tasks": {"dilemmas": {"metrics": {"cross_entropy": {"value": 0.5}}}}}
        (run / "scorecard.json").write_text(json.dumps(card), encoding="utf-8")
        (run / "scorecard.sigstore.json").write_text(entry.name, encoding="utf-8")
        cache = {"state": "stored", "prompts": 0, "run": None, "reason": "an entry was not used: it is torn"}
        return Outcome(0, run, card, {"cache": cache, "prompts": 2, "prompts_per_second": 4.0}, seconds=0.5)


def saved(folder: Path) -> Any:
    value = json.loads((folder / state.NAME).read_text(encoding="utf-8"))
    schema = json.loads((resources.schema_folder() / "sweep-state.schema.json").read_text(encoding="utf-8"))
    assert mismatches(schema, value) == []
    return value


def walk(entries: list[Entry], folder: Path, evaluate: Evaluations) -> tuple[list[Record], bool, list[Any]]:
    events: list[Any] = []
    records, stopped = run_sweep(entries, folder, evaluate, events.append, primary="cross_entropy", baseline="small")
    json.dumps(events, allow_nan=False)
    return records, stopped, events


def test_the_largest_come_first_and_one_that_fails_stops_no_other(entries: list[Entry], tmp_path: Path) -> None:
    evaluate = Evaluations(tmp_path / "out", large=3, middle=1)
    records, stopped, events = walk(entries, tmp_path / "out", evaluate)
    assert evaluate.asked == ["large", "middle", "small"]
    assert [record.state for record in records] == ["failed", "failed", "done"]
    assert (exit_code(records), stopped) == (3, False)
    results = [event for event in events if event["event"] == "result"]
    assert [event["values"] for event in results] == [{}, {}, {"dilemmas": 0.5}]
    assert saved(tmp_path / "out")["entries"][0]["faults"] == [
        {"code": "SOME_CODE", "message": "It failed.", "line": 3}
    ]
    assert "torn" in saved(tmp_path / "out")["entries"][2]["faults"][0]["message"]


def test_what_is_done_is_not_done_again_and_what_failed_is(entries: list[Entry], tmp_path: Path) -> None:
    walk(entries, tmp_path / "out", Evaluations(tmp_path / "out", large=3))
    again = Evaluations(tmp_path / "out")
    records, _, events = walk(entries, tmp_path / "out", again)
    assert again.asked == ["large"]
    assert [record.state for record in records] == ["done"] * 3
    assert exit_code(records) == 0
    assert [event["again"] for event in events if event["event"] == "result"] == [False, True, True]
    assert [event["values"] for event in events if event["event"] == "result"] == [{"dilemmas": 0.5}] * 3


def test_a_stop_ends_the_sweep_and_the_same_call_goes_on(entries: list[Entry], tmp_path: Path) -> None:
    evaluate = Evaluations(tmp_path / "out")
    evaluate.stop_at = "middle"
    records, stopped, _ = walk(entries, tmp_path / "out", evaluate)
    assert stopped
    assert [record.state for record in records] == ["done", "interrupted", "waiting"]
    assert exit_code(records) == 5
    again = Evaluations(tmp_path / "out")
    records, stopped, _ = walk(entries, tmp_path / "out", again)
    assert again.asked == ["middle", "small"]
    assert not stopped


def test_a_sweep_that_was_killed_goes_on_with_the_entry_that_ran(entries: list[Entry], tmp_path: Path) -> None:
    evaluate = Evaluations(tmp_path / "out")

    def killed(entry: Entry, progress: Any) -> Outcome:
        if entry.name == "middle":
            raise SystemExit
        return evaluate(entry, progress)

    with pytest.raises(SystemExit):
        run_sweep(entries, tmp_path / "out", killed, lambda _: None, primary="cross_entropy")
    assert [record["state"] for record in saved(tmp_path / "out")["entries"]] == ["done", "running", "waiting"]
    walk(entries, tmp_path / "out", evaluate)
    assert evaluate.asked == ["large", "middle", "small"]


def test_a_changed_submission_or_option_or_card_is_evaluated_again(entries: list[Entry], tmp_path: Path) -> None:
    out = tmp_path / "out"
    walk(entries, out, Evaluations(out))
    paths = [entry.path for entry in entries]
    other = plan.plan_entries(plan.read_spec(paths), CONFIG, {"dtype": "float16"})
    assert {entry.key for entry in other}.isdisjoint(entry.key for entry in entries)
    (tmp_path / "small" / "model" / "model.safetensors").write_bytes(b"2")
    (tmp_path / "large" / "submission.yaml").write_text(YAML.format(name="large") + "# more\n", encoding="utf-8")
    [middle] = [record["run"] for record in saved(out)["entries"] if record["name"] == "middle"]
    (out / middle / "scorecard.sigstore.json").write_text("another", encoding="utf-8")
    again = Evaluations(out)
    walk(plan.plan_entries(plan.read_spec(paths), CONFIG, {}), out, again)
    assert sorted(again.asked) == ["large", "middle", "small"]


def test_a_state_that_is_not_ours_is_refused_and_one_sweep_holds_its_folder(
    entries: list[Entry], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with (
        state.locked(out),
        pytest.raises(OutputError, match="SWEEP_RUNNING"),
    ):
        walk(entries, out, Evaluations(out))
    for text in ("{", "[]", '{"schema_version": "2"}'):
        (out / state.NAME).write_text(text, encoding="utf-8")
        with pytest.raises(InvalidInput, match="SWEEP_DAMAGED"):
            walk(entries, out, Evaluations(out))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="OUTPUT_UNWRITABLE"):
        walk(entries, tmp_path / "file" / "out", Evaluations(out))


# --- the plan ------------------------------------------------------------------------------------------------------


def test_options_are_the_command_lines_or_the_submissions_or_the_files(tmp_path: Path) -> None:
    spec = plan.read_spec([EXAMPLES / "valid" / "sweep.yaml"])
    first, second = sorted(plan.plan_entries(spec, CONFIG, {}), key=lambda entry: entry.config.tasks)
    assert (first.config.suite, first.config.tasks, first.config.split, first.config.limit) == ("sample", (), None, 4)
    assert (second.config.tasks, second.config.split, second.config.limit) == (("dilemmas",), "dev", 4)
    assert second.weights_bytes is None  # in a repository
    config = RunConfig(CONFIG.benchmark, suite="full", tasks=("anecdotes",), limit=9)
    for entry in plan.plan_entries(spec, config, {}):
        assert (entry.config.suite, entry.config.tasks, entry.config.limit) == ("full", ("anecdotes",), 9)


def test_names_are_told_apart_and_what_cannot_be_parsed_has_that_of_its_folder(tmp_path: Path) -> None:
    paths = [submission(tmp_path / name, "same", size) for name, size in (("one", 2), ("two", 1))]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "submission.yaml").write_text("name: [", encoding="utf-8")
    entries = plan.plan_entries(plan.read_spec([*paths, tmp_path / "broken"]), CONFIG, {})
    assert [(entry.name, entry.weights_bytes) for entry in entries] == [("same", 2), ("same-2", 1), ("broken", 0)]


def test_a_baseline_must_be_in_the_sweep_and_a_file_that_names_it_says_where(tmp_path: Path) -> None:
    submission(tmp_path / "one", "tiny")
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text('schema_version: "1"\nbaseline: tinny\nsubmissions: ["*"]\n', encoding="utf-8")
    with pytest.raises(InvalidInput) as error:
        plan.plan_entries(plan.read_spec([sweep]), CONFIG, {})
    [fault] = error.value.faults
    assert (fault.code, fault.line, fault.column) == ("UNKNOWN_BASELINE", 2, 11)
    assert fault.hint == "Did you mean 'tiny'?"


def test_missing_files_and_a_sweep_beside_others_are_refused(tmp_path: Path) -> None:
    path = submission(tmp_path / "one", "tiny")
    with pytest.raises(InvalidInput, match="FILE_MISSING"):
        plan.read_spec([path, tmp_path / "nowhere"])
    with pytest.raises(InvalidInput, match="OPTION"):
        plan.read_spec([EXAMPLES / "valid" / "sweep.yaml", path])
