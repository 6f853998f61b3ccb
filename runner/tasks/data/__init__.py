"""Splits, pinned by digest: locate, fetch, check, read and describe them."""

from runner.tasks.data.check import SplitStatus, check
from runner.tasks.data.extract import Limits
from runner.tasks.data.fetch import Fetched, FetchProgress, fetch
from runner.tasks.data.load import LoadedSplit, Skipped, find_file, load_items
from runner.tasks.data.locate import candidate_paths, default_data_dir
from runner.tasks.data.retry import RetryPolicy
from runner.tasks.data.stats import SplitStats, Spread, stats

__all__ = [
    "FetchProgress",
    "Fetched",
    "Limits",
    "LoadedSplit",
    "RetryPolicy",
    "Skipped",
    "SplitStats",
    "SplitStatus",
    "Spread",
    "candidate_paths",
    "check",
    "default_data_dir",
    "fetch",
    "find_file",
    "load_items",
    "stats",
]
