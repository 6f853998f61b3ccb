"""The making of a signed scorecard.

The file has four layers, each of them public: a Sigstore bundle v0.3 holds a DSSE envelope, which holds an in-toto
Statement v1, whose predicate is the scorecard. What is signed, with Ed25519, is the DSSE pre-authentication encoding of
the canonical (RFC 8785) bytes of the statement.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runner.core import canonical, strict_json
from runner.signing import dsse
from runner.signing.dsse import Envelope
from runner.signing.keys import keyid

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
# `.example` is reserved for ever (RFC 2606), so nobody can take the name over and serve another meaning for it.
PREDICATE_TYPE = "https://moral-ambiguity.example/scorecard/v1"

# What a statement may be about, and which kind of digest says so.
SUBJECTS: Mapping[str, str] = {
    "submission": "sha256",
    "dataset": "sha256",
    "runner-image": "sha256",
    "runner-source": "gitCommit",
}

_DIGESTS = {"sha256": re.compile(r"[0-9a-f]{64}"), "gitCommit": re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")}


def digest_is_well_formed(digest: Mapping[str, Any], kind: str) -> bool:
    """Whether an in-toto digest set is exactly one digest of `kind` (`sha256` or `gitCommit`), lower-case hex."""
    value = digest.get(kind)
    # fullmatch: a `$` would let a line break pass after the last digit
    return set(digest) == {kind} and isinstance(value, str) and _DIGESTS[kind].fullmatch(value) is not None


def statement(predicate: Mapping[str, Any], subjects: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The in-toto Statement v1 that says `predicate` of `subjects`, each `{"name": …, "digest": {kind: hex}}`.

    `submission` has the digest `submission.digest` of the scorecard, `dataset` that of the canonical form of its `data`
    object: `verify` refuses a card whose subjects and contents differ. Raises `ValueError` for a name or kind of digest
    other than `SUBJECTS` lists, or a name given twice: all of these are the caller's mistake.
    """
    listed = [{"name": subject["name"], "digest": dict(subject["digest"])} for subject in subjects]
    for subject in listed:
        kind = SUBJECTS.get(subject["name"])
        if kind is None or not digest_is_well_formed(subject["digest"], kind):
            raise ValueError(f"not a subject: {subject}")
    if len({subject["name"] for subject in listed}) != len(listed):
        raise ValueError("a subject is named twice")
    return {
        "_type": STATEMENT_TYPE,
        "subject": listed,
        "predicateType": PREDICATE_TYPE,
        "predicate": dict(predicate),
    }


def sign(predicate: Mapping[str, Any], subjects: Iterable[Mapping[str, Any]], key: Ed25519PrivateKey) -> bytes:
    """The bytes of `scorecard.sigstore.json`: a Sigstore bundle v0.3 around a DSSE envelope, ending in a newline.

    The same scorecard and key give the same bytes. Raises `ValueError` when the scorecard has no canonical form that
    can be read back (NaN, infinity, an integer or a whole float beyond 2^53 − 1, nesting beyond 64, more than 8 MiB).
    """
    payload = canonical.to_bytes(statement(predicate, subjects))
    # A whole float such as 1e16 is written without a point, and refused as an integer when it is read: so read it now.
    if canonical.to_bytes(strict_json.parse(payload)) != payload:
        raise ValueError("the scorecard does not survive being written and read")
    signature = key.sign(dsse.pae(dsse.PAYLOAD_TYPE, payload))
    data = dsse.write(Envelope(payload, signature, keyid(key)))
    strict_json.parse(data)  # nor does the file exceed what is read
    return data
