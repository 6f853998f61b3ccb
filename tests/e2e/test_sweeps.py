"""Many submissions in one command: some fail, it is stopped, it goes on, and equal ones are not computed twice."""

import json
import shutil
import signal
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from support import hostile_submissions as hostile
from support.command import Command
from support.paths import TESTS

from runner.core import resources
from runner.core.json_schema import mismatches

pytestmark = pytest.mark.slow

DATA = TESTS / "benchmarks"
[HOSTILE] = [attack for attack in hostile.ATTACKS if attack.name == "tree/symlink"]
YAML = """\
schema_version: "1"
name: {name}
model: {{backend: causal, path: model, format: plain, dtype: float32}}
"""
# `benchmark` with less memory for each model's process than the large submission needs.
LIMITED = """\
from dataclasses import replace
from runner.models.worker import client
client.LIMITS = replace(client.LIMITS, memory_bytes=700_000_000)
from runner.cli import main
main()
"""


def named(source: Path, folder: Path, name: str) -> Path:
    """The submission in the file `source` under another name, of the same files."""
    shutil.copytree(source.parent, folder, ignore=shutil.ignore_patterns("*.yaml"))
    text = source.read_text(encoding="utf-8")
    first = next(line for line in text.splitlines() if line.startswith("name:"))
    (folder / "submission.yaml").write_text(text.replace(first, f"name: {name}"), encoding="utf-8")
    return folder / "submission.yaml"


def large(folder: Path) -> Path:
    """A sound Llama of 538 MB, all zeros: a sparse file, which takes no room on the disk."""
    hostile.make_model(folder / "model")
    sizes = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 2}
    hostile.write_json(folder / "model" / "config.json", hostile.CONFIG | sizes)
    by_size = {32: 2048, 64: 8192}
    shapes = {"model.embed_tokens.weight": [64, 2048], "model.norm.weight": [2048], "lm_head.weight": [64, 2048]}
    for layer in range(2):
        for part, shape in hostile.LAYER.items():
            shapes[f"model.layers.{layer}.{part}.weight"] = [by_size[size] for size in shape]
    header = hostile.header_of(shapes)
    text = json.dumps(header).encode()
    with (folder / "model" / "model.safetensors").open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + hostile.data_bytes(header))
    (folder / "submission.yaml").write_text(YAML.format(name="large"), encoding="utf-8")
    return folder / "submission.yaml"


def linked(folder: Path) -> Path:
    """Weights that are a link to a file elsewhere."""
    hostile.make(HOSTILE, folder).rename(folder / "model")
    (folder / "submission.yaml").write_text(YAML.format(name="hostile"), encoding="utf-8")
    return folder / "submission.yaml"


@pytest.fixture
def sandwiches(command: Any, tmp_path: Path) -> Path:
    """A benchmark of one's own, on which cards are comparable."""
    command("init", tmp_path / "sandwich", "--data", DATA / "sandwiches.csv")
    file = tmp_path / "sandwich" / "benchmark.yaml"
    text = file.read_text(encoding="utf-8").replace("FILL IN: ", "")
    quick = "  metrics: [cross_entropy]\n  intervals: {method: percentile, draws: 100, level: 0.95, seed: 3}\n"
    file.write_text(text.replace("scoring:\n", f"scoring:\n{quick}"), encoding="utf-8")
    command("data", "pin", file)
    return file


def saved(folder: Path) -> Any:
    state = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    schema = json.loads((resources.schema_folder() / "sweep-state.schema.json").read_text(encoding="utf-8"))
    assert mismatches(schema, state) == []
    return state


