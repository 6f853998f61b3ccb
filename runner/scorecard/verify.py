"""Check a scorecard and the files beside it: who signed, that nothing was altered, and what that does not say."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runner.config.benchmark import load_benchmark
from runner.config.source import SUBMISSION_BYTES, read
from runner.core import resources, strict_json
from runner.core.canonical import digest, sha256_bytes, to_bytes
from runner.core.errors import Fault, InvalidInput, VerificationError
from runner.core.files import read_regular
from runner.core.types import Check
from runner.scorecard import filenames, isolation
from runner.signing import dsse
from runner.signing.keyring import Keyring
from runner.signing.policy import Expectations
from runner.signing.verifier import verify_bundle
from runner.tasks.predictions import sha256_of_rows


@dataclass(frozen=True, slots=True)
class Report:
    """A card that verifies, and each check that was made of it."""

    folder: Path
    """Of the bundle."""
    card: Mapping[str, Any]
    """Its content."""
    keyid: str
    """Of the key that signed it."""
    assurance: str
    """What the role of that key stands for: `independently reproduced` or `self-reported`."""
    checks: tuple[Check, ...]
    """In the order in which they were made."""

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON value."""
        return {
            "verified": True,
            "keyid": self.keyid,
            "assurance": self.assurance,
            "submission": {name: self.card["submission"][name] for name in ("name", "digest")},
            "benchmark": self.card["benchmark"],
            "comparable": self.card["comparable"],
            "checks": [{"name": check.name, "state": check.state, "message": check.message} for check in self.checks],
        }

    def with_checks(self, *more: Check) -> "Report":
        """The same report with more checks behind the others."""
        return replace(self, checks=(*self.checks, *more))


def verify(
    path: Path,
    keyring: Keyring,
    *,
    expect_submission: str | None = None,
    expect_benchmark: str | None = None,
    nonce: str | None = None,
) -> Report:
    """Verify a `scorecard.sigstore.json` (or the run's folder that holds it) and the files beside it.

    Raises `VerificationError` with the code of the first failing step, or with every file beside the card that is not
    the one the card was made from. A file that is not there is said to be not there, not taken for good.
    """
    bundle = filenames.find_bundle(path)
    try:
        data = read_regular(bundle, dsse.MAX_BYTES)
    except OSError as problem:
        message = f"The scorecard cannot be read: {problem.strerror}."
        hint = "A run that was stopped has none yet: run the same command again." if path.is_dir() else None
        raise InvalidInput(Fault("FILE_MISSING", message, str(bundle), hint=hint)) from None
    schema = json.loads((resources.schema_folder() / "scorecard.schema.json").read_text(encoding="utf-8"))
    expected = Expectations(submission=expect_submission, benchmark=expect_benchmark, nonce=nonce)
    verified = verify_bundle(data, keyring, expected, schema=schema, file=str(bundle))
    card = verified.predicate
    report = Report(bundle.parent, card, verified.keyid, verified.assurance, ())
    by = verified.owner or f"key {verified.keyid[:16]}…"
    return report.with_checks(
        Check("signature", "ok", f"by {by}"),
        Check("assurance", "ok", verified.assurance),
        *_files_beside(bundle.parent, card),
        *(Check("note", "note", note) for note in verified.notes),
        *_clock(card["run"]),
        *([Check("isolation", "note", isolation.sentence(names))] if (names := isolation.missing(card)) else ()),
        *_comparability(card),
    )


