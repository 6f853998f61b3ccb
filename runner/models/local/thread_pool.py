"""Batches side by side on a CPU, each with threads of its own, instead of one after the other with all of them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

_MAX_LANES = 16
Part = TypeVar("Part")
Result = TypeVar("Result")


def threads_for(threads: int) -> int:
    """Into how many lanes `threads` are divided: one for each, as long as there are few, since every lane needs memory
    for a batch.
    """
    return threads // -(-threads // _MAX_LANES)


def parallel_map(do: Callable[[Part], Result], parts: Sequence[Part], lanes: int) -> list[Result]:
    """What is done with each part without gradients, in order; in `lanes`, among which torch's threads are divided.

    Threads that share a product wait for each other after each of some thousand passes; those of lanes do not. `do`
    is called by several threads at once; where there is one lane or one part, by this one with all of torch's threads.
    Of parts that are no multiple of the lanes the last ones are done afterwards, with more threads each.
    """
    threads = torch.get_num_threads()
    lanes = min(lanes, threads, len(parts))
    if lanes <= 1:
        return [do(part) for part in parts]

    many = len(parts) - len(parts) % lanes

    def alone(part: Part) -> Result:
        with torch.inference_mode():
            return do(part)

    try:
        # OpenMP keeps this number for each thread, MKL one for all: so it is set anew, by new threads, each time.
        with ThreadPoolExecutor(lanes, "lane", torch.set_num_threads, (threads // lanes,)) as pool:
            results = list(pool.map(alone, parts[:many]))
    finally:
        torch.set_num_threads(threads)
    return results + parallel_map(do, parts[many:], lanes)
