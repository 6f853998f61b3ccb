"""Rank the comparable cards of an archive, and say why the others are not ranked."""

from runner.archive.leaderboard.build import leaderboard
from runner.archive.leaderboard.values import Apart, Group, Leaderboard, Reference, Row, Run, Section

__all__ = ["Apart", "Group", "Leaderboard", "Reference", "Row", "Run", "Section", "leaderboard"]
