"""A script of the tests in a fork of their own process, which has imported the libraries already."""

import os
import runpy
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn


def run_script(
    script: Path, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it as `python script arguments` to its end, on one thread; the imports of torch and transformers are spared.

    `env` is read late, in the fork: variables that a library reads when it is imported come too late.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads, which pytest-xdist has
            child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            end_with(lambda: _be_the_script(script, arguments, env, cwd))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess([str(script), *arguments], code, *said)


def end_with(work: Callable[[], object]) -> NoReturn:
    """Do `work`, and end this fork as Python ends a process; what the parent would still do is not done here."""
    code: object = 1
    try:
        work()
        code = 0
    except SystemExit as end:
        code = end.code or 0
        if not isinstance(code, int):  # what `sys.exit("words")` says
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _be_the_script(script: Path, arguments: tuple[str, ...], env: Mapping[str, str] | None, cwd: Path | None) -> None:
    import torch

    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    torch.set_num_threads(1)  # others' threads are not in a fork
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
    if cwd is not None:
        os.chdir(cwd)
    sys.argv = [str(script), *arguments]
    runpy.run_path(str(script), run_name="__main__")
