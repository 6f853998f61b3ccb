"""Verification: what a caller is told, and that no change of a single byte or value gets through."""

import base64
import copy
import dataclasses
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import assume, given
from hypothesis import strategies as st
from support.paths import TESTS

from runner.core import canonical
from runner.core.errors import VerificationError
from runner.core.resources import schema_folder
from runner.signing import dsse, keys, sign, verifier
from runner.signing.keyring import ECDSA_P256, ED25519, Keyring, keyring_of, load_keyring
from runner.signing.policy import Expectations
from runner.signing.verifier import Verified, read_signed, verify_bundle

VECTORS = TESTS / "conformance"
SCHEMA = json.loads((schema_folder() / "scorecard.schema.json").read_text(encoding="utf-8"))
STANDARD = (VECTORS / "valid" / "compact.sigstore.json").read_bytes()
STATEMENT = json.loads(base64.b64decode(json.loads(STANDARD)["dsseEnvelope"]["payload"]))
CARD = STATEMENT["predicate"]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OWN = keyring_of(KEY.public_key())
RING = load_keyring(VECTORS / "keyring.json")
CODES = {f"SIG_{fault}" for fault in ("TOO_LARGE", "ENCODING", "TOO_DEEP", "JSON", "FIELDS", "KEYLESS", "MEDIA_TYPE")}
CODES |= {f"SIG_{fault}" for fault in ("PAYLOAD_TYPE", "COUNT", "BASE64", "UNTRUSTED", "PAYLOAD_JSON", "NOT_CANONICAL")}
CODES |= {f"SIG_{fault}" for fault in ("STATEMENT", "PREDICATE_TYPE", "VERSION", "KEY_WINDOW", "KEY_REVOKED", "SCHEMA")}
CODES |= {"SIG_SUBJECT", "SIG_EXPECTATION"}  # and never SIG_MALFORMED, which would be a bug of ours


def _refusal(data: bytes, keyring: Keyring = OWN, expected: Expectations | None = None) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        verify_bundle(data, keyring, expected, schema=SCHEMA)
    return caught.value


def _resigned(statement: Any) -> bytes:
    payload = canonical.to_bytes(statement)
    signature = KEY.sign(dsse.pae(dsse.PAYLOAD_TYPE, payload))
    return dsse.write(dsse.Envelope(payload, signature, keys.keyid(KEY)))


def test_what_sign_makes_is_verified() -> None:
    data = sign.sign(CARD, STATEMENT["subject"], KEY)
    verified = verify_bundle(data, OWN, schema=SCHEMA)
    assert verified.predicate == CARD
    assert verified.statement == STATEMENT
    assert verified.keyid == keys.keyid(KEY)
    assert (verified.role, verified.assurance) == ("lab", "self-reported")
    assert verified.sha256 == canonical.sha256_bytes(data)


@pytest.mark.parametrize("version", ["0.0.0", "999999999.0.0"])
def test_ones_own_key_verifies_its_cards_of_any_benchmark_version(version: str) -> None:
    card = CARD | {"benchmark": CARD["benchmark"] | {"version": version}}
    data = sign.sign(card, STATEMENT["subject"], KEY)
    assert verify_bundle(data, keyring_of(KEY.public_key()), schema=SCHEMA).predicate == card


def test_the_verifiers_role_makes_it_a_reproduction() -> None:
    data = (VECTORS / "valid" / "verifier.sigstore.json").read_bytes()
    verified = verify_bundle(data, RING, schema=SCHEMA)
    assert (verified.role, verified.assurance, verified.owner) == (
        "verifier",
        "independently reproduced",
        "TEST KEY verifier",
    )
    assert not any("Self-reported" in note for note in verified.notes)


def test_what_the_caller_left_open_is_said() -> None:
    data = sign.sign(CARD, STATEMENT["subject"], KEY)
    notes = " ".join(verify_bundle(data, OWN, schema=SCHEMA).notes)
    assert "bound to nothing you named" in notes
    assert "your own key alone" in notes
    assert "older card" in notes
    expected = Expectations(submission=CARD["submission"]["digest"], nonce=CARD["run"]["nonce"])
    notes = " ".join(verify_bundle(STANDARD, RING, expected, schema=SCHEMA).notes)
    assert "bound to nothing" not in notes
    assert "own key" not in notes
    assert "older card" not in notes


def test_an_honoured_card_says_that_its_key_was_revoked() -> None:
    data = (VECTORS / "valid" / "revoked-key-honoured.sigstore.json").read_bytes()
    assert any("revoked" in note for note in verify_bundle(data, RING, schema=SCHEMA).notes)


def test_bounds_of_time_are_inclusive() -> None:
    finished = datetime(2026, 6, 1, 12, tzinfo=UTC)
    verify_bundle(STANDARD, RING, Expectations(not_before=finished), schema=SCHEMA)
    with pytest.raises(ValueError, match="zone"):
        verify_bundle(STANDARD, RING, Expectations(not_before=finished.replace(tzinfo=None)), schema=SCHEMA)


