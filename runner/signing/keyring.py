"""Whose signatures count: `trusted_keys.json`, read and checked, or the user's own key alone."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from runner.core import resources, strict_json
from runner.core.errors import Fault, InvalidInput, raise_faults
from runner.core.files import read_regular
from runner.core.json_schema import mismatches, shown
from runner.signing.keys import PublicKey, keyid
from runner.signing.sign import PREDICATE_TYPE

ED25519 = "ed25519"
ECDSA_P256 = "ecdsa-p256-sha256"

_MAX_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Revocation:
    """The revocation of a key: none of its cards counts any more, save those it honours."""

    at: datetime
    """Time of the revocation, in UTC."""
    reason: str
    """Why the key was revoked."""
    honour_digests: frozenset[str]
    """Hex sha256 of the bundle files that still count."""


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key and what it is trusted for."""

    keyid: str
    """Id of the key."""
    public_key: PublicKey
    """The key."""
    scheme: str
    """Name of the signature scheme."""
    predicate_types: frozenset[str]
    """Types of statements that it may sign."""
    role: str
    """`lab` or `verifier`."""
    not_before: datetime | None
    """Start of its validity, in UTC; None for no bound."""
    not_after: datetime | None
    """End of its validity, in UTC; None for no bound."""
    revoked: Revocation | None
    """Its revocation; None for a valid key."""
    owner: str | None = None
    """Name of its owner; None where the keyring does not say it."""


@dataclass(frozen=True, slots=True)
class Versions:
    """Accepted versions, as tuples of numbers."""

    lowest: tuple[int, ...]
    """Lowest accepted version."""
    withdrawn: frozenset[tuple[int, ...]]
    """Versions that were withdrawn since."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """Trusted keys and the policy beside them."""

    keys: tuple[TrustedKey, ...]
    """The keys."""
    predicate_types: frozenset[str]
    """Types of statements that are accepted."""
    schema_versions: Versions
    """Accepted versions of the card's schema."""
    benchmark_versions: Versions
    """Accepted versions of the benchmark."""
    own: bool = False
    """Whether it holds only the user's own key."""


def keyring_of(public_key: PublicKey) -> Keyring:
    """A keyring that trusts `public_key` alone, as a lab, at any time and for any benchmark version.

    It shows that a card comes from one's own key and is unchanged, and nothing about anybody else.
    """
    types = frozenset({PREDICATE_TYPE})
    scheme = scheme_of(public_key)
    if scheme is None:
        raise ValueError("neither an Ed25519 nor a P-256 key")
    key = TrustedKey(keyid(public_key), public_key, scheme, types, "lab", None, None, None)
    return Keyring((key,), types, Versions((1,), frozenset()), Versions((0, 0, 0), frozenset()), own=True)


def load_keyring(path: Path) -> Keyring:
    """The keyring in the file `path`. Raises `InvalidInput` with every fault: KEYRING_MISSING and those of `parse`."""
    try:
        data = read_regular(path, _MAX_BYTES)
    except FileNotFoundError:
        raise InvalidInput(Fault("KEYRING_MISSING", "there is no keyring file.", file=str(path))) from None
    except OSError as error:
        message = f"cannot be read: {error.strerror}."
        raise InvalidInput(Fault("KEYRING_MISSING", message, file=str(path))) from None
    return parse_keyring(data, file=str(path))


def parse_keyring(data: bytes, file: str | None = None) -> Keyring:
    """The keyring in the bytes of a `trusted_keys.json`.

    Raises `InvalidInput` with all faults at once: KEYRING_JSON, KEYRING_SCHEMA, KEYRING_PEM (not one public key),
    KEYRING_SCHEME (the key is of another kind than `scheme` says), KEYRING_WEAK, KEYRING_KEYID (not the sha256 of the
    key), KEYRING_TWICE, KEYRING_TIME (not RFC 3339 with a zone, or a window that ends before it begins).
    """
    try:
        document = strict_json.parse(data, max_bytes=_MAX_BYTES)
    except strict_json.JsonFault as fault:
        raise InvalidInput(Fault("KEYRING_JSON", f"{fault.message}.", file=file, line=fault.line)) from None
    misfits = mismatches(_schema(), document)
    faults = [Fault("KEYRING_SCHEMA", misfit.message, file=file, path=misfit.path) for misfit in misfits]
    misshapen = frozenset(misfit.steps[1] for misfit in misfits if misfit.steps[:1] == ("keys",) and misfit.steps[1:])
    deeper = _key_faults(document, misshapen)
    raise_faults(faults + [Fault(code, message, file=file, path=path) for code, path, message in deeper])
    policy = document["policy"]
    return Keyring(
        keys=tuple(_key(entry) for entry in document["keys"]),
        predicate_types=frozenset(policy["predicate_types"]),
        schema_versions=_versions(policy["schema_version"], _WHOLE),
        benchmark_versions=_versions(policy["benchmark_version"], _RELEASE),
    )


# --- times and versions, which verification reads as well ------------------------------------------------------------

_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})")
_NUMBER = "(0|[1-9][0-9]{0,8})"
_WHOLE = re.compile(_NUMBER)
_RELEASE = re.compile(rf"{_NUMBER}[.]{_NUMBER}[.]{_NUMBER}")


def instant(text: object) -> datetime | None:
    """An RFC 3339 date and time with a zone as an instant in UTC, or None for anything else (digits beyond µs fall)."""
    if not isinstance(text, str) or _INSTANT.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):  # a 31st of June; an offset that leads out of the calendar
        return None


def schema_version(text: object) -> tuple[int, ...] | None:
    """A scorecard format version (one whole number, ASCII digits) as a tuple, or None."""
    return _version(text, _WHOLE)


