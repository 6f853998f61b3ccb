"""Names of the files in a run's folder, which are a contract, and where its card is."""

import re
from pathlib import Path

BUNDLE = "scorecard.sigstore.json"
CARD = "scorecard.json"
PREDICTIONS = "predictions.jsonl"
ENVIRONMENT = "environment.json"
THOUGHTS = "thoughts.jsonl"
SUBMISSION = "submission.yaml"
BENCHMARK = "benchmark.yaml"


def find_bundle(path: Path) -> Path:
    """The signed card at `path`: the file itself, that of a run's folder, or that of the latest finished run in it.

    A folder OUTPUT/NAME holds runs named by their time in UTC, the second of one second with -2 behind it. Where no
    run is finished the answer is a file that does not exist.
    """
    if not path.is_dir() or (path / BUNDLE).exists():
        return path / BUNDLE if path.is_dir() else path
    finished = [folder for folder in path.iterdir() if _TIME.fullmatch(folder.name) and (folder / BUNDLE).is_file()]
    return max(finished, key=_started, default=path) / BUNDLE


_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)(?:-(\d+))?")


def _started(folder: Path) -> tuple[str, int]:
    match = _TIME.fullmatch(folder.name)
    assert match is not None
    return match[1], int(match[2] or 1)