def test_every_schema_fault_is_told() -> None:
    card = copy.deepcopy(CARD) | {"rank": 1, "suite": 2}
    del card["predictions"]
    error = _refusal(sign.sign(card, STATEMENT["subject"], KEY))
    assert [(fault.code, fault.path) for fault in error.faults] == [
        ("SIG_SCHEMA", "$.predicate"),
        ("SIG_SCHEMA", "$.predicate"),
        ("SIG_SCHEMA", "$.predicate.suite"),
    ]
    text = str(error)
    assert '"rank"' in text
    assert '"predictions"' in text


def test_a_flood_of_faults_is_bounded() -> None:
    card = copy.deepcopy(CARD)
    card["data"] = {f"\x1b[31m{number}": number for number in range(50_000)}
    subjects = copy.deepcopy(STATEMENT["subject"])
    error = _refusal(sign.sign(card, subjects, KEY))
    assert len(error.faults) == 20
    assert all(str(fault).isprintable() and len(str(fault)) < 300 for fault in error.faults)


def test_a_tampered_card_in_its_signers_name_says_so() -> None:
    data = sign.sign(CARD, STATEMENT["subject"], KEY)
    bundle = json.loads(data)
    changed = canonical.to_bytes(STATEMENT).replace(b'"comparable":true', b'"comparable":null')
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(changed).decode()
    error = _refusal(json.dumps(bundle).encode())
    assert error.faults[0].code == "SIG_UNTRUSTED"
    assert "content was changed" in str(error)


def test_a_bug_of_ours_is_a_refusal_and_keeps_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("forgotten")

    monkeypatch.setattr(verifier, "_check_window", broken)
    error = _refusal(STANDARD, RING)
    assert error.faults[0].code == "SIG_MALFORMED"
    assert isinstance(error.__cause__, KeyError)


def test_a_signature_that_fits_two_keys_is_refused() -> None:
    twice = Keyring((*OWN.keys, *OWN.keys), OWN.predicate_types, OWN.schema_versions, OWN.benchmark_versions)
    error = _refusal(sign.sign(CARD, STATEMENT["subject"], KEY), twice)
    assert error.faults[0].code == "SIG_UNTRUSTED"
    assert "2 keys" in str(error)


def test_a_reader_of_thousands_tries_the_key_that_a_card_names_and_others_only_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = [keyring_of(Ed25519PrivateKey.generate().public_key()).keys[0] for _ in range(3)]
    ring = dataclasses.replace(OWN, keys=(*others, *OWN.keys))
    tried = []
    is_signed_by = verifier._is_signed_by
    monkeypatch.setattr(
        verifier, "_is_signed_by", lambda key, *rest: tried.append(key.keyid) or is_signed_by(key, *rest)
    )
    assert read_signed(sign.sign(CARD, STATEMENT["subject"], KEY), ring)[1].keyid == keys.keyid(KEY) == tried.pop()
    assert tried == []
    opened = dsse.read(sign.sign(CARD, STATEMENT["subject"], KEY))
    borrowed = dsse.write(dataclasses.replace(opened, hint=others[0].keyid))
    assert read_signed(borrowed, ring)[1].keyid == keys.keyid(KEY)
    assert len(tried) == 1 + len(ring.keys)


def test_nothing_is_parsed_before_the_signature_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stranger's signature the payload may be anything at all: the answer is the same."""
    for payload in (b"", b"{" * 1000, b"\xff", b"NaN"):
        signature = Ed25519PrivateKey.generate().sign(dsse.pae(dsse.PAYLOAD_TYPE, payload))
        data = dsse.write(dsse.Envelope(payload, signature, ""))
        assert _refusal(data).faults[0].code == "SIG_UNTRUSTED"


# --- fuzz ----------------------------------------------------------------------------------------------------------


def _answer(data: bytes, keyring: Keyring) -> Verified | VerificationError:
    """What is verified, or why not: whatever else is raised is a bug."""
    try:
        return verify_bundle(data, keyring, schema=SCHEMA)
    except VerificationError as error:
        return error


def _is_proper(refusal: VerificationError) -> bool:
    """Whether it names codes of the table only, at least one, in words that are fit for a terminal."""
    codes = {fault.code for fault in refusal.faults}
    return bool(codes) and codes <= CODES and "".join(map(str, refusal.faults)).isprintable()


