"""Add verified scorecards to an archive: nothing that does not verify comes in, nothing that is in is written again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runner.archive import benchmarks, heads, index, objects
from runner.archive.objects import CARD, FILES
from runner.archive.store import Store
from runner.core import resources, strict_json
from runner.core.benchmark_types import Benchmark
from runner.core.canonical import sha256_bytes
from runner.core.errors import Fault, InvalidInput, UserError, VerificationError
from runner.core.files import read_regular
from runner.scorecard import filenames
from runner.scorecard.verify import Report, verify
from runner.signing import dsse
from runner.signing.keyring import Keyring

Recompute = Callable[[Report], Report]

# The files whose bytes the card has the digest of. Of a submission.yaml a card has that of its content, if any: it is
# kept as it lies beside the card, bound by the index; what was measured is in the card's own list of files.
_PINNED = ("predictions", "environment")


@dataclass(frozen=True, slots=True)
class Added:
    """The outcome for one card."""

    card: str
    """Hex sha256 of the card's bundle."""
    name: str
    """Name of the submission."""
    sequence: int | None
    """Sequence number of the new entry; None if the card had one already."""
    restored: tuple[str, ...]
    """Files that the archive had lost and has again."""
    missing: tuple[str, ...]
    """The predictions or the environment, where they do not lie beside the card and are therefore not stored."""


@dataclass(frozen=True, slots=True)
class _VerifiedCard:
    """A card that passed verification."""

    bundle: Path
    """Path of the bundle."""
    sha256: str
    """Hex sha256 of the bundle that was verified."""
    keyid: str
    """Id of the key that signed it."""
    benchmark: Path
    """Path of its benchmark file."""


@dataclass(frozen=True, slots=True)
class _StoredCard:
    """What the archive is to store of one card."""

    bundle: bytes
    """Bytes of the bundle."""
    files: Mapping[str, bytes]
    """Kind of file to the content of the file beside the bundle."""
    summary: Mapping[str, Any]
    """Summary of the card for the index."""


def add(
    store: Store,
    cards: Sequence[Path],
    keyring: Keyring,
    *,
    benchmark_file: Path | None = None,
    recompute: Recompute | None = None,
    head_key: Ed25519PrivateKey | None = None,
    observe: Callable[[Added], None] = lambda added: None,
) -> list[Added]:
    """Verify every card (a bundle, or its run's folder), then add those that are not in the archive yet.

    If one card is refused, none is added: the faults of all are raised together. `recompute` also rebuilds the
    numbers of each. With `head_key`, the chain is checked from its beginning and its end signed, unless it is broken
    (`VerificationError`). A crash leaves an archive to which the same command can be given again.
    """
    passed: list[_VerifiedCard] = []
    refused: list[UserError] = []
    for path in cards:
        try:
            passed.append(_verify(path, keyring, benchmark_file, recompute))
        except UserError as problem:
            refused.append(problem)
    if refused:
        kind = next((type(error) for error in refused if isinstance(error, VerificationError)), type(refused[0]))
        raise kind(*(fault for error in refused for fault in error.faults))
    index.begun(store)
    _refuse_truncated(store)
    end = index.Appender(store)
    added_cards = []
    for card in passed:
        added = _add_one(store, end, _parcel(card), recomputed=recompute is not None)
        observe(added)
        added_cards.append(added)
    if head_key is not None:
        _sign(store, head_key, keyring)
    return added_cards


def _verify(path: Path, keyring: Keyring, benchmark_file: Path | None, recompute: Recompute | None) -> _VerifiedCard:
    bundle = filenames.find_bundle(path)
    report = verify(bundle, keyring)
    data = _read(bundle)
    if _card_in(data) != report.card:
        raise _changed(bundle)
    benchmark = _benchmark(report, benchmark_file)
    if recompute is not None:
        recompute(report)
    return _VerifiedCard(bundle, sha256_bytes(data), report.keyid, benchmark)


def _benchmark(report: Report, benchmark_file: Path | None) -> Path:
    """The benchmark file of the card: the one given, beside it, or released; it says which metric is the primary."""
    candidates = (
        [benchmark_file] if benchmark_file else [report.folder / filenames.BENCHMARK, resources.benchmark_file()]
    )
    for path in candidates:
        if path.is_file() and _parsed(path, _read(path)).digest == report.card["benchmark"]["digest"]:
            return path
    message = f"There is no benchmark with the card's digest {report.card['benchmark']['digest'][:23]}… beside it."
    hint = "Give the benchmark file with --benchmark."
    raise InvalidInput(Fault("FILE_MISSING", message, str(report.folder), hint=hint))


def _parsed(path: Path, data: bytes) -> Benchmark:
    try:
        return benchmarks.parsed(data)
    except InvalidInput as problem:
        raise InvalidInput(*(replace(fault, file=str(path)) for fault in problem.faults)) from None


