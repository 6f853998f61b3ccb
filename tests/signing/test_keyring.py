"""Keyrings: every fault at once, and nothing in them that would let a stranger sign."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from support.paths import ROOT

from runner.core.errors import InvalidInput
from runner.core.resources import schema_folder
from runner.signing import keys
from runner.signing import sign as signing
from runner.signing.keyring import (
    benchmark_version,
    instant,
    keyring_of,
    load_keyring,
    parse_keyring,
    schema_version,
    scheme_of,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
FIELD = 2**255 - 19
WEAK = keys.public_pem(Ed25519PublicKey.from_public_bytes(b"\x01" + bytes(31)))


def _entry(**changes: Any) -> dict[str, Any]:
    return {
        "keyid": keys.keyid(KEY),
        "pem": keys.public_pem(KEY),
        "scheme": "ed25519",
        "predicate_types": [signing.PREDICATE_TYPE],
        "role": "lab",
        "not_before": None,
        "not_after": None,
        "revoked": None,
    } | changes


def _ring(*entries: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema_version": "1",
        "policy": {
            "predicate_types": [signing.PREDICATE_TYPE],
            "schema_version": {"lowest": "1", "withdrawn": []},
            "benchmark_version": {"lowest": "1.2.3", "withdrawn": ["1.3.0", "2.0.0"]},
        },
        "keys": list(entries) or [_entry()],
    }


def _codes(document: Any) -> list[tuple[str, str | None]]:
    with pytest.raises(InvalidInput) as caught:
        parse_keyring(json.dumps(document).encode())
    return [(fault.code, fault.path) for fault in caught.value.faults]


def test_a_keyring_is_read(tmp_path: Path) -> None:
    revoked = {"at": "2026-09-01T02:00:00+02:00", "reason": "theft", "honour_digests": ["a" * 64]}
    entry = _entry(not_before="2026-01-01T00:00:00Z", role="verifier", owner="Example", revoked=revoked)
    path = tmp_path / "trusted_keys.json"
    path.write_text(json.dumps(_ring(entry)))
    ring = load_keyring(path)
    (key,) = ring.keys
    assert (key.keyid, key.role, key.owner, key.scheme) == (keys.keyid(KEY), "verifier", "Example", "ed25519")
    assert key.public_key == KEY.public_key()
    assert (key.not_before, key.not_after) == (datetime(2026, 1, 1, tzinfo=UTC), None)
    assert key.revoked is not None
    assert key.revoked.at == datetime(2026, 9, 1, tzinfo=UTC)
    assert key.revoked.honour_digests == {"a" * 64}
    assert ring.schema_versions.lowest == (1,)
    assert ring.benchmark_versions.lowest == (1, 2, 3)
    assert ring.benchmark_versions.withdrawn == {(1, 3, 0), (2, 0, 0)}
    assert not ring.own


def test_all_faults_are_told_at_once() -> None:
    document = _ring(
        _entry(keyid="0" * 64, not_before="yesterday"),
        _entry(),
        _entry(role="judge", pem="x"),
        _entry(pem="x", revoked={"at": "2026-09-01", "reason": "r", "honour_digests": ["x"]}),
        _entry(pem="-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
    )
    document["extra"] = 1
    assert sorted(_codes(document), key=str) == sorted(
        [
            ("KEYRING_SCHEMA", "$"),
            ("KEYRING_TIME", "$.keys[0].not_before"),
            ("KEYRING_KEYID", "$.keys[0].keyid"),
            ("KEYRING_TWICE", "$.keys[1]"),
            ("KEYRING_SCHEMA", "$.keys[2].role"),
            ("KEYRING_SCHEMA", "$.keys[3].revoked.honour_digests[0]"),
            ("KEYRING_PEM", "$.keys[4].pem"),
        ],
        key=str,
    )


@pytest.mark.parametrize(
    ("changes", "code", "place"),
    [
        ({"pem": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}, "KEYRING_PEM", ".pem"),
        ({"scheme": "ecdsa-p256-sha256"}, "KEYRING_SCHEME", ".scheme"),
        ({"pem": WEAK}, "KEYRING_WEAK", ".pem"),
        ({"keyid": "0" * 64}, "KEYRING_KEYID", ".keyid"),
        ({"role": "judge"}, "KEYRING_SCHEMA", ".role"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_fault_of_one_key_hides_none_of_the_next(changes: dict[str, Any], code: str, place: str) -> None:
    document = _ring(_entry(**changes), _entry(keyid="f" * 64))
    expected = {(code, f"$.keys[0]{place}"), ("KEYRING_KEYID", "$.keys[1].keyid")}
    assert expected <= set(_codes(document))


def test_a_private_key_in_a_keyring_is_called_what_it_is() -> None:
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(InvalidInput, match="PRIVATE key") as caught:
        parse_keyring(json.dumps(_ring(_entry(pem=pem))).encode())
    assert pem.splitlines()[1] not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048).public_key(),
        ec.generate_private_key(ec.SECP384R1()).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        x25519.X25519PrivateKey.generate().public_key(),
    ],
    ids=["rsa", "p384", "secp256k1", "x25519"],
)
def test_other_kinds_of_key_are_refused(key: Any) -> None:
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for scheme in ("ed25519", "ecdsa-p256-sha256"):
        assert _codes(_ring(_entry(pem=pem, scheme=scheme))) == [("KEYRING_SCHEME", "$.keys[0].scheme")]


def _add(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    """Addition on edwards25519 (RFC 8032, section 5.1): an oracle for what a point of small order is."""
    d = -121665 * pow(121666, -1, FIELD)
    (x1, y1), (x2, y2) = first, second
    product = d * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, FIELD)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, FIELD)
    return x % FIELD, y % FIELD


def _decode(raw: bytes) -> tuple[int, int] | None:
    """Decompress a point, non-canonical y allowed as lenient verifiers do; None where there is no such x."""
    number = int.from_bytes(raw, "little")
    y, sign = (number & (2**255 - 1)) % FIELD, number >> 255
    d = -121665 * pow(121666, -1, FIELD) % FIELD
    square = (y * y - 1) * pow(d * y * y + 1, -1, FIELD) % FIELD
    x = pow(square, (FIELD + 3) // 8, FIELD)
    if (x * x - square) % FIELD:
        x = x * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
    if (x * x - square) % FIELD:
        return None
    return (FIELD - x if x % 2 != sign and x else x), y


def _times_eight(point: tuple[int, int]) -> tuple[int, int]:
    for _ in range(3):
        point = _add(point, point)
    return point


def _small_order_encodings() -> list[bytes]:
    """All of them, found from a point of order 8: any point times the order of the large subgroup."""
    order, base = 2**252 + 27742317777372353535851937790883648493, _decode(bytes([3]) + bytes(31))
    number = 3
    while True:
        while base is None:
            number += 1
            base = _decode(bytes([number]) + bytes(31))
        torsion: tuple[int, int] = (0, 1)
        for bit in bin(order)[2:]:
            torsion = _add(torsion, torsion)
            torsion = _add(torsion, base) if bit == "1" else torsion
        if _add(_add(torsion, torsion), _add(torsion, torsion)) != (0, 1):
            break
        base, number = None, number + 1
    points, point = [], (0, 1)
    for _ in range(8):
        points.append(point)
        point = _add(point, torsion)
    assert point == (0, 1)
    assert len(set(points)) == 8
    numbers = {y + extra * FIELD for _, y in points for extra in (0, 1) if y + extra * FIELD < 2**255}
    return [(number | sign << 255).to_bytes(32, "little") for number in sorted(numbers) for sign in (0, 1)]


def test_keys_of_small_order_are_refused() -> None:
    encodings = _small_order_encodings()
    assert len(encodings) == 14  # five y, two of them also as y + p, each with either sign bit
    for raw in encodings:
        der = bytes.fromhex("302a300506032b6570032100") + raw
        pem = f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(der).decode()}\n-----END PUBLIC KEY-----\n"
        assert _codes(_ring(_entry(pem=pem)))[0][0] in ("KEYRING_WEAK", "KEYRING_PEM"), raw.hex()


def test_why_they_are_refused() -> None:
    """With the neutral element as a key, one signature fits every message: nobody's secret is needed."""
    weak = Ed25519PublicKey.from_public_bytes(b"\x01" + bytes(31))
    for message in (b"any", b"message"):
        weak.verify(b"\x01" + bytes(63), message)
    with pytest.raises(InvalidSignature):
        KEY.public_key().verify(b"\x01" + bytes(63), b"any")


