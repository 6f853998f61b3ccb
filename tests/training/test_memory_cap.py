"""The cap on a training's memory, beside limits that the system has set already."""

import subprocess
import sys

import pytest

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
def test_a_cap_holds_and_is_put_back_and_one_above_the_system_s_is_the_system_s() -> None:
    """Bytes within the cap and after it, of a process that may have 8 GiB: for a cap of 4 GiB, and for one of 16."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    below, above = [4 << 30, 8 << 30], [8 << 30, 8 << 30]
    assert list(map(int, done.stdout.split())) == [*below, *above]
