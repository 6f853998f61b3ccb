"""The conformance vectors: made anew they are the same bytes, and our verifier gives the verdicts of the index."""

import base64
import json
from pathlib import Path
from typing import Any

import make_vectors
import pytest
from support.paths import GOLDEN

from runner.core.errors import InvalidInput, VerificationError
from runner.core.resources import schema_folder
from runner.signing.keyring import Keyring, instant, load_keyring
from runner.signing.policy import Expectations
from runner.signing.verifier import ASSURANCE, read_signed, verify_bundle

HERE = Path(__file__).resolve().parent
INDEX = json.loads((HERE / "index.json").read_text(encoding="utf-8"))
SCHEMA = json.loads((schema_folder() / "scorecard.schema.json").read_text(encoding="utf-8"))


def _name(entry: dict[str, Any]) -> str:
    return entry["file"].removesuffix(".sigstore.json") + ("-padded" if "padded_to" in entry else "")


def _bytes(entry: dict[str, Any]) -> bytes:
    return (HERE / entry["file"]).read_bytes().ljust(entry.get("padded_to", 0))


def _expectations(entry: dict[str, Any]) -> Expectations:
    given = dict(entry["expect"])
    if "not_before" in given:
        given["not_before"] = instant(given["not_before"])
    return Expectations(**given)


@pytest.fixture(scope="module")
def keyring() -> Keyring:
    return load_keyring(HERE / "keyring.json")


def test_the_vectors_are_what_their_script_makes() -> None:
    made = make_vectors.files()
    kept = [path for part in ("valid", "invalid", "keyrings") for path in (HERE / part).rglob("*") if path.is_file()]
    kept += [HERE / "keyring.json", HERE / "index.json"]
    assert {str(path.relative_to(HERE)) for path in kept} == set(made)
    different = [name for name, data in made.items() if (HERE / name).read_bytes() != data]
    assert different == []


@pytest.mark.parametrize("entry", INDEX["bundles"], ids=_name)
def test_verdict(entry: dict[str, Any], keyring: Keyring) -> None:
    expectations = _expectations(entry)
    if entry["verdict"] == "accept":
        verified = verify_bundle(_bytes(entry), keyring, expectations, schema=SCHEMA)
        assert verified.keyid == entry["key"]
        assert verified.assurance == ASSURANCE[verified.role]
        return
    with pytest.raises(VerificationError) as caught:
        verify_bundle(_bytes(entry), keyring, expectations, schema=SCHEMA, file="card")
    assert {fault.code for fault in caught.value.faults} == {entry["code"]}
    assert caught.value.exit_code == 4
    for fault in caught.value.faults:
        assert fault.file == "card"
        assert str(fault).isprintable(), "a stranger's text must not steer the terminal"
        assert len(str(fault)) < 700


LEFT_OUT = {"SIG_NOT_CANONICAL", "SIG_SCHEMA", "SIG_SUBJECT", "SIG_EXPECTATION"}


@pytest.mark.parametrize("entry", INDEX["bundles"], ids=_name)
def test_a_reader_of_archived_cards_leaves_out_these_steps_and_no_other(
    entry: dict[str, Any], keyring: Keyring
) -> None:
    if entry["code"] is None or entry["code"] in LEFT_OUT:
        predicate, key = read_signed(_bytes(entry), keyring)
        payload = json.loads(_bytes(entry))["dsseEnvelope"]["payload"]
        assert (
            predicate == json.loads(base64.urlsafe_b64decode(payload.replace("+", "-").replace("/", "_")))["predicate"]
        )
        assert key.keyid == entry["key"]
        return
    with pytest.raises(VerificationError) as caught:
        read_signed(_bytes(entry), keyring, file="card")
    assert {(fault.code, fault.file) for fault in caught.value.faults} == {(entry["code"], "card")}


@pytest.mark.parametrize("entry", INDEX["keyrings"], ids=lambda entry: Path(entry["file"]).stem)
def test_keyring_verdict(entry: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_keyring(HERE / entry["file"])
    assert sorted({fault.code for fault in caught.value.faults}) == entry["codes"]
    assert all(str(fault).isprintable() for fault in caught.value.faults)


def _read(entry: dict[str, Any], keyring: Keyring) -> None:
    if "codes" in entry:
        load_keyring(HERE / entry["file"])
    else:
        verify_bundle(_bytes(entry), keyring, _expectations(entry), schema=SCHEMA)


def test_what_is_said_of_every_refused_vector(keyring: Keyring, request: pytest.FixtureRequest) -> None:
    """The golden is what people read, to be read before a change of it is committed: code, place and words."""
    lines = []
    for entry in [*INDEX["bundles"], *INDEX["keyrings"]]:
        if entry.get("verdict") == "accept":
            continue
        with pytest.raises((InvalidInput, VerificationError)) as caught:
            _read(entry, keyring)
        said = [f"  {fault.code} {fault.path or '–'}: {fault.message}" for fault in caught.value.faults]
        lines += [f"{entry['file']}", *said, ""]
    text = "\n".join(lines)
    golden = GOLDEN / "refusals.txt"
    if request.config.getoption("--update-golden"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_every_step_has_a_vector() -> None:
    """The codes of the verification order, steps 1 to 19, and the named error for certificates."""
    steps = """TOO_LARGE ENCODING TOO_DEEP JSON FIELDS KEYLESS MEDIA_TYPE PAYLOAD_TYPE COUNT BASE64 UNTRUSTED
        PAYLOAD_JSON NOT_CANONICAL STATEMENT PREDICATE_TYPE VERSION KEY_WINDOW KEY_REVOKED SCHEMA SUBJECT EXPECTATION"""
    assert {entry["code"] for entry in INDEX["bundles"]} == {None, *(f"SIG_{step}" for step in steps.split())}


def test_each_expectation_alone_decides(keyring: Keyring) -> None:
    """A card refused for an expectation is accepted without it: nothing else was wrong with it."""
    refused = [entry for entry in INDEX["bundles"] if entry["code"] and entry["expect"]]
    assert len(refused) == 8
    for entry in refused:
        verify_bundle(_bytes(entry), keyring, schema=SCHEMA)
