"""Attempts at what may fail in passing, and how long a server is waited for between them."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a server is waited for."""

    attempts: int = 6
    """Maximum of attempts."""
    wait: float = 0.5
    """First delay between attempts, in seconds; it doubles."""
    longest_wait: float = 30.0
    """Longest delay, in seconds."""
    timeout: float = 30.0
    """Seconds of silence that end an attempt."""


class Retryable(Exception):
    """An attempt failed in a way that the next may not; the argument says how."""


def retry(attempt: Callable[[], None], patience: RetryPolicy, retrying: Callable[[str], None]) -> str | None:
    """Make `attempt` until it ends without `Retryable`, with delays that double.

    Before each further one `retrying` is given a sentence. Returns None once an attempt succeeds, and how the last one
    failed when patience ends.
    """
    wait, why = patience.wait, "no attempt was allowed"
    for number in range(patience.attempts):
        if number:
            retrying(f"{why}; attempt {number + 1} of {patience.attempts} in {wait:g} s")
            time.sleep(wait)
            wait = min(2 * wait, patience.longest_wait)
        try:
            attempt()
            return None
        except Retryable as cut:
            why = str(cut)
    return why
