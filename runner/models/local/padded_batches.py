"""Texts to padded batches: longest first, within a budget of tokens."""

from collections.abc import Sequence


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indexes into `lengths`, each once, in batches whose width times length stays within `budget` tokens.

    The longest come first, so that memory runs out at once or not at all; equal ones in their own order. A text that is
    longer than the budget is a batch by itself.
    """
    groups: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: (-lengths[number], number)):
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= budget:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups
