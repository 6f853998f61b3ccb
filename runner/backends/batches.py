"""Prompts to batches: those that begin alike together, longest first, within a budget of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runner.backends.packing import LEAST_SHARED, in_order


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """What a prompt costs: `group` of prompts that share a beginning, the tokens (tokens,) of its `rest`, and how many
    option tokens there are to read.
    """

    group: int
    rest: NDArray[np.int32]
    options: int

    @property
    def tokens(self) -> int:
        """Tokens to read where nothing more is shared."""
        return len(self.rest) + self.options


def shared_beginning(prefixes: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    """The longest common beginning of `prefixes` that leaves each at least one token; empty where it is not worth it.

    A single prompt shares nothing.
    """
    if len(prefixes) < 2:
        return np.empty(0, dtype=np.int32)
    common = prefixes[0][: min(map(len, prefixes)) - 1]
    for prefix in prefixes[1:]:
        differs = np.flatnonzero(common != prefix[: len(common)])
        if len(differs):
            common = common[: differs[0]]
    return common if len(common) >= LEAST_SHARED else common[:0]


def batches(loads: Sequence[Load], budget: int) -> list[list[int]]:
    """Indexes into `loads`, each once, in batches of one group with at most `budget` tokens to read.

    Prompts of a group that begin alike stay neighbours, and what they share is counted once. Of such families the one
    with the longest prompt comes first, equal ones in their own order, and the group with the longest of all, so that
    too little memory is found at once. A prompt longer than the budget is a batch by itself.
    """
    groups: dict[int, list[int]] = {}
    for number, load in enumerate(loads):
        groups.setdefault(load.group, []).append(number)

    def longest(numbers: Sequence[int]) -> int:
        return max(loads[number].tokens for number in numbers)

    found: list[list[int]] = []
    for members in sorted(groups.values(), key=longest, reverse=True):
        left = 0
        families = _families(members, loads)
        for family in sorted(families, key=lambda family: longest([number for number, _ in family]), reverse=True):
            whole = sum(loads[number].tokens - shared for number, shared in family)
            alone = left < whole <= budget
            for number, shared in family:
                cost = loads[number].tokens - shared
                if alone or cost > left:
                    found.append([])
                    left, cost, alone = budget, loads[number].tokens, False
                found[-1].append(number)
                left -= cost
    return found


def _families(members: Sequence[int], loads: Sequence[Load]) -> list[list[tuple[int, int]]]:
    """Prompts that begin alike, each with the tokens that it shares with the one before it, in the order of firsts."""
    order, shared = in_order([loads[number].rest for number in members])
    families: list[list[tuple[int, int]]] = []
    for at, number in enumerate(order):
        if shared[at] < LEAST_SHARED:
            families.append([(members[number], 0)])
        else:
            families[-1].append((members[number], shared[at]))
    return sorted(families, key=lambda family: min(number for number, _ in family))
