"""Scorecards, comparisons and findings as words for a terminal, within 80 columns; computes nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.core.text import is_unseen
from runner.report.console import screen
from runner.scorecard import isolation

Json = Mapping[str, Any]

_BAR = 24
_HEADLINE = (
    "cross_entropy",
    "cross_entropy_calibrated",
    "dirichlet_multinomial",
    "total_variation",
    "wasserstein",
    "brier",
    "accuracy",
    "gap_to_ceiling",
    "skill",
)


def printable(value: Any) -> Any:
    """A card's texts without what could move a cursor or hide a line: they are a signer's, not ours."""
    if isinstance(value, str):
        return "".join(letter if letter.isprintable() and not is_unseen(letter) else "\ufffd" for letter in value)
    if isinstance(value, Mapping):
        return {printable(name): printable(inner) for name, inner in value.items()}
    return [printable(inner) for inner in value] if isinstance(value, list | tuple) else value


def number(value: float | None, digits: int = 4) -> str:
    """Four digits after the point, four digits in all from 1,000 on, or a dash for what was not measured."""
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:.4g}"


def signed(value: float) -> str:
    """A difference, as `number` with its sign."""
    return f"{'-' if value < 0 else '+'}{number(abs(value))}"


def way(prior: float, value: float, ceiling: float, width: int = _BAR) -> Text:
    """A bar from the prior (left) to the ceiling (right), with the model's position; `<` means left of the prior."""
    share = (prior - value) / (prior - ceiling) if prior != ceiling else 0.0
    at = min(max(round(share * (width - 1)), 0), width - 1)
    mark = "<" if share < 0 else ">" if share > 1 else "●"
    bar = Text("├", style="dim")
    bar.append("─" * at, style="green")
    bar.append(mark, style="bold red" if share < 0 else "bold green")
    bar.append("─" * (width - 1 - at), style="dim")
    bar.append("┤", style="dim")
    return bar


def print_card(card: Json, *, every_metric: bool = False, console: Console | None = None) -> None:
    """The summary of a scorecard: per task its score, interval, baselines and ceiling."""
    console, card = console or screen(), printable(card)
    benchmark, submission = card["benchmark"], card["submission"]
    console.print(
        Text.assemble(
            (str(submission["name"]), "bold"),
            f"  on {benchmark['name']} {benchmark['version']}, suite {card['suite']}",
        )
    )
    for name, task in card["tasks"].items():
        console.print()
        synthetic = ", synthetic votes" if task["synthetic"] else ""
        if task.get("elicitation") == "verbalized":
            synthetic += ", written distributions"
        elif task.get("elicitation") == "sampled" and task.get("sampling"):
            synthetic += f", {task['sampling']['samples']} answers drawn of each"
        console.print(
            Text.assemble((str(name), "bold cyan"), f"  {task['items']:,} items of {task['split']}{synthetic}")
        )
        _print_way(console, task)
        for warning in card.get("warnings", ()):
            if warning["task"] == name:
                console.print(Text(f"  ! {warning['message']}", style="yellow"))
        console.print(_metrics_table(task, every_metric))
        for note in _notes(task):
            console.print(Text(f"  {note}", style="dim"))
    console.print()
    if card["missing_tasks"]:
        console.print(Text(f"Complete for these tasks only; not run: {', '.join(card['missing_tasks'])}"))
    if not card["comparable"]:
        console.print(Text(f"Not comparable: {'; '.join(card['not_comparable'])}", style="yellow"))
    if names := isolation.missing(card):
        console.print(Text(isolation.sentence(names), style="yellow"))


def _print_way(console: Console, task: Json) -> None:
    value = task["metrics"].get("cross_entropy", {}).get("value")
    prior = task["baselines"]["prior"].get("cross_entropy", {}).get("value")
    ceiling = task["ceiling"].get("cross_entropy", {}).get("value")
    if value is None or prior is None or ceiling is None:
        return
    line = Text(f"  prior {number(prior)} ")
    line.append_text(way(prior, value, ceiling))
    line.append(f" {number(ceiling)} ceiling")
    console.print(line)
    panel = (task.get("panel") or {}).get("metrics", {}).get("cross_entropy")
    if panel is not None:
        line = Text(f"  other people {number(panel['value'])} ".rjust(len(f"  prior {number(prior)} ")), style="dim")
        line.append_text(way(prior, panel["value"], ceiling))
        console.print(line)


