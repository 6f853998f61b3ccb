"""What can stand in the place of a file and is none, and the commands that must refuse it without waiting."""

import os
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

HUGE = 1 << 42


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def local_socket(path: Path) -> None:
    # Its name may be longer than an address of a socket can be.
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as made:
        made.bind(f"{short}/s")
        Path(short, "s").rename(path)


def folder(path: Path) -> None:
    path.mkdir()


def sparse(path: Path) -> None:
    """Four TiB of zeros that take no room: whatever is read of it to its end is read for an hour."""
    with path.open("wb") as stream:
        stream.truncate(HUGE)


KINDS: Mapping[str, Callable[[Path], None]] = {
    "a FIFO": fifo,
    "a device": device,
    "a socket": local_socket,
    "a folder": folder,
    "a file of 4 TiB": sparse,
}

RUN = "run"
"""A folder with a signed card, its predictions and the other files; beside it `keyring.json` and `rows.jsonl`."""

# What is exchanged → the commands that read it, the exit code of each. `{}` stands for what was exchanged.
READ_BY: Mapping[str, Sequence[tuple[int | tuple[int, ...], tuple[str, ...]]]] = {
    f"{RUN}/scorecard.sigstore.json": (
        ((1, 4), ("verify", "{}")),
        ((1, 4), ("compare", "{}", "{}")),
        ((1, 4), ("report", "{}", "-o", "page.html")),
        (1, ("report", "{}", "-o", "page.html", "--unverified")),
        ((1, 4), ("export", "--to", "csv", "{}", "-o", "out.csv")),
        ((1, 4), ("archive", "add", "archive", "{}")),
    ),
    f"{RUN}/predictions.jsonl": (
        (4, ("verify", RUN)),
        (4, ("verify", RUN, "--recompute")),
        (4, ("compare", RUN, RUN)),
        (4, ("report", RUN, "-o", "page.html")),
        (0, ("report", RUN, "-o", "page.html", "--unverified", "--items", "2")),
        (4, ("archive", "add", "archive", RUN)),
    ),
    f"{RUN}/scorecard.json": ((4, ("verify", RUN)),),
    f"{RUN}/environment.json": ((4, ("verify", RUN)), (4, ("report", RUN, "-o", "page.html"))),
    f"{RUN}/benchmark.yaml": ((4, ("verify", RUN)), (4, ("archive", "add", "archive", RUN))),
    # A card of predictions alone does not say which submission.yaml it was made with; no byte of it is read.
    f"{RUN}/submission.yaml": ((0, ("verify", RUN)),),
    "keyring.json": (
        (1, ("verify", RUN, "--keyring", "{}")),
        (1, ("archive", "check", "archive", "--keyring", "{}")),
    ),
    "rows.jsonl": ((1, ("score", "{}", "--suite", "sample", "--task", "dilemmas")),),
    "key.pem": ((1, ("keys", "show", "--path", "{}")), (1, ("archive", "add", "archive", RUN, "--key", "{}"))),
    "submission.yaml": ((1, ("validate", "{}")), (1, ("evaluate", "{}"))),
    "benchmark.yaml": ((1, ("data", "check", "--benchmark", "{}")),),
    "counts.json": ((1, ("ceiling", "{}")),),
    "data/dev.scruples-dilemmas.jsonl": (
        (1, ("data", "check", "--data-dir", "data", "--dataset", "scruples-dilemmas")),
        (1, ("data", "stats", "--data-dir", "data", "--task", "dilemmas", "--split", "dev")),
    ),
}
