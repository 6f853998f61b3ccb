"""A distribution over options as one line of text, `A: 70%, B: 30%`, and back: one form, one reading."""

import math
import re
from collections.abc import Sequence

from runner.core.types import Prediction, VerbalizedFormat

_WHOLE = re.compile(r"0|[1-9][0-9]{0,2}")
_SHOWN = 60


class Unreadable(ValueError):
    """The text is not a distribution in the requested form; its message says where it departs."""


def form(names: Sequence[str]) -> str:
    """The line as a question shows it: `A: ?%, B: ?%`."""
    return ", ".join(f"{name}: ?%" for name in names)


def write(percentages: Sequence[int], names: Sequence[str]) -> str:
    """The line for whole percentages that add up to 100, in the order of `names`; `ValueError` for any others."""
    if len(percentages) != len(names) or min(percentages) < 0 or sum(percentages) != 100:
        raise ValueError(f"{list(percentages)} are not {len(names)} whole percentages that add up to 100")
    return ", ".join(f"{name}: {share}%" for name, share in zip(names, percentages, strict=True))


def whole_percentages(weights: Sequence[float]) -> tuple[int, ...]:
    """The whole percentages nearest to `weights` (any non-negative numbers with a positive sum) that add up to 100.

    By largest remainder; of equal remainders the first is rounded up.
    """
    total = math.fsum(weights)
    if min(weights) < 0 or not 0 < total < math.inf:
        raise ValueError(f"{list(weights)} are no shares")
    exact = [100 * (weight / total) for weight in weights]
    whole = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda label: (whole[label] - exact[label], label))
    for label in by_remainder[: 100 - sum(whole)]:
        whole[label] += 1
    return tuple(whole)


def parse(text: str, names: Sequence[str]) -> tuple[int, ...]:
    """The percentages in `text`, which must be the line for `names` and nothing else but blanks around it.

    Raises `Unreadable`: nothing is guessed, so other words, another order, decimals, leading zeros, a missing option
    and percentages that do not add up to 100 are all refused.
    """
    rest = text.strip(" ")
    percentages = []
    for number, name in enumerate(names):
        begin = f"{', ' if number else ''}{name}: "
        if not rest.startswith(begin):
            raise Unreadable(f"{begin!r} was expected at {rest[:_SHOWN]!r}")
        rest = rest[len(begin) :]
        share = _WHOLE.match(rest)
        if share is None or not rest.startswith("%", share.end()):
            raise Unreadable(f"a whole percentage was expected at {rest[:_SHOWN]!r}")
        percentages.append(int(share.group()))
        rest = rest[share.end() + 1 :]
    if rest:
        raise Unreadable(f"nothing more was expected after the last percentage, found {rest[:_SHOWN]!r}")
    if sum(percentages) != 100:
        raise Unreadable(f"the percentages add up to {sum(percentages)}, not to 100")
    return tuple(percentages)


def log_scores(text: str, writing: VerbalizedFormat) -> tuple[float, ...]:
    """Natural log of each label's share, in label order, unnormalised; raises `Unreadable`.

    A written 0 stands for `writing.zero_percent`: a whole percentage cannot say less than half of one, and a share of
    nothing would make the cross-entropy infinite.
    """
    shares = parse(text, writing.names)
    by_label = sorted(zip(writing.labels, shares, strict=True))
    return tuple(math.log((share or writing.zero_percent) / 100) for _, share in by_label)


def scores_or_none(text: str, writing: VerbalizedFormat) -> tuple[float, ...] | None:
    """`log_scores`, or None where the text is unreadable."""
    try:
        return log_scores(text, writing)
    except Unreadable:
        return None


def disagreement(row: Prediction, writing: VerbalizedFormat | None, tolerance: float) -> str | None:
    """What is wrong between a row's text, its scores and the question (None: one that asks for no text), or None.

    Scores may differ by `tolerance`, relative to the larger of 1 and the number, for another machine's rounding.
    """
    if writing is None:
        return None if row.text is None else "has a text, but names no prompt of the benchmark that asks for one"
    if row.text is None:
        return f"answers {row.prompt_id!r}, which asks for a text, without one"
    parsed, scores = scores_or_none(row.text, writing), row.log_scores
    if parsed is None or scores is None:
        same = parsed is scores
    else:
        close = (abs(a - b) <= tolerance * max(1.0, abs(b)) for a, b in zip(scores, parsed, strict=False))
        same = len(scores) == len(parsed) and all(close)
    return None if same else f"has the scores {scores}, its text says {parsed}"
