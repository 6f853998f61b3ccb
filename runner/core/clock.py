"""The time, as cards and folders write it."""

import datetime


def now() -> str:
    """The time as RFC 3339 in UTC, to the second, ending in `Z`."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
