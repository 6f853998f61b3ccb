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
with capped({gib}, torch.device("cpu")):
    print(resource.getrlimit(resource.RLIMIT_DATA)[0])
print(resource.getrlimit(resource.RLIMIT_DATA)[0])
"""


def limits(gib: int) -> list[int]:
    """Bytes within the cap and after it, of a process that may have 8 GiB."""
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(gib=gib)], capture_output=True, text=True, check=True)
    return list(map(int, done.stdout.split()))


@pytest.mark.slow
def test_a_cap_below_the_system_s_holds_and_is_put_back() -> None:
    assert limits(4) == [4 << 30, 8 << 30]


@pytest.mark.slow
def test_a_cap_above_the_system_s_is_the_system_s() -> None:
    assert limits(16) == [8 << 30, 8 << 30]
