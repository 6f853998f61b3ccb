"""Standard output and error in any encoding, with a reader that may leave at any time."""

import codecs
import errno
import io
import os
import sys
from typing import TextIO

import click

# What our own words use beyond ASCII, for an encoding that lacks it.
_PLAIN = {
    "…": "...",
    "–": "-",
    "−": "-",
    "·": ".",
    "×": "x",
    "→": "->",
    "≥": ">=",
    "≤": "<=",
    "±": "+-",
    "●": "*",
    "├": "|",
    "┤": "|",
    "─": "-",
    "│": "|",
    "“": '"',
    "”": '"',
    "’": "'",
    "✓": "ok",
    "✗": "x",
    "↓": "v",
    "↑": "^",
    "└": "`",
    **dict(zip("▁▂▃▄▅▆▇█", "12345678", strict=True)),
}
_ERRORS = "benchmark.plain"


class _Raw(io.FileIO):
    """A descriptor to write to; once its reader has gone (`| head`, a closed terminal), what is written is dropped.

    A command then still ends as it should: whether a card verifies does not depend on who reads on.
    """

    def write(self, data: object, /) -> int:
        try:
            written: int = super().write(data)  # type: ignore[arg-type]
        except OSError as problem:
            if problem.errno != errno.EPIPE and not (problem.errno == errno.EIO and self.isatty()):
                raise
            _gone.add(self.fileno())
            os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), self.fileno())
            return memoryview(data).nbytes  # type: ignore[arg-type]
        return written


_gone: set[int] = set()


def unread() -> bool:
    """Whether nobody reads standard output any more, so that a command that only shows things may end."""
    return 1 in _gone


def prepare() -> None:
    """Let what is written to standard output and error never fail for its encoding or for its reader."""
    codecs.register_error(_ERRORS, _plain)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _open(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _open(sys.stderr, 2)


def echo_utf8(text: str) -> None:
    """Print a document (JSON, CSV, HTML, Markdown) as the UTF-8 that its readers expect, whatever the terminal has."""
    click.echo(text.encode("utf-8", "surrogateescape"), nl=False)


def _open(stream: TextIO | None, descriptor: int) -> TextIO | None:
    """`stream` anew over the same descriptor; as it is where it has none, or another."""
    try:
        if stream is None or stream.fileno() != descriptor:
            return stream
        stream.flush()
    except (OSError, ValueError):  # closed by whoever started us
        return stream
    raw = _Raw(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=_ERRORS,
        line_buffering=raw.isatty() or descriptor == 2,
    )


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Error handler: our own signs in ASCII, a file name's odd bytes as they are, all else as a backslash escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    first = error.object[error.start]
    if "\udc80" <= first <= "\udcff":
        return first.encode("ascii", "surrogateescape"), error.start + 1
    return _PLAIN.get(first) or first.encode("ascii", "backslashreplace").decode("ascii"), error.start + 1
