"""Scorecards, comparisons and leaderboards as HTML pages, a loss curve as a drawing; only positions are computed."""

from runner.report.html.card import card_page
from runner.report.html.comparison import comparison_page
from runner.report.html.curve import loss_curve
from runner.report.html.leaderboard import leaderboard_page

__all__ = ["card_page", "comparison_page", "leaderboard_page", "loss_curve"]
