"""Verified scorecards in other people's formats, with what each of them cannot hold said out loud."""

from runner.report.export.eval_results import eval_results
from runner.report.export.every_eval_ever import every_eval_ever
from runner.report.export.items import with_items
from runner.report.export.latex import LATEX_LOST, latex
from runner.report.export.mlflow import mlflow
from runner.report.export.table import TABLE_LOST, table
from runner.report.export.values import Exported, portable, refuse_equal_paths, refuse_not_comparable

__all__ = [
    "LATEX_LOST",
    "TABLE_LOST",
    "Exported",
    "eval_results",
    "every_eval_ever",
    "latex",
    "mlflow",
    "portable",
    "refuse_equal_paths",
    "refuse_not_comparable",
    "table",
    "with_items",
]