def _files_beside(folder: Path, card: Mapping[str, Any]) -> list[Check]:
    """Digests of the files next to the card; all that differ at once."""
    checks: list[Check] = []
    faults: list[Fault] = []
    for name in (filenames.PREDICTIONS, filenames.ENVIRONMENT):
        path = folder / name
        if _absent(path):
            checks.append(Check(name, "skipped", "not beside the card"))
        elif (problem := _difference(path, card)) is None:
            checks.append(Check(name, "ok", "is the file that the card was made from"))
        else:
            faults.append(Fault("SIG_FILES", problem, str(path)))
    plain = folder / filenames.CARD
    if _absent(plain):
        checks.append(Check(filenames.CARD, "skipped", "not beside the card"))
    else:
        try:
            # By canonical form: to Python, true and 1 are equal.
            same = to_bytes(strict_json.parse(read_regular(plain, strict_json.MAX_BYTES))) == to_bytes(card)
        except (OSError, strict_json.JsonFault):
            same = False
        if same:
            checks.append(Check(filenames.CARD, "ok", "says the same as the signed card"))
        else:
            message = "The plain copy differs from the signed card; only the signed one counts."
            faults.append(Fault("SIG_FILES", message, str(plain)))
    benchmark = folder / filenames.BENCHMARK
    if _absent(benchmark):
        checks.append(Check(filenames.BENCHMARK, "skipped", "not beside the card"))
    elif _digest_of(benchmark) == card["benchmark"]["digest"]:
        checks.append(Check(filenames.BENCHMARK, "ok", "is the benchmark that the card was made with"))
    else:
        message = f"It is not the benchmark of the card, whose digest is {card['benchmark']['digest'][:23]}…."
        faults.append(Fault("SIG_FILES", message, str(benchmark)))
    submission = folder / filenames.SUBMISSION
    yaml_digest = card["submission"].get("yaml_digest")  # cards from before it was recorded have none
    if _absent(submission):
        if yaml_digest is not None:
            checks.append(Check(filenames.SUBMISSION, "skipped", "not beside the card"))
    elif yaml_digest is None:
        checks.append(Check(filenames.SUBMISSION, "skipped", "the card does not say which file it was made with"))
    elif _digest_of_submission(submission) == yaml_digest:
        checks.append(Check(filenames.SUBMISSION, "ok", "is the submission that the card was made with"))
    else:
        message = f"It is not the submission.yaml of the card, whose digest is {yaml_digest[:23]}…."
        faults.append(Fault("SIG_FILES", message, str(submission)))
    if faults:
        raise VerificationError(*faults)
    return checks


def _absent(path: Path) -> bool:
    """Whether nothing at all is at `path`: what is no regular file is there, and is refused where it is read."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False


def _difference(path: Path, card: Mapping[str, Any]) -> str | None:
    """How the predictions or the environment at `path` are not those of the card, or None."""
    try:
        if path.name == filenames.PREDICTIONS:
            stated = card["predictions"]["sha256"]
            digest: str | None = sha256_of_rows(path, card["predictions"]["rows"])
        else:
            stated = card["environment"]["sha256"]
            digest = sha256_bytes(read_regular(path, strict_json.MAX_BYTES))
    except PermissionError:
        raise
    except OSError as problem:
        return f"It cannot be read: {problem.strerror}."
    if digest is None:
        return "It has far more rows than the card says, or one of more than 1 MiB: the file was changed."
    if digest == stated:
        return None
    return f"Its sha256 is {digest[:16]}…, the card says {stated[:16]}…: the file was changed."


def _digest_of(benchmark: Path) -> str | None:
    try:
        return load_benchmark(benchmark).digest
    except InvalidInput:
        return None


def _digest_of_submission(path: Path) -> str | None:
    """The digest of a submission.yaml's content; the folders that it names need not be there."""
    try:
        document = read(path, SUBMISSION_BYTES)
        return None if document.faults else digest(document.value)
    except (InvalidInput, ValueError):  # a number that has no canonical form
        return None


def _clock(run: Mapping[str, Any]) -> list[Check]:
    if run["finished_at"] >= run["started_at"]:  # both to the second and in UTC, as the schema demands
        return []
    message = f"the clock was set back during the run: it ended {run['finished_at']}, before {run['started_at']}"
    return [Check("clock", "note", message)]


def _comparability(card: Mapping[str, Any]) -> list[Check]:
    if card["comparable"]:
        return []
    return [Check("not comparable", "note", "; ".join(card["not_comparable"]))]