def _metrics_table(task: Json, every: bool) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    # Where the numbers are wide the name is folded, never a number cut.
    table.add_column("metric", min_width=23, overflow="fold")
    for name in ("value", "95 % interval", "uniform", "prior", "ceiling"):
        table.add_column(name, justify="right", no_wrap=True)
    level = next(
        (m["confidence_interval"]["level"] for m in task["metrics"].values() if m["confidence_interval"]), 0.95
    )
    table.columns[2].header = f"{level * 100:g} % interval"
    for name, metric in task["metrics"].items():
        if not every and name not in _HEADLINE:
            continue
        interval = metric["confidence_interval"]
        between = f"{number(interval['lower'])} … {number(interval['upper'])}" if interval else "–"
        arrow = {True: "↓", False: "↑", None: " "}[metric["lower_is_better"]]
        base = name.removesuffix("_calibrated")
        table.add_row(
            Text(f"{arrow} {name.replace('_calibrated', ' (cal.)')}"),
            Text(number(metric["value"]), style="bold" if name == "cross_entropy" else ""),
            between,
            number(task["baselines"]["uniform"].get(base, {}).get("value")),
            number(task["baselines"]["prior"].get(base, {}).get("value")),
            number(task["ceiling"].get(base, {}).get("value")),
        )
    return table


def _notes(task: Json) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for name, metric in task["metrics"].items():
        if metric["value"] is None:
            reasons.setdefault(metric["reason"], []).append(name)
    for reason, names in reasons.items():
        yield f"not measured ({', '.join(names)}): {reason}"
    limits: dict[str, list[str]] = {}
    for name, metric in task["metrics"].items():
        if metric["value"] is not None and metric["confidence_interval"] is not None and "reason" in metric:
            limits.setdefault(metric["reason"], []).append(name)
    for reason, names in limits.items():
        yield f"scored at a limit ({', '.join(names)}): {reason}"
    if (skill := task["metrics"].get("skill", {})).get("zero") == "uniform" and skill["value"] is not None:
        yield "skill is 0 at equal probabilities, which are better here than the label shares"
    if (failures := task.get("failures")) and failures["rows"] and failures["examples"]:
        first = failures["examples"][0]
        yield (
            f"{failures['rows']:,} of {failures['asked']:,} written answers ({failures['rate']:.1%}) could not be "
            f"read, so {failures['items']:,} items are left out; the first: {first['text']!r} ({first['reason']})"
        )
    if (sampling := task.get("sampling")) and sampling["standard_error"] is not None:
        yield (
            f"drawing answers has a standard error of {sampling['standard_error']:.4f}, which is in every interval, "
            f"and a bias of about {sampling['bias']:+.4f}"
        )
    mass, order = task["answer_mass"], task["order"]
    if mass["mean"] is not None:
        yield f"answer mass {mass['mean']:.3f} on average, {mass['minimum']:.3g} at least"
    if order["gap"] is not None:
        yield f"orders of presentation: gap {order['gap']:.3f}, same answer on {order['consistency']:.0%} of items"
    if order.get("single_order") is not None:
        first = f"; the first place gains {order['position_bias'][0]:+.3f}" if order["position_bias"] else ""
        yield f"one order alone scores {number(order['single_order'])}{first}"
    if (spread := task["prompt_spread"])["range"] is not None:
        yield f"{len(spread['primary_by_prompt'])} prompts, {number(spread['range'])} apart"
    if panel := task.get("panel"):
        ceiling = next(iter(panel["ceiling"].values()))
        agree = panel["reliability"]["plurality_agreement"]
        same = f"same most frequent answer on {agree:.0%} of items, " if agree is not None else ""
        yield f"a second group of people: {same}its ceiling {number(ceiling['value'])}"
    if task["truncated"]:
        yield f"{task['truncated']:,} texts shortened to fit the model"
    if "service" in task:
        service = task["service"]
        answering = ", ".join(service["model_versions"]) or "a model that it does not name"
        yield f"a service answered as {answering[:200]}"
        yield f"{service['bounded_rows']:,} of {service['rows']:,} answers do not tell every option: bounds stand in"
    if task["skipped"]:
        yield f"{task['skipped']:,} rows without votes left out"
    fitted = task["fitted"]
    if fitted["method"] is not None:
        yield f"temperature and concentration {fitted['method']} on {fitted['items']:,} items of {fitted['split']}"


