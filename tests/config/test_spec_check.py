"""Which parts of a faulty document may still be relied on, and which name was probably meant."""

from hypothesis import given
from hypothesis import strategies as st

from runner.config.schema import did_you_mean, in_order, nearest, soundness
from runner.core.errors import Fault

PATHS = st.lists(st.sampled_from(["a", "b", 0, 1]), max_size=4).map(tuple)


@given(st.sets(PATHS, max_size=6), PATHS)
def test_a_part_is_sound_where_nothing_at_above_or_below_it_is_bad(
    bad: set[tuple[str | int, ...]], path: tuple[str | int, ...]
) -> None:
    touched = any(one[: len(path)] == path or path[: len(one)] == one for one in bad)
    assert soundness(bad)(path) is not touched


def test_nearest_forgives_slips_and_capitals_but_not_everything() -> None:
    known = ["cross_entropy", "total_variation", "kl"]
    assert nearest("cross-entropy", known) == "cross_entropy"
    assert nearest("KL", known) == "kl"
    assert nearest("zebra", known) is None
    assert nearest(5, known) is None
    assert nearest("kl" * 10_000, known) is None


def test_hint_lists_what_is_known_where_nothing_is_near() -> None:
    assert did_you_mean("totl_variation", ["kl", "total_variation"]) == "Did you mean 'total_variation'?"
    assert did_you_mean("zebra", ["kl", "brier"]) == "Known: kl, brier."
    assert did_you_mean("zebra", []) == "There are none."
    assert did_you_mean("zebra", [f"x{number}" for number in range(30)]).endswith("x11 ….")


def test_faults_stand_in_the_order_of_the_file() -> None:
    places = [(3, 1), (1, 9), (1, 2), (None, None)]
    faults = in_order([Fault("X", "x.", "f", line, column) for line, column in places])
    assert [(fault.line, fault.column) for fault in faults] == [(None, None), (1, 2), (1, 9), (3, 1)]
