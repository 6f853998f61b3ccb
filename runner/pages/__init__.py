"""Scorecards, comparisons and leaderboards as HTML pages, a loss curve as a drawing; only positions are computed."""

from runner.pages.card import card_page
from runner.pages.comparison import comparison_page
from runner.pages.curve import loss_curve
from runner.pages.leaderboard import leaderboard_page

__all__ = ["card_page", "comparison_page", "leaderboard_page", "loss_curve"]
