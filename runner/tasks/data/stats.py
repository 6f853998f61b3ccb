"""A split described: how many votes, how they fall, how much people disagree, how long the texts are."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runner.core.errors import Fault, InvalidInput
from runner.core.types import Item


@dataclass(frozen=True, slots=True)
class Spread:
    """The spread of some numbers."""

    minimum: int
    """Smallest."""
    median: float
    """Median."""
    maximum: int
    """Largest."""


@dataclass(frozen=True, slots=True)
class SplitStats:
    """A description of items, with h = counts / votes of an item."""

    items: int
    """Number of items."""
    groups: Mapping[str, int]
    """Group to its number of items; empty where items have none."""
    with_panel: int
    """Items with votes of a second group of people."""
    votes: Spread
    """Votes of an item."""
    label_shares: Mapping[str, float]
    """Label to the mean of h over items."""
    plurality: Mapping[str, int]
    """Label to the number of items on which it alone has the highest count."""
    ties: int
    """Items on which several labels have the highest count."""
    unanimous: int
    """Items on which one label has all votes."""
    patterns: Mapping[str, int] | None
    """Votes in falling order, labels dropped (`4-1`), to the number of items; None where items differ in their number
    of votes."""
    agreement: float
    """Mean over items of the largest h."""
    entropy: float
    """Mean over items of the entropy of h, in nats."""
    words: Mapping[str, Spread]
    """Field to the words of its texts, split at white space."""
    empty: Mapping[str, int]
    """Field to the number of its empty texts."""


def stats(items: Iterable[Item], labels: Sequence[str], group: str | None = None) -> SplitStats:
    """Describe `items`, or only those of `group`; `counts` of each item is in the order of `labels`.

    Raises `InvalidInput` (DATA_FIELD) when no item is of `group`, `ValueError` when there are no items at all or one
    has no votes (`load_items` lets neither through).
    """
    everything = tuple(items)
    selected = everything if group is None else tuple(item for item in everything if item.group == group)
    if not selected:
        if group is None or not everything:
            raise ValueError("there are no items to describe")
        known = ", ".join(sorted({item.group for item in everything if item.group is not None})) or "none"
        raise InvalidInput(Fault("DATA_FIELD", f"No item is of the group {group!r}; the groups are: {known}."))

    totals = [sum(item.counts) for item in selected]
    if not all(totals):
        raise ValueError("an item without votes has no distribution to describe")
    shares = [[count / total for count in item.counts] for item, total in zip(selected, totals, strict=True)]
    leaders = [[k for k, count in enumerate(item.counts) if count == max(item.counts)] for item in selected]
    alone = Counter(first for first, *others in leaders if not others)
    patterns = Counter(tuple(sorted(item.counts, reverse=True)) for item in selected)
    texts = {name: [item.fields[name] for item in selected] for name in selected[0].fields}
    groups = Counter(item.group for item in selected if item.group is not None)
    return SplitStats(
        items=len(selected),
        groups=dict(sorted(groups.items())),
        with_panel=sum(item.panel is not None for item in selected),
        votes=_spread(totals),
        label_shares={label: statistics.fmean(h[k] for h in shares) for k, label in enumerate(labels)},
        plurality={label: alone[k] for k, label in enumerate(labels)},
        ties=sum(len(leading) > 1 for leading in leaders),
        unanimous=sum(max(item.counts) == total for item, total in zip(selected, totals, strict=True)),
        patterns=(
            {"-".join(map(str, votes)): times for votes, times in sorted(patterns.items(), reverse=True)}
            if len(set(totals)) == 1
            else None
        ),
        agreement=statistics.fmean(map(max, shares)),
        entropy=statistics.fmean(sum(-share * math.log(share) for share in h if share) for h in shares),
        words={name: _spread([len(text.split()) for text in values]) for name, values in texts.items()},
        empty={name: sum(not text for text in values) for name, values in texts.items()},
    )


def _spread(numbers: Sequence[int]) -> Spread:
    return Spread(min(numbers), float(statistics.median(numbers)), max(numbers))
