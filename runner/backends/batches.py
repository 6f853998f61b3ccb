"""Texts to padded batches: longest first, within a budget of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """What a prompt costs: `group` of prompts that share a beginning, and how many tokens it adds to that."""

    group: int
    tokens: int


def batches(loads: Sequence[Load], budget: int) -> list[list[int]]:
    """Indexes into `loads`, each once, in batches of one group whose width times length stays within `budget` tokens.

    Within a group the longest come first, equal ones in their own order; the group with the longest prompt comes
    first, so that too little memory is found at once. A prompt longer than the budget is a batch by itself.
    """
    longest: dict[int, int] = {}
    for load in loads:
        longest[load.group] = max(longest.get(load.group, 0), load.tokens)
    order = sorted(
        range(len(loads)),
        key=lambda number: (-longest[loads[number].group], loads[number].group, -loads[number].tokens, number),
    )
    found: list[list[int]] = []
    width = 0
    for number in order:
        load = loads[number]
        fits = bool(found) and loads[found[-1][0]].group == load.group and width * (len(found[-1]) + 1) <= budget
        if fits:
            found[-1].append(number)
        else:
            found.append([number])
            width = load.tokens
    return found
