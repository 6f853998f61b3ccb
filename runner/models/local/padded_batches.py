"""Texts to padded batches: longest first, within a budget of tokens."""

from collections.abc import Sequence


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indexes into `lengths`, each once, in batches whose width times length stays within `budget` tokens.

    The longest come first, so that too little memory is found at once; equal ones in their own order. A text that is
    longer than the budget is a batch by itself.
    """
    found: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: (-lengths[number], number)):
        if found and lengths[found[-1][0]] * (len(found[-1]) + 1) <= budget:
            found[-1].append(number)
        else:
            found.append([number])
    return found
