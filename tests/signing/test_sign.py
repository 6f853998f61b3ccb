"""What is signed: published values for each layer, and a file that is the same for the same scorecard and key."""

import base64
import json
import struct
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from runner.core import strict_json
from runner.core.errors import VerificationError
from runner.signing import dsse as envelope
from runner.signing import keys, sign

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SUBJECT = {"name": "submission", "digest": {"sha256": "0" * 64}}


def test_pae_of_the_dsse_specification() -> None:
    """The example in protocol.md of the DSSE specification."""
    made = envelope.pae("http://example.com/HelloWorld", b"hello world")
    assert made == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@given(st.text(), st.binary(), st.text(), st.binary())
def test_pae_tells_any_two_messages_apart(kind: str, body: bytes, other_kind: str, other_body: bytes) -> None:
    same = envelope.pae(kind, body) == envelope.pae(other_kind, other_body)
    assert same == ((kind, body) == (other_kind, other_body))


def test_ed25519_of_rfc_8032() -> None:
    """RFC 8032, section 7.1, test 2: so that the library and the byte order are what we think."""
    secret = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    signature = (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert Ed25519PrivateKey.from_private_bytes(secret).sign(b"\x72").hex() == signature


# RFC 8785, appendix B: IEEE 754 bits and how the number is written.
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555555": "333333333.3333333",
    "becbf647612f3696": "-0.0000033333333333333333",
}


@pytest.mark.parametrize(("bits", "written"), NUMBERS.items())
def test_numbers_of_rfc_8785(bits: str, written: str) -> None:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert rfc8785.dumps(value).decode() == written


def test_canonical_form_of_rfc_8785() -> None:
    """RFC 8785, sections 3.2.2 and 3.2.3: literals, and keys sorted by UTF-16 code units."""
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert rfc8785.dumps(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    assert list(json.loads(rfc8785.dumps(dict.fromkeys(keys)))) == [keys[at] for at in (1, 3, 5, 6, 0, 4, 2)]


def test_cross_check_values_that_other_implementations_gave() -> None:
    made = rfc8785.dumps([0.7312500000000001, 1e-7, 1e21, "é€😀"])
    assert made == '[0.7312500000000001,1e-7,1e+21,"é€😀"]'.encode()


def test_the_file_is_the_four_layers() -> None:
    card = {"b": 1.0, "a": None}
    data = sign.sign(card, [SUBJECT], KEY)
    assert data.endswith(b"}\n")
    bundle = json.loads(data)
    assert bundle.pop("mediaType") == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert bundle.pop("verificationMaterial") == {"publicKey": {"hint": keys.keyid(KEY)}, "tlogEntries": []}
    dsse = bundle.pop("dsseEnvelope")
    assert bundle == {}
    payload = base64.b64decode(dsse.pop("payload"))
    assert payload.decode() == (
        '{"_type":"https://in-toto.io/Statement/v1","predicate":{"a":null,"b":1},'
        '"predicateType":"https://moral-ambiguity.example/scorecard/v1",'
        f'"subject":[{{"digest":{{"sha256":"{"0" * 64}"}},"name":"submission"}}]}}'
    )
    (signature,) = dsse.pop("signatures")
    assert dsse == {"payloadType": "application/vnd.in-toto+json"}
    assert signature["keyid"] == keys.keyid(KEY)
    signed = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)
    KEY.public_key().verify(base64.b64decode(signature["sig"]), signed)


