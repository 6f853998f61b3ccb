"""One command line of `benchmark evaluate` as a Slurm script: an array of parts, and a job that merges them."""

import shlex
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

_NOT_REPEATED = ("shard", "script")
_MERGE_ONLY = ("key_file", "quiet", "verbose")
_MERGE_TOO = ("data_dir", "output_dir")
_PARTS = 8

_SCRIPT = """\
#!/bin/bash
# Run this file with bash where sbatch is. It submits an array of parts, and a job that merges them when all have ended
# well. PARTS is the number of parts. Arguments go to both calls of sbatch: bash FILE --partition=NAME --account=NAME
set -euo pipefail
PARTS="${{PARTS:-{parts}}}"

array=$(sbatch --parsable --array="0-$((PARTS - 1))" "$@" <<'EVALUATE'
#!/bin/bash
#SBATCH --job-name={job}
{resources}#SBATCH --requeue
exec {evaluate}
EVALUATE
)
echo "Submitted the array ${{array%%;*}} of $PARTS parts."

sbatch --dependency="afterok:${{array%%;*}}" "$@" <<'MERGE'
#!/bin/bash
#SBATCH --job-name={job}-merge
exec {merge}
MERGE
"""


def sbatch_script(context: click.Context, submission_name: str) -> str:
    """The script for the command line that `context` was made from, each word quoted for the shell.

    Options that were given, or set by a variable, are repeated; those about the card go to `merge` alone. Parts must
    not differ in what the machine decides, so that nothing is written for what was not given.
    """
    evaluate = ["benchmark", "evaluate", *_words(context, but=(*_NOT_REPEATED, *_MERGE_ONLY)), "--shard", "auto"]
    runs = Path(context.params["output_dir"]) / submission_name
    merge = ["benchmark", "merge", str(runs), *_words(context, only=(*_MERGE_ONLY, *_MERGE_TOO))]
    return _SCRIPT.format(
        parts=_PARTS,
        job=submission_name,
        resources=_resources(context.params["device"], context.params["threads"]),
        evaluate=shlex.join(evaluate),
        merge=shlex.join(merge),
    )


def _words(context: click.Context, *, only: tuple[str, ...] | None = None, but: tuple[str, ...] = ()) -> list[str]:
    """Arguments and options of `context` that were given, in the order of `--help`, as they would be typed."""
    given = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    arguments: list[str] = []
    options: list[str] = []
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in but or (only is not None and name not in only) or context.get_parameter_source(name) not in given:
            continue
        value: Any = context.params[name]
        if isinstance(parameter, click.Option):
            flag = max(parameter.opts, key=len)
            if parameter.is_flag:
                options.append(flag if value else parameter.secondary_opts[0])
            else:
                for entry in value if parameter.multiple else [value]:
                    options += [flag, str(entry)]
        else:
            arguments.append(str(value))
    return [*arguments, *options]


def _resources(device: str | None, threads: int | None) -> str:
    """Lines for what the job needs: a GPU for each device that is named, one where none is, none for the CPU."""
    names = [] if device is None else device.replace("+", ",").split(",")
    gpus = 1 if device is None else sum(name.strip().startswith("cuda") for name in names)
    lines = [f"#SBATCH --gpus={gpus}"] if gpus else []
    if threads is not None:
        lines.append(f"#SBATCH --cpus-per-task={threads * max(len((device or '').split(',')), 1)}")
    return "".join(f"{line}\n" for line in lines)
