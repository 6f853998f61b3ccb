"""Commands that check or measure: validate, evaluate, merge, score."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from runner.cli import options

if TYPE_CHECKING:
    from runner.evaluation.shards import Shard
    from runner.tasks.selection import RunConfig


@click.command()
@click.argument("submissions", nargs=-1, required=True, type=options.FILE, metavar="SUBMISSION…")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["rich", "json", "github"]),
    default="rich",
    show_default=True,
    help="Output format.",
)
@click.option(
    "--data-dir", type=options.FILE, default=None, metavar="DIR", help="Also read a benchmark's rows, from this folder."
)
@click.option(
    "--probe/--no-probe",
    default=True,
    show_default=True,
    help="Let the tokenizer of a model in a local folder read a few prompts, in a process of its own (seconds).",
)
@click.option("-v", "--verbose", is_flag=True, help="Name every file, key and tensor that is not read.")
@options.silent
def validate(
    submissions: tuple[Path, ...],
    output_format: Literal["rich", "json", "github"],
    data_dir: Path | None,
    probe: bool,
    verbose: bool,
    quiet: bool,
) -> None:
    """Report every fault of a submission, recipe or benchmark.

    All faults are reported at once, each with file, line and column. No weights are loaded. If the files have no
    fault, the tokenizer reads a few prompts as `evaluate` would; what it cannot read is a fault as well.
    """
    from runner.core.errors import Fault, UserError
    from runner.evaluation.validate import check, ignored
    from runner.report.faults import render

    faults: list[Fault] = []
    for path in submissions:
        file_faults = check(path, data_dir, probe=probe)
        faults.extend(file_faults)
        if not file_faults and output_format == "rich" and not quiet:
            click.echo(f"{path}: valid")
            for line in ignored(path, all_names=verbose):
                click.echo(f"  ignored in {line}")
    if faults or output_format == "json":
        click.echo(render(tuple(faults), output_format), nl=False)
    if faults:
        raise click.exceptions.Exit(UserError.exit_code)


def _shard(context: click.Context, _parameter: click.Parameter, value: str | None) -> "Shard | None":
    from runner.evaluation.shards import parse_shard

    if context.params.get("script"):  # which part it is, each job of the array will know
        if value not in (None, "auto"):
            raise click.BadParameter(f"A script is for all parts: leave {value!r} out, or give auto.")
        return None
    try:
        return None if value is None else parse_shard(value)
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None


@click.command()
@click.argument("submission", type=options.FILE)
@options.selection
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    metavar="NAME",
    help="Use this prompt instead of the task's own; may repeat; not comparable.",
)
@options.elicitation
@click.option(
    "--keep-thoughts",
    is_flag=True,
    help="Keep what the model thinks before answers that are drawn, in thoughts.jsonl beside the predictions.",
)
@options.output_dir
@options.loading
@click.option(
    "--resume/--no-resume", default=True, show_default=True, help="Resume an unfinished run with the same inputs."
)
@click.option(
    "--shard",
    default=None,
    metavar="I/N|auto",
    callback=_shard,
    help="Compute part I (from 0) of N and write a shard for `benchmark merge`; auto reads Slurm or Kubernetes.",
)
@options.engine
@click.option(
    "--print",
    "script",
    type=click.Choice(["sbatch"]),
    default=None,
    is_eager=True,
    help="Run nothing; print a Slurm script that runs this command line in parts and merges them.",
)
@click.option(
    "--dry-run", is_flag=True, help="Say what a run would ask and take: prompts, tokens, time, memory, money."
)
@options.api
@options.nonce
@options.key
@options.quiet
@click.option("--verbose", "-v", is_flag=True, help="Also show every metric.")
def evaluate(
    submission: Path,
    prompts: tuple[str, ...],
    elicitation: str,
    keep_thoughts: bool,
    output_dir: Path,
    device: str | None,
    dtype: str | None,
    batch_tokens: str,
    threads: int | None,
    resume: bool,
    shard: "Shard | None",
    engine: str,
    ray_address: str | None,
    script: str | None,
    dry_run: bool,
    nonce: str | None,
    key_file: Path | None,
    quiet: bool,
    verbose: bool,
    **more: Any,
) -> None:
    """Run a submission and write a signed scorecard."""
    tokens = options.token_count(batch_tokens)
    if keep_thoughts and elicitation != "sampled":
        raise click.UsageError("--keep-thoughts is for --elicitation sampled: elsewhere a model does not think.")
    if script is not None:
        click.echo(_sbatch_script(submission), nl=False)
        return
    if dry_run:
        selected = {name: value for name, value in more.items() if not name.startswith("api_")}
        config = options.choice(**selected, prompts=prompts, elicitation=elicitation)
        _dry_run(submission, config, output_dir, dtype, quiet)
        return
    from runner.evaluation import evaluate as walk
    from runner.models.base import LoadOptions
    from runner.report import console, terminal

    access = options.access(**{name: more.pop(name) for name in list(more) if name.startswith("api_")})
    load = LoadOptions(device, dtype, tokens, threads)
    cluster = options.cluster(engine, ray_address, quiet)
    settings = walk.Settings(output_dir, load, resume, nonce, access, cluster, keep_thoughts=keep_thoughts)
    options.warn_of_loss(output_dir)
    config = options.choice(**more, prompts=prompts, elicitation=elicitation)
    if shard is not None:
        with console.progress(quiet) as progress:
            click.echo(walk.evaluate_shard(submission, config, settings, shard, progress))
        return
    with console.progress(quiet) as progress:
        folder, card = walk.evaluate(submission, config, settings, options.signing_key(key_file), progress)
    if not quiet:
        terminal.print_card(card, every_metric=verbose)
    click.echo(folder)


def _dry_run(submission: Path, config: "RunConfig", output_dir: Path, dtype: str | None, quiet: bool) -> None:
    """Print what a run would take, one line for each amount; under --quiet as one JSON object."""
    from dataclasses import asdict

    from runner.evaluation.dry_run import estimate
    from runner.report.estimate import lines

    result = estimate(submission, config, output_dir, dtype)
    if quiet:
        click.echo(json.dumps(asdict(result), allow_nan=False))
        return
    for line in lines(result):
        click.echo(line)


@click.command()
@click.argument("shards", nargs=-1, required=True, type=options.FILE)
@options.data_dir
@options.output_dir
@options.key
@options.quiet
@click.option("--verbose", "-v", is_flag=True, help="Also show every metric.")
def merge(
    shards: tuple[Path, ...],
    data_dir: Path | None,
    output_dir: Path,
    key_file: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Merge the shards of one run, score them and sign once.

    SHARDS are the folders that `evaluate --shard` wrote, or their parent folder. The predictions equal those of a run
    on one machine.
    """
    from runner.evaluation.merge import merge as unite
    from runner.report import terminal

    folder, card = unite(shards, output_dir, data_dir, options.signing_key(key_file))
    if not quiet:
        terminal.print_card(card, every_metric=verbose)
    click.echo(folder)


