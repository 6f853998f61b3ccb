"""Scorecards as a table for a paper: LaTeX with booktabs, one table for each set of cards that can be compared."""

from collections.abc import Iterator, Sequence
from typing import Any

from runner.report.export.values import assurance
from runner.scorecard.load import OpenCard

LATEX_LOST = (
    "latex has the primary metric and its skill with their intervals; other metrics are in csv. The document needs "
    r"\usepackage{booktabs}.",
)

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def latex(cards: Sequence[OpenCard]) -> str:
    """Tables with a row per card and, per task, the primary metric and its skill; reference rows below.

    Every name is escaped, so that a signer's words cannot be commands. The comment above a table says which cards it is
    made of.
    """
    groups: dict[tuple[Any, ...], list[OpenCard]] = {}
    for opened in cards:
        card = opened.card
        splits = tuple((name, task["split"]) for name, task in card["tasks"].items())
        groups.setdefault((card["benchmark"]["digest"], card["suite"], splits), []).append(opened)
    return "\n".join("\n".join(_table(group)) + "\n" for group in groups.values())


def escape(text: str) -> str:
    """`text` as LaTeX prints it, on one line; what is not printable is a question mark."""
    return "".join(_ESCAPES.get(letter, letter if letter.isprintable() else "?") for letter in text)


def _table(cards: Sequence[OpenCard]) -> Iterator[str]:
    first = cards[0].card
    tasks = list(first["tasks"])
    primary = cards[0].primary or "cross_entropy"
    benchmark = first["benchmark"]
    yield f"% {escape(benchmark['name'])} {escape(benchmark['version'])}, suite {escape(first['suite'])}"
    for opened in cards:
        yield f"% {escape(opened.card['submission']['name'])}: card sha256 {opened.sha256}, {assurance(opened)}"
    yield rf"\begin{{tabular}}{{l{'rr' * len(tasks)}}}"
    yield r"\toprule"
    heads = [rf"\multicolumn{{2}}{{c}}{{{escape(name)} ({escape(first['tasks'][name]['split'])})}}" for name in tasks]
    yield f" & {' & '.join(heads)} \\\\"
    yield "".join(rf"\cmidrule(lr){{{2 * at + 2}-{2 * at + 3}}}" for at in range(len(tasks)))
    yield f"Model{f' & {escape(primary)} & skill' * len(tasks)} \\\\"
    yield r"\midrule"
    for opened in cards:
        cells = [
            _cell(opened.card["tasks"][name]["metrics"].get(metric)) for name in tasks for metric in (primary, "skill")
        ]
        mark = "" if opened.card["comparable"] else r"\textsuperscript{*}"
        yield f"{escape(opened.card['submission']['name'])}{mark} & {' & '.join(cells)} \\\\"
    yield r"\midrule"
    for title, values in _references(first, tasks, primary):
        yield f"{title} & {' & '.join(values)} \\\\"
    yield r"\bottomrule"
    yield r"\end{tabular}"
    if not all(opened.card["comparable"] for opened in cards):
        yield r"% \textsuperscript{*} says of itself that it may not be compared"


def _references(card: Any, tasks: Sequence[str], primary: str) -> Iterator[tuple[str, list[str]]]:
    """Equal probabilities, label shares, a second group of people and the ceiling, as the first card has them."""
    blocks = [card["tasks"][name] for name in tasks]
    for name, title in (("uniform", "Equal probabilities"), ("prior", "Prior")):
        means = [block["baselines"][name].get(primary, {}).get("value") for block in blocks]
        yield title, [cell for mean in means for cell in (_number(mean), "--")]
    panels = [block.get("panel") for block in blocks]
    if any(panels):
        cells = [
            (panel["metrics"][primary]["value"], panel["skill"][primary]["value"]) if panel else (None, None)
            for panel in panels
        ]
        yield "Other people", [_number(value) for cell in cells for value in cell]
    limits = [block["ceiling"].get(primary, {}).get("value") for block in blocks]
    yield "Ceiling", [cell for limit in limits for cell in (_number(limit), _number(1.0))]


def _cell(estimate: Any) -> str:
    if estimate is None or estimate["value"] is None:
        return "--"
    interval = estimate["confidence_interval"]
    between = "" if interval is None else f" [{_number(interval['lower'])}, {_number(interval['upper'])}]"
    return f"{_number(estimate['value'])}{between}"


def _number(value: float | None) -> str:
    return "--" if value is None else f"{value:.3f}".replace("-", "$-$")
