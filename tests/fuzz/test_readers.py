"""A minute of what `make fuzz` does for longer: whatever bytes a reader is given, it ends in words."""

import random
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from mutations import mutated
from readers import READERS

SECONDS = 2.0
FOUND = Path(__file__).resolve().parent / "found"
"""What once broke a reader, in files called READER--NAME."""


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_it_ends_in_words(name: str) -> None:
    reader = READERS[name]
    seeds = reader.seeds()
    assert seeds
    for seed in [*seeds, *(path.read_bytes() for path in sorted(FOUND.glob(f"{name}--*")))]:
        reader.read(seed)
    chance = random.Random(20261121)
    end = time.monotonic() + SECONDS
    tried = 0
    while tried < 20 or (time.monotonic() < end and tried < 3000):
        reader.read(mutated(seeds, chance))
        tried += 1
