"""The command that trains: finetune."""

from pathlib import Path

import click

from runner.cli import options


@click.command()
@click.argument("recipe", type=options.FILE)
@click.option(
    "--output-dir",
    "-o",
    type=options.FILE,
    default=Path("submissions"),
    show_default=True,
    metavar="DIR",
    help="Where the submission is written, as NAME/.",
)
@options.data_dir
@click.option("--device", default=None, metavar="NAME", help="cpu or cuda. [default: cuda if there is one]")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Go on with an unfinished equal training.")
@options.quiet
def finetune(
    recipe: Path, output_dir: Path, data_dir: Path | None, device: str | None, resume: bool, quiet: bool
) -> None:
    """Train by a recipe and leave a ready submission.

    Only the recipe's training split is read for it; an item that is scored, by id or by text, is refused. Stopped or
    killed, the same command goes on from the last evaluation.
    """
    from runner.models.local.open import need_libraries

    need_libraries("accelerate")
    from runner import training
    from runner.report import training as training_view
    from runner.report.html import loss_curve

    settings = training.Settings(output_dir, data_dir, device, resume)
    with training_view.progress(quiet) as observe:
        folder, record = training.finetune(recipe, settings, observe, loss_curve)
    if not quiet:
        training_view.print_record(record, folder)
    click.echo(folder)
