"""The loss of a training and its evaluations, step by step, as one drawing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.report.html.plots import Scale, scale_over
from runner.report.html.render import drawing


@dataclass(frozen=True, slots=True)
class Panel:
    """One line over the steps of a training."""

    title: str
    """Title of the panel."""
    points: tuple[tuple[float, float], ...]
    """(x, y) in percent of the panel's width and height."""
    values: tuple[tuple[float, str], ...]
    """(y in percent, label) of every tick."""
    dots: bool
    """Whether the points are marked."""


def loss_curve(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The SVG of the rows of a loss curve (`step` with `loss`, or with `evaluation`: name to value in nats).

    It follows the reader's light or dark setting, and is the same bytes for the same rows.
    """
    last = max(row["step"] for row in rows)
    steps = Scale(0, max(last, 1))
    losses = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    panels = [_panel("Training loss", losses, steps, dots=False)]
    for name in next((row["evaluation"] for row in rows if "evaluation" in row), {}):
        if name != "selection":
            points = [(row["step"], row["evaluation"][name]) for row in rows if "evaluation" in row]
            panels.append(_panel(f"Cross-entropy of {name}, evaluated", points, steps, dots=True))
    ticks = [(steps.at(value), label) for value, label in steps.ticks()]
    return drawing("loss.svg.j2", panels=panels, ticks=ticks, steps=last).encode()


def _panel(title: str, points: Sequence[tuple[int, float]], steps: Scale, *, dots: bool) -> Panel:
    # Upside down, since an SVG counts from the top.
    scale = scale_over([value for _, value in points], lower_is_better=True)
    return Panel(
        title=title,
        points=tuple((steps.at(step), scale.at(value)) for step, value in points),
        values=tuple((scale.at(value), label) for value, label in scale.ticks(3)),
        dots=dots,
    )
