"""Submitted files, looked at and never loaded: what a model's or an adapter's folder may hold.

The order of the rules: the tree of files, the JSON files, the safetensors headers, the adapter, the tokenizer and the
chat template. Everything here is static: bytes are read and compared, no library that could run them is imported.
"""

from runner.artifacts.check import (
    AdapterFacts,
    ModelFacts,
    check_adapter,
    check_folders,
    check_model,
    check_submission_files,
    list_ignored,
)
from runner.artifacts.config import FAMILIES
from runner.artifacts.manifest import (
    FileStat,
    adapter_manifest,
    binding,
    changed_files,
    combine_manifests,
    model_manifest,
    raise_if_modified,
    stat_files,
    submission_manifest,
)
from runner.artifacts.private_view import PrivateView, inherited_handles
from runner.artifacts.tree import FETCHED, Kind, walk

__all__ = [
    "FAMILIES",
    "FETCHED",
    "AdapterFacts",
    "FileStat",
    "Kind",
    "ModelFacts",
    "PrivateView",
    "adapter_manifest",
    "binding",
    "changed_files",
    "check_adapter",
    "check_folders",
    "check_model",
    "check_submission_files",
    "combine_manifests",
    "inherited_handles",
    "list_ignored",
    "model_manifest",
    "raise_if_modified",
    "stat_files",
    "submission_manifest",
    "walk",
]
