"""Measure the archive on many synthetic cards: the leaderboard and the check; nothing is asserted.

python tests/bench_archive.py 10000
"""

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.card_factory import People, maker

from runner.archive import add as adding
from runner.archive import index, objects
from runner.archive.check import check
from runner.archive.leaderboard import leaderboard
from runner.archive.leaderboard.formats import render
from runner.archive.store import Store, open_store
from runner.core import resources
from runner.core.canonical import sha256_bytes
from runner.evaluation.baselines import write_baseline
from runner.evaluation.score import score_file
from runner.scorecard import filenames
from runner.signing.keys import keyid
from runner.tasks.selection import RunConfig


def main(cards: int, checked: int) -> None:
    """Make and rank `cards` cards; check an archive of `checked` of them, since each is looked at alike."""
    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # only reading is measured
    with tempfile.TemporaryDirectory() as folder:
        people = People()
        large, small = (index.begun(open_store(f"{folder}/{name}")) for name in ("large", "small"))
        started = time.perf_counter()
        size = fill(Path(folder), people, large, cards)
        fill(Path(folder) / "again", people, small, checked)
        print(f"made {cards:,} cards of {size / 1024:.0f} KiB in {time.perf_counter() - started:.0f} s")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        started, cpu = time.perf_counter(), time.process_time()
        board = leaderboard(large, people.keyring)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        ranked = sum(len(section.rows) for group in board.groups for section in group.sections)
        print(f"leaderboard of {ranked:,} rows: {seconds:.1f} s, {cpu:.1f} s of processor time")
        for name in ("rich", "markdown", "json", "csv"):
            started = time.perf_counter()
            text = render(board, name)  # type: ignore[arg-type]
            print(f"  as {name}: {time.perf_counter() - started:.1f} s, {len(text):,} characters")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak memory {peak:.0f} MiB ({before:.0f} MiB before the leaderboard)")
        started, cpu = time.perf_counter(), time.process_time()
        found = check(small, people.keyring)
        cpu = time.process_time() - cpu
        rate, alone = found.cards / found.seconds, found.cards / cpu
        print(f"check of {found.cards:,} cards: {rate:.0f} cards/s, {alone:.0f} per second of processor time")
        print(f"faults: {found.faults}")


def fill(folder: Path, people: People, store: Store, cards: int) -> float:
    """Put `cards` signed cards into `store`; their mean size in bytes."""
    choice = RunConfig(resources.benchmark_file(), "sample", tasks=("dilemmas",))
    write_baseline("uniform", choice, folder / "uniform.jsonl")
    key = Ed25519PrivateKey.generate()
    place, card = score_file(folder / "uniform.jsonl", choice, None, folder / "runs", None, lambda: key)
    make = maker(card, place, folder / "made", people.lab)
    generator = np.random.default_rng(0)
    end = index.Appender(store)
    size = 0
    for number in range(cards):
        signer = people.verifier if number % 4 == 0 else people.lab
        run = make(f"model-{number}", float(generator.normal(0.6, 0.02)), key=signer)
        bundle = (run / filenames.BUNDLE).read_bytes()
        size += len(bundle)
        files: dict[str, str | None] = dict.fromkeys(objects.FILES)
        for name, kind in objects.FILES.items():
            if (run / kind.run_name).is_file():
                content = (run / kind.run_name).read_bytes()
                files[name] = sha256_bytes(content)
                if not store.exists(kind.name(sha256_bytes(content))):
                    objects.put(store, kind, content)
        objects.put(store, objects.CARD, bundle)
        summary = adding.summary(adding._card_in(bundle), keyid(signer), "cross_entropy")
        end.append(sha256_bytes(bundle), files, summary, recomputed=False)
    return size / cards


if __name__ == "__main__":
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    main(total, min(total, 500))
