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
    """Smallest, middle and largest of some numbers."""

    minimum: int
    median: float
    maximum: int


@dataclass(frozen=True, slots=True)
class SplitStats:
    """A description of items, with h = counts / votes of an item.

    `groups` counts the items of each group (empty where items have none), `with_panel` those that a second group of
    people answered. `label_shares` is the mean of h over items, `plurality` the number of items on which a label
    alone has most votes, `ties` of those on which several do. `patterns` counts the items by their votes in falling
    order, labels forgotten (`4-1`); it is None where items differ in their number of votes, for patterns then say more
    about that number than about agreement. `agreement` is the mean over items of the largest share, `entropy` the mean
    entropy of h in nats. `words` is by field, split at white space; `empty` counts the empty texts of a field.
    """

    items: int
    groups: Mapping[str, int]
    with_panel: int
    votes: Spread
    label_shares: Mapping[str, float]
    plurality: Mapping[str, int]
    ties: int
    unanimous: int
    patterns: Mapping[str, int] | None
    agreement: float
    entropy: float
    words: Mapping[str, Spread]
    empty: Mapping[str, int]


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
