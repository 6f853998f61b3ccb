"""One submission of a sweep in a process of its own, so that what ends it ends no other, and its memory is its own."""

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runner.core import strict_json
from runner.core.errors import BackendError, Fault, Interrupted, UserError
from runner.core.files import read_regular
from runner.evaluation import evaluate as walk
from runner.models.worker.sandbox import die_with
from runner.scorecard import filenames
from runner.sweep.plan import Entry

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the evaluation of one submission ended."""

    exit_code: int
    """That of `benchmark evaluate`."""
    folder: Path | None = None
    """The folder of its run; None where there is no card."""
    card: Mapping[str, Any] | None = None
    """Its scorecard."""
    timing: Mapping[str, Any] | None = None
    """The `timing` of its environment.json."""
    faults: tuple[Fault, ...] = ()
    """Why there is no card."""
    seconds: float = 0.0
    """From the start of its process to its end."""
    stopped: bool = False
    """Whether the sweep was stopped meanwhile."""


EvaluateOne = Callable[[Entry, Progress], Outcome]


def evaluate_in_process(
    entry: Entry,
    settings: walk.Settings,
    signing_key: Callable[[], Ed25519PrivateKey],
    progress: Progress,
) -> Outcome:
    """`evaluate` in a fork of this process, which ends with it; never raises for what happens in there.

    A stop is passed on, and the fork's end is waited for: what it finished is in its journal. This process must have
    one thread, and must not have imported torch.
    """
    started = time.monotonic()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, os.getpid(), entry, settings, signing_key))
    process.start()
    sender.close()
    outcome, stopped = None, False
    while outcome is None:
        try:
            connection.wait([receiver])
            with (
                _stops_put_off()
            ):  # a stop within a message would lose the rest of it, and with it where the next begins
                message = receiver.recv()
                if isinstance(message, Outcome):
                    outcome = message
                else:
                    progress(*message)
        except EOFError:
            process.join()
            outcome = _lost(process.exitcode)
        except KeyboardInterrupt:
            if stopped:
                raise
            stopped = True
            with suppress(OSError):
                os.kill(process.pid or 0, signal.SIGTERM)
    process.join()
    return replace(outcome, seconds=time.monotonic() - started, stopped=stopped)


@contextmanager
def _stops_put_off() -> Iterator[None]:
    """What stops this process is heard when this ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(
    sender: Connection,
    parent: int,
    entry: Entry,
    settings: walk.Settings,
    signing_key: Callable[[], Ed25519PrivateKey],
) -> None:
    """What the fork does, in a process group of its own: a terminal's Ctrl-C goes to the sweep, which passes it on."""
    with suppress(OSError):
        die_with(parent)
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, _stop)
    try:
        folder, card = walk.evaluate(entry.path, entry.config, settings, signing_key, _sampled(sender))
        outcome = Outcome(0, folder, card, _timing(folder))
    except UserError as error:
        outcome = Outcome(error.exit_code, faults=error.faults)
    except KeyboardInterrupt:
        fault = Fault("INTERRUPTED", "Stopped before the first prompt.", hint="Run the same command again.")
        outcome = Outcome(Interrupted.exit_code, faults=(fault,))
    except Exception as bug:  # one bug must not end the sweep; it is printed in full
        traceback.print_exc()
        message = f"The runner itself failed: {type(bug).__name__}: {str(bug)[:200]}"
        outcome = Outcome(BackendError.exit_code, faults=(Fault("RUN_CRASHED", message, hint="Report this bug."),))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is at its end
    sender.send(outcome)
    sender.close()


def _stop(_number: int, _frame: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _sampled(sender: Connection) -> Progress:
    """Progress for the parent: each stage once, and at most five times a second within it."""
    last: tuple[str, float] = ("", 0.0)

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if stage != last[0] or now - last[1] >= 0.2:
            last = (stage, now)
            sender.send((stage, done, total))

    return tell


def _timing(folder: Path) -> Mapping[str, Any]:
    value: Any = strict_json.parse(read_regular(folder / filenames.ENVIRONMENT, strict_json.MAX_BYTES))
    timing: Mapping[str, Any] = value["timing"]
    return timing


def _lost(exit_code: int | None) -> Outcome:
    """A process that ended without a word: most often the kernel ended it for want of memory."""
    how = f"signal {-exit_code}" if exit_code is not None and exit_code < 0 else f"exit code {exit_code}"
    message = f"The process of this run ended without a word ({how})."
    hint = "Most often the machine had not enough memory; the same command goes on from its journal."
    return Outcome(BackendError.exit_code, faults=(Fault("RUN_CRASHED", message, hint=hint),))
