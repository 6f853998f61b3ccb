"""Measure the numbers of a card of many items: time, memory and where the time goes; nothing is asserted.

python tests/bench_card.py 30000 [dilemmas|anecdotes] [--profile]
"""

import cProfile
import pstats
import resource
import sys
import time

import numpy as np
from support import factories

from runner.scorecard.build import build_tasks


def main(number: int, task: str, profiled: bool) -> None:
    """Five votes for each of two labels' items, as in Dilemmas, or 3 to 59 over five labels, as in Anecdotes."""
    generator = np.random.default_rng(0)
    labels = {"dilemmas": 2, "anecdotes": 5}[task]
    votes = 5 if labels == 2 else generator.integers(3, 60, number)
    truth = generator.dirichlet([1.0, 2.0, 0.5, 0.7, 0.3][:labels], number)
    counts = generator.multinomial(votes, truth)
    scores = np.log(generator.dirichlet([2.0] * labels, (number, 2)))
    selection = factories.selection(counts, task=task, draws=1000, ceiling_draws=1000)
    answers = factories.answers(selection, scores)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    profile = cProfile.Profile()
    wall, cpu = time.perf_counter(), time.process_time()
    if profiled:
        profile.enable()
    build_tasks(selection, answers)
    profile.disable()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{number:,} items of {task}: {wall:.1f} s, {cpu:.1f} s of processor, {peak >> 10} MB ({before >> 10} before)"
    )
    if profiled:
        pstats.Stats(profile).sort_stats("cumtime").print_stats(20)


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    main(int(words[0]) if words else 30_000, words[1] if len(words) > 1 else "dilemmas", "--profile" in sys.argv)
