"""The cap on a training's memory, beside limits that the system has set already."""

from pathlib import Path

import pytest
from support.forked_script import run_script

PROGRAM = """
import resource
import torch
from runner.training.memory import capped
hard = 8 << 30
resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
for gib in (4, 16):
    with capped(gib, torch.device("cpu")):
        print(resource.getrlimit(resource.RLIMIT_DATA)[0])
    print(resource.getrlimit(resource.RLIMIT_DATA)[0])
"""


@pytest.mark.slow
def test_a_cap_holds_and_is_put_back_and_one_above_the_system_s_is_the_system_s(tmp_path: Path) -> None:
    """Bytes within the cap and after it, of a process that may have 8 GiB: for a cap of 4 GiB, and for one of 16."""
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    done = run_script(tmp_path / "program.py")
    assert done.returncode == 0, done.stderr
    below, above = [4 << 30, 8 << 30], [8 << 30, 8 << 30]
    assert list(map(int, done.stdout.split())) == [*below, *above]
