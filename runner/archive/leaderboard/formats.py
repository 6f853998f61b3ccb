"""A leaderboard as words: for a terminal, as Markdown, JSON or CSV; computes nothing, and trusts no name."""

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any, Literal, assert_never

from rich.cells import set_cell_size
from rich.console import Console
from rich.text import Text

from runner.archive.leaderboard.values import CardWarning, Group, Leaderboard, Reference, Row, Section, Unranked
from runner.archive.text import plain

Format = Literal["rich", "markdown", "json", "csv"]

_WIDTH = 80
_UNWRAPPED = 100_000
"""The width of what is no terminal: the columns of a ranking are 80 wide everywhere, sentences are not wrapped."""
_NAME = 23
_LEGEND = (
    "skill: share of the way from the better of prior and uniform to the human ceiling. "
    "ranks: all that the row's rank can be; =: the row above is not shown to be better. "
    "Two rows differ if {shown}. runs: archived cards of the submission; the latest is ranked. "
    "!: what a card warns of."
)
TRIAL = "TRIAL: NOT A RESULT. These runs show that the machinery works and say nothing about models."
"""The title of a ranking of runs on a suite for trying things, or of limited runs."""


def render(board: Leaderboard, format: Format, console: Console | None = None) -> str:
    """The leaderboard as text that ends in a newline. `rich` is 80 columns wide and plain unless on a terminal."""
    match format:
        case "rich":
            return _rich(board, console)
        case "markdown":
            return "\n".join(_markdown(board)) + "\n"
        case "json":
            return json.dumps(board.to_json(), indent=2, allow_nan=False) + "\n"
        case "csv":
            return _csv(board)
        case _:
            assert_never(format)


def markdown_text(text: str) -> str:
    """`text` as Markdown that shows just that, inside a line: no link, emphasis, code, table cell or HTML begins."""
    return re.sub(r"([\\`*_\[\]<>|~&!:@#$]|(?<=www)[.])", r"\\\1", plain(text))


def csv_text(text: str) -> str:
    """`text` as a cell that no spreadsheet takes for a formula (OWASP, "CSV Injection")."""
    cell = plain(text)
    return f"'{cell}" if cell.lstrip()[:1] in ("=", "+", "-", "@") else cell


# --- a terminal ----------------------------------------------------------------------------------------------------


def _rich(board: Leaderboard, console: Console | None) -> str:
    if console is None:
        console = Console(highlight=False)
        if not console.is_terminal:
            console = Console(highlight=False, width=_UNWRAPPED, color_system=None)
    with console.capture() as capture:
        for problem in board.damage:
            console.print(Text(f"DAMAGED: {plain(problem)}", "bold red"))
        for group in board.groups:
            _print_group(console, group)
        _print_apart(console, board.apart)
        if not board.groups:
            console.print(Text("No card here can be ranked."))
    lines = capture.get().splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _print_group(console: Console, group: Group) -> None:
    arrow = "↓" if group.lower_is_better else "↑"
    console.print(
        Text.assemble(
            (plain(group.measures.task), "bold cyan"),
            f"  {group.measures.items:,} items of {plain(group.measures.split)}, {plain(group.metric)} {arrow}",
        )
    )
    if group.measures.trial:
        console.print(Text(TRIAL, "bold red"))
    console.print(Text(_measures(group), "dim"))
    for section in group.sections:
        console.print()
        console.print(Text(section.assurance, "bold"))
        interval = f"{group.level * 100:g} % interval"
        head = _line("rank", "ranks", "submission", "skill", "value", interval, "card")
        # One text per section: a table of ten thousand rows would take rich as long as all the signatures.
        console.print(Text("\n").join([Text(head, "dim"), *_lines(group, section)]), no_wrap=True, overflow="ignore")
    if group.references:
        console.print()
        console.print(Text("for reference", "bold"))
        references = [
            Text(
                _line(
                    "",
                    "",
                    reference.name,
                    percent(reference.skill),
                    f"{reference.value:.4f}",
                    _interval(reference.lower, reference.upper, ""),
                    _kind(reference),
                )
            )
            for reference in group.references
        ]
        console.print(Text("\n").join(references), no_wrap=True, overflow="ignore")
    console.print()
    for warning in group.warnings:
        console.print(Text(f"! every card: {plain(warning.message)}", "yellow"))
    for note in (*group.notes, _legend(group)):
        console.print(Text(plain(note), "dim"))
    console.print()


