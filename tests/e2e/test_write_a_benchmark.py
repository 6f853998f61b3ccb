"""docs/write-a-benchmark.md: its commands, as they stand there, lead from a CSV to a leaderboard."""

import os
import re
import subprocess
import sys
from pathlib import Path

from support.paths import TESTS

ROOT = TESTS.parent
PAGE = ROOT / "docs" / "write-a-benchmark.md"


def test_the_commands_of_the_page_lead_to_a_leaderboard(tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 5
    (tmp_path / "tests").symlink_to(TESTS)
    home = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = "set -e\n" + "\n".join(blocks)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, **home, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "sandwich" / "benchmark.yaml").read_text(encoding="utf-8")
    assert "FILL IN:" not in written
    assert "rows: 40" in written
    board = done.stdout[done.stdout.index("question  32 items of test") :]
    assert "not a released benchmark" in board
    assert board.index("prior") < board.index("uniform")


def test_the_page_names_every_key_of_items_and_votes() -> None:
    import json

    text = PAGE.read_text(encoding="utf-8")
    schema = json.loads((ROOT / "schemas" / "benchmark.schema.json").read_text(encoding="utf-8"))
    keys = set(schema["$defs"]["task"]["properties"]["item"]["properties"])
    keys |= set(schema["$defs"]["votes"]["properties"]) | set(
        schema["$defs"]["dataset"]["properties"]["source"]["properties"]
    )
    assert keys
    for key in keys:
        assert f"`{key}`" in text or f"{key}:" in text, key