def _parcel(passed: _VerifiedCard) -> _StoredCard:
    """Read what is to be stored, and hold it against the card: a file may have changed since it was verified."""
    bundle = _read(passed.bundle)
    if sha256_bytes(bundle) != passed.sha256:
        raise _changed(passed.bundle)
    card = _card_in(bundle)
    contents = {"benchmark": _read(passed.benchmark)}
    for name in (*_PINNED, "submission"):
        file = passed.bundle.parent / FILES[name].run_name
        if file.is_file():
            contents[name] = _read(file)
            if name in _PINNED and sha256_bytes(contents[name]) != card[name]["sha256"]:
                raise _changed(file)
    benchmark = _parsed(passed.benchmark, contents["benchmark"])
    if benchmark.digest != card["benchmark"]["digest"]:
        raise _changed(passed.benchmark)
    return _StoredCard(bundle, contents, summary(card, passed.keyid, benchmark.scoring.primary))


def _card_in(bundle: bytes) -> dict[str, Any]:
    card: dict[str, Any] = strict_json.parse(dsse.read(bundle).payload)["predicate"]
    return card


def _changed(path: Path) -> InvalidInput:
    return InvalidInput(Fault("FILE_CHANGED", "was changed while it was read.", str(path)))


def _read(path: Path) -> bytes:
    """The bytes of a stranger's file; of one that an archive does not take, no more than shows that."""
    try:
        data = read_regular(path, objects.MOST_BYTES)
    except OSError as problem:
        raise InvalidInput(Fault("FILE_MISSING", f"cannot be read: {problem.strerror}.", str(path))) from None
    if len(data) > objects.MOST_BYTES:
        message = f"has more than {objects.MOST_BYTES:,} bytes, the most that an archive takes."
        raise InvalidInput(Fault("ARCHIVE_TOO_LARGE", message, str(path), hint="Take it out of the run's folder."))
    return data


def summary(card: Mapping[str, Any], keyid: str, primary: str) -> dict[str, Any]:
    """What the index says of a card, for `list`: who, on what, by which key, and the primary metric of each task."""
    return {
        "name": card["submission"]["name"],
        "submission": card["submission"]["digest"],
        "benchmark": dict(card["benchmark"]),
        "suite": card["suite"],
        "comparable": card["comparable"],
        "finished_at": card["run"]["finished_at"],
        "run": card["run"]["id"],
        "keyid": keyid,
        "tasks": {
            name: {
                "split": task["split"],
                "metric": primary,
                "value": task["metrics"].get(primary, {}).get("value"),
            }
            for name, task in card["tasks"].items()
        },
    }


def _refuse_truncated(store: Store) -> None:
    """A new entry in the place of a removed one would cover its traces."""
    signed = heads.signed_sequences(store)
    numbers = [number for name in store.names("index") if (number := index.sequence_of(name)) is not None]
    last = max(numbers, default=0)
    if signed and signed[-1] > last:
        message = f"Entry {signed[-1]} was signed, but the index ends with {last}: entries were removed."
        hint = "Bring them back from a copy; `benchmark archive check` says what else is wrong."
        raise VerificationError(Fault("ARCHIVE_TRUNCATED", message, store.address, hint=hint))


def _add_one(store: Store, end: index.Appender, parcel: _StoredCard, *, recomputed: bool) -> Added:
    card = sha256_bytes(parcel.bundle)
    files = {name: sha256_bytes(parcel.files[name]) if name in parcel.files else None for name in FILES}
    known = end.files_of(card)
    # The card comes last: `check` finds an object that no entry names, but never an entry without its object.
    contents = [*((FILES[name], content) for name, content in parcel.files.items()), (CARD, parcel.bundle)]
    new = [kind.run_name for kind, content in contents if objects.put(store, kind, content)]
    missing = tuple(name for name in _PINNED if files[name] is None and not (known and name in known))
    name = str(parcel.summary["name"])
    if index.is_duplicate(known, files):
        return Added(card, name, None, tuple(new), missing)
    entry = end.append(card, files, parcel.summary, recomputed=recomputed)
    return Added(card, name, entry.sequence if entry else None, (), missing)


def _sign(store: Store, key: Ed25519PrivateKey, keyring: Keyring) -> None:
    """Sign the end of a chain that is whole and continues what was signed before; else damage would be vouched for."""
    archive_index = index.read_index(store)
    earlier, _ = heads.read_checkpoints(store, keyring)
    faults = [*archive_index.faults, *heads.disagreements(store, earlier, archive_index.digests)]
    if faults:
        raise VerificationError(*faults)
    if archive_index.digests:
        last = max(archive_index.digests)
        heads.sign_checkpoint(store, last, archive_index.digests[last], key)
