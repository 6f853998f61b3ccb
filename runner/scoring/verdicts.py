"""From differences and p-values to words: which metrics are tested, corrected for how many, and what that shows.

One metric is named in advance, the primary: it is tested alone, at 1 − level. The rest that are distinct, have a good
direction and are not legacy are tested together, with Holm's correction over them. What merely repeats another metric,
or belongs to other people's code, is shown and not tested. A difference without a good direction can only be shown to
be there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runner.core.types import Array
from runner.scoring.comparison import holm, minimum_detectable_difference, quantile_of_error

PRIMARY, SECONDARY, SIGNED, DESCRIPTIVE = "primary", "secondary", "signed", "descriptive"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a difference shows about the first model."""

    family: str
    """The metrics that are tested together with this one."""
    verdict: str
    """`better`, `worse`, `differs`, `undecided` or `not tested`."""
    p_adjusted: float | None
    """Corrected for the number of metrics tested together; None where nothing is tested."""
    lower: float | None
    """The lower end of the interval, corrected alike."""
    upper: float | None
    """The upper end of the interval, corrected alike."""
    minimum_detectable: float | None
    """The true difference that this very rule finds four times in five; with several metrics that of its first step,
    which is the strictest."""


def decide(
    difference: Array,
    standard_error: Array,
    p_value: Array,
    families: Sequence[str],
    lower_is_better: Sequence[bool | None],
    level: float,
    units: int | None = None,
) -> list[Verdict]:
    """A verdict for each metric; all arguments `(metrics,)`.

    The primary metric keeps its p-value. Those of `SECONDARY` are adjusted after Holm; their intervals are
    Bonferroni's, which hold together. A `SIGNED` one counts as one more beside them, after Bonferroni. `units` are
    those of items that depend on each other, None where none do: intervals and detectable differences are Student's.
    """
    alpha = 1 - level
    family = np.array(families)
    number = int((family == SECONDARY).sum())
    adjusted = np.full(len(difference), np.nan)
    adjusted[family == PRIMARY] = p_value[family == PRIMARY]
    adjusted[family == SECONDARY] = holm(p_value[family == SECONDARY])
    adjusted[family == SIGNED] = np.minimum(1.0, (number + 1) * p_value[family == SIGNED])
    tests = {PRIMARY: 1, SECONDARY: max(number, 1), SIGNED: number + 1}
    verdicts = []
    for at, name in enumerate(families):
        if name == DESCRIPTIVE:
            verdicts.append(Verdict(name, "not tested", None, None, None, None))
            continue
        own_alpha = alpha / tests[name]
        half = quantile_of_error(1 - own_alpha / 2, units) * float(standard_error[at])
        shown = bool(adjusted[at] <= alpha)
        verdicts.append(
            Verdict(
                family=name,
                verdict=_word(float(difference[at]), lower_is_better[at]) if shown else "undecided",
                p_adjusted=float(adjusted[at]),
                lower=float(difference[at]) - half,
                upper=float(difference[at]) + half,
                minimum_detectable=float(minimum_detectable_difference(standard_error[at], own_alpha, units=units)),
            )
        )
    return verdicts


def _word(difference: float, lower_is_better: bool | None) -> str:
    if lower_is_better is None:
        return "differs"
    return "better" if (difference < 0) == lower_is_better else "worse"