def test_six_of_eight_have_a_card_and_a_stopped_sweep_goes_on(
    command: Any, submissions: Any, sandwiches: Path, tmp_path: Path
) -> None:
    sources = [submissions.base] * 3 + [submissions.other] * 2 + [submissions.lora]
    tiny = [named(source, tmp_path / str(number), f"tiny-{number}") for number, source in enumerate(sources)]
    paths = [*tiny, large(tmp_path / "large"), linked(tmp_path / "hostile")]
    out = tmp_path / "out"
    options = ["--benchmark", sandwiches, "--data-dir", DATA, "--device", "cpu", "-o", out]
    options += ["--archive", tmp_path / "cards", "--baseline", "tiny-0", "--format", "json"]
    # What loads in forks here; the others have processes of their own, with a limit to their memory.
    command("sweep", *tiny, *options)
    limited = Command(command.home, (sys.executable, "-c", LIMITED))

    with limited.start(["sweep", *paths, *options]) as run:
        for line in run.stdout:
            if json.loads(line)["event"] == "progress":
                run.send_signal(signal.SIGINT)
                break
        _, said = run.communicate(timeout=120)
    assert run.returncode == 5, said
    assert "Run the same command again" in said
    assert "Traceback" not in said
    states = [entry["state"] for entry in saved(out)["entries"]]
    assert sorted(states) == ["done"] * 6 + ["interrupted", "waiting"]
    assert states[0] == "interrupted"

    done = limited("sweep", *paths, *options, code=3)
    entries = {entry["name"]: entry for entry in saved(out)["entries"]}
    assert {name for name, entry in entries.items() if entry["state"] == "done"} == {f"tiny-{n}" for n in range(6)}
    assert [entries[name]["exit_code"] for name in ("large", "hostile")] == [3, 1]
    assert entries["large"]["faults"][0]["code"] == "OUT_OF_MEMORY"
    assert entries["hostile"]["faults"][0]["code"] == HOSTILE.codes[0]
    assert sum(entry["cache"] == "used" for entry in entries.values()) == 3
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["name"] for event in events if event["event"] == "start"} == {"large", "hostile"}
    [board] = [event for event in events if event["event"] == "leaderboard"]
    assert board["cards"] == 6
    [group] = board["groups"]
    rows = [row for section in group["sections"] for row in section["rows"]]
    assert sorted(len(row["runs"]) for row in rows) == [1, 2, 3]  # by files: names do not make another submission
    compared = [event for event in events if event["event"] == "comparison"]
    assert {event["name"] for event in compared} == {f"tiny-{number}" for number in range(1, 6)}
    assert all(event["result"] for event in compared), compared
    command("verify", out / str(entries["tiny-4"]["run"]), "--recompute", "--data-dir", DATA)


def test_equal_runs_are_computed_once_unless_the_entry_is_damaged(
    command: Any, submissions: Any, tmp_path: Path
) -> None:
    paths = [named(submissions.base, tmp_path / name, name) for name in ("one", "two")]
    options = [
        "--suite",
        "sample",
        "--task",
        "dilemmas",
        "--limit",
        "4",
        "--device",
        "cpu",
        "--cache-dir",
        tmp_path / "c",
    ]

    def timing(out: str, name: str) -> Any:
        [run] = (tmp_path / out / name).iterdir()
        return json.loads((run / "environment.json").read_text(encoding="utf-8"))["timing"]

    def predictions(out: str, name: str) -> bytes:
        [run] = (tmp_path / out / name).iterdir()
        return (run / "predictions.jsonl").read_bytes()

    command("sweep", *paths, *options, "-o", tmp_path / "first")
    first, second = timing("first", "one"), timing("first", "two")
    assert (first["cache"]["state"], first["prompts"] > 0) == ("stored", True)
    assert (second["cache"]["state"], second["prompts"], second["prompts_per_second"]) == ("used", 0, None)
    assert second["cache"]["prompts"] == first["prompts"]
    assert predictions("first", "two") == predictions("first", "one")

    [entry] = (tmp_path / "c").iterdir()
    entry.write_bytes(entry.read_bytes()[:-30])
    done = command("sweep", paths[0], *options, "-o", tmp_path / "second")
    assert "Computed anew" in done.stdout
    assert timing("second", "one")["prompts"] == first["prompts"]
    assert predictions("second", "one") == predictions("first", "one")

    command("sweep", paths[0], *options, "--no-cache", "-o", tmp_path / "third")
    assert "cache" not in timing("third", "one")
    assert timing("third", "one")["prompts"] == first["prompts"]
