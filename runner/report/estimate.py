"""What a run would take, as lines: each amount with where it is from."""

from collections.abc import Callable, Iterator

from runner.core.text import printable
from runner.evaluation.dry_run import Amount, Estimate

_WIDTH = 15


def lines(estimate: Estimate) -> Iterator[str]:
    """One line for each amount; `–` where nothing was measured, with the reason."""
    drawn = "" if estimate.answers == estimate.prompts else f", {estimate.answers:,} answers"
    yield f"{'prompts':<{_WIDTH}}{estimate.prompts:,}{drawn}  (elicitation {estimate.elicitation})"
    for name, amount, form in (
        ("requests", estimate.requests, _whole),
        ("tokens in", estimate.input_tokens, _whole),
        ("tokens out", estimate.output_tokens, _whole),
        ("time", estimate.seconds, _duration),
        ("memory", estimate.memory_bytes, _bytes),
    ):
        yield _line(name, amount, form)
    yield _line("cost", estimate.cost, lambda value: f"{value:,.4g} {estimate.currency or ''}".strip())


def _line(name: str, amount: Amount, form: Callable[[float], str]) -> str:
    value = "–" if amount.value is None else form(amount.value)
    at_most = "" if amount.at_most is None or amount.at_most == amount.value else f", at most {form(amount.at_most)}"
    return f"{name:<{_WIDTH}}{value}{at_most}  ({printable(amount.source)})"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _bytes(value: float) -> str:
    return f"{value / (1 << 30):,.2f} GiB" if value >= 1 << 30 else f"{value / (1 << 20):,.1f} MiB"