def _lines(group: Group, section: Section) -> Iterator[Text]:
    for row in section.rows:
        yield Text(
            _line(
                rank_label(row),
                _ranks(row),
                row.name,
                percent(row.skill),
                f"{row.value:.4f}",
                _interval(row.lower, row.upper),
                row.card[:8],
            )
        )
        for remark in _remarks(row):
            yield Text(_line("", "", remark, "", "", "", ""), "dim")
        if warnings := group.own_warnings(row):
            yield Text(f"{'':14} {_cut(_warned(warnings), _WIDTH - 15)}", "yellow")


def _line(rank: str, ranks: str, name: str, skill: str, value: str, interval: str, card: str) -> str:
    """The columns of a ranking, 80 in all."""
    padded = set_cell_size(_cut(name), _NAME)
    return f"{rank:>5} {ranks:>8} {padded} {skill:>6} {value:>7} {interval:>17} {card}"


def rank_label(row: Row) -> str:
    """The rank of a row, with `=` where the row above is not shown to be better."""
    return f"={row.rank}" if row.tied else str(row.rank)


def percent(skill: float | None) -> str:
    """A share of the way as a percentage, one digit after the point where it is small; nothing for None."""
    if skill is None:
        return ""
    text = f"{100 * skill:.{1 if abs(skill) < 0.0995 else 0}f} %"
    return text.removeprefix("-") if text in ("-0.0 %",) else text.replace("-", "−")


def _warned(warnings: tuple[CardWarning, ...]) -> str:
    return f"! {', '.join(plain(warning.code) for warning in warnings)}"


def _print_apart(console: Console, apart: tuple[Unranked, ...]) -> None:
    if not apart:
        return
    console.print(Text("not ranked", "bold"))
    for row in apart:
        tasks = f" ({', '.join(map(plain, row.tasks))})" if row.tasks else ""
        console.print(Text.assemble((f"  {_cut(row.name, 40)}", "bold"), f" {row.card[:8]}{tasks}"))
        for reason in row.reasons:
            console.print(Text(f"    {row.kind}: {plain(reason)}", "yellow"))


def _cut(text: str, width: int = _NAME) -> str:
    return plain(text, width)


def _measures(group: Group) -> str:
    prompts = (
        "prompts not said" if group.measures.prompts is None else f"asked {', '.join(map(plain, group.measures.views))}"
    )
    return (
        f"{plain(group.measures.benchmark)} {plain(group.measures.version)}, suite {plain(group.measures.suite)}"
        f"{'' if group.measures.limit is None else f', first {group.measures.limit:,} items only'}"
        f"{'' if group.released else ', not a released benchmark'} ({group.measures.benchmark_digest[:15]}…), "
        f"data {group.measures.data_sha256[:8]}…, {prompts}"
        f"{_system(group.measures.system_prompt)}"
    )


def _system(prompt: str | None) -> str:
    return "" if prompt is None else f", system prompt: {plain(prompt[:80])}{'…' if len(prompt) > 80 else ''}"


def _ranks(row: Row) -> str:
    return str(row.best) if row.best == row.worst else f"{row.best}–{row.worst}"


def _interval(lower: float | None, upper: float | None, absent: str = "–") -> str:
    return absent if lower is None or upper is None else f"{lower:.4f} … {upper:.4f}"


def _kind(reference: Reference) -> str:
    return "a file" if reference.kind == "file" else reference.kind


def _remarks(row: Row) -> Iterator[str]:
    """What a reader must not miss about a row: runs that were not ranked, a claim, an unknown maker."""
    if len(row.runs) > 1:
        values = [run.value for run in row.runs]
        yield f"{len(row.runs)} runs {min(values):.4f}…{max(values):.4f}"
    if row.claimed is not None:
        yield f"claimed {row.claimed:.4f}"
    if row.kind == "file":
        yield "scored from a file"


def _legend(group: Group) -> str:
    rows = [row for section in group.sections for row in section.rows]
    paired = sum(row.paired for row in rows)
    if paired == len(rows) and rows:
        shown = "the paired bootstrap interval of their difference leaves out 0"
    elif paired:
        shown = (
            "the paired bootstrap interval of their difference leaves out 0; or, for the "
            f"{len(rows) - paired} rows without predictions, the cards' own intervals are apart"
        )
    else:
        shown = "the cards' own intervals are apart (with --data-dir: the paired bootstrap, which is sharper)"
    return _LEGEND.format(shown=shown)


# --- Markdown ------------------------------------------------------------------------------------------------------


