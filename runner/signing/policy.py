"""Steps 18 and 19 of the verification order: whether a card is about what its subjects name and its reader expects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from runner.core import canonical
from runner.core.json_schema import shown
from runner.signing.dsse import refusal
from runner.signing.keyring import instant
from runner.signing.sign import SUBJECTS, digest_is_well_formed


@dataclass(frozen=True, slots=True)
class Expectations:
    """What the card must be about. Digests are hex sha256 with or without `sha256:` before them; None skips a check."""

    submission: str | None = None
    """Digest of the submission."""
    benchmark: str | None = None
    """Digest of the benchmark."""
    datasets: Mapping[str, str] = field(default_factory=dict)
    """`<dataset>/<split>` to the digest of its file."""
    nonce: str | None = None
    """Nonce that the card must carry."""
    not_before: datetime | None = None
    """Earliest `run.finished_at` that is accepted, with a time zone."""


def check_subjects(listed: list[dict[str, Any]], predicate: dict[str, Any], expected: Expectations) -> None:
    """The subjects are what the card describes, down to its file list, and the submission that the caller expects.

    Step 18. Raises `VerificationError` (SIG_SUBJECT).
    """
    subjects = _subjects(listed)
    revision = at(predicate, "run", "source_revision")
    described = {
        "submission": at(predicate, "submission", "digest"),
        "dataset": canonical.digest(predicate.get("data")),
        "runner-image": at(predicate, "run", "image_digest"),
        "runner-source": None if revision is None else f"gitCommit:{revision}",
    }
    for name, digest in described.items():
        if subjects.get(name) != digest:
            message = f"names as {name} {shown(subjects.get(name))}, but the card describes {shown(digest)}."
            raise refusal("SIG_SUBJECT", message, "$.subject")
    files = at(predicate, "submission", "files")
    if canonical.digest({"files": files}) != described["submission"]:
        message = "is not the list of files that the submission's digest is made from."
        raise refusal("SIG_SUBJECT", message, "$.predicate.submission.files")
    names = [at(file, "name") for file in files] if isinstance(files, list) else []
    in_order = [name.encode() for name in names if isinstance(name, str)]
    if len(in_order) != len(names) or any(first >= second for first, second in pairwise(in_order)):
        message = "is not in the order of its names, each given once."
        raise refusal("SIG_SUBJECT", message, "$.predicate.submission.files")
    if expected.submission is not None and subjects["submission"] != _prefixed(expected.submission):
        expected_digest = _prefixed(expected.submission)
        message = f"is {subjects['submission']}; {expected_digest} was expected: the card is another submission's."
        raise refusal("SIG_SUBJECT", message, "$.predicate.submission.digest")


def check_expectations(predicate: dict[str, Any], expected: Expectations) -> None:
    """The card is what the caller says that it must be; step 19. Raises `VerificationError` (SIG_EXPECTATION)."""

    def check(actual: Any, pinned: str, what: str, path: str) -> None:
        if actual != pinned:
            raise refusal("SIG_EXPECTATION", f"{what} is {shown(actual)}; {shown(pinned)} was expected.", path)

    if expected.benchmark is not None:
        actual = at(predicate, "benchmark", "digest")
        check(actual, _prefixed(expected.benchmark), "the benchmark", "$.predicate.benchmark.digest")
    for name, digest in expected.datasets.items():
        actual = at(predicate, "data", name, "sha256")
        bare = actual.removeprefix("sha256:") if isinstance(actual, str) else actual
        check(bare, digest.removeprefix("sha256:"), f"the data of {name}", "$.predicate.data")
    if expected.nonce is not None:
        check(at(predicate, "run", "nonce"), expected.nonce, "the nonce", "$.predicate.run.nonce")
    if expected.not_before is not None:
        text = at(predicate, "run", "finished_at")
        finished = instant(text)
        if finished is None or finished < expected.not_before:
            message = f"is {shown(text)}, before {expected.not_before.isoformat()}: an older card than expected."
            raise refusal("SIG_EXPECTATION", message, "$.predicate.run.finished_at")


def _prefixed(digest: str) -> str:
    return f"sha256:{digest.removeprefix('sha256:')}"


def at(value: Any, *names: str) -> Any:
    """What lies at `names` inside nested objects, or None: the signer may have left out anything."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _subjects(listed: list[dict[str, Any]]) -> dict[str, str]:
    """The subjects as `name: "kind:hex"`."""
    subjects: dict[str, str] = {}
    for index, subject in enumerate(listed):
        name, digest, path = subject["name"], subject["digest"], f"$.subject[{index}]"
        if not isinstance(name, str) or name not in SUBJECTS:
            message = f"is {shown(name)}; one of {', '.join(SUBJECTS)} was expected."
            raise refusal("SIG_SUBJECT", message, f"{path}.name")
        if name in subjects:
            raise refusal("SIG_SUBJECT", f"is {name} a second time; each subject is named once.", f"{path}.name")
        kind = SUBJECTS[name]
        if not isinstance(digest, dict) or not digest_is_well_formed(digest, kind):
            message = f"is {shown(digest)}; one {kind} in lower-case hex was expected."
            raise refusal("SIG_SUBJECT", message, f"{path}.digest")
        subjects[name] = f"{kind}:{digest[kind]}"
    return subjects
