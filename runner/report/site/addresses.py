"""Where the pages of a site lie, from its folder; made of digests and of safe letters."""

from dataclasses import asdict

from runner.archive.leaderboard.values import ComparisonKey
from runner.core.canonical import sha256_bytes, to_bytes
from runner.report.export.values import portable


def card(digest: str) -> str:
    """The page of a card."""
    return f"cards/{digest}.html"


def comparison(a: str, b: str) -> str:
    """The page of B against A."""
    return f"comparisons/{b}-{a}.html"


def badge(digest: str, task: str) -> str:
    """The badge of a card for a task."""
    return f"badges/{digest}-{portable(task)[:40]}-{sha256_bytes(task.encode())[:8]}.svg"


def group(measures: ComparisonKey) -> str:
    """The name of a group's pages: its task and split, and the digest of all that is measured."""
    digest = sha256_bytes(to_bytes(asdict(measures)))[:12]
    return f"{portable(measures.task)[:40]}-{portable(measures.split)[:20]}-{digest}"


def board(name: str) -> str:
    """The page of the group with this name."""
    return f"boards/{name}.html"


def items(name: str) -> str:
    """The folder of a group's items."""
    return f"items/{name}"