def _is_the_card(answer: Verified, data: bytes) -> bool:
    """Whether `data` says exactly what the card says that it was made from, under its own digest."""
    return answer.statement == STATEMENT and answer.sha256 == canonical.sha256_bytes(data)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["set", "insert", "delete", "copy"]),
            st.integers(0, len(STANDARD) - 1),
            st.integers(0, len(STANDARD) - 1),
            st.binary(min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_changed_bytes_never_say_something_else(changes: list[tuple[str, int, int, bytes]]) -> None:
    data = bytearray(STANDARD)
    for kind, at, other, new in changes:
        match kind:
            case "set":
                data[at : at + len(new)] = new
            case "insert":
                data[at:at] = new
            case "delete":
                del data[at : at + len(new)]
            case "copy":
                data[at:at] = STANDARD[other : other + 40]
    answer = _answer(bytes(data), RING)
    assert _is_proper(answer) if isinstance(answer, VerificationError) else _is_the_card(answer, bytes(data))


def test_every_single_byte_of_the_signed_bytes_counts() -> None:
    bundle = json.loads(STANDARD)
    payload = bytearray(canonical.to_bytes(STATEMENT))
    for at in range(0, len(payload), 7):
        changed = payload.copy()
        changed[at] ^= 1 << at % 8
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(changed).decode()
        assert _refusal(json.dumps(bundle).encode(), RING).faults[0].code == "SIG_UNTRUSTED"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(-1e3, 1e3)
    | st.text(max_size=8)
    | st.sampled_from(["2026-06-01T12:00:00", "2026-06-01T12:00:00Z", "1.0.0", "1", "0" * 64, f"sha256:{'0' * 64}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def _changed_somewhere(document: Any, data: st.DataObject) -> Any:
    """`document` with one value replaced, removed or added, anywhere."""
    document = copy.deepcopy(document)
    holder = document
    while True:
        place = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        inner = holder[place]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.integers(0, 3)) == 0:
            break
        holder = inner
    match data.draw(st.sampled_from(["replace", "replace", "remove", "add"])):
        case "replace":
            holder[place] = data.draw(json_values)
        case "remove":
            del holder[place]
        case "add" if isinstance(holder, dict):
            holder[data.draw(st.text(max_size=6))] = data.draw(json_values)
        case _:
            holder.append(data.draw(json_values))
    return document


@given(st.data())
def test_a_bundle_changed_anywhere_never_says_something_else(data: st.DataObject) -> None:
    changed = json.dumps(_changed_somewhere(json.loads(STANDARD), data)).encode()
    answer = _answer(changed, RING)
    assert _is_proper(answer) if isinstance(answer, VerificationError) else _is_the_card(answer, changed)


@given(st.data())
def test_a_signer_may_write_anything_and_is_never_met_with_a_bug(data: st.DataObject) -> None:
    """A trusted signer's statement, changed anywhere and signed again: it fits all rules, or one of them says no."""
    statement = _changed_somewhere(STATEMENT, data)
    answer = _answer(_resigned(statement), OWN)
    if isinstance(answer, VerificationError):
        assert _is_proper(answer)
        assert len({fault.code for fault in answer.faults}) == 1
    else:
        assert canonical.to_bytes(dict(answer.statement)) == canonical.to_bytes(statement)
        assert set(answer.predicate) == set(CARD)


@given(json_values)
def test_any_signed_value_is_met_with_words(value: Any) -> None:
    assume(value != STATEMENT)
    assert {fault.code for fault in _refusal(_resigned(value)).faults} == {"SIG_STATEMENT"}


@given(st.binary(max_size=300))
def test_any_bytes_are_met_with_words(data: bytes) -> None:
    assert {fault.code for fault in _refusal(data).faults} <= CODES


# --- quick to import -----------------------------------------------------------------------------------------------


def test_verification_imports_nothing_heavy() -> None:
    code = "import sys, runner.signing.verifier; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "transformers", "peft", "safetensors", "numpy", "scipy", "yaml", "rich"}


@pytest.mark.parametrize(
    ("seconds", "code"), [(-1, "SIG_KEY_WINDOW"), (0, None), (3600, None), (3601, "SIG_KEY_WINDOW")]
)
def test_both_ends_of_a_keys_window_belong_to_it(seconds: int, code: str | None) -> None:
    begin = datetime(2026, 5, 1, 12, tzinfo=UTC)
    key = dataclasses.replace(OWN.keys[0], not_before=begin, not_after=begin + timedelta(hours=1))
    card = {"run": {"finished_at": (begin + timedelta(seconds=seconds)).isoformat()}}
    if code is None:
        verifier._check_window(card, key, "0" * 64)
    else:
        with pytest.raises(VerificationError) as caught:
            verifier._check_window(card, key, "0" * 64)
        assert [fault.code for fault in caught.value.faults] == [code]


@pytest.mark.parametrize("scheme", [ED25519, ECDSA_P256])
def test_a_key_counts_under_the_scheme_of_its_own_kind_alone(scheme: str) -> None:
    """A keyring that was put together by a program may say anything of a key."""
    payload = canonical.to_bytes(STATEMENT)
    signed = dsse.pae(dsse.PAYLOAD_TYPE, payload)
    curve = ec.generate_private_key(ec.SECP256R1())
    signatures = {
        ED25519: (KEY.public_key(), KEY.sign(signed)),
        ECDSA_P256: (curve.public_key(), curve.sign(signed, ec.ECDSA(SHA256()))),
    }
    for kind, (public, signature) in signatures.items():
        key = dataclasses.replace(OWN.keys[0], keyid=keys.keyid(public), public_key=public, scheme=scheme)
        data = dsse.write(dsse.Envelope(payload, signature, key.keyid))
        ring = dataclasses.replace(OWN, keys=(key,))
        if kind == scheme:
            assert verify_bundle(data, ring, schema=SCHEMA).keyid == key.keyid
        else:
            error = _refusal(data, ring)
            assert error.faults[0].code == "SIG_MALFORMED"
            assert isinstance(error.__cause__, ValueError)
