"""Commands that show what there is: prompts, ceiling, data, baseline, schema, doctor, completion."""

import json
import os
from pathlib import Path
from typing import Any

import click

from runner.cli import options, output
from runner.core import resources


@click.command()
@options.selection
@click.option("--prompt", "chosen", multiple=True, metavar="NAME", help="Show this prompt instead of the task's own.")
@click.option(
    "--submission",
    type=options.FILE,
    default=None,
    metavar="FILE",
    help="Also show the token ids that this model reads.",
)
@options.elicitation
def prompts(chosen: tuple[str, ...], submission: Path | None, elicitation: str, **selected: Any) -> None:
    """Print the exact prompts of a run as JSON lines."""
    from runner.evaluation.show_prompts import rows

    for row in rows(options.choice(**selected, prompts=chosen, elicitation=elicitation), submission):
        output.echo_utf8(json.dumps(row, ensure_ascii=False) + "\n")
        if output.unread():
            break


@click.command()
@click.argument("counts", type=options.FILE, required=False)
@options.selection
@click.option(
    "--draws",
    type=click.IntRange(min=2),
    default=None,
    metavar="N",
    help="Monte Carlo draws. [default: the benchmark's]",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=None, metavar="N", help="Random seed. [default: the benchmark's]"
)
@click.option(
    "--prior",
    type=click.Choice(["dirichlet", "npmle"]),
    default="dirichlet",
    show_default=True,
    help="npmle: also show the ceiling under a prior of any shape.",
)
@options.output_format
def ceiling(
    counts: Path | None, draws: int | None, seed: int | None, prior: str, output_format: str, **selected: Any
) -> None:
    """Estimate the best score that disagreement allows.

    It is estimated for tasks of the benchmark, or for COUNTS: a JSON file with an array of items × labels.
    """
    from runner.evaluation.ceilings import of_counts_file, of_tasks

    choice = options.choice(**selected)
    ceilings = of_counts_file(counts, choice, draws, seed, prior) if counts else of_tasks(choice, draws, seed, prior)
    if output_format == "json":
        click.echo(json.dumps(ceilings, indent=2))
    else:
        from runner.report import terminal

        terminal.print_ceilings(ceilings)


@click.group()
def data() -> None:
    """Fetch, check and describe the data."""


@data.command()
@options.benchmark
@options.data_dir
@click.option("--dataset", "datasets", multiple=True, metavar="NAME", help="Use this dataset only; may repeat.")
@options.quiet
def fetch(benchmark_file: Path | None, data_dir: Path | None, datasets: tuple[str, ...], quiet: bool) -> None:
    """Download the released archives and check their files.

    Every file is checked against its pinned digest before it gets its name. The data is for research use; see the
    Scruples project.
    """
    from runner.config.benchmark import load_benchmark
    from runner.report import console
    from runner.tasks.data.fetch import fetch as download
    from runner.tasks.data.locate import default_data_dir

    folder = data_dir or default_data_dir()
    with console.download_progress(quiet) as progress:
        files = download(
            load_benchmark(options.benchmark_path(benchmark_file)),
            folder,
            datasets or None,
            progress,
            retrying=lambda why: None if quiet else click.echo(why, err=True),
        )
    if not quiet:
        for file in files:
            click.echo(f"{file.dataset}/{file.split}: {file.state}")
    click.echo(folder)


@data.command()
@options.benchmark
@options.data_dir
@click.option("--dataset", "datasets", multiple=True, metavar="NAME", help="Use this dataset only; may repeat.")
@options.output_format
def check(benchmark_file: Path | None, data_dir: Path | None, datasets: tuple[str, ...], output_format: str) -> None:
    """Check the file of every split against its pinned digest.

    Exit code 1: a file is missing or differs.
    """
    from runner.config.benchmark import load_benchmark
    from runner.report import terminal
    from runner.tasks.data.check import check as look

    statuses = look(load_benchmark(options.benchmark_path(benchmark_file)), data_dir, datasets or None)
    terminal.print_data_check(statuses, output_format)
    if any(status.state != "ok" for status in statuses):
        raise click.exceptions.Exit(1)


