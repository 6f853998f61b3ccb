"""Verified scorecards in other people's formats, with what each of them cannot hold said out loud."""

from runner.report.export.eval_results import eval_results
from runner.report.export.every_eval_ever import every_eval_ever
from runner.report.export.table import TABLE_LOST, table
from runner.report.export.values import Exported, portable, refuse_equal_paths

__all__ = [
    "TABLE_LOST",
    "Exported",
    "eval_results",
    "every_eval_ever",
    "portable",
    "refuse_equal_paths",
    "table",
]
