"""Cards of one's own are verified with the public half of the key: nobody is asked for a passphrase."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runner.cli import main
from runner.core.errors import InvalidInput
from runner.signing import keys


def never() -> str:
    raise AssertionError("a passphrase was asked for")


@pytest.mark.slow
def test_a_locked_key_is_not_needed_to_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = CliRunner().invoke(main, ["keys", "new", "--passphrase"], input="secret\nsecret\n")
    assert made.exit_code == 0, made.output
    evaluated = CliRunner().invoke(
        main,
        ["baseline", "uniform", "--suite", "sample", "--task", "dilemmas", "-o", str(tmp_path / "rows.jsonl")],
    )
    assert evaluated.exit_code == 0, evaluated.output
    scored = CliRunner().invoke(
        main,
        ["score", str(tmp_path / "rows.jsonl"), "--suite", "sample", "-q", "-o", str(tmp_path / "results")],
        input="secret\n",
    )
    assert scored.exit_code == 0, scored.output
    keys.default_key_path().unlink()  # not even the locked key is there
    verified = CliRunner().invoke(main, ["verify", scored.stdout.splitlines()[-1]])
    assert verified.exit_code == 0, verified.output
    assert "Passphrase" not in verified.output


def test_the_public_half_of_an_older_key_is_made_once(tmp_path: Path) -> None:
    made = keys.new_key(tmp_path / "key.pem", "secret")
    asked = []

    def ask() -> str:
        asked.append(1)
        return "secret"

    for _ in range(2):
        found = keys.own_public_key(tmp_path / "key.pem", ask)
        assert keys.keyid(found) == keys.keyid(made)
    assert asked == [1]
    assert keys.public_half_path(tmp_path / "key.pem").name == "key.pub.pem"


def test_a_key_that_was_exchanged_gets_its_own_half_when_it_signs(tmp_path: Path) -> None:
    keys.keep_public_half(tmp_path / "key.pem", Ed25519PrivateKey.generate().public_key())
    made = keys.new_key(tmp_path / "key.pem")
    keys.keep_public_half(tmp_path / "key.pem", made.public_key())
    assert keys.keyid(keys.own_public_key(tmp_path / "key.pem", never)) == keys.keyid(made)


@pytest.mark.parametrize(
    "content", [b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"\xff" * 9000]
)
def test_a_damaged_public_half_is_told(tmp_path: Path, content: bytes) -> None:
    keys.new_key(tmp_path / "key.pem")
    keys.public_half_path(tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        keys.own_public_key(tmp_path / "key.pem", never)
    half = str(keys.public_half_path(tmp_path / "key.pem"))
    assert [(fault.code, fault.file) for fault in caught.value.faults] == [("KEY_FORMAT", half)]


def test_a_public_half_that_others_can_write_is_refused(tmp_path: Path) -> None:
    made = keys.new_key(tmp_path / "key.pem")
    keys.keep_public_half(tmp_path / "key.pem", made.public_key())
    keys.public_half_path(tmp_path / "key.pem").chmod(0o666)
    with pytest.raises(InvalidInput) as caught:
        keys.own_public_key(tmp_path / "key.pem", never)
    half = str(keys.public_half_path(tmp_path / "key.pem"))
    assert [(fault.code, fault.file) for fault in caught.value.faults] == [("KEY_PERMISSIONS", half)]


@pytest.mark.parametrize(("owner", "counts"), [(0, True), (1000, True), (1, False), (1001, False)])
def test_a_public_half_belongs_to_its_user_or_to_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, counts: bool
) -> None:
    made = keys.new_key(tmp_path / "key.pem")
    keys.keep_public_half(tmp_path / "key.pem", made.public_key())
    fstat = os.fstat
    monkeypatch.setattr(os, "fstat", lambda file: os.stat_result([*fstat(file)[:4], owner, *fstat(file)[5:]]))
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    if counts:
        assert keys.keyid(keys.own_public_key(tmp_path / "key.pem", never)) == keys.keyid(made)
    else:
        with pytest.raises(InvalidInput, match="KEY_PERMISSIONS"):
            keys.own_public_key(tmp_path / "key.pem", never)


def test_a_public_half_of_four_kilobytes_is_read_and_no_larger_one(tmp_path: Path) -> None:
    made = keys.new_key(tmp_path / "key.pem")
    half, pem = keys.public_half_path(tmp_path / "key.pem"), keys.public_pem(made).encode()
    half.write_bytes(pem + b"#" * (4096 - len(pem)))
    assert keys.keyid(keys.own_public_key(tmp_path / "key.pem", never)) == keys.keyid(made)
    half.write_bytes(pem + b"#" * (4097 - len(pem)))
    with pytest.raises(InvalidInput, match="KEY_FORMAT"):
        keys.own_public_key(tmp_path / "key.pem", never)
