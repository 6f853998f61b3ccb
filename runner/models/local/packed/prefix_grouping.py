"""Prompts that begin alike: how much they share, and batches in which they are together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A shorter beginning costs more to keep apart in attention than to compute again.
LEAST_SHARED = 16


@dataclass(frozen=True, slots=True, eq=False)
class Suffix:
    """What is read of a prompt after a shared prefix."""

    group: int
    """Index of the group that shares the prefix."""
    ids: NDArray[np.int32]
    """(tokens,) token ids after the prefix."""
    options: int
    """Tokens of all options that are read after them."""

    @property
    def tokens(self) -> int:
        """Tokens to read where nothing more is shared."""
        return len(self.ids) + self.options


def in_order(rests: Sequence[NDArray[np.int32]]) -> tuple[list[int], list[int]]:
    """The order in which those that begin alike are neighbours, and how many tokens each shares with the one before.

    What is shared leaves either at least one token of its own.
    """
    order = sorted(range(len(rests)), key=lambda number: rests[number].astype(">i4").tobytes())
    shared = [0] * len(order)
    for at in range(1, len(order)):
        previous, other = rests[order[at - 1]], rests[order[at]]
        longest = min(len(previous), len(other)) - 1
        differs = np.flatnonzero(previous[:longest] != other[:longest])
        shared[at] = int(differs[0]) if len(differs) else longest
    return order, shared


def packed_batches(rests: Sequence[Suffix], budget: int) -> list[list[int]]:
    """Indexes into `rests`, each once, in batches of one group with at most `budget` tokens to read.

    Prompts of a group that begin alike stay neighbours, and what they share is counted once. Of such families the one
    with the longest prompt comes first, equal ones in their own order, and the group with the longest of all, so that
    memory runs out at once or not at all. A prompt longer than the budget is a batch by itself.
    """
    groups: dict[int, list[int]] = {}
    for number, rest in enumerate(rests):
        groups.setdefault(rest.group, []).append(number)

    def longest(numbers: Sequence[int]) -> int:
        return max(rests[number].tokens for number in numbers)

    batches: list[list[int]] = []
    for members in sorted(groups.values(), key=longest, reverse=True):
        budget_left = 0
        families = _families(members, rests)
        for family in sorted(families, key=lambda family: longest([number for number, _ in family]), reverse=True):
            whole = sum(rests[number].tokens - shared for number, shared in family)
            alone = budget_left < whole <= budget
            for number, shared in family:
                cost = rests[number].tokens - shared
                if alone or cost > budget_left:
                    batches.append([])
                    budget_left, cost, alone = budget, rests[number].tokens, False
                batches[-1].append(number)
                budget_left -= cost
    return batches


def _families(members: Sequence[int], rests: Sequence[Suffix]) -> list[list[tuple[int, int]]]:
    """Prompts that begin alike, each with the tokens that it shares with the one before it, in the order of firsts."""
    order, shared = in_order([rests[number].ids for number in members])
    families: list[list[tuple[int, int]]] = []
    for at, number in enumerate(order):
        if shared[at] < LEAST_SHARED:
            families.append([(members[number], 0)])
        else:
            families[-1].append((members[number], shared[at]))
    return sorted(families, key=lambda family: min(number for number, _ in family))
