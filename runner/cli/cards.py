"""Commands about finished scorecards and the keys that sign them: verify, compare, keys."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from runner.scorecard.compare import Gate


@click.command()
@click.argument("scorecard", type=options.FILE)
@options.keyring
@click.option("--recompute", is_flag=True, help="Rebuild every number from the predictions and the data.")
@click.option(
    "--predictions",
    type=options.FILE,
    default=None,
    metavar="FILE",
    help="Predictions for --recompute. [default: beside the card]",
)
@options.benchmark
@options.data_dir
@click.option("--expect-submission", default=None, metavar="DIGEST", help="Refuse cards of any other submission.")
@click.option("--expect-benchmark", default=None, metavar="DIGEST", help="Refuse cards of any other benchmark.")
@click.option("--nonce", default=None, metavar="S", help="Refuse cards without this challenge.")
@options.output_format
@options.silent
def verify(
    scorecard: Path,
    keyring: Path | None,
    recompute: bool,
    predictions: Path | None,
    benchmark_file: Path | None,
    data_dir: Path | None,
    expect_submission: str | None,
    expect_benchmark: str | None,
    nonce: str | None,
    output_format: str,
    quiet: bool,
) -> None:
    """Check a scorecard: signature, schema, digests, numbers.

    SCORECARD is a scorecard.sigstore.json, or the folder of a run. Exit code 4: it does not verify.
    """
    from runner.scorecard import verify as verification

    report = verification.verify(
        scorecard,
        options.trusted_keys(keyring),
        expect_submission=expect_submission,
        expect_benchmark=expect_benchmark,
        nonce=nonce,
    )
    if recompute:
        from runner.scorecard.recompute import recompute as rebuild

        report = rebuild(report, predictions, benchmark_file, data_dir)
    if output_format == "json":
        click.echo(json.dumps(report.to_json(), indent=2))
    elif not quiet:
        from runner.report import terminal

        terminal.print_verification(report)


@click.command()
@click.argument("a", type=options.FILE)
@click.argument("b", type=options.FILE)
@options.keyring
@options.benchmark
@options.data_dir
@click.option(
    "--gate",
    "gates",
    multiple=True,
    metavar="METRIC=MARGIN",
    help="Exit with 4 unless B is shown to be at most MARGIN worse than A; may repeat.",
)
@options.tasks
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Show this metric only; may repeat.")
@click.option("--verbose", "-v", is_flag=True, help="Also show every metric.")
@options.output_format
def compare(
    a: Path,
    b: Path,
    keyring: Path | None,
    benchmark_file: Path | None,
    data_dir: Path | None,
    gates: tuple[str, ...],
    tasks: tuple[str, ...],
    metrics: tuple[str, ...],
    verbose: bool,
    output_format: str,
) -> None:
    """Test whether B is better than A on the same items.

    First a sentence a task, then the primary metric and three others. A gate's margin for the primary metric is also
    what counts as equal.

    Needs the predictions beside both cards, and the data. Cards that measure different things are refused.
    """
    from runner.scorecard import compare as comparison

    parsed_gates = [_gate(text) for text in gates]
    result = comparison.compare(a, b, options.trusted_keys(keyring), benchmark_file, data_dir, parsed_gates, tasks)
    _check_metrics(metrics, result)
    if output_format == "json":
        click.echo(json.dumps(result, indent=2))
    else:
        from runner.report.comparison import print_comparison

        print_comparison(result, every_metric=verbose, metrics=metrics)
    if any(not gate["passed"] for gate in result["gates"]):
        raise click.exceptions.Exit(4)


def _check_metrics(metrics: tuple[str, ...], result: "Mapping[str, Any]") -> None:
    """Each `--metric` is one that some task of the comparison has."""
    from runner.config.schema import did_you_mean

    known = list(dict.fromkeys(name for task in result["tasks"].values() for name in task["metrics"]))
    for name in metrics:
        if name not in known:
            hint = did_you_mean(name, known) or f"It has: {', '.join(known)}."
            raise click.BadParameter(f"{name!r} is no metric of this comparison. {hint}", param_hint="--metric")


def _gate(text: str) -> "Gate":
    from runner.scorecard.compare import Gate
    from runner.scoring.metrics import METRICS

    name, _, margin = text.partition("=")
    known = sorted(name for name in METRICS if METRICS[name].lower_is_better is not None)
    if name not in known:
        raise click.BadParameter(f"{name!r} is not one of {', '.join(known)}.", param_hint="--gate")
    try:
        value = float(margin)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise click.BadParameter(f"{text!r} needs a margin from 0, as in {name}=0.01.", param_hint="--gate")
    return Gate(name, value)


@click.group()
def keys() -> None:
    """Create and show signing keys."""


@keys.command()
@click.option("--path", type=options.FILE, default=None, metavar="PEM", help="File to write. [default: your own key]")
@click.option("--passphrase/--no-passphrase", default=False, help="Encrypt the key with a passphrase.")
def new(path: Path | None, passphrase: bool) -> None:
    """Create an Ed25519 key that only you can read.

    Existing files are never overwritten.
    """
    from runner.signing import keys

    key_path = path or keys.default_key_path()
    secret = None
    if passphrase:
        secret = str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True))
    key = keys.new_key(key_path, secret)
    keys.keep_public_half(key_path, key.public_key())
    _show(key_path, key)


@keys.command()
@click.option("--path", type=options.FILE, default=None, metavar="PEM", help="File to read. [default: your own key]")
def show(path: Path | None) -> None:
    """Show the path, id and public half of a key.

    A keyring entry needs the id and the public half.
    """
    from runner.signing import keys

    key_path = path or keys.default_key_path()
    _show(key_path, keys.load_key(key_path, lambda: options.ask_passphrase(key_path)))


def _show(path: Path, key: "Ed25519PrivateKey") -> None:
    from runner.signing import keys

    click.echo(f"key    {path}")
    click.echo(f"keyid  {keys.keyid(key)}")
    click.echo(keys.public_pem(key), nl=False)
