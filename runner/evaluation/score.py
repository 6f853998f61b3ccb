"""A scorecard from a predictions file alone: the seam, used by anyone without a model."""

import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runner.core import clock, environment
from runner.core.canonical import manifest, manifest_digest
from runner.core.errors import Fault, InvalidInput
from runner.core.files import write_whole
from runner.evaluation import run_dir
from runner.scorecard import filenames
from runner.scorecard.build import assemble, build_tasks
from runner.tasks.scales import Scale, read_scores
from runner.tasks.selection import RunConfig, Selection, align_predictions, select


def score_file(
    path: Path,
    choice: RunConfig,
    name: str | None,
    output_dir: Path,
    nonce: str | None,
    signing_key: Callable[[], Ed25519PrivateKey],
    scale: Scale | None = "unchecked",
) -> tuple[Path, dict[str, Any]]:
    """Score the rows of `path` and leave a signed card; the run's folder and the card.

    Rows of the fitting split are used to fit on, where there are any; without them, fitted values are cross-fitted on
    the scored rows and the card says so. A task of the suite that has no rows is left out of the card, which says so.
    `scale` says what the scores are; None that they are log-probabilities, and what evidently is none is refused.
    """
    started = clock.now()
    title = _title(name, path)
    rows = read_scores(path, scale)
    selection = _answered(select(choice), {row.task for row in rows}, str(path))
    answers = align_predictions(selection, rows, str(path), optional_fitting=True)
    tasks = build_tasks(selection, answers)
    files = manifest({"predictions.jsonl": path})
    machine = environment.describe()
    folder = run_dir.new_folder(output_dir / title)
    try:
        card = assemble(
            selection,
            submission={
                "name": title,
                "digest": manifest_digest(files),
                "yaml_digest": None,
                "files": files,
                "model": None,
                "adapter": None,
            },
            run={
                "id": str(uuid.uuid4()),
                "nonce": nonce,
                "started_at": started,
                "finished_at": clock.now(),
                "limit": selection.limit,
                "self_check": None,
                "isolation": None,
                "bytes_bound": None,
            },
            machine=machine,
            predictions=run_dir.write_predictions(folder, rows),
            environment=run_dir.write_environment(folder, machine),
            tasks=tasks,
        )
        write_whole(folder / filenames.BENCHMARK, selection.benchmark.source)
        run_dir.write_card(folder, card, signing_key())
    except OSError as problem:
        raise run_dir.unwritable(folder, problem) from None
    return folder, card


def _title(name: str | None, path: Path) -> str:
    """The name on the card and of its folder, of a submission's form: the one given, or one made of the file's."""
    if name is None:
        title = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).lstrip("._-")[:80]
        return title or "predictions"
    if re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,79}", name) is None:
        message = f"The name {name[:100]!r} has other characters than lower-case letters, digits, '.', '_' and '-'"
        message += ", does not begin with a letter or digit, or is longer than 80."
        raise InvalidInput(Fault("NAME", message, hint="Give another --name."))
    return name


def _answered(selection: Selection, tasks: set[str], file: str) -> Selection:
    """`selection` cut down to the tasks that the file has rows for."""
    parts = tuple(part for part in selection.tasks if part.task.name in tasks)
    if not parts:
        known = ", ".join(part.task.name for part in selection.tasks)
        raise InvalidInput(Fault("RUN_INCONSISTENT", f"There is no row for any of the tasks {known}.", file))
    return selection.only(parts)
