"""A scorecard for whoever shows or passes it on: verified, or taken unverified and marked as such."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.config.benchmark import load_benchmark
from runner.core import resources, strict_json
from runner.core.benchmark_types import Benchmark
from runner.core.canonical import sha256_bytes
from runner.core.errors import MOST_FAULTS, Fault, InvalidInput, VerificationError
from runner.core.files import read_regular
from runner.core.json_schema import mismatches
from runner.scorecard import filenames
from runner.scorecard.signed_run import benchmark_of
from runner.scorecard.verify import Report, verify
from runner.signing import dsse
from runner.signing.keyring import Keyring


@dataclass(frozen=True, slots=True)
class OpenCard:
    """A card and what is known of it."""

    file: Path
    """Where it was read."""
    card: Mapping[str, Any]
    """Its content, tasks in the benchmark's own order where the benchmark is at hand."""
    sha256: str
    """Of the file's bytes."""
    report: Report | None
    """Of its signature; None when nobody looked at it."""
    primary: str | None
    """The benchmark's primary metric; None where no benchmark file with the card's digest is at hand."""
    environment: Mapping[str, Any] | None
    """The file beside the card, if it is there and has the digest that the card says."""
    split: str | None = None
    """The split that the card's suite scores by default; None where the benchmark is not at hand."""

    @property
    def folder(self) -> Path:
        """Where the files beside the card are."""
        return self.file.parent


def open_card(path: Path, keyring: Keyring | None, benchmark_file: Path | None = None) -> OpenCard:
    """The card at `path`: a `scorecard.sigstore.json`, or the folder of a run.

    With a keyring it must verify (`VerificationError` if not). Without one only its form is checked, and the plain
    `scorecard.json` will do as well; `InvalidInput` with every path where the form is not that of a scorecard.
    """
    file = filenames.find_bundle(path)
    if keyring is None:
        data, card = _unverified(file)
        report = None
    else:
        report = verify(file.parent if path.is_dir() else file, keyring)
        data, card = read_regular(file, strict_json.MAX_BYTES), report.card
    benchmark = _benchmark(card, file.parent, benchmark_file)
    suite = None if benchmark is None else benchmark.suites.get(card["suite"])
    if benchmark is not None:
        # A signed card's keys are in the order of the alphabet.
        order = {name: number for number, name in enumerate(benchmark.tasks)}
        tasks = sorted(card["tasks"].items(), key=lambda entry: order.get(entry[0], len(order)))
        card = {**card, "tasks": dict(tasks)}
    return OpenCard(
        file=file,
        card=card,
        sha256=sha256_bytes(data),
        report=report,
        primary=None if benchmark is None else benchmark.scoring.primary,
        environment=_environment(card, file.parent),
        split=None if suite is None else suite.split,
    )


def _unverified(file: Path) -> tuple[bytes, Mapping[str, Any]]:
    try:
        data = read_regular(file, strict_json.MAX_BYTES)
    except OSError as problem:
        message = f"The scorecard cannot be read: {problem.strerror}."
        raise InvalidInput(Fault("FILE_MISSING", message, str(file))) from None
    try:
        value = strict_json.parse(data)
        if isinstance(value, dict) and "dsseEnvelope" in value:
            statement = strict_json.parse(dsse.read(data).payload)
            value = statement.get("predicate") if isinstance(statement, dict) else None
    except strict_json.JsonFault as fault:
        raise InvalidInput(Fault(fault.code, f"{fault.message}.", str(file), line=fault.line)) from None
    except VerificationError as error:
        raise InvalidInput(
            *(Fault(fault.code, fault.message, str(file), path=fault.path) for fault in error.faults)
        ) from None
    if not isinstance(value, dict) or not {"benchmark", "tasks", "submission"} & set(value):
        hint = "A run's folder holds one: scorecard.sigstore.json."
        raise InvalidInput(Fault("SCHEMA", "This is no scorecard.", str(file), hint=hint))
    schema = json.loads((resources.schema_folder() / "scorecard.schema.json").read_text(encoding="utf-8"))
    if problems := mismatches(schema, value, MOST_FAULTS):
        raise InvalidInput(
            *(Fault("SCHEMA", f"It {mismatch.message}", str(file), path=mismatch.path) for mismatch in problems)
        )
    return data, value


def _benchmark(card: Mapping[str, Any], folder: Path, benchmark_file: Path | None) -> Benchmark | None:
    """The benchmark with the card's digest; one that was named has to have it."""
    try:
        return load_benchmark(benchmark_of(card, folder, benchmark_file))
    except (InvalidInput, VerificationError):
        if benchmark_file is not None:
            raise
        return None


def _environment(card: Mapping[str, Any], folder: Path) -> Mapping[str, Any] | None:
    file = folder / filenames.ENVIRONMENT
    try:
        data = read_regular(file, strict_json.MAX_BYTES)
        if sha256_bytes(data) != card["environment"]["sha256"]:
            return None
        value = strict_json.parse(data)
    except (OSError, strict_json.JsonFault):
        return None
    return value if isinstance(value, dict) else None