@given(st.binary(min_size=32, max_size=32))
def test_ordinary_keys_are_not_of_small_order(seed: bytes) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    ring = parse_keyring(json.dumps(_ring(_entry(keyid=keys.keyid(key), pem=keys.public_pem(key)))).encode())
    assert ring.keys[0].public_key == key.public_key()
    point = _decode(key.public_key().public_bytes_raw())
    assert point is not None
    assert _times_eight(point) != (0, 1)


def test_the_own_key_alone() -> None:
    ring = keyring_of(KEY.public_key())
    assert ring.own
    assert [(key.keyid, key.role) for key in ring.keys] == [(keys.keyid(KEY), "lab")]
    with pytest.raises(ValueError, match="P-256"):
        keyring_of(ec.generate_private_key(ec.SECP384R1()).public_key())


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b'{"keys": 1}', b'{"keys": [1, null, {}]}', b"\xff"])
def test_what_is_no_keyring_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_keyring(data, file="ring.json")
    assert all(fault.file == "ring.json" for fault in caught.value.faults)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


@given(st.data())
def test_any_other_value_anywhere_gives_a_keyring_or_faults(data: st.DataObject) -> None:
    revoked = {"at": "2026-09-01T00:00:00Z", "reason": "theft", "honour_digests": ["a" * 64]}
    document = _ring(_entry(revoked=revoked, owner="Example"))
    holder: Any = document
    while True:
        place = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        inner = holder[place]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        holder = inner
    holder[place] = data.draw(json_values)
    kept = None
    try:
        kept = parse_keyring(json.dumps(document).encode())
    except InvalidInput as error:
        codes = {fault.code for fault in error.faults}
    assert kept is not None or all(code.startswith("KEYRING_") for code in codes)


