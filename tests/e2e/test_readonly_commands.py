"""What is fetched, shown and examined through the installed command: data, prompts, doctor."""

import datetime
import gzip
import hashlib
import http.server
import io
import ipaddress
import json
import ssl
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.command import Command
from transformers import AutoTokenizer

pytestmark = pytest.mark.slow

SPLITS = {"train": 600, "dev": 80, "test": 80}


@dataclass(frozen=True)
class Shelf:
    """An archive offered on loopback, a benchmark that pins what is in it, and the certificate to trust."""

    benchmark: Path
    certificate: Path
    files: dict[str, bytes]
    asked: list[str]

    @property
    def env(self) -> dict[str, str]:
        return {"SSL_CERT_FILE": str(self.certificate), "no_proxy": "127.0.0.1"}


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for loopback, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "certificate.pem", folder / "server-key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, secret


@pytest.fixture
def shelf(root: Path, tmp_path: Path) -> Iterator[Shelf]:
    folder = root / "runner" / "embedded" / "sample"
    files = {f"{split}.mine.jsonl": (folder / f"{split}.sample-dilemmas.jsonl").read_bytes() for split in SPLITS}
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"mine/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(packed.getvalue())))
            self.end_headers()
            self.wfile.write(packed.getvalue())

        def log_message(self, format: str, *args: object) -> None:
            pass

    pem, secret = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        document = yaml.safe_load((root / "benchmark.yaml").read_text(encoding="utf-8"))
        document["name"] = "mine"
        document["datasets"] = {
            "mine": {
                "description": "Mine.",
                "synthetic": True,
                "source": {"url": f"https://127.0.0.1:{server.server_address[1]}/mine.tar.gz", "folder": "mine"},
                "splits": {
                    split: {
                        "file": f"{split}.mine.jsonl",
                        "rows": rows,
                        "sha256": hashlib.sha256(files[f"{split}.mine.jsonl"]).hexdigest(),
                    }
                    for split, rows in SPLITS.items()
                },
            }
        }
        document["suites"] = {
            "full": {"description": "Mine.", "comparable": False, "split": "test", "datasets": {"dilemmas": "mine"}}
        }
        benchmark = tmp_path / "benchmark.yaml"
        benchmark.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        yield Shelf(benchmark, pem, files, asked)
        server.shutdown()
        thread.join()


