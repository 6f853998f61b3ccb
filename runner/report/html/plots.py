"""Where things lie in a plot, in percent of its width; nothing here draws."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_EDGE = 2.0
"""Room at both ends, in percent, so that a mark at the end is whole."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Values onto the width of a plot."""

    left: float
    """Value at the left end."""
    right: float
    """Value at the right end, which may be the smaller."""

    def at(self, value: float) -> float:
        """Percent from the left edge, two digits; values beyond an end are drawn at it."""
        share = (value - self.left) / (self.right - self.left)
        return round(_EDGE + (100 - 2 * _EDGE) * min(max(share, 0.0), 1.0), 2)

    def ticks(self, about: int = 4) -> list[tuple[float, str]]:
        """Round values within the scale with their labels, about so many."""
        low, high = sorted((self.left, self.right))
        step = _round_step((high - low) / about)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        first = math.ceil(low / step - 1e-9)
        last = math.floor(high / step + 1e-9)
        return [(number * step, _label(number * step, digits)) for number in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Strip:
    """One row of a plot of intervals; positions are percent of the plot's width."""

    dot: float
    """Position of the value."""
    lower: float | None
    """Left end of the interval; None without one."""
    upper: float | None
    """Right end of the interval; None without one."""
    reference: float | None = None
    """Position of a reference; None without one."""

    @property
    def width(self) -> float:
        """Width of the interval, never thinner than can be seen."""
        assert self.lower is not None
        assert self.upper is not None
        return max(round(self.upper - self.lower, 2), 0.4)


def strip(
    scale: Scale, value: float, lower: float | None, upper: float | None, reference: float | None = None
) -> Strip:
    """A row on `scale`; the interval's ends are put in order from left to right."""
    ends = None if lower is None or upper is None else sorted((scale.at(lower), scale.at(upper)))
    return Strip(
        dot=scale.at(value),
        lower=None if ends is None else ends[0],
        upper=None if ends is None else ends[1],
        reference=None if reference is None else scale.at(reference),
    )


def scale_over(values: Iterable[float | None], *, lower_is_better: bool | None) -> Scale:
    """A scale that holds all values (those that are None aside), worse to the left; as they come if neither is."""
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    return Scale(high, low) if lower_is_better else Scale(low, high)


def _round_step(minimum: float) -> float:
    power = 10.0 ** math.floor(math.log10(minimum))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= minimum * (1 - 1e-9))


def _label(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")
