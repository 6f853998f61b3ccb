"""The command that evaluates many submissions: sweep."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli import options

if TYPE_CHECKING:
    from runner.signing.keyring import Keyring


@click.command()
@click.argument("submissions", nargs=-1, required=True, type=options.FILE, metavar="SUBMISSION…|SWEEP")
@options.selection
@options.elicitation
@options.output_dir
@click.option("--archive", default=None, metavar="ARCHIVE", help="Add the cards to this archive, and rank all in it.")
@click.option(
    "--include-trial", is_flag=True, help="Also rank runs of a suite for trying things, and runs with --limit."
)
@click.option("--baseline", default=None, metavar="NAME", help="Compare every submission with this one.")
@click.option(
    "--cache/--no-cache",
    default=True,
    show_default=True,
    help="Take the answers of an equal run from the cache, after a self-check.",
)
@click.option(
    "--cache-dir", type=options.FILE, default=None, metavar="DIR", help="Folder of the cache. [default: DIR/cache]"
)
@options.engine
@options.loading
@options.api
@options.nonce
@options.key
@options.keyring
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["rich", "json"]),
    default="rich",
    show_default=True,
    help="Lines for people, or one JSON object a line.",
)
@options.quiet
def sweep(
    submissions: tuple[Path, ...],
    elicitation: str,
    output_dir: Path,
    archive: str | None,
    include_trial: bool,
    baseline: str | None,
    cache: bool,
    cache_dir: Path | None,
    engine: str,
    ray_address: str | None,
    device: str | None,
    dtype: str | None,
    batch_tokens: str,
    threads: int | None,
    nonce: str | None,
    key_file: Path | None,
    keyring: Path | None,
    output_format: str,
    quiet: bool,
    **more: Any,
) -> None:
    """Evaluate many submissions, and rank them.

    SUBMISSION is a submission.yaml or a folder that holds one; SWEEP is a sweep.yaml, which lists them with options.
    Options of the command line hold for all. The largest weights come first, and one submission that fails stops no
    other. Repeat the command to resume: what is done is not done again, what failed is tried again. The exit code is
    the worst of the submissions'.
    """
    from dataclasses import asdict, replace

    from runner.config.benchmark import load_benchmark
    from runner.core.errors import Fault, Interrupted
    from runner.evaluation.evaluate import Settings
    from runner.models.base import LoadOptions
    from runner.report import sweep as report
    from runner.sweep import board, plan, process, run

    access = options.access(**{name: more.pop(name) for name in list(more) if name.startswith("api_")})
    benchmark_file = more["benchmark_file"]
    config = options.choice(**more, elicitation=elicitation)
    primary = load_benchmark(config.benchmark).scoring.primary
    spec = plan.read_spec(submissions)
    spec = replace(spec, baseline=baseline or spec.baseline)
    load = LoadOptions(device, dtype, options.token_count(batch_tokens), threads)
    entries = plan.plan_entries(spec, config, {**asdict(load), "nonce": nonce, "engine": engine})
    options.warn_of_loss(output_dir)
    signing_key = options.signing_key(key_file)
    trusted = _trusted(keyring, key_file)
    cluster = options.cluster(engine, ray_address, quiet)
    answers = (cache_dir or output_dir / "cache") if cache else None
    settings = Settings(output_dir, load, nonce=nonce, cluster=cluster, cache=answers)

    def evaluate_one(entry: plan.Entry, progress: process.Progress) -> process.Outcome:
        own = replace(settings, load=LoadOptions(), access=access, cluster=None) if entry.service else settings
        return process.evaluate_in_process(entry, own, signing_key, progress)

    records, stopped = run.run_sweep(
        entries,
        output_dir,
        evaluate_one,
        report.observer(output_format, quiet),
        primary=primary,
        baseline=spec.baseline,
    )
    if stopped:
        done = sum(record.state == "done" for record in records)
        message = f"Stopped after {done:,} of {len(records):,} submissions; what is done is kept."
        hint = "Run the same command again to go on from there."
        raise Interrupted(Fault("INTERRUPTED", message, str(output_dir), hint=hint))
    ranked = board.rank(
        output_dir,
        records,
        trusted,
        archive=archive,
        benchmark_file=benchmark_file,
        data_dir=config.data_dir,
        include_trial=include_trial,
    )
    compare = partial(board.compare_with, benchmark_file=benchmark_file, data_dir=config.data_dir)
    compared = [] if spec.baseline is None else compare(output_dir, records, spec.baseline, trusted)
    if not quiet:
        report.print_end(records, ranked, compared, output_format)
    if output_format == "rich":
        click.echo(output_dir)
    raise click.exceptions.Exit(run.exit_code(records) or (4 if ranked is not None and ranked.damage else 0))


def _trusted(keyring: Path | None, key_file: Path | None) -> "Keyring":
    """The keyring given, or else the key that signs."""
    from runner.signing import keys
    from runner.signing.keyring import keyring_of

    if keyring is None and key_file is not None:
        return keyring_of(keys.own_public_key(key_file, partial(options.ask_passphrase, key_file)))
    return options.trusted_keys(keyring)