@data.command()
@click.argument("benchmark_file", metavar="BENCHMARK", type=options.FILE)
@options.data_dir
@options.quiet
def pin(benchmark_file: Path, data_dir: Path | None, quiet: bool) -> None:
    """Write the rows and digests of the data into a benchmark.yaml.

    Everything else in the file stays as it is. Data that is not there is fetched first.
    """
    from runner.tasks.data.pin import pin_benchmark

    for split in pin_benchmark(benchmark_file, data_dir):
        if not quiet:
            unit = "items" if split.counts_items else "of them"
            folds = "" if split.fold_rows is None else f", {split.fold_rows:,} {unit} in its folds"
            click.echo(f"{split.dataset}/{split.split}: {split.rows:,} rows{folds}, sha256 {split.sha256}")
    click.echo(benchmark_file)


@click.command()
@click.argument("folder", type=options.FILE)
@click.option("--data", "data_file", type=options.FILE, required=True, metavar="FILE", help="Rows with people's votes.")
@options.quiet
def init(folder: Path, data_file: Path, quiet: bool) -> None:
    """Propose a benchmark.yaml for a file of your own.

    It looks at the first rows and says what it could tell; what a person has to say is marked FILL IN, and `benchmark
    validate` lists these places. Forms: .jsonl, .json, .csv, .tsv, .parquet, each also gzipped.
    """
    from runner.tasks.data.propose import propose

    path, doubts = propose(folder, data_file)
    if not quiet:
        for doubt in doubts:
            click.echo(doubt, err=True)
        click.echo(f"Fill in what is marked, then: benchmark data pin {path}", err=True)
    click.echo(path)


@data.command()
@options.selection
@options.output_format
def stats(output_format: str, **selected: Any) -> None:
    """Describe the votes and texts of the selected tasks."""
    from runner.report import terminal
    from runner.tasks.data.stats import stats as describe
    from runner.tasks.selection import select

    selection = select(options.choice(**selected))
    statistics = {
        f"{part.task.name} ({part.split})": describe(part.scored, part.task.labels) for part in selection.tasks
    }
    terminal.print_stats(statistics, output_format)


@click.command()
@click.argument("name", type=click.Choice(["uniform", "prior", "panel"]))
@options.selection
@click.option("--output", "-o", type=options.FILE, required=True, metavar="FILE", help="Predictions file to write.")
def baseline(name: str, output: Path, **selected: Any) -> None:
    """Write the predictions of a baseline.

    `benchmark score` scores them.

    \b
    uniform  the same probability for every label
    prior    the label shares of the calibration split; if that split is scored,
             the shares of its other folds
    panel    a second group of people, if the data has one: the posterior mean of
             their votes under a Dirichlet fitted to those votes
    """
    from runner.evaluation.baselines import write_baseline

    click.echo(f"{write_baseline(name, options.choice(**selected), output):,} rows", err=True)
    click.echo(output)


@click.command()
@click.argument("name", required=False)
def schema(name: str | None) -> None:
    """Print a JSON Schema.

    Without NAME, list the names.
    """
    names = sorted(path.name.removesuffix(".schema.json") for path in resources.schema_folder().glob("*.schema.json"))
    if name is None:
        click.echo("\n".join(names))
    elif name in names:
        output.echo_utf8((resources.schema_folder() / f"{name}.schema.json").read_text(encoding="utf-8"))
    else:
        raise click.BadParameter(f"{name!r} is not one of {', '.join(names)}.", param_hint="NAME")


@click.command(short_help="Check the machine before a run.")
@options.output_dir
@options.data_dir
@click.option("--device", default=None, metavar="NAME[,NAME…]", help="Devices to check. [default: cuda if present]")
@options.output_format
def doctor(output_dir: Path, data_dir: Path | None, device: str | None, output_format: str) -> None:
    """Check disk, memory, device, data, keys and sandbox before a run.

    Exit code 3: a check failed that would stop a run.
    """
    from runner.evaluation.doctor import examine
    from runner.report import terminal

    findings = examine(output_dir, data_dir, device)
    terminal.print_examination(findings, output_format)
    if any(finding.state == "fail" for finding in findings):
        raise click.exceptions.Exit(3)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), required=False)
def completion(shell: str | None) -> None:
    """Print the completion script of a shell.

    Load it with `source <(benchmark completion bash)`.
    """
    from click.shell_completion import get_completion_class

    from runner.cli import main

    name = shell or Path(os.environ.get("SHELL", "bash")).name
    kind = get_completion_class(name)
    if kind is None:
        raise click.BadParameter(f"{name!r} is not one of bash, zsh, fish.", param_hint="SHELL")
    click.echo(kind(main, {}, "benchmark", "_BENCHMARK_COMPLETE").source())