def _markdown(board: Leaderboard) -> Iterator[str]:
    yield "# Leaderboard"
    for problem in board.damage:
        yield f"\n**Damaged:** {markdown_text(problem)}"
    for group in board.groups:
        task, split = markdown_text(group.measures.task), markdown_text(group.measures.split)
        yield f"\n## {task}, {split}, {group.measures.items:,} items\n"
        if group.measures.trial:
            yield f"**{TRIAL}**\n"
        yield f"{markdown_text(_measures(group))}\n"
        arrow = "↓" if group.lower_is_better else "↑"
        for section in group.sections:
            yield f"### {section.assurance}\n"
            metric = markdown_text(group.metric)
            yield f"| rank | ranks | submission | skill | {metric} {arrow} | interval | runs | signed by | card |"
            yield "| ---: | ---: | --- | ---: | ---: | ---: | ---: | --- | --- |"
            for row in section.rows:
                own = group.own_warnings(row)
                remarks = "".join(
                    f"; {markdown_text(remark)}" for remark in (*_remarks(row), *([_warned(own)] if own else []))
                )
                yield (
                    f"| {rank_label(row)} | {_ranks(row)} | {markdown_text(row.name)}{remarks} | {percent(row.skill)} "
                    f"| {row.value:.4f} | {_interval(row.lower, row.upper)} | {len(row.runs)} "
                    f"| {markdown_text(_signer(row))} | {row.card[:16]} |"
                )
            yield ""
        for entry in group.references:
            between = _interval(entry.lower, entry.upper, "")
            skill = f", {percent(entry.skill)} of the way" if entry.skill is not None else ""
            between = f" ({between})" if between else ""
            yield f"- {_kind(entry)}: {markdown_text(entry.name)} {entry.value:.4f}{between}{skill}"
        for warning in group.warnings:
            yield f"- every card: {markdown_text(warning.message)}"
        for note in (*group.notes, _legend(group)):
            yield f"\n{plain(note)}"
    if board.apart:
        yield "\n## Not ranked\n"
        for card in board.apart:
            why = "; ".join(markdown_text(reason) for reason in card.reasons)
            yield f"- {markdown_text(card.name)} ({card.card[:16]}), {card.kind}: {why}"


def _signer(row: Row) -> str:
    return row.signed_by or f"key {row.keyid[:8]}"


# --- CSV -----------------------------------------------------------------------------------------------------------

_COLUMNS = (
    *("section", "benchmark", "version", "benchmark_digest", "suite", "task", "split", "items", "data_sha256"),
    *("prompts", "metric", "lower_is_better", "rank", "best_rank", "worst_rank", "tied", "paired", "name", "kind"),
    *("model", "value", "standard_error", "lower", "upper", "level", "runs", "lowest_run", "highest_run", "claimed"),
    *("submission", "card", "signed_by", "keyid", "submissions_of_signer", "finished_at", "added_at", "reasons"),
    *("skill", "skill_lower", "skill_upper", "warnings", "trial", "limit", "format"),
)


def _csv(board: Leaderboard) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for record in _records(board):
        writer.writerow({name: _cell(value) for name, value in record.items()})
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A number as it is (a minus sign included), a missing one empty, text as no formula."""
    if isinstance(value, bool):
        return str(value).lower()
    return csv_text(value) if isinstance(value, str) else "" if value is None else value


def _records(board: Leaderboard) -> Iterator[dict[str, Any]]:
    for problem in board.damage:
        yield {"section": "damaged", "reasons": problem}
    for group in board.groups:
        shared = {name: getattr(group.measures, name) for name in _COLUMNS[1:9]}
        shared["prompts"] = " ".join(group.measures.views)
        shared |= {"trial": group.measures.trial, "limit": group.measures.limit}
        shared |= {"metric": group.metric, "lower_is_better": group.lower_is_better, "level": group.level}
        for section in group.sections:
            for row in section.rows:
                values = [run.value for run in row.runs]
                yield {
                    **shared,
                    "section": section.assurance,
                    "best_rank": row.best,
                    "worst_rank": row.worst,
                    "runs": len(values),
                    "lowest_run": min(values),
                    "highest_run": max(values),
                    **{name: getattr(row, name) for name in _COLUMNS if name != "runs" and hasattr(row, name)},
                    "warnings": " ".join(warning.code for warning in row.warnings),
                }
        for reference in group.references:
            own = {
                name: getattr(reference, name) for name in ("name", "kind", "value", "lower", "upper", "card", "skill")
            }
            yield {**shared, "section": "reference", **own}
    for card in board.apart:
        yield {
            "section": "not ranked",
            "kind": card.kind,
            "task": " ".join(card.tasks),
            "reasons": "; ".join(card.reasons),
            **{name: getattr(card, name) for name in ("name", "card", "submission")},
        }