def print_verification(report: Any) -> None:
    """What was checked of a card, and what a signature does not say."""
    console = screen()
    for check in report.checks:
        mark, style = {"ok": ("✓", "green"), "skipped": ("–", "dim"), "note": ("!", "yellow")}[check.state]
        console.print(Text.assemble((f"{mark} ", style), (f"{check.name}: ", "bold"), printable(check.message)))


def print_ceilings(ceilings: Sequence[Json]) -> None:
    """The human ceiling of each task or file."""
    console = screen()
    for task in ceilings:
        alpha = ", ".join(f"{value:.4f}" for value in task["alpha"])
        console.print(Text.assemble((str(task["name"]), "bold cyan"), f"  {task['items']:,} items, α = ({alpha})"))
        table = Table(box=None, padding=(0, 1), header_style="dim")
        table.add_column("metric")
        other = ("any prior",) if task["prior"] == "npmle" else ()
        for column in ("ceiling", "its error", *other, "Monte-Carlo error", "spread of draws"):
            table.add_column(column, justify="right")
        for metric, row in task["ceiling"].items():
            error = "exact" if row["monte_carlo_error"] == 0 else f"{row['monte_carlo_error']:.5f}"
            more = (number(row["npmle"]),) if other else ()
            table.add_row(
                metric, number(row["value"]), number(row["standard_error"]), *more, error, number(row["spread"])
            )
        console.print(table)
        for note in task["notes"]:
            console.print(Text(f"  {note}", style="yellow"))


def print_data_check(statuses: Sequence[Any], output_format: str) -> None:
    """The state of each split's file."""
    if output_format == "json":
        print(json.dumps([{**asdict(status), "path": str(status.path)} for status in statuses], indent=2))
        return
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for column in ("dataset", "split", "state", "rows"):
        table.add_column(column, justify="right" if column == "rows" else "left")
    for status in statuses:
        style = {"ok": "green", "missing": "yellow"}.get(status.state, "red")
        rows = "–" if status.rows is None else f"{status.rows:,}"
        table.add_row(status.dataset, status.split, Text(status.state, style=style), rows)
    screen().print(table)


def print_stats(statistics: Mapping[str, Any], output_format: str) -> None:
    """Votes and texts of each task."""
    if output_format == "json":
        print(json.dumps({name: asdict(stats) for name, stats in statistics.items()}, indent=2))
        return
    console = screen()
    for name, stats in statistics.items():
        console.print(Text.assemble((name, "bold cyan"), f"  {stats.items:,} items"))
        votes = stats.votes
        console.print(f"  votes per item   {votes.minimum} … {votes.maximum}, median {votes.median:g}")
        console.print("  label shares     " + ", ".join(f"{k} {v:.3f}" for k, v in stats.label_shares.items()))
        console.print("  most votes       " + ", ".join(f"{k} {v:,}" for k, v in stats.plurality.items()))
        console.print(f"  ties {stats.ties:,}, unanimous {stats.unanimous:,}, mean entropy {stats.entropy:.4f} nats")
        if stats.patterns:
            console.print("  agreement        " + ", ".join(f"{k}: {v:,}" for k, v in stats.patterns.items()))
        for field, words in stats.words.items():
            console.print(f"  words in {field:<8} {words.minimum} … {words.maximum}, median {words.median:g}")


def print_examination(findings: Sequence[Any], output_format: str) -> None:
    """The doctor's findings."""
    if output_format == "json":
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
        return
    console = screen()
    alike: dict[tuple[str, ...], list[Any]] = {}
    for finding in findings:
        # What is wrong with several in the same way is said once.
        own = finding.name if finding.state == "ok" else ""
        alike.setdefault((finding.state, finding.message, finding.hint or "", own), []).append(finding)
    for group in alike.values():
        finding, names = group[0], ", ".join(similar.name for similar in group)
        mark, style = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "bold red")}[finding.state]
        console.print(Text.assemble((f"{mark} ", style), (f"{names}: ", "bold"), finding.message))
        if finding.hint and finding.state != "ok":
            console.print(Text(f"    {finding.hint}", style="dim"))
