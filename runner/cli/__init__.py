"""The command line: each command parses its options and calls one function; a `UserError` sets the exit code."""

import errno
import os
import signal
import sys
from typing import Any

import click

from runner.cli import archive, cards, inspection, output, pages, runs, sweep, training
from runner.core.errors import Fault, Interrupted, InvalidInput, OutputError, UserError
from runner.core.version import __version__

_HELP = """Measure how closely a language model's answer probabilities match human moral judgment.

\b
Exit codes: 0 done · 1 the submission, benchmark or data is wrong · 2 usage
  3 the model, device or output failed · 4 does not verify, or not comparable
  5 interrupted: repeat the command to resume

Environment variables named BENCHMARK_<COMMAND>_<OPTION> set options.
"""


_STOPS = (signal.SIGTERM, signal.SIGHUP)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class _Group(click.Group):
    """Catch a `UserError`, here only, and whatever else is no bug of ours."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        output.prepare()
        try:
            return super().main(*args, **kwargs)
        except OSError as problem:
            if problem.errno not in _FULL:
                raise
            click.echo(f"The output could not be written: {problem.strerror}.", err=True)
            _drop_output()
            sys.exit(OutputError.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            from runner.report.faults import render

            click.echo(render(error.faults, "rich", stderr=True), err=True, nl=False)
            ctx.exit(error.exit_code)
        except PermissionError as problem:
            # A path whose existence cannot even be tested, as a home that belongs to another user.
            from runner.report.faults import render

            message = f"It cannot be reached by the user who runs this: {problem.strerror}."
            faults = (Fault("FILE_UNREADABLE", message, problem.filename),)
            click.echo(render(faults, "rich", stderr=True), err=True, nl=False)
            ctx.exit(InvalidInput.exit_code)
        except KeyboardInterrupt:
            # Stopped where nothing was there to keep; where something was, the run has said so itself.
            click.echo("Stopped. Run the same command again.", err=True)
            ctx.exit(Interrupted.exit_code)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def _drop_output() -> None:
    """Python would try once more at its end to write what is left, and fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminate(_number: int, _frame: object) -> None:
    # Once: whoever stops a service or closes a terminal may send both, and a write in progress must complete.
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


@click.group(
    cls=_Group,
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="benchmark")
def main() -> None:
    """Set up what holds for every command: a polite stop is a stop, whoever asks for it."""
    for number in _STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` leaves it
            signal.signal(number, _terminate)


for _command in (
    runs.validate,
    runs.evaluate,
    runs.merge,
    sweep.sweep,
    runs.score,
    training.finetune,
    cards.verify,
    cards.compare,
    archive.archive,
    archive.leaderboard,
    archive.site,
    pages.report,
    pages.export,
    inspection.prompts,
    inspection.ceiling,
    inspection.data,
    inspection.init,
    inspection.baseline,
    cards.keys,
    inspection.schema,
    inspection.doctor,
    inspection.completion,
):
    main.add_command(_command)


def _name_variables(group: click.Group, prefix: str) -> None:
    """Let each option be set by a variable of its own name; click would take the name of our function's parameter."""
    for name, command in group.commands.items():
        own = f"{prefix}_{name}".upper().replace("-", "_")
        if isinstance(command, click.Group):
            _name_variables(command, own)
        for option in command.params:
            if isinstance(option, click.Option):
                longest = max(option.opts, key=len).removeprefix("--")
                option.envvar = f"{own}_{longest}".upper().replace("-", "_")


_name_variables(main, "BENCHMARK")
