"""docs/write-a-benchmark.md: its commands, as they stand there, lead from a CSV to a leaderboard."""

import csv
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command import run_here
from support.paths import ROOT, TESTS

PAGE = ROOT / "docs" / "write-a-benchmark.md"


@pytest.mark.slow
def test_the_commands_of_the_page_lead_to_a_leaderboard(tmp_path: Path, record_property) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 5
    for folder in ("tests", "submissions"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    home = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    begin, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        ["bash", "-c", "set -e\n" + "\n".join(blocks)],
        cwd=tmp_path,
        env={**os.environ, **home, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    seconds, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    record_property("from a CSV to a site", f"{seconds:.0f} s, {processor:.0f} s of processor time, 4 texts by hand")
    assert done.returncode == 0, done.stderr
    assert sum(block.count("sed -i") for block in blocks) == 4
    written = (tmp_path / "sandwich" / "benchmark.yaml").read_text(encoding="utf-8")
    assert "FILL IN:" not in written
    assert "rows: 40" in written
    board = done.stdout[done.stdout.rindex("question  32 items of test") :]
    assert "not a released benchmark" in board
    assert board.index("tiny-llama") < board.index("ceiling") < board.index("prior") < board.index("uniform")
    assert "question: B is better by" in done.stdout
    site = tmp_path / "sandwich" / "site"
    assert "not a released benchmark" in (site / "index.html").read_text(encoding="utf-8")
    assert all(list((site / folder).rglob("*.html")) for folder in ("boards", "cards", "comparisons"))
    items = "".join(page.read_text(encoding="utf-8") for page in (site / "items").rglob("*.html"))
    with (TESTS / "benchmarks" / "sandwiches.csv").open(encoding="utf-8", newline="") as file:
        assert sum(row["thing"] in items for row in csv.DictReader(file)) >= 32


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "task", "items"), [("dishes", "heat", 18), ("pairs", "inference", 18), ("coats", "coat", 12)]
)
def test_each_own_benchmark_is_scored(name: str, task: str, items: int, tmp_path: Path) -> None:
    """Equal probabilities, whose distance on the scale can be computed from the file itself."""
    chosen = ["--benchmark", str(TESTS / "benchmarks" / f"{name}.yaml")]
    code, said = run_here("baseline", "uniform", *chosen, "--output", str(tmp_path / "uniform.jsonl"))
    assert code == 0, said
    code, said = run_here("score", str(tmp_path / "uniform.jsonl"), *chosen, "--output-dir", str(tmp_path), "--quiet")
    assert code == 0, said
    card = json.loads((Path(said.splitlines()[-1]) / "scorecard.json").read_bytes())
    assert (card["tasks"][task]["items"], card["comparable"]) == (items, False)
    metrics = card["tasks"][task]["metrics"]
    assert ("wasserstein" in metrics) == (name == "dishes")
    assert set(card["tasks"][task]["strata"]) == ({"group"} if name == "coats" else set())
    if name != "dishes":
        return
    rows = map(json.loads, (tmp_path / "uniform.jsonl").read_text(encoding="utf-8").splitlines())
    scored = {row["item_id"] for row in rows if row["split"] == "test"}
    with (TESTS / "benchmarks" / "data" / "dishes.csv").open(encoding="utf-8", newline="") as file:
        steps = ("mild", "warm", "hot", "very hot")
        votes = [[int(row[step]) for step in steps] for row in csv.DictReader(file) if row[""] in scored]
    # Between two distributions on a line: the area between their cumulative shares.
    distances = [sum(abs(sum(v[: k + 1]) / sum(v) - (k + 1) / 4) for k in range(3)) for v in votes]
    assert metrics["wasserstein"]["value"] == pytest.approx(sum(distances) / items)


def test_the_page_names_every_key_of_items_and_votes() -> None:
    text = PAGE.read_text(encoding="utf-8")
    schema = json.loads((ROOT / "schemas" / "benchmark.schema.json").read_text(encoding="utf-8"))
    keys = set(schema["$defs"]["task"]["properties"]["item"]["properties"])
    keys |= set(schema["$defs"]["votes"]["properties"]) | set(
        schema["$defs"]["dataset"]["properties"]["source"]["properties"]
    )
    assert keys
    for key in keys:
        assert f"`{key}`" in text or f"{key}:" in text, key