def benchmark_version(text: object) -> tuple[int, ...] | None:
    """A benchmark version (`1.0.0`, ASCII digits) as a tuple of three numbers, or None."""
    return _version(text, _RELEASE)


def _version(text: object, form: re.Pattern[str]) -> tuple[int, ...] | None:
    # fullmatch and [0-9]: int() would also read Arabic-Indic digits, underscores and surrounding spaces
    match = form.fullmatch(text) if isinstance(text, str) else None
    return tuple(int(number) for number in match.groups()) if match else None


# --- one key -------------------------------------------------------------------------------------------------------

# Points of small order on edwards25519, by their y coordinate (sign bit aside): with such a "key" anyone can make a
# signature that verifies for any message. From the 8-torsion subgroup: y = 0, 1, −1 and the two of order 8.
_FIELD = 2**255 - 19
_ORDER_8_Y = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
_SMALL_ORDER_Y = frozenset({0, 1, _FIELD - 1, _ORDER_8_Y, _FIELD - _ORDER_8_Y})


def scheme_of(public_key: object) -> str | None:
    """`ed25519` or `ecdsa-p256-sha256`, or None for a key of another kind."""
    if isinstance(public_key, Ed25519PublicKey):
        return ED25519
    if isinstance(public_key, EllipticCurvePublicKey) and isinstance(public_key.curve, SECP256R1):
        return ECDSA_P256
    return None


def _small_order(public_key: Ed25519PublicKey) -> bool:
    raw = int.from_bytes(public_key.public_bytes(Encoding.Raw, PublicFormat.Raw), "little")
    return (raw & (2**255 - 1)) % _FIELD in _SMALL_ORDER_Y


def _key_faults(document: Any, misshapen: frozenset[str | int]) -> Iterator[tuple[str, str, str]]:
    """Code, JSON path and message of what a schema cannot see."""
    entries = document.get("keys") if isinstance(document, dict) else None
    first_use: dict[str, int] = {}
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if index in misshapen:
            continue
        at = f"$.keys[{index}]"
        yield from _window_faults(entry, at)
        public_key, fault = _public_key(entry["pem"])
        if public_key is None:
            yield "KEYRING_PEM", f"{at}.pem", fault
            continue
        scheme = scheme_of(public_key)
        if scheme != entry["scheme"]:
            yield (
                "KEYRING_SCHEME",
                f"{at}.scheme",
                f"is {entry['scheme']}, but the key is {scheme or 'of another kind'}.",
            )
            continue
        if isinstance(public_key, Ed25519PublicKey) and _small_order(public_key):
            yield "KEYRING_WEAK", f"{at}.pem", "is a point of small order: anyone could sign for this key."
            continue
        actual = keyid(cast(PublicKey, public_key))
        if actual != entry["keyid"]:
            yield "KEYRING_KEYID", f"{at}.keyid", f"is {entry['keyid']}, but the key's sha256 is {actual}."
        if actual in first_use:
            yield "KEYRING_TWICE", at, f"is the same key as $.keys[{first_use[actual]}]; list each key once."
        first_use.setdefault(actual, index)


def _window_faults(entry: Mapping[str, Any], at: str) -> Iterator[tuple[str, str, str]]:
    times = {name: entry[name] for name in ("not_before", "not_after") if entry[name] is not None}
    if entry["revoked"] is not None:
        times["revoked.at"] = entry["revoked"]["at"]
    for name, text in times.items():
        if instant(text) is None:
            message = f"is {shown(text)}; an RFC 3339 time with a zone was expected, such as 2026-11-21T00:00:00Z."
            yield "KEYRING_TIME", f"{at}.{name}", message
    begin, end = instant(entry["not_before"]), instant(entry["not_after"])
    if begin is not None and end is not None and end <= begin:
        yield "KEYRING_TIME", f"{at}.not_after", "is not later than not_before: no card could ever lie in the window."


def _public_key(pem: str) -> tuple[object | None, str]:
    """The key in a PEM text, or None and why not."""
    if "PRIVATE KEY" in pem:
        return None, "is a PRIVATE key: take it out, and treat it as known to everyone who saw this file."
    if pem.count("-----BEGIN ") != 1 or not pem.startswith("-----BEGIN PUBLIC KEY-----"):
        return None, "is not exactly one PEM block that begins with -----BEGIN PUBLIC KEY-----."
    try:
        return load_pem_public_key(pem.encode()), ""
    except (ValueError, UnsupportedAlgorithm):
        return None, "is damaged: no public key of a known kind could be read from it."


def _key(entry: Mapping[str, Any]) -> TrustedKey:
    """A checked entry as a value."""
    revoked = entry["revoked"]
    return TrustedKey(
        keyid=entry["keyid"],
        public_key=cast(PublicKey, load_pem_public_key(entry["pem"].encode())),
        scheme=entry["scheme"],
        predicate_types=frozenset(entry["predicate_types"]),
        role=entry["role"],
        not_before=instant(entry["not_before"]),
        not_after=instant(entry["not_after"]),
        revoked=revoked
        and Revocation(cast(datetime, instant(revoked["at"])), revoked["reason"], frozenset(revoked["honour_digests"])),
        owner=entry.get("owner"),
    )


def _versions(policy: Mapping[str, Any], form: re.Pattern[str]) -> Versions:
    def read(text: str) -> tuple[int, ...]:
        return cast(tuple[int, ...], _version(text, form))  # checked before

    return Versions(read(policy["lowest"]), frozenset(read(text) for text in policy["withdrawn"]))


@cache
def _schema() -> Any:
    return json.loads((resources.schema_folder() / "keyring.schema.json").read_text(encoding="utf-8"))
