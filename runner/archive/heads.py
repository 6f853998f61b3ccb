"""Signed heads: a maintainer's word on how long the index was and what its last entry said."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runner.archive.index import Index, name_of
from runner.archive.store import Store
from runner.core import strict_json
from runner.core.canonical import to_bytes
from runner.core.clock import now
from runner.core.errors import Fault, VerificationError
from runner.signing import dsse
from runner.signing.dsse import PAYLOAD_TYPE, Envelope
from runner.signing.keyring import Keyring, TrustedKey, instant
from runner.signing.keys import keyid
from runner.signing.sign import STATEMENT_TYPE
from runner.signing.verifier import signer

# A type of its own: a head can never be taken for a scorecard, nor a key that may sign one for a key of the other.
HEAD_TYPE = "https://moral-ambiguity.example/archive-head/v1"

_NAME = re.compile(r"heads/([0-9]{4})/([0-9]{8})\.sigstore\.json")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed statement on one entry and, through it, on all entries before."""

    sequence: int
    """Sequence number of the entry."""
    entry: str
    """Hex sha256 of the entry."""
    signed_at: str
    """Time of signing, ISO 8601 in UTC."""
    keyid: str
    """Id of the key that signed."""


def checkpoint_name(sequence: int) -> str:
    """Where the signature on the entry lies."""
    return f"heads/{sequence // 10_000:04d}/{sequence:08d}.sigstore.json"


def signed_sequences(store: Store) -> list[int]:
    """The sequence numbers that have a signed head, by the names of the files alone."""
    matches = (_NAME.fullmatch(name) for name in store.names("heads"))
    return sorted(int(match[2]) for match in matches if match and match[0] == checkpoint_name(int(match[2])))


def sign_checkpoint(store: Store, sequence: int, entry: str, key: Ed25519PrivateKey) -> bool:
    """Sign the entry `sequence` with the digest `entry`; False if that was done before."""
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name_of(sequence), "digest": {"sha256": entry}}],
        "predicateType": HEAD_TYPE,
        "predicate": {"sequence": sequence, "entry": entry, "signed_at": now()},
    }
    payload = to_bytes(statement)
    data = dsse.write(Envelope(payload, key.sign(dsse.pae(PAYLOAD_TYPE, payload)), keyid(key)))
    return store.create(checkpoint_name(sequence), data)


def read_checkpoints(store: Store, keyring: Keyring) -> tuple[list[Checkpoint], list[Fault]]:
    """The heads whose signatures are trusted, and a fault (HEAD_UNTRUSTED, HEAD_FORMAT) for every other."""
    names = [checkpoint_name(number) for number in signed_sequences(store)]
    others = sorted(set(store.names("heads")) - set(names))
    faults = [Fault("HEAD_FORMAT", "is not the name of a signed head.", store.address_of(name)) for name in others]
    heads = []
    for name, data in store.read_many(names):
        try:
            head = _read(data or b"", keyring)
            if checkpoint_name(head.sequence) != name:
                raise VerificationError(Fault("HEAD_FORMAT", f"is about entry {head.sequence}, not that of its name."))
        except VerificationError as problem:
            code = "HEAD_FORMAT" if problem.faults[0].code == "HEAD_FORMAT" else "HEAD_UNTRUSTED"
            hint = f"A head counts if the keyring and the key list {HEAD_TYPE}." if code == "HEAD_UNTRUSTED" else None
            faults.append(Fault(code, problem.faults[0].message, store.address_of(name), hint=hint))
        else:
            heads.append(head)
    return heads, faults


def _read(data: bytes, keyring: Keyring) -> Checkpoint:
    opened = dsse.read(data)
    key = signer(opened, keyring)
    try:
        statement = strict_json.parse(opened.payload)
    except strict_json.JsonFault as fault:
        raise VerificationError(Fault("HEAD_FORMAT", f"the signed bytes: {fault.message}.")) from None
    if not isinstance(statement, dict) or statement.get("predicateType") != HEAD_TYPE:
        raise VerificationError(Fault("HEAD_FORMAT", f"is not a statement of the type {HEAD_TYPE}."))
    match statement.get("predicate"):
        case {"sequence": int(sequence), "entry": str(entry), "signed_at": str(signed_at)} if sequence > 0:
            _check_key(key, keyring, signed_at)
            return Checkpoint(sequence, entry, signed_at, key.keyid)
    raise VerificationError(Fault("HEAD_FORMAT", "does not say which entry is signed, and when."))


def _check_key(key: TrustedKey, keyring: Keyring, signed_at: str) -> None:
    """The key may sign heads, did so in its time, and is not revoked: a revoked key's time proves nothing."""
    when = instant(signed_at)
    if not keyring.own and (HEAD_TYPE not in key.predicate_types or HEAD_TYPE not in keyring.predicate_types):
        raise VerificationError(Fault("HEAD_UNTRUSTED", f"is signed by the key {key.keyid}, which may not sign heads."))
    if key.revoked is not None:
        raise VerificationError(Fault("HEAD_UNTRUSTED", f"is signed by the key {key.keyid}, which was revoked."))
    outside = when is None or (key.not_before and when < key.not_before) or (key.not_after and when > key.not_after)
    if outside:
        raise VerificationError(Fault("HEAD_UNTRUSTED", f"is signed at {signed_at[:40]}, outside its key's time."))


def disagreements(store: Store, heads: Iterable[Checkpoint], digests: Mapping[int, str]) -> list[Fault]:
    """Where the index is not what was signed: ARCHIVE_TRUNCATED, ARCHIVE_HEAD."""
    faults = []
    last = max(digests, default=0)
    for head in heads:
        file = store.address_of(checkpoint_name(head.sequence))
        if head.sequence > last:
            message = f"signs entry {head.sequence}, but the index ends with {last}: entries were removed."
            faults.append(Fault("ARCHIVE_TRUNCATED", message, file))
        elif digests.get(head.sequence) != head.entry:
            message = f"signs entry {head.sequence} as {head.entry[:16]}…, which it is not: the index was rewritten."
            faults.append(Fault("ARCHIVE_HEAD", message, file))
    return faults


def expected(index: Index, digest: str, store: Store) -> list[Fault]:
    """A fault unless `digest`, a head known from before, is that of an entry: then all up to it is as it was."""
    bare_digest = digest.removeprefix("sha256:").lower()
    if bare_digest in index.digests.values():
        return []
    message = (
        f"No entry has the digest {bare_digest[:80]}: the index was cut or rewritten since that head was written down."
    )
    return [Fault("ARCHIVE_TRUNCATED", message, store.address)]


def to_json(head: Checkpoint) -> dict[str, Any]:
    """The head as a JSON value."""
    return {"sequence": head.sequence, "entry": head.entry, "signed_at": head.signed_at, "keyid": head.keyid}