def test_the_same_card_and_key_give_the_same_bytes() -> None:
    assert sign.sign({"a": 1, "b": 2}, [SUBJECT], KEY) == sign.sign({"b": 2, "a": 1}, [SUBJECT], KEY)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(-9e15, 9e15)
    | st.floats(1e21, 1e300)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_what_is_signed_is_what_is_read(card: dict[str, Any]) -> None:
    opened = envelope.read(sign.sign(card, [SUBJECT], KEY))
    KEY.public_key().verify(opened.signature, envelope.pae(envelope.PAYLOAD_TYPE, opened.payload))
    assert strict_json.parse(opened.payload)["predicate"] == card


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**53, 2.0**53, 1e16, "\ud800", json.loads("[" * 70 + "]" * 70)]
)
def test_a_card_that_could_not_be_read_back_is_not_signed(value: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        sign.sign({"value": value}, [SUBJECT], KEY)


def test_a_card_that_is_too_large_is_not_signed() -> None:
    with pytest.raises(ValueError, match="8,388,608"):
        sign.sign({"value": "x" * (7 << 20)}, [SUBJECT], KEY)


@pytest.mark.parametrize(
    "subjects",
    [
        [{"name": "gpu", "digest": {"sha256": "0" * 64}}],
        [{"name": "submission", "digest": {"sha256": "0" * 63}}],
        [{"name": "submission", "digest": {"sha256": "A" * 64}}],
        [{"name": "submission", "digest": {"sha256": "0" * 64 + "\n"}}],
        [{"name": "submission", "digest": {"sha256": f"sha256:{'0' * 57}"}}],
        [{"name": "submission", "digest": {"gitCommit": "0" * 40}}],
        [{"name": "runner-source", "digest": {"gitCommit": "main"}}],
        [{"name": "runner-source", "digest": {"sha256": "0" * 64}}],
        [SUBJECT, SUBJECT],
    ],
)
def test_a_malformed_subject_is_not_signed(subjects: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="subject"):
        sign.sign({}, subjects, KEY)


@given(st.binary(max_size=60), st.binary(max_size=70), st.text())
def test_an_envelope_is_read_as_it_was_written(payload: bytes, signature: bytes, hint: str) -> None:
    whole = envelope.Envelope(payload, signature, hint)
    assert envelope.read(envelope.write(whole)) == whole


@given(st.text(alphabet="ABCDabcd0189+/-_=\n\r \u0661é", max_size=12))
def test_base64_has_one_spelling_per_alphabet(text: str) -> None:
    """Whatever is read is, but for the alphabet, exactly what the encoder writes."""
    bundle = json.loads(envelope.write(envelope.Envelope(b"", b"", "")))
    bundle["dsseEnvelope"]["payload"] = text
    decoded = None
    try:
        decoded = envelope.read(json.dumps(bundle).encode()).payload
    except VerificationError as error:
        codes = {fault.code for fault in error.faults}
    if decoded is None:
        assert codes == {"SIG_BASE64"}
        assert text not in (base64.b64encode(base64.b64decode(_forgiving(text))).decode() if _forgiving(text) else [])
    else:
        assert text in (base64.b64encode(decoded).decode(), base64.urlsafe_b64encode(decoded).decode())


@pytest.mark.parametrize("place", ["payload", "signatures[0].sig"])
def test_what_is_no_base64_is_named(place: str) -> None:
    bundle = json.loads(envelope.write(envelope.Envelope(b"", b"", "")))
    holder = bundle["dsseEnvelope"] if place == "payload" else bundle["dsseEnvelope"]["signatures"][0]
    holder[place.rpartition(".")[2]] = "A"
    with pytest.raises(VerificationError) as caught:
        envelope.read(json.dumps(bundle).encode())
    assert [(fault.code, fault.path) for fault in caught.value.faults] == [("SIG_BASE64", f"$.dsseEnvelope.{place}")]


def _forgiving(text: str) -> str:
    return text if len(text) % 4 == 0 and text.isascii() and text.replace("=", "").isalnum() and "=" not in text else ""


@pytest.mark.parametrize(
    ("material", "code"),
    [
        ({}, "SIG_FIELDS"),
        ({"tlogEntries": []}, "SIG_FIELDS"),
        ({"certificate": {}, "tlogEntries": []}, "SIG_KEYLESS"),
        ({"x509CertificateChain": {}}, "SIG_KEYLESS"),
        ({"certificate": {}, "publicKey": {"hint": ""}, "tlogEntries": []}, "SIG_FIELDS"),
    ],
)
def test_a_certificate_alone_is_called_keyless(material: dict[str, Any], code: str) -> None:
    bundle = json.loads(envelope.write(envelope.Envelope(b"", b"", "")))
    bundle["verificationMaterial"] = material
    with pytest.raises(VerificationError) as caught:
        envelope.read(json.dumps(bundle).encode())
    assert [(fault.code, fault.path) for fault in caught.value.faults] == [(code, "$.verificationMaterial")]
