"""What people and models say of items: aligned by id, and changes as plain Python counts them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.types import Item
from runner.scorecard.disagreements import ItemShares
from runner.scorecard.item_table import changes, item_table

_SHARE = st.integers(0, 20).map(lambda share: share / 20)


def shares(answers: dict[str, float], votes: dict[str, int]) -> ItemShares:
    """Shares of `first` by item id, with so many of five votes for it."""
    items = tuple(Item(name, {}, (votes[name], 5 - votes[name]), None, None) for name in answers)
    people = np.array([[votes[name] / 5, 1 - votes[name] / 5] for name in answers]).reshape(-1, 2)
    model = np.array([[share, 1 - share] for share in answers.values()]).reshape(-1, 2)
    return ItemShares(("first", "second"), items, people, model, True, ("unanimity",))


@given(st.lists(st.tuples(st.integers(0, 5), _SHARE, _SHARE, st.booleans(), st.booleans()), min_size=1))
def test_changes_are_those_that_plain_python_counts(rows: list[tuple[int, float, float, bool, bool]]) -> None:
    """Some answers could not be read, so that A and B hold different items."""
    votes = {f"item-{number}": row[0] for number, row in enumerate(rows)}
    a = {f"item-{number}": row[1] for number, row in enumerate(rows) if row[3] or number == 0}
    b = {f"item-{number}": row[2] for number, row in enumerate(rows) if row[4] or number == 0}
    table = item_table([shares(a, votes), shares(b, votes)])
    assert {item.id for item in table.items} == a.keys() | b.keys()
    found = changes(shares(a, votes), shares(b, votes))
    both = a.keys() & b.keys()  # five votes are never tied

    def right(answer: float, name: str) -> bool:
        return (answer >= 0.5) == (votes[name] >= 3)

    fixed = {name for name in both if right(b[name], name) and not right(a[name], name)}
    broke = {name for name in both if right(a[name], name) and not right(b[name], name)}
    assert {table.items[row].id for row in found.fixed} == fixed
    assert {table.items[row].id for row in found.broke} == broke
    assert found.items == len(both)
    assert sum(stratum[2] for stratum in found.strata) == len(both)
    assert sum(stratum[3] for stratum in found.strata) == len(fixed)
    gains = [abs(a[name] - votes[name] / 5) - abs(b[name] - votes[name] / 5) for name in a if name in fixed]
    listed = [table.items[row].id for row in found.fixed]
    assert [abs(a[name] - votes[name] / 5) - abs(b[name] - votes[name] / 5) for name in listed] == pytest.approx(
        sorted(gains, reverse=True)
    )


def test_distances_by_hand() -> None:
    votes = {"one": 5, "two": 3}
    table = item_table([shares({"one": 0.5, "two": 0.6}, votes), shares({"two": 0.8}, votes)])
    assert table.distance == pytest.approx([0.5, 0.1])
    assert table.spread == pytest.approx([0.0, -(0.6 * math.log2(0.6) + 0.4 * math.log2(0.4))])
    assert table.apart == pytest.approx([0.0, 0.1])
    assert np.isnan(table.models[1, 0]).all()
    assert table.stratum("unanimity") == ["5-0", "3-2"]


def test_items_with_tied_votes_are_not_counted() -> None:
    items = (Item("tied", {}, (2, 2), None, None),)
    half = np.array([[0.5, 0.5]])
    a, b = (ItemShares(("first", "second"), items, half, np.array([[share, 1 - share]]), True) for share in (0.2, 0.9))
    assert changes(a, b).items == 0
    assert changes(a, b).fixed == changes(a, b).broke == ()
