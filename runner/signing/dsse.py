"""The two outer layers of a signed scorecard: a Sigstore bundle v0.3 around a DSSE v1 envelope, written and opened."""

import base64
import binascii
import json
import re
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from runner.core import strict_json
from runner.core.errors import Fault, VerificationError
from runner.core.json_schema import shown

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Envelope:
    """Bytes and their signature, neither checked yet."""

    payload: bytes
    """The signed bytes."""
    signature: bytes
    """The signature."""
    hint: str
    """The key's id as the file states it, which proves nothing."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE v1 pre-authentication encoding: `DSSEv1 len(type) type len(payload) payload`, lengths in bytes."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def write(envelope: Envelope) -> bytes:
    """The bundle file, ending in a newline."""
    document = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": envelope.hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(envelope.payload).decode("ascii"),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(envelope.signature).decode("ascii"), "keyid": envelope.hint}],
        },
    }
    return json.dumps(document, indent=2).encode("ascii") + b"\n"


def read(data: bytes) -> Envelope:
    """What a bundle file holds, if it has exactly the form that `write` gives it (spacing and order aside).

    Raises `VerificationError` at the first of: SIG_TOO_LARGE, SIG_ENCODING, SIG_TOO_DEEP, SIG_JSON, SIG_FIELDS,
    SIG_KEYLESS (a certificate where a key hint was expected), SIG_MEDIA_TYPE, SIG_PAYLOAD_TYPE, SIG_COUNT, SIG_BASE64.
    """
    try:
        bundle = strict_json.parse(data, max_bytes=MAX_BYTES)
    except strict_json.JsonFault as fault:
        raise VerificationError(Fault(f"SIG_{fault.code}", f"{fault.message}.", line=fault.line)) from None
    envelope = _shape(bundle)
    same("SIG_MEDIA_TYPE", "$.mediaType", bundle["mediaType"], MEDIA_TYPE)
    same("SIG_PAYLOAD_TYPE", "$.dsseEnvelope.payloadType", envelope["payloadType"], PAYLOAD_TYPE)
    signatures = envelope["signatures"]
    if len(signatures) != 1:
        message = f"holds {len(signatures)} signatures; exactly one was expected."
        raise refusal("SIG_COUNT", message, "$.dsseEnvelope.signatures")
    return Envelope(
        payload=_base64(envelope["payload"], "$.dsseEnvelope.payload"),
        signature=_base64(signatures[0]["sig"], "$.dsseEnvelope.signatures[0].sig"),
        hint=signatures[0]["keyid"],
    )


def _shape(bundle: Any) -> dict[str, Any]:
    """The envelope of a bundle whose objects have exactly their fields: whatever is not signed is not let in."""
    fields("SIG_FIELDS", "$", bundle, {"mediaType", "verificationMaterial", "dsseEnvelope"})
    at = "$.verificationMaterial"
    material = bundle["verificationMaterial"]
    if isinstance(material, dict) and "publicKey" not in material and _CERTIFICATES & material.keys():
        message = "is a certificate (keyless signing); this verifier knows managed keys only and cannot judge it."
        raise refusal("SIG_KEYLESS", message, at)
    fields("SIG_FIELDS", at, material, {"publicKey", "tlogEntries"})
    fields("SIG_FIELDS", f"{at}.publicKey", material["publicKey"], {"hint"})
    _text(f"{at}.publicKey.hint", material["publicKey"]["hint"])
    if material["tlogEntries"] != []:
        message = "is not an empty list; no transparency log is checked here, and nothing unchecked is let in."
        raise refusal("SIG_FIELDS", message, f"{at}.tlogEntries")
    at = "$.dsseEnvelope"
    envelope: dict[str, Any] = bundle["dsseEnvelope"]
    fields("SIG_FIELDS", at, envelope, {"payload", "payloadType", "signatures"})
    _text(f"{at}.payload", envelope["payload"])
    if not isinstance(envelope["signatures"], list):
        raise refusal("SIG_FIELDS", f"is {shown(envelope['signatures'])}; a list was expected.", f"{at}.signatures")
    for index, signature in enumerate(envelope["signatures"]):
        fields("SIG_FIELDS", f"{at}.signatures[{index}]", signature, {"sig", "keyid"})
        _text(f"{at}.signatures[{index}].sig", signature["sig"])
        _text(f"{at}.signatures[{index}].keyid", signature["keyid"])
    return envelope


_CERTIFICATES = frozenset({"certificate", "x509CertificateChain"})
_STANDARD = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_URL_SAFE = re.compile(r"[A-Za-z0-9_-]*={0,2}")


def _base64(text: str, path: str) -> bytes:
    """Decode canonical base64: one of the two alphabets, padded, no stray bits, nothing in between."""
    if _STANDARD.fullmatch(text):
        standard = text
    elif _URL_SAFE.fullmatch(text):
        standard = text.replace("-", "+").replace("_", "/")
    else:
        message = "is not base64 in the standard or the URL-safe alphabet (not mixed, nothing else in between)."
        raise refusal("SIG_BASE64", message, path)
    try:
        decoded = base64.b64decode(standard, validate=True)
    except binascii.Error:
        raise refusal("SIG_BASE64", "is not base64: its length or padding is wrong.", path) from None
    if base64.b64encode(decoded).decode("ascii") != standard:
        raise refusal("SIG_BASE64", "is not canonical base64: it has stray bits at its end.", path)
    return decoded


# --- how a file is refused, here and inside the signature ----------------------------------------------------------


def refusal(code: str, message: str, path: str | None = None) -> VerificationError:
    """One fault as an error to raise."""
    return VerificationError(Fault(code, message, path=path))


def fields(code: str, path: str, value: Any, names: Set[str]) -> None:
    """Refuse anything but an object with exactly the fields `names`."""
    if not isinstance(value, dict):
        raise refusal(code, f"is {shown(value)}; an object was expected.", path)
    if missing := sorted(names - value.keys()):
        raise refusal(code, f"lacks {', '.join(missing)}.", path)
    if extra := sorted(value.keys() - names):
        raise refusal(code, f"has unknown {', '.join(map(shown, extra[:5]))}.", path)


def same(code: str, path: str, actual: Any, expected: str) -> None:
    """Refuse anything but the string `expected`."""
    if actual != expected:
        raise refusal(code, f"is {shown(actual)}; {shown(expected)} was expected.", path)


def _text(path: str, value: Any) -> None:
    if not isinstance(value, str):
        raise refusal("SIG_FIELDS", f"is {shown(value)}; a string was expected.", path)
