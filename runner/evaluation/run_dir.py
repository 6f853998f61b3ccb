"""One run's folder: a crashed run resumes from it, and the signed card is the last file to appear."""

import json
import tempfile
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runner.core import clock
from runner.core.canonical import digest, sha256_bytes
from runner.core.errors import Fault, OutputError
from runner.core.files import write_whole
from runner.core.types import Prediction
from runner.evaluation import journal
from runner.evaluation.journal import Journal
from runner.scorecard.filenames import BUNDLE, CARD, ENVIRONMENT, PREDICTIONS
from runner.signing.sign import sign
from runner.tasks.predictions import to_line


@dataclass(frozen=True, slots=True)
class RunDir:
    """A run that may be resumed."""

    path: Path
    """Folder of the run."""
    journal: Journal
    """Its locked journal."""


def open_run(parent: Path, content: Mapping[str, Any], nonce: str | None, *, resume: bool) -> RunDir:
    """The unfinished run under `parent` with the same `content`, or a new one.

    `content` is everything that determines the predictions; its digest is the key, so that a journal never answers
    for another model, prompt or setting. A journal that a live process holds is left alone.
    """
    key = digest(content)
    if resume:
        for folder in journal.unfinished(parent):
            try:
                open_journal = Journal.resume(folder)
            except OSError:
                # Held by a live process, finished a moment ago, or not ours to write: none of these is our run.
                continue
            if (
                open_journal is not None
                and open_journal.header.get("key") == key
                and open_journal.header["nonce"] == nonce
            ):
                return RunDir(folder, open_journal)
            if open_journal is not None:
                open_journal.close()
    started = clock.now()
    header = {"key": key, "content": dict(content), "id": str(uuid.uuid4()), "nonce": nonce, "started_at": started}
    try:
        parent.mkdir(parents=True, exist_ok=True)
        return RunDir(*journal.create_run_dir(parent, _name(started), header))
    except OSError as problem:
        raise unwritable(parent, problem) from None


def check_writable(parent: Path) -> None:
    """Make `parent` and a file in it, which are gone afterwards; `OutputError` when that cannot be done.

    For before the work: what cannot be written should be known before hours are spent, and a run that is refused
    leaves no empty folder behind.
    """
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=parent) as stream:
            stream.write(b"\0" * 4096)
    except OSError as problem:
        raise unwritable(parent, problem) from None
    finally:
        for folder in missing:
            with suppress(OSError):  # not made, or another run has put something into it
                folder.rmdir()


def new_folder(parent: Path) -> Path:
    """A new folder under `parent`, named by the time in UTC; `OutputError` when it cannot be made."""
    name = _name(clock.now())
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise unwritable(parent, problem) from None
    for attempt in range(1, 1000):
        folder = parent / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as problem:
            raise unwritable(parent, problem) from None
        return folder
    raise OutputError(Fault("OUTPUT_UNWRITABLE", f"No free name like {name} is left.", str(parent)))


def _name(time: str) -> str:
    return time.replace(":", "-")


def unwritable(path: Path, problem: OSError) -> OutputError:
    """What to say when nothing can be written at `path`."""
    return OutputError(
        Fault(
            "OUTPUT_UNWRITABLE",
            f"Results cannot be written here: {problem.strerror}.",
            str(path),
            hint="Give a writable folder with --output-dir; in a container mount one and run as its owner: "
            '-v "$PWD/results:/results" --user "$(id -u):$(id -g)".',
        )
    )


def write_predictions(folder: Path, predictions: Iterable[Prediction]) -> dict[str, Any]:
    """Write the rows in the order given; their sha256 and number, as the card holds them."""
    lines = [to_line(prediction) for prediction in predictions]
    data = "".join(lines).encode()
    write_whole(folder / PREDICTIONS, data)
    return {"sha256": sha256_bytes(data), "rows": len(lines)}


def write_environment(folder: Path, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Write `environment.json`; its sha256, as the card holds it."""
    data = (json.dumps(environment, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    write_whole(folder / ENVIRONMENT, data)
    return {"sha256": sha256_bytes(data)}


def write_card(folder: Path, card: Mapping[str, Any], key: Ed25519PrivateKey) -> None:
    """Write the plain card, then the signed one: once the bundle is there, the run is complete."""
    plain = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    bundle = sign(card, _subjects(card), key)
    write_whole(folder / CARD, plain.encode())
    write_whole(folder / BUNDLE, bundle)


def _subjects(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the statement is about, by digest: the submission's files, the data, and what ran them if it is given."""
    run = card["run"]
    digests = {
        "submission": ("sha256", card["submission"]["digest"]),
        "dataset": ("sha256", digest(card["data"])),
        "runner-image": ("sha256", run["image_digest"]),
        "runner-source": ("gitCommit", run["source_revision"]),
    }
    return [
        {"name": name, "digest": {kind: value.removeprefix("sha256:")}}
        for name, (kind, value) in digests.items()
        if value is not None
    ]
