"""Commands that show finished scorecards to others: report, export."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.scorecard.disagreements import ItemShares
    from runner.scorecard.load import OpenCard

_UNVERIFIED = click.option("--unverified", is_flag=True, help="Do not check the signature; the result says so.")


@click.command()
@click.argument("scorecards", nargs=-1, required=True, type=options.FILE, metavar="SCORECARD [SCORECARD]")
@options.keyring
@_UNVERIFIED
@options.benchmark
@options.data_dir
@click.option(
    "--items",
    type=click.IntRange(min=0),
    default=6,
    show_default=True,
    metavar="N",
    help="Items per task on which model and people differ most.",
)
@click.option(
    "--show-texts", is_flag=True, help="Also show the texts of released items; consider before you publish them."
)
@click.option(
    "--output",
    "-o",
    type=options.FILE,
    default=None,
    metavar="FILE",
    help="Page to write; - is standard output. [default: NAME.html in this folder]",
)
@options.quiet
def report(
    scorecards: tuple[Path, ...],
    keyring: Path | None,
    unverified: bool,
    benchmark_file: Path | None,
    data_dir: Path | None,
    items: int,
    show_texts: bool,
    output: Path | None,
    quiet: bool,
) -> None:
    """Write an HTML page of a scorecard, or of two compared.

    The page is one file without scripts or network. SCORECARD is a scorecard.sigstore.json, or the folder of a run.
    """
    from runner.report.export import portable

    if len(scorecards) > 2:
        raise click.UsageError("A page shows one scorecard or compares two; `benchmark leaderboard` ranks more.")
    if len(scorecards) == 2:
        if unverified:
            raise click.UsageError("A comparison is of verified cards only.")
        from runner.report.html import comparison_page
        from runner.scorecard.compare import compare

        comparison = compare(*scorecards, options.trusted_keys(keyring), benchmark_file, data_dir)
        text, name = comparison_page(comparison), f"{comparison['b']['name']}-against-{comparison['a']['name']}"
    else:
        from runner.report.html import card_page
        from runner.scorecard.disagreements import furthest, histograms
        from runner.scorecard.load import open_card

        opened = open_card(scorecards[0], None if unverified else options.trusted_keys(keyring), benchmark_file)
        shares, without = _shares(opened, benchmark_file, data_dir, required=data_dir is not None or show_texts)
        if without and items and not quiet:
            click.echo(f"Without the items that differ most: {without}", err=True)
        differences = {task: furthest(own, items, show_texts=show_texts) for task, own in shares.items()}
        bars = {task: histograms(own) for task, own in shares.items()}
        without = without if items else "none were asked for."
        text = card_page(opened, differences if items else None, without, bars)
        name = opened.card["submission"]["name"]
    _write(text, output or Path(f"{portable(name)}.html"))


@click.command(short_help="Export scorecards to other formats.")
@click.argument("scorecards", nargs=-1, required=True, type=options.FILE, metavar="SCORECARD…")
@click.option(
    "--to",
    "target",
    type=click.Choice(["eee", "hf-eval-results", "csv", "latex", "mlflow"]),
    required=True,
    help="Every Eval Ever, the Hub's .eval_results, a CSV or LaTeX table, or MLflow's file store.",
)
@options.keyring
@_UNVERIFIED
@click.option("--force", is_flag=True, help="Also export cards that may not be compared.")
@click.option("--items", is_flag=True, help="eee: also a row per item; needs predictions and data.")
@options.benchmark
@options.data_dir
@click.option(
    "--dataset-id", default=None, metavar="OWNER/NAME", help="hf-eval-results: the benchmark's dataset on the Hub."
)
@click.option("--source-url", default=None, metavar="URL", help="hf-eval-results: address of the card.")
@click.option(
    "--output",
    "-o",
    type=options.FILE,
    default=None,
    metavar="PATH",
    help="csv, latex: a file [default: standard output]; otherwise a folder [default: export].",
)
@options.quiet
def export(
    scorecards: tuple[Path, ...],
    target: str,
    keyring: Path | None,
    unverified: bool,
    force: bool,
    items: bool,
    benchmark_file: Path | None,
    data_dir: Path | None,
    dataset_id: str | None,
    source_url: str | None,
    output: Path | None,
    quiet: bool,
) -> None:
    """Export scorecards to other formats; fields that do not fit are listed.

    SCORECARD is a scorecard.sigstore.json, or the folder of a run. If one does not verify, nothing is written.
    """
    import time

    from runner.report import export as formats
    from runner.scorecard.load import open_card

    if target == "hf-eval-results" and dataset_id is None:
        raise click.UsageError("--to hf-eval-results needs --dataset-id: a result there belongs to a benchmark.")
    if items and target != "eee":
        raise click.UsageError("--items is for --to eee.")
    trusted = None if unverified else options.trusted_keys(keyring)
    cards = [open_card(path, trusted, benchmark_file) for path in scorecards]
    if not force:
        formats.refuse_not_comparable(cards)
    if target in ("csv", "latex"):
        make, lost = (formats.table, formats.TABLE_LOST) if target == "csv" else (formats.latex, formats.LATEX_LOST)
        _tell(lost, quiet)
        _write(make(cards), output or Path("-"))
        return
    files: list[formats.Exported] = []
    if target == "mlflow":
        files = formats.mlflow(cards)
    for opened in cards if target != "mlflow" else ():
        if target == "hf-eval-results":
            files.append(formats.eval_results(opened, dataset_id or "", source_url))
        else:
            record = formats.every_eval_ever(opened, int(time.time()))
            files += formats.with_items(record, opened, benchmark_file, data_dir) if items else [record]
    folder = output or Path("export")
    formats.refuse_equal_paths(files)
    _tell(tuple(dict.fromkeys(sentence for file in files for sentence in file.lost)), quiet)
    for file in files:
        _write(file.content, folder / file.path, say=target != "mlflow")
    if target == "mlflow":
        store = folder / "mlruns"
        click.echo(store)
        look = "MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri mlruns"
        _tell((f"Look at it with: cd {shlex.quote(str(folder))} && {look}",), quiet)
    if target == "eee":
        paths = " ".join(shlex.quote(str(file.path)) for file in files)
        check = f"cd {shlex.quote(str(folder))} && python -m every_eval_ever validate {paths}"
        _tell((f"Check them where they lie, with the format's own program (Python 3.12 or newer): {check}",), quiet)


def _tell(lost: "tuple[str, ...]", quiet: bool) -> None:
    if not quiet:
        for sentence in lost:
            click.echo(sentence, err=True)


def _shares(
    opened: "OpenCard", benchmark_file: Path | None, data_dir: Path | None, *, required: bool
) -> "tuple[Mapping[str, ItemShares], str | None]":
    """What people and the model say of the items of each task, or why it is not known unless it is `required`."""
    from runner.core.errors import UserError
    from runner.scorecard.disagreements import item_shares

    try:
        return item_shares(opened, benchmark_file, data_dir), None
    except UserError as error:
        if required:
            raise
        return {}, error.faults[0].message


def _write(text: str, path: Path, *, say: bool = True) -> None:
    from runner.core.files import write_whole
    from runner.evaluation.run_dir import unwritable

    if str(path) == "-":
        click.echo(text.encode(), nl=False)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
    except OSError as problem:
        raise unwritable(path, problem) from None
    if say:
        click.echo(path)
