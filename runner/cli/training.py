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
    help="Folder for the submission, as NAME/.",
)
@options.data_dir
@click.option("--device", default=None, metavar="NAME", help="cpu or cuda. [default: cuda if present]")
@click.option(
    "--resume/--no-resume", default=True, show_default=True, help="Resume an unfinished training with the same inputs."
)
@options.quiet
def finetune(
    recipe: Path, output_dir: Path, data_dir: Path | None, device: str | None, resume: bool, quiet: bool
) -> None:
    """Train a model from a recipe and write a submission.

    Training reads the recipe's training split only. Items that are also scored, by id or by text, are refused. An
    interrupted training resumes from its last checkpoint when you repeat the command.
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