def test_missing_and_unreadable_files_are_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(InvalidInput) as caught:
            load_keyring(path)
        assert caught.value.faults[0].code == "KEYRING_MISSING"


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), st.integers(-1439, 1439))
def test_instants_are_read_as_they_were_written(moment: datetime, minutes: int) -> None:
    sign, size = "-" if minutes < 0 else "+", abs(minutes)
    text = f"{moment.isoformat()}{sign}{size // 60:02}:{size % 60:02}"
    assert instant(text) == moment.replace(tzinfo=UTC) - timedelta(minutes=minutes)


@pytest.mark.parametrize(
    "text",
    [
        "2026-06-01T12:00:00",
        "2026-06-01 12:00:00Z",
        "2026-06-01T12:00Z",
        "2026-06-01",
        "20260601T120000Z",
        "2026-W23-1T12:00:00Z",
        "2026-06-31T12:00:00Z",
        "2026-06-01T24:00:00Z",
        "2026-06-01T12:00:00+24:00",
        "2026-06-01T12:00:00Z\n",
        " 2026-06-01T12:00:00Z",
        "2026-06-01T12:00:00z",
        "٢٠٢٦-06-01T12:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        1780315200,
        None,
        ["2026-06-01T12:00:00Z"],
    ],
)
def test_what_is_no_instant(text: object) -> None:
    assert instant(text) is None


@pytest.mark.parametrize(
    "text",
    ["", "1.0", "1.0.0.0", "01.0.0", "1.0.0 ", "1.0.0\n", "1_0.0.0", "+1.0.0", "1.0.x", "١.٠.٠", "9" * 10 + ".0.0"],
)
def test_what_is_no_benchmark_version(text: str) -> None:
    assert benchmark_version(text) is None


@given(st.tuples(*[st.integers(0, 999_999_999)] * 3))
def test_versions_are_numbers(version: tuple[int, int, int]) -> None:
    assert benchmark_version(".".join(map(str, version))) == version
    assert schema_version(str(version[0])) == version[:1]


def test_the_schema_is_a_schema_and_its_example_holds() -> None:
    """The example of the guide fits, but for its placeholder key."""
    from jsonschema import Draft202012Validator

    schema = json.loads((schema_folder() / "keyring.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    guide = (ROOT / "docs" / "signing.md").read_text(encoding="utf-8")
    example = json.loads(guide.split("```json\n")[1].split("```")[0])
    assert list(Draft202012Validator(schema).iter_errors(example)) == []
    example["keys"][0]["pem"], example["keys"][0]["keyid"] = keys.public_pem(KEY), keys.keyid(KEY)
    assert parse_keyring(json.dumps(example).encode()).keys[0].owner == "Example Laboratory"


def test_a_pem_is_one_block_and_begins_with_it() -> None:
    """Each condition alone: the library itself reads the first block of two, and passes over text before one."""
    pem = keys.public_pem(KEY)
    for text in (pem + pem, f"a note\n{pem}", f"\n{pem}"):
        assert _codes(_ring(_entry(pem=text))) == [("KEYRING_PEM", "$.keys[0].pem")]


def test_a_scheme_is_of_one_kind_of_key_on_one_curve() -> None:
    assert scheme_of(KEY.public_key()) == "ed25519"
    assert scheme_of(ec.generate_private_key(ec.SECP256R1()).public_key()) == "ecdsa-p256-sha256"
    for curve in (ec.SECP384R1(), ec.SECP256K1()):
        assert scheme_of(ec.generate_private_key(curve).public_key()) is None
    for other in (rsa.generate_private_key(65537, 2048).public_key(), x25519.X25519PrivateKey.generate(), None):
        assert scheme_of(other) is None


def test_a_window_has_some_length() -> None:
    times = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00")
    assert _codes(_ring(_entry(not_before=times[0], not_after=times[1]))) == [("KEYRING_TIME", "$.keys[0].not_after")]
    assert parse_keyring(json.dumps(_ring(_entry(not_before=times[0], not_after="2026-01-01T00:00:01Z"))).encode())