def test_data_is_fetched_checked_and_used(command: Command, shelf: Shelf, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    which = ("--benchmark", shelf.benchmark, "--data-dir", folder)
    missing = json.loads(command("data", "check", *which, "--format", "json", code=1).stdout)
    assert {status["state"] for status in missing} == {"missing"}
    done = command("data", "fetch", *which, env=shelf.env)
    assert done.stdout.splitlines() == [*(f"mine/{split}: fetched" for split in SPLITS), str(folder)]
    for name, data in shelf.files.items():
        assert (folder / "mine" / name).read_bytes() == data
    assert shelf.asked == ["/mine.tar.gz"]
    again = command("data", "fetch", *which, "--quiet", env=shelf.env)
    assert again.stdout == f"{folder}\n"
    assert shelf.asked == ["/mine.tar.gz"]
    found = json.loads(command("data", "check", *which, "--format", "json").stdout)
    assert {status["split"]: (status["state"], status["rows"]) for status in found} == {
        split: ("ok", rows) for split, rows in SPLITS.items()
    }
    stats = json.loads(command("data", "stats", *which, "--format", "json").stdout)
    assert stats["dilemmas (test)"]["items"] == 80


def test_a_file_that_was_changed_is_found_and_replaced(command: Command, shelf: Shelf, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    which = ("--benchmark", shelf.benchmark, "--data-dir", folder)
    command("data", "fetch", *which, "-q", env=shelf.env)
    path = folder / "mine" / "test.mine.jsonl"
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    done = command("data", "check", *which, code=1)
    assert "digest differs" in done.stdout
    assert "DATA_DIGEST" in command("data", "stats", *which, code=1).stderr
    again = command("data", "fetch", *which, env=shelf.env)
    assert "mine/test: replaced" in again.stdout
    command("data", "check", *which)


def test_data_that_cannot_be_fetched_is_told(command: Command, shelf: Shelf, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    # A certificate that nobody vouches for.
    done = command(
        *("data", "fetch", "--benchmark", shelf.benchmark, "--data-dir", folder),
        code=3,
        env={"no_proxy": "127.0.0.1"},
    )
    assert "DATA_DOWNLOAD" in done.stderr
    assert not list(folder.rglob("*.jsonl"))
    # An archive that holds other bytes than are pinned.
    text = shelf.benchmark.read_text(encoding="utf-8")
    digest = hashlib.sha256(shelf.files["test.mine.jsonl"]).hexdigest()
    other = tmp_path / "other.yaml"
    other.write_text(text.replace(digest, "0a" * 32), encoding="utf-8")
    done = command("data", "fetch", "--benchmark", other, "--data-dir", folder, code=1, env=shelf.env)
    assert "DATA_DIGEST" in done.stderr
    assert not (folder / "mine" / "test.mine.jsonl").exists()


def test_prompts_show_what_is_asked(command: Command, submissions: Any, root: Path) -> None:
    chosen = ("prompts", "--suite", "sample", "--task", "dilemmas", "--limit", 2, "--prompt", "dilemmas-letters")
    plain = [json.loads(line) for line in command(*chosen).stdout.splitlines()]
    assert len(plain) == 2 * 2 * 2
    assert {(row["split"], row["order"]) for row in plain} == {(s, o) for s in ("test", "dev") for o in (0, 1)}
    rows = [json.loads(line) for line in command(*chosen, "--submission", submissions.base).stdout.splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(submissions.base.parent / "model")
    data = root / "runner" / "embedded" / "sample" / "test.sample-dilemmas.jsonl"
    first = json.loads(data.read_text(encoding="utf-8").splitlines()[0])
    for row, shown in zip(rows, plain, strict=True):
        assert {name: row[name] for name in shown} == shown
        # What the model reads is the text and its cue, after exactly one beginning of text.
        assert row["token_ids"][0] == tokenizer.bos_token_id
        assert tokenizer.bos_token_id not in row["token_ids"][1:]
        assert tokenizer.decode(row["token_ids"][1:]) == row["text"] + row["cue"]["plain"]
        for tail in row["tails"]:
            label = list(row["options"])[tail["label"]] if isinstance(tail["label"], int) else tail["label"]
            assert tokenizer.decode(tail["token_ids"]) in row["options"][label]
    actions = [action["description"] for action in first["actions"]]
    asked = {row["order"]: row for row in plain if row["item_id"] == first["id"]}
    assert f"A: {actions[0]}\nB: {actions[1]}" in asked[0]["text"]
    assert f"A: {actions[1]}\nB: {actions[0]}" in asked[1]["text"]
    assert asked[0]["options"] == {"first": [" A"], "second": [" B"]}
    assert asked[1]["options"] == {"first": [" B"], "second": [" A"]}


def test_what_prompts_shows_is_what_is_run(command: Command, submissions: Any, evaluate: Any, tmp_path: Path) -> None:
    chosen = ("--task", "anecdotes-binary", "--limit", 2)
    shown = command("prompts", "--suite", "sample", *chosen, "--submission", submissions.base).stdout.splitlines()
    run = evaluate(submissions.base, tmp_path, *chosen)
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    for asked, answered in zip(map(json.loads, shown), rows, strict=True):
        for name in ("task", "split", "item_id", "prompt_id", "order", "prompt_sha256"):
            assert asked[name] == answered[name]
        assert len(asked["token_ids"]) == answered["prompt_tokens"]


def test_the_doctor_in_a_sound_place(command: Command, tmp_path: Path) -> None:
    found = json.loads(command("doctor", "-o", tmp_path / "results", "--format", "json").stdout)
    states = {finding["name"]: finding["state"] for finding in found}
    assert {"output", "disk", "temporary files", "shared memory", "signing key", "model hub"} <= set(states)
    assert "fail" not in states.values()
    assert states["data sample-dilemmas/test"] == "ok"
    assert states["data scruples-dilemmas/test"] == "warn"
    assert not (tmp_path / "results").exists()
    assert all(finding["hint"] for finding in found if finding["state"] != "ok")


def test_the_doctor_in_a_broken_place(command: Command, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("", encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.scruples-dilemmas.jsonl").write_text("{}\n", encoding="utf-8")
    done = command(
        *("doctor", "-o", tmp_path / "results", "--data-dir", tmp_path / "data", "--device", "cuda:99"),
        *("--format", "json"),
        code=3,
    )
    failed = {finding["name"]: finding for finding in json.loads(done.stdout) if finding["state"] == "fail"}
    assert {"output", "data scruples-dilemmas/test"} <= set(failed)
    assert any("cuda:99" in finding["message"] for finding in failed.values())
    words = command("doctor", "-o", tmp_path / "results", "--device", "nope", code=3).stdout
    assert "✗ output" in words
