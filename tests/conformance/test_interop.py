"""Other people's verifiers on the same files: they accept what is valid, and it is on record what they let through."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from runner.signing import keys, sign

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
GOLDEN = ROOT / "tests" / "golden" / "conformance-interop.json"
GUIDE = ROOT / "docs" / "signing.md"
INDEX = json.loads((HERE / "index.json").read_text(encoding="utf-8"))
PEMS = {entry["keyid"]: entry["pem"] for entry in json.loads((HERE / "keyring.json").read_text())["keys"]}
VERIFIERS = ("openssl", "securesystemslib", "sigstore-js", "node-crypto", "noble-and-jcs")
_BEGIN, _END = "<!-- interop: written by tests/conformance/test_interop.py -->", "<!-- /interop -->"

Verdicts = dict[str, bool]


def _name(entry: dict[str, Any]) -> str:
    return "too-large" if "padded_to" in entry else Path(entry["file"]).name.removesuffix(".sigstore.json")


def _bytes(entry: dict[str, Any]) -> bytes:
    return (HERE / entry["file"]).read_bytes().ljust(entry.get("padded_to", 0))


def _compare(request: pytest.FixtureRequest, found: dict[str, Verdicts]) -> None:
    """Hold the verdicts of some verifiers against the golden file, or write them there."""
    golden: dict[str, Verdicts] = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if request.config.getoption("--update-golden"):
        merged = golden | found
        ordered = {name: dict(sorted(merged[name].items())) for name in VERIFIERS if name in merged}
        GOLDEN.write_text(json.dumps(ordered, indent=1) + "\n")
        names = {_name(entry) for entry in INDEX["bundles"]}
        if all(set(ordered.get(verifier, {})) == names for verifier in VERIFIERS):  # the last of the tests writes it
            text = GUIDE.read_text(encoding="utf-8")
            head, tail = text.split(_BEGIN)[0], text.split(_END)[1]
            GUIDE.write_text(f"{head}{_BEGIN}\n{_table(ordered)}{_END}{tail}", encoding="utf-8")
        return
    assert found == {name: golden[name] for name in found}


def _table(golden: dict[str, Verdicts]) -> str:
    """For each code, how many vectors have it and how many of them each independent verifier accepts."""
    lines = [f"| ours says | files | {' | '.join(golden)} |\n", f"| --- | --- |{' --- |' * len(golden)}\n"]
    codes = dict.fromkeys(entry["code"] for entry in INDEX["bundles"])
    for code in codes:
        names = [_name(entry) for entry in INDEX["bundles"] if entry["code"] == code]
        counts = [sum(verdicts[name] for name in names) for verdicts in golden.values()]
        label = f"`{code}`" if code else "accepted"
        lines.append(f"| {label} | {len(names)} | {' | '.join(str(count) for count in counts)} |\n")
    refused = [_name(entry) for entry in INDEX["bundles"] if entry["code"]]
    counts = [sum(verdicts[name] for name in refused) for verdicts in golden.values()]
    lines.append(f"| all that are refused | {len(refused)} | {' | '.join(str(count) for count in counts)} |\n")
    return "".join(lines)


# --- openssl -------------------------------------------------------------------------------------------------------


def _openssl(data: bytes, pem: str, folder: Path) -> bool:
    """The commands of docs/signing.md: unpack with a lenient reader, then ask `openssl`."""
    try:
        envelope = json.loads(data)["dsseEnvelope"]
        kind, body, signature = (
            envelope["payloadType"].encode(),
            base64.b64decode(envelope["payload"].translate(_URL_SAFE), validate=True),
            base64.b64decode(envelope["signatures"][0]["sig"].translate(_URL_SAFE), validate=True),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False
    (folder / "pae.bin").write_bytes(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body))
    (folder / "sig.bin").write_bytes(signature)
    (folder / "pub.pem").write_text(pem)
    command = "openssl pkeyutl -verify -pubin -inkey pub.pem -rawin -in pae.bin -sigfile sig.bin"
    done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True, check=False)
    accepted = "Signature Verified Successfully" in done.stdout
    assert accepted == (done.returncode == 0)
    return accepted


_URL_SAFE = str.maketrans("-_", "+/")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl command")


@pytest.mark.slow
@needs_openssl
def test_openssl(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    verdicts = {_name(entry): _openssl(_bytes(entry), PEMS[entry["key"]], tmp_path) for entry in INDEX["bundles"]}
    assert all(verdicts[_name(entry)] for entry in INDEX["bundles"] if entry["verdict"] == "accept")
    assert not verdicts["tampered-payload"]
    _compare(request, {"openssl": verdicts})


@needs_openssl
def test_the_commands_of_the_guide(tmp_path: Path) -> None:
    """What docs/signing.md tells a reader to type accepts a fresh card, and refuses it after one changed byte."""
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    commands = next(block for block in blocks if "openssl pkeyutl" in block)
    key = keys.new_key(tmp_path / "key.pem")
    subject = {"name": "submission", "digest": {"sha256": "0" * 64}}
    card = sign.sign({"value": 0.5, "name": "é€😀"}, [subject], key)
    (tmp_path / "pub.pem").write_text(keys.public_pem(key))

    def run(data: bytes) -> subprocess.CompletedProcess[str]:
        (tmp_path / "scorecard.sigstore.json").write_bytes(data)
        return subprocess.run(["bash", "-e", "-c", commands], cwd=tmp_path, capture_output=True, text=True, check=False)

    good = run(card)
    assert good.returncode == 0, good.stderr
    assert "Signature Verified Successfully" in good.stdout
    payload = json.loads(card)["dsseEnvelope"]["payload"]
    changed = base64.b64encode(base64.b64decode(payload).replace(b"0.5", b"0.1")).decode()
    bad = run(card.replace(payload.encode(), changed.encode()))
    assert bad.returncode == 1
    assert "Signature Verified Successfully" not in bad.stdout


# --- securesystemslib ----------------------------------------------------------------------------------------------


def _securesystemslib(data: bytes, pem: str) -> bool:
    # The library, and the reading around it, raise whatever comes up: to a user all of it is a refusal.
    try:
        envelope = Envelope.from_dict(json.loads(data)["dsseEnvelope"])
        made = SSlibKey.from_crypto(load_pem_public_key(pem.encode()))
        # Its rule for key ids is another than ours, so the key goes by the name that the envelope uses.
        key = SSlibKey(next(iter(envelope.signatures)), made.keytype, made.scheme, made.keyval)
        envelope.verify([key], 1)
    except Exception:
        return False
    return True


def test_securesystemslib(request: pytest.FixtureRequest) -> None:
    verdicts = {_name(entry): _securesystemslib(_bytes(entry), PEMS[entry["key"]]) for entry in INDEX["bundles"]}
    assert verdicts["compact"]
    assert verdicts["p256"]
    assert not verdicts["tampered-payload"]
    _compare(request, {"securesystemslib": verdicts})


# --- node: sigstore-js, node's own cryptography, noble-curves with canonicalize ------------------------------------


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest) -> Callable[[list[dict[str, str]]], dict[str, Verdicts]]:
    """Run `interop/verify.mjs` on questions; its packages, pinned by digest, are installed once into pytest's cache."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node, or no npm")
    folder = Path(request.config.cache.mkdir("conformance-interop"))
    fresh = (HERE / "interop" / "package-lock.json").read_bytes()
    installed = folder / "installed-lock.json"
    for path in (HERE / "interop").iterdir():
        shutil.copy(path, folder / path.name)
    if not installed.exists() or installed.read_bytes() != fresh:
        command = "npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 --fetch-timeout=30000"
        done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True, check=False)
        offline = re.search(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ERR_SOCKET_TIMEOUT", done.stderr)
        if done.returncode and offline:
            pytest.skip(f"npm cannot reach its registry: {offline[0]}")
        assert done.returncode == 0, done.stderr
        installed.write_bytes(fresh)

    def ask(questions: list[dict[str, str]]) -> dict[str, Verdicts]:
        done = subprocess.run(
            ["node", "verify.mjs"],
            cwd=folder,
            input=json.dumps(questions),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        verdicts: dict[str, Verdicts] = json.loads(done.stdout)
        return verdicts

    return ask


@pytest.mark.slow
def test_node(
    node: Callable[[list[dict[str, str]]], dict[str, Verdicts]], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    questions = []
    for entry in INDEX["bundles"]:
        path = tmp_path / _name(entry)
        path.write_bytes(_bytes(entry))
        questions.append({"name": _name(entry), "file": str(path), "pem": PEMS[entry["key"]]})
    by_file = node(questions)
    verdicts = {
        verifier: {name: answers[verifier] for name, answers in by_file.items()}
        for verifier in ("sigstore-js", "node-crypto", "noble-and-jcs")
    }
    for entry in INDEX["bundles"]:
        name = _name(entry)
        if entry["verdict"] == "accept":
            assert verdicts["sigstore-js"][name], name
            assert verdicts["node-crypto"][name], name
            assert verdicts["noble-and-jcs"][name] or name == "p256", name  # noble was asked for Ed25519 only
        if entry["code"] in ("SIG_NOT_CANONICAL", "SIG_UNTRUSTED"):
            assert not verdicts["noble-and-jcs"][name], name
    _compare(request, verdicts)


# --- on record -----------------------------------------------------------------------------------------------------


def test_the_guide_shows_the_recorded_verdicts() -> None:
    golden = json.loads(GOLDEN.read_text())
    assert tuple(golden) == VERIFIERS
    names = {_name(entry) for entry in INDEX["bundles"]}
    assert all(set(verdicts) == names for verdicts in golden.values())
    text = GUIDE.read_text(encoding="utf-8")
    assert text.split(_BEGIN)[1].split(_END)[0] == f"\n{_table(golden)}"
