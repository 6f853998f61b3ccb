"""Steps 1 to 19 of the verification order: from the bytes of a scorecard bundle to what it says, or why not."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from runner.core import canonical, strict_json
from runner.core.errors import Fault, VerificationError
from runner.core.json_schema import mismatches, shown
from runner.signing import dsse
from runner.signing.dsse import Envelope, fields, refusal, same
from runner.signing.keyring import (
    ECDSA_P256,
    ED25519,
    Keyring,
    TrustedKey,
    Versions,
    benchmark_version,
    instant,
    schema_version,
)
from runner.signing.policy import Expectations, at, check_expectations, check_subjects
from runner.signing.sign import STATEMENT_TYPE

_MOST_MISFITS = 20

# What the role of the key that signed says about the numbers; never read from the card.
ASSURANCE = {"lab": "self-reported", "verifier": "independently reproduced"}


@dataclass(frozen=True, slots=True)
class Verified:
    """A card that passed verification."""

    predicate: Mapping[str, Any]
    """The card."""
    statement: Mapping[str, Any]
    """The in-toto statement around it."""
    keyid: str
    """Id of the key that signed."""
    owner: str | None
    """Name of the key's owner; None where the keyring does not say it."""
    role: str
    """Role of the key: `lab` or `verifier`."""
    assurance: str
    """What the role assures."""
    sha256: str
    """Hex sha256 of the bundle file, by which a keyring can honour it."""
    notes: tuple[str, ...]
    """Sentences on what the signature does not assure."""


def verify_bundle(
    data: bytes,
    keyring: Keyring,
    expectations: Expectations | None = None,
    *,
    schema: Mapping[str, Any],
    file: str | None = None,
) -> Verified:
    """Check the bytes of a `scorecard.sigstore.json`; `schema` is the JSON Schema of the predicate.

    Nothing inside the signature is read before the signature is verified, and the key and its algorithm come from
    `keyring` alone. Raises `VerificationError` at the first step that fails, in this order: SIG_TOO_LARGE,
    SIG_ENCODING, SIG_TOO_DEEP, SIG_JSON, SIG_FIELDS (or SIG_KEYLESS), SIG_MEDIA_TYPE, SIG_PAYLOAD_TYPE, SIG_COUNT,
    SIG_BASE64, SIG_UNTRUSTED, SIG_PAYLOAD_JSON, SIG_NOT_CANONICAL, SIG_STATEMENT, SIG_PREDICATE_TYPE, SIG_VERSION,
    SIG_KEY_WINDOW, SIG_KEY_REVOKED, SIG_SCHEMA (up to twenty faults), SIG_SUBJECT, SIG_EXPECTATION.
    """
    if expectations is not None and expectations.not_before is not None and expectations.not_before.tzinfo is None:
        raise ValueError("not_before needs a zone")
    with _translate_errors(file):
        return _verify(data, keyring, expectations or Expectations(), schema)


def read_signed(data: bytes, keyring: Keyring, *, file: str | None = None) -> tuple[Mapping[str, Any], TrustedKey]:
    """The scorecard in a bundle, and the key whose signature it bears: steps 1 to 11 and 13 to 16 only.

    Not checked: canonical form (12), schema (17) and subjects (18), nine tenths of the time. For a reader of thousands
    of cards that passed `verify_bundle` when they were archived; it has to expect any shape of the scorecard.
    """
    with _translate_errors(file):
        opened = dsse.read(data)
        key = _hinted(opened, keyring) or signer(opened, keyring)
        statement = _statement(opened.payload, canonical_form=False)
        predicate: Mapping[str, Any] = statement["predicate"]
        _check_predicate_type(statement["predicateType"], keyring, key)
        _check_versions(statement["predicate"], keyring)
        _check_window(statement["predicate"], key, canonical.sha256_bytes(data))
    return predicate, key


