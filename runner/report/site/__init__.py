"""A static site of an archive: leaderboards, cards, comparisons, items, a feed and badges."""

from runner.report.site.build import build_site
from runner.report.site.values import Built, Settings

__all__ = ["Built", "Settings", "build_site"]
