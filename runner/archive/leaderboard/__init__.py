"""Rank the comparable cards of an archive, and say why the others are not ranked."""

from runner.archive.leaderboard.build import leaderboard
from runner.archive.leaderboard.values import Group, Leaderboard, Reference, Row, Run, Section, Unranked

__all__ = ["Group", "Leaderboard", "Reference", "Row", "Run", "Section", "Unranked", "leaderboard"]