@click.command()
@click.argument("predictions", type=options.FILE)
@options.selection
@click.option("--name", default=None, metavar="NAME", help="Name on the card. [default: the file's name]")
@click.option(
    "--scale",
    type=click.Choice(["probabilities", "logits"]),
    default=None,
    help="What log_scores holds instead: probabilities (or percentages), or logits.",
)
@options.output_dir
@options.nonce
@options.key
@options.quiet
@click.option("--verbose", "-v", is_flag=True, help="Also show every metric.")
def score(
    predictions: Path,
    name: str | None,
    scale: Literal["probabilities", "logits"] | None,
    output_dir: Path,
    nonce: str | None,
    key_file: Path | None,
    quiet: bool,
    verbose: bool,
    **selected: Any,
) -> None:
    """Score a predictions file without a model.

    Each row needs task, item_id and log_scores (natural log, one per label in the task's order).
    """
    from runner.evaluation.score import score_file
    from runner.report import console, terminal

    options.warn_of_loss(output_dir)
    with console.progress(quiet) as progress:
        progress("score", 0, 0)
        folder, card = score_file(
            predictions, options.choice(**selected), name, output_dir, nonce, options.signing_key(key_file), scale
        )
    if not quiet:
        terminal.print_card(card, every_metric=verbose)
    click.echo(folder)


def _sbatch_script(path: Path) -> str:
    from runner.cli.sbatch import sbatch_script
    from runner.config.submission import load_submission
    from runner.core.errors import Fault, InvalidInput

    submission = load_submission(path)
    if submission.service is not None:
        message = "A service is asked by one process: --print sbatch is for models that are loaded."
        raise InvalidInput(Fault("OPTION", message, hint="Give --api-concurrency N for more requests at once."))
    return sbatch_script(click.get_current_context(), submission.name)
