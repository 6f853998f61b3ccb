"""Every reader of what strangers write, as a function of bytes: it ends in words, or in a value that holds together."""

import base64
import json
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runner.archive import index as archive_index
from runner.archive.heads import HEAD_TYPE
from runner.archive.objects import FILES
from runner.artifacts import check_adapter, check_model
from runner.artifacts.safetensors_header import check_header
from runner.config.benchmark import benchmark_faults
from runner.config.source import BENCHMARK_BYTES, SUBMISSION_BYTES, parse
from runner.config.submission import submission_faults
from runner.core import canonical, resources
from runner.core.canonical import sha256_bytes
from runner.core.errors import Fault, InvalidInput, UserError, VerificationError
from runner.core.strict_json import JsonFault
from runner.core.strict_json import parse as parse_json
from runner.evaluation.journal import NAME, Journal
from runner.models.worker import protocol
from runner.signing.dsse import PAYLOAD_TYPE as ENVELOPE_TYPE
from runner.signing.dsse import Envelope, pae, write
from runner.signing.keyring import keyring_of, parse_keyring
from runner.signing.keys import keyid
from runner.signing.verifier import verify_bundle
from runner.tasks.predictions import from_row, to_line

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RING = keyring_of(KEY.public_key())
SCHEMA = json.loads((resources.schema_folder() / "scorecard.schema.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Reader:
    """`read` raises nothing for any bytes unless there is a bug; `seeds` are what is changed at random."""

    read: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def _files(*patterns: str) -> Callable[[], list[bytes]]:
    return lambda: [path.read_bytes() for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def _told(error: UserError) -> None:
    """What a user is shown must be fit for a terminal, short, and never our own bug."""
    for fault in error.faults:
        assert fault.code != "SIG_MALFORMED", error.__cause__
        assert str(fault).isprintable(), fault
        assert len(str(fault)) < 4000, fault


# --- YAML ----------------------------------------------------------------------------------------------------------


def submission(data: bytes) -> None:
    _yaml(data, SUBMISSION_BYTES, submission_faults)


def benchmark(data: bytes) -> None:
    _yaml(data, BENCHMARK_BYTES, benchmark_faults)


def _yaml(data: bytes, most: int, faults_of: Callable[[Any], Any]) -> None:
    try:
        document = parse(data, "x.yaml", most)
        faults = faults_of(document)
    except InvalidInput as error:
        _told(error)
        return
    if faults:
        _told(InvalidInput(*faults))
    if not document.faults:
        # What is read is JSON, and no second reader of YAML 1.1 or 1.2 finds text where we found text of another kind.
        json.dumps(document.value, allow_nan=False)
        assert isinstance(yaml.safe_load(data), type(document.value)), document.value


# --- JSON ----------------------------------------------------------------------------------------------------------


def strict_json(data: bytes) -> None:
    try:
        value = parse_json(data)
    except JsonFault:
        return
    assert value == json.loads(data)
    again = canonical.to_bytes(value)
    # A whole float of 2^53 or more is written as an integer that is refused: `signing.sign` reads what it wrote.
    try:
        reread = canonical.to_bytes(parse_json(again))
    except JsonFault as fault:
        if "beyond" not in fault.message:
            raise
    else:
        assert reread == again


def predictions(data: bytes) -> None:
    try:
        row = from_row(parse_json(data, max_bytes=1 << 20))
    except ValueError as problem:
        _told(InvalidInput(Fault("PREDICTION_ROW", f"{problem}.")))
        return
    assert from_row(json.loads(to_line(row))) == row


def process_reply(data: bytes) -> None:
    try:
        message = protocol.message_of(data)
        value = next(iter(message.values()))
    except protocol.ProtocolError:
        return
    for check in (
        protocol.error_of,
        protocol.facts_of,
        protocol.states_of,
        protocol.number_of,
        lambda found: protocol.batches_of(found, 3),
    ):
        try:
            found = check(value)
        except protocol.ProtocolError:
            continue
        if isinstance(found, UserError):
            _told(found)


def journal(data: bytes) -> None:
    """Lines with a right checksum, as somebody might write them, and what may follow."""
    lines = data.split(b"\n")
    sealed = b"".join(sha256_bytes(line).encode()[:16] + b" " + line + b"\n" for line in lines[:-1]) + lines[-1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        path.write_bytes(sealed)
        found = Journal.resume(Path(folder))
        if found is not None:
            found.close()
            assert sealed.startswith(path.read_bytes())


def archive_entry(data: bytes) -> None:
    try:
        entry = archive_index.parse(data, 1)
    except ValueError as problem:
        _told(InvalidInput(Fault("ARCHIVE_ENTRY", f"{problem}.")))
    else:
        assert entry.sha256 == sha256_bytes(data)


# --- safetensors, and the other files of a model -------------------------------------------------------------------


def safetensors_header(data: bytes) -> None:
    length, header = (data[0] if data else 0), data[1:]
    faults, found = check_header(header, length, "x")
    if faults:
        _told(InvalidInput(*faults))
    else:
        assert found is not None
        safetensors.deserialize(struct.pack("<Q", len(header)) + header + bytes(length))


_NAMES = (
    ("model", "config.json"),
    ("model", "tokenizer.json"),
    ("model", "tokenizer_config.json"),
    ("model", "model.safetensors.index.json"),
    ("model", "chat_template.jinja"),
    ("model", "model.safetensors"),
    ("adapter", "adapter_config.json"),
    ("adapter", "adapter_model.safetensors"),
)


def model_files(data: bytes) -> None:
    """The first byte says which file the rest is."""
    kind, name = _NAMES[(data[0] if data else 0) % len(_NAMES)]
    with tempfile.TemporaryDirectory() as folder:
        _sound(Path(folder))
        (Path(folder) / kind / name).write_bytes(data[1:])
        faults, facts = check_model(Path(folder) / "model")
        more, _ = check_adapter(Path(folder) / "adapter", facts)
        if faults + more:
            _told(InvalidInput(*faults, *more))


_SOUND: dict[str, bytes] = {}


def _sound(folder: Path) -> None:
    if not _SOUND:
        from support import hostile_submissions

        with tempfile.TemporaryDirectory() as made:
            hostile_submissions.make_model(Path(made) / "model")
            hostile_submissions.make_adapter(Path(made) / "adapter")
            for path in Path(made).rglob("*.*"):
                _SOUND[str(path.relative_to(made))] = path.read_bytes()
    for name, content in _SOUND.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def _model_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        _sound(Path(folder))
    seeds = [(number, _SOUND.get("/".join(place))) for number, place in enumerate(_NAMES)]
    index = json.dumps({"weight_map": {"lm_head.weight": "model.safetensors"}}).encode()
    return [bytes([number]) + (index if content is None else content) for number, content in seeds]


# --- scorecards ----------------------------------------------------------------------------------------------------


def bundle(data: bytes) -> None:
    try:
        verify_bundle(data, RING, schema=SCHEMA)
    except VerificationError as error:
        _told(error)


def signed_payload(data: bytes) -> None:
    """What a trusted key signed, whatever it is: the steps behind the signature."""
    signature = KEY.sign(pae(ENVELOPE_TYPE, data))
    bundle(write(Envelope(data, signature, keyid(KEY))))


def keyring(data: bytes) -> None:
    try:
        parse_keyring(data)
    except InvalidInput as error:
        _told(error)


def _statements() -> list[bytes]:
    found = []
    for path in sorted((TESTS / "conformance").glob("*valid/*.json")):
        try:
            found.append(base64.b64decode(parse_json(path.read_bytes())["dsseEnvelope"]["payload"], validate=True))
        except (ValueError, LookupError, TypeError):
            continue
    assert len(found) > 50
    return [*found, found[0].replace(b"scorecard/v1", HEAD_TYPE.rpartition("example/")[2].encode())]


def _rows() -> list[bytes]:
    return (TESTS / "golden" / "sample-predictions.jsonl").read_bytes().splitlines()[:5]


def _entry() -> list[bytes]:
    entry = {
        "schema_version": "1",
        "sequence": 1,
        "previous": None,
        "added_at": "2026-01-01T00:00:00Z",
        "card": "0" * 64,
        "recomputed": True,
        "files": dict.fromkeys(FILES, "1" * 64),
        "summary": {
            "name": "n",
            "submission": "s",
            "benchmark": {"name": "b", "version": "1.0.0", "digest": "d"},
            "suite": "full",
            "comparable": False,
            "finished_at": "2026-01-01T00:00:00Z",
            "run": "r",
            "keyid": "k",
            "tasks": {"t": {"split": "dev", "metric": "m", "value": 0.5}},
        },
    }
    archive_index.parse(archive_index.write(entry), 1)
    return [archive_index.write(entry)]


_HEADER = {"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
_FAULT = {"code": "A_B", "message": "m", "file": None, "line": 1, "column": None, "path": "$", "hint": "h"}

READERS = {
    "submission": Reader(submission, _files("submissions/*/submission.yaml", "tests/examples/*/submission*/*.yaml")),
    "yaml": Reader(submission, _files("tests/examples/*/yaml/*", "tests/examples/valid/*.yaml")),
    "benchmark": Reader(benchmark, _files("benchmark.yaml", "tests/examples/*/benchmark*.yaml")),
    "strict-json": Reader(
        strict_json, lambda: [*_files("tests/conformance/*valid/*.json")(), b'{"a":[1,-0.5e1,"\\ud83d\\ude00"]}']
    ),
    "predictions": Reader(predictions, _rows),
    "process-reply": Reader(
        process_reply,
        lambda: [
            protocol.to_line({"error": {"kind": "BackendError", "faults": [_FAULT]}}),
            protocol.to_line({"ok": [[0, 2], [1]]}),
            protocol.to_line({"item": {"files": "active", "network": "unavailable: x"}}),
        ],
    ),
    "journal": Reader(
        journal, lambda: [b'{"key":"k","nonce":null,"id":"i","started_at":"t"}\n[' + b",".join(_rows()[:2]) + b"]\n"]
    ),
    "archive-entry": Reader(archive_entry, _entry),
    "safetensors-header": Reader(safetensors_header, lambda: [bytes([24]) + json.dumps(_HEADER).encode()]),
    "model-files": Reader(model_files, _model_seeds),
    "bundle": Reader(bundle, _files("tests/conformance/*valid/*.json", "tests/golden/cards/*/*.sigstore.json")),
    "signed-payload": Reader(signed_payload, _statements),
    "keyring": Reader(keyring, _files("tests/conformance/keyring.json", "tests/conformance/keyrings/*/*.json")),
}
