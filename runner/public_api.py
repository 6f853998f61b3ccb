"""The functions of `import runner`: what the command does, for Python and notebooks.

They raise the errors of `runner.core.errors`: `InvalidInput`, `BackendError`, `VerificationError`, `NotComparable`,
`Interrupted`, each with `faults` that have code, location, message and hint.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.config.benchmark import load_benchmark as _load_benchmark
from runner.config.submission import load_submission as _load_submission
from runner.core import resources
from runner.core.benchmark_types import Benchmark
from runner.core.types import Submission
from runner.scorecard import load as card_files
from runner.scorecard import verify as verification
from runner.signing import keyring as keyrings
from runner.signing import keys

if TYPE_CHECKING:
    import pandas as pd

    from runner.scorecard.verify import Report
    from runner.signing.keyring import Keyring
    from runner.tasks.selection import RunConfig

Source = str | Path


@dataclass(frozen=True, slots=True)
class Card:
    """A scorecard: `card["tasks"]["dilemmas"]` reads it as the JSON object that it is."""

    path: Path
    """The file `scorecard.sigstore.json`, or the plain `scorecard.json`."""
    content: Mapping[str, Any]
    """The whole card; see schemas/scorecard.schema.json."""
    verified: bool
    """Whether the signature was checked and is by a trusted key."""

    def __getitem__(self, name: str) -> Any:
        return self.content[name]

    def to_frame(self) -> "pd.DataFrame":
        """One row a task and metric: value, standard error, interval, baselines and ceiling; needs pandas."""
        import pandas as pd

        rows = [
            {
                "task": task,
                "metric": metric,
                "value": entry["value"],
                "standard_error": entry.get("standard_error"),
                **{end: (entry.get("confidence_interval") or {}).get(end) for end in ("lower", "upper")},
                **{name: (means.get(metric) or {}).get("value") for name, means in block["baselines"].items()},
                "ceiling": (block["ceiling"].get(metric) or {}).get("value"),
                "lower_is_better": entry.get("lower_is_better"),
                "reason": entry.get("reason"),
            }
            for task, block in self.content["tasks"].items()
            for metric, entry in block["metrics"].items()
        ]
        return pd.DataFrame(rows).set_index(["task", "metric"])

    def _repr_html_(self) -> str:
        from runner.report import terminal

        return _as_html(lambda console: terminal.print_card(dict(self.content), console=console))


@dataclass(frozen=True, slots=True)
class Comparison:
    """B against A, item by item; `content` is what `benchmark compare --format json` prints."""

    content: Mapping[str, Any]
    """Names and digests of both, and for each task and metric difference, interval, p-values and verdict."""

    def __getitem__(self, name: str) -> Any:
        return self.content[name]

    def to_frame(self) -> "pd.DataFrame":
        """One row a task and metric, with the fields of the comparison; needs pandas."""
        import pandas as pd

        rows = [
            {"task": task, "metric": metric, **row}
            for task, block in self.content["tasks"].items()
            for metric, row in block["metrics"].items()
        ]
        return pd.DataFrame(rows).set_index(["task", "metric"])

    def _repr_html_(self) -> str:
        from runner.report.comparison import print_comparison

        return _as_html(lambda console: print_comparison(dict(self.content), console))


def load_benchmark(path: Source | None = None) -> Benchmark:
    """The benchmark in the file `path`, or the released one; `InvalidInput` with every fault of the file.

    >>> import runner
    >>> "dilemmas" in runner.load_benchmark().tasks
    True
    """
    return _load_benchmark(Path(path) if path else resources.benchmark_file())


def load_submission(path: Source) -> Submission:
    """The submission in the file `path`; `InvalidInput` with every fault of the file. No file of a model is opened.

    >>> import runner
    >>> runner.load_submission("submission.yaml").model.backend
    'causal'
    """
    return _load_submission(Path(path))


def load_card(path: Source, *, keyring: Source | None = None, unverified: bool = False) -> Card:
    """The card at `path`: a file, a run's folder, or OUTPUT/NAME, which means its latest finished run.

    The signature must be by a key of `keyring` (default: your own key), unless `unverified`. Raises
    `VerificationError`, `InvalidInput`.

    >>> import runner
    >>> card = runner.load_card("results/predictions")
    >>> card["suite"], card.verified
    ('sample', True)
    """
    opened = card_files.open_card(Path(path), None if unverified else _keyring(keyring))
    return Card(opened.file, opened.card, opened.report is not None)


def verify(path: Source, *, keyring: Source | None = None, nonce: str | None = None) -> "Report":
    """Check signature, schema and the files beside the card; `VerificationError` with the first step that fails.

    >>> import runner
    >>> report = runner.verify("results/predictions")
    >>> [check.name for check in report.checks if check.state == "ok"][:2]
    ['signature', 'assurance']
    """
    return verification.verify(Path(path), _keyring(keyring), nonce=nonce)


def recompute(
    path: Source, *, keyring: Source | None = None, benchmark: Source | None = None, data_dir: Source | None = None
) -> "Report":
    """`verify`, then rebuild every number from predictions and data; `VerificationError` names each that differs.

    >>> import runner
    >>> runner.recompute("results/predictions").checks[-1].state
    'ok'
    """
    from runner.scorecard.recompute import recompute as rebuild

    return rebuild(verify(path, keyring=keyring), None, _path(benchmark), _path(data_dir))


def compare(
    a: Source,
    b: Source,
    *,
    keyring: Source | None = None,
    benchmark: Source | None = None,
    data_dir: Source | None = None,
) -> Comparison:
    """Paired differences B − A with intervals, p-values and verdicts; `NotComparable` with every reason against it.

    >>> import runner
    >>> sorted(runner.compare("results/predictions", "results/predictions")["tasks"])
    ['dilemmas']
    """
    from runner.scorecard.compare import compare as compare_cards

    return Comparison(compare_cards(Path(a), Path(b), _keyring(keyring), _path(benchmark), _path(data_dir)))


def score(
    predictions: Source,
    *,
    suite: str = "full",
    tasks: Sequence[str] = (),
    split: str | None = None,
    benchmark: Source | None = None,
    data_dir: Source | None = None,
    limit: int | None = None,
    name: str | None = None,
    output_dir: Source = "results",
    key: Source | None = None,
) -> Card:
    """A signed card from a predictions file (JSON lines with `task`, `item_id`, `log_scores`); no model is needed.

    >>> import runner
    >>> card = runner.score("predictions.jsonl", suite="sample", tasks=["dilemmas"])
    >>> round(card["tasks"]["dilemmas"]["metrics"]["cross_entropy"]["value"], 4)
    0.6931
    """
    from runner.evaluation.score import score_file

    config = _config(suite, tasks, split, benchmark, data_dir, limit)
    folder, _ = score_file(Path(predictions), config, name, Path(output_dir), None, lambda: _signing_key(key))
    return load_card(folder, unverified=True)


def evaluate(
    submission: Source,
    *,
    suite: str = "full",
    tasks: Sequence[str] = (),
    split: str | None = None,
    benchmark: Source | None = None,
    data_dir: Source | None = None,
    limit: int | None = None,
    output_dir: Source = "results",
    device: str | None = None,
    dtype: str | None = None,
    resume: bool = True,
    key: Source | None = None,
) -> Card:
    """Run a submission in a sandboxed process and leave a signed card; see `benchmark evaluate`.

    Raises `InvalidInput` before any work, `BackendError` when the model or device fails, `Interrupted` when stopped:
    the same call then resumes the run.
    """
    from runner.evaluation.evaluate import Settings
    from runner.evaluation.evaluate import evaluate as run
    from runner.models.base import LoadOptions

    settings = Settings(Path(output_dir), LoadOptions(device=device, dtype=dtype), resume)
    config = _config(suite, tasks, split, benchmark, data_dir, limit)
    folder, _ = run(Path(submission), config, settings, lambda: _signing_key(key), lambda *_: None)
    return load_card(folder, unverified=True)


def _config(
    suite: str,
    tasks: Sequence[str],
    split: str | None,
    benchmark: Source | None,
    data_dir: Source | None,
    limit: int | None,
) -> "RunConfig":
    from runner.tasks.selection import RunConfig

    file = _path(benchmark) or resources.benchmark_file()
    return RunConfig(file, suite, tuple(tasks), split, _path(data_dir), limit)


def _path(source: Source | None) -> Path | None:
    return None if source is None else Path(source)


def _keyring(source: Source | None) -> "Keyring":
    if source is not None:
        return keyrings.load_keyring(Path(source))
    return keyrings.keyring_of(keys.own_public_key(keys.default_key_path(), _no_passphrase))


def _signing_key(source: Source | None) -> Any:
    path = _path(source) or keys.default_key_path()
    if source is None and not path.exists():
        keys.keep_public_half(path, keys.new_key(path).public_key())
    return keys.load_key(path, _no_passphrase)


def _no_passphrase() -> str:
    """Empty: `load_key` then says that the key is encrypted. A key with a passphrase is for the command."""
    return ""


def _as_html(draw: Any) -> str:
    """What `draw` prints on a console, as HTML with styles in it: a notebook shows what the terminal shows."""
    from rich.console import Console

    console = Console(file=io.StringIO(), record=True, width=100, force_jupyter=False)
    draw(console)
    return console.export_html(inline_styles=True, code_format="<pre style='line-height:1.2'>{code}</pre>")