@contextmanager
def _translate_errors(file: str | None) -> Iterator[None]:
    """Say of which file a refusal is, and refuse what nobody foresaw."""
    try:
        yield
    except VerificationError as error:
        raise VerificationError(*(replace(fault, file=file) for fault in error.faults)) from None
    except (TypeError, KeyError, IndexError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        # No input is known to lead here, and the tests hold that none of theirs does. Should a shape have been
        # forgotten, the file is refused, not half read; the cause stays attached, since it is our bug.
        message = f"has a form that was not foreseen ({type(error).__name__}) and is refused; please report it."
        raise VerificationError(Fault("SIG_MALFORMED", message, file=file)) from error


def _verify(data: bytes, keyring: Keyring, expected: Expectations, schema: Mapping[str, Any]) -> Verified:
    opened = dsse.read(data)  # 1 to 9
    key = signer(opened, keyring)  # 10
    statement = _statement(opened.payload)  # 11 to 13
    predicate = statement["predicate"]
    _check_predicate_type(statement["predicateType"], keyring, key)  # 14
    _check_versions(predicate, keyring)  # 15
    sha256 = canonical.sha256_bytes(data)
    _check_window(predicate, key, sha256)  # 16
    _check_schema(predicate, schema)  # 17
    check_subjects(statement["subject"], predicate, expected)  # 18
    check_expectations(predicate, expected)  # 19
    return Verified(
        predicate=predicate,
        statement=statement,
        keyid=key.keyid,
        owner=key.owner,
        role=key.role,
        assurance=ASSURANCE[key.role],
        sha256=sha256,
        notes=tuple(_notes(keyring, key, expected)),
    )


# --- the signature: step 10 ----------------------------------------------------------------------------------------


def signer(opened: Envelope, keyring: Keyring) -> TrustedKey:
    """The one trusted key whose signature this is; every key is tried, whatever the document calls it.

    Raises `VerificationError` (SIG_UNTRUSTED). Says nothing yet about what the key may sign, or when.
    """
    signed, hint = dsse.pae(dsse.PAYLOAD_TYPE, opened.payload), opened.hint
    matching = [key for key in keyring.keys if _is_signed_by(key, signed, opened.signature)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise refusal("SIG_UNTRUSTED", f"the signature fits {len(matching)} keys of the keyring; one was expected.")
    whose = "your own key (no keyring was given)" if keyring.own else f"any of {len(keyring.keys)} trusted keys"
    named = f"names the key {shown(hint)}, which is only a hint"
    if any(key.keyid == hint for key in keyring.keys):
        named = f"names the trusted key {hint}, so the content was changed or the name borrowed"
    raise refusal("SIG_UNTRUSTED", f"the signature is not by {whose}; the card {named}.")


def _hinted(opened: Envelope, keyring: Keyring) -> TrustedKey | None:
    """The trusted key that the document names, if its signature is that key's: one trial where `signer` makes many."""
    signed = dsse.pae(dsse.PAYLOAD_TYPE, opened.payload)
    named = (key for key in keyring.keys if key.keyid == opened.hint)
    return next((key for key in named if _is_signed_by(key, signed, opened.signature)), None)


def _is_signed_by(key: TrustedKey, signed: bytes, signature: bytes) -> bool:
    public = key.public_key
    try:
        if key.scheme == ED25519 and isinstance(public, Ed25519PublicKey):
            public.verify(signature, signed)
        elif key.scheme == ECDSA_P256 and isinstance(public, EllipticCurvePublicKey):
            public.verify(signature, signed, ECDSA(SHA256()))
        else:
            raise ValueError(f"a keyring with a {type(public).__name__} under {key.scheme}")
    except InvalidSignature:
        return False
    return True


# --- the statement: steps 11 to 14 ---------------------------------------------------------------------------------


def _statement(payload: bytes, *, canonical_form: bool = True) -> dict[str, Any]:
    """The in-toto statement in verified bytes, which must be exactly its `canonical_form` unless that is waived."""
    try:
        statement = strict_json.parse(payload, max_bytes=dsse.MAX_BYTES)
    except strict_json.JsonFault as fault:
        raise refusal("SIG_PAYLOAD_JSON", f"the signed bytes: {fault.message}.") from None
    if canonical_form and canonical.to_bytes(statement) != payload:
        message = "the signed bytes are not in canonical form (RFC 8785), so readers could disagree about them."
        raise refusal("SIG_NOT_CANONICAL", message)
    fields("SIG_STATEMENT", "$", statement, {"_type", "subject", "predicateType", "predicate"})
    same("SIG_STATEMENT", "$._type", statement["_type"], STATEMENT_TYPE)
    if not isinstance(statement["predicate"], dict):
        text = shown(statement["predicate"])
        raise refusal("SIG_STATEMENT", f"is {text}; an object was expected.", "$.predicate")
    if not isinstance(statement["subject"], list):
        text = shown(statement["subject"])
        raise refusal("SIG_STATEMENT", f"is {text}; a list was expected.", "$.subject")
    for index, subject in enumerate(statement["subject"]):
        fields("SIG_STATEMENT", f"$.subject[{index}]", subject, {"name", "digest"})
    result: dict[str, Any] = statement
    return result


def _check_predicate_type(predicate_type: Any, keyring: Keyring, key: TrustedKey) -> None:
    if not isinstance(predicate_type, str) or predicate_type not in keyring.predicate_types:
        message = f"is {shown(predicate_type)}, which the keyring's policy does not accept."
        raise refusal("SIG_PREDICATE_TYPE", message, "$.predicateType")
    if predicate_type not in key.predicate_types:
        message = f"is {shown(predicate_type)}, which the key {key.keyid} may not sign."
        raise refusal("SIG_PREDICATE_TYPE", message, "$.predicateType")


# --- the scorecard: steps 15 to 17 ---------------------------------------------------------------------------------


def _check_versions(predicate: dict[str, Any], keyring: Keyring) -> None:
    def check(value: Any, version: tuple[int, ...] | None, versions: Versions, path: str) -> None:
        if version is None:
            raise refusal("SIG_VERSION", f"is {shown(value)}, which is not a version.", path)
        if version < versions.lowest:
            lowest = ".".join(map(str, versions.lowest))
            raise refusal("SIG_VERSION", f"is {value}; the lowest that the keyring accepts is {lowest}.", path)
        if version in versions.withdrawn:
            raise refusal("SIG_VERSION", f"is {value}, which the keyring lists as withdrawn.", path)

    value = predicate.get("schema_version")
    check(value, schema_version(value), keyring.schema_versions, "$.predicate.schema_version")
    value = at(predicate, "benchmark", "version")
    check(value, benchmark_version(value), keyring.benchmark_versions, "$.predicate.benchmark.version")


def _check_window(predicate: dict[str, Any], key: TrustedKey, sha256: str) -> None:
    path = "$.predicate.run.finished_at"
    text = at(predicate, "run", "finished_at")
    finished = instant(text)
    if finished is None:
        message = f"is {shown(text)}; an RFC 3339 time with a zone was expected."
        raise refusal("SIG_KEY_WINDOW", message, path)
    if key.not_before is not None and finished < key.not_before:
        message = f"is {text}; the key {key.keyid} is valid from {key.not_before.isoformat()}."
        raise refusal("SIG_KEY_WINDOW", message, path)
    if key.not_after is not None and finished > key.not_after:
        message = f"is {text}; the key {key.keyid} was valid until {key.not_after.isoformat()}."
        raise refusal("SIG_KEY_WINDOW", message, path)
    if key.revoked is not None and sha256 not in key.revoked.honour_digests:
        why = f"revoked at {key.revoked.at.isoformat()}: {shown(key.revoked.reason)}"
        message = f"the key {key.keyid} is {why}; this file (sha256 {sha256}) is not among those still honoured."
        raise refusal("SIG_KEY_REVOKED", message)


def _check_schema(predicate: dict[str, Any], schema: Mapping[str, Any]) -> None:
    misfits = mismatches(schema, predicate, limit=_MOST_MISFITS)
    faults = [Fault("SIG_SCHEMA", misfit.message, path=f"$.predicate{misfit.path[1:]}") for misfit in misfits]
    if faults:
        raise VerificationError(*faults)


# --- beyond the steps ----------------------------------------------------------------------------------------------


def _notes(keyring: Keyring, key: TrustedKey, expected: Expectations) -> list[str]:
    """What a reader should know of a card that verifies."""
    notes = []
    if keyring.own:
        notes.append("No keyring was given: your own key alone is trusted, so this says nothing to anybody else.")
    if expected.submission is None:
        notes.append("The card is authentic, but bound to nothing you named: give the expected submission's digest.")
    if expected.nonce is None and expected.not_before is None:
        notes.append("An older card of this key would verify as well: a nonce or an earliest time excludes it.")
    if key.revoked is not None:
        notes.append(f"The key was revoked at {key.revoked.at.isoformat()}; this file is listed as honoured.")
    if key.role == "lab":
        notes.append("Self-reported: the signature shows who says it, not that it is true.")
    return notes
