"""Key files: made once, readable by their owner only, and every way they can be wrong told in words."""

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.core.errors import InvalidInput, OutputError
from runner.signing import keys


def _code(call: Callable[[], object], file: Path | None) -> str:
    """The code of the one fault that `call` raises, which is of `file`."""
    with pytest.raises(InvalidInput) as caught:
        call()
    [fault] = caught.value.faults
    assert fault.file == (None if file is None else str(file))
    return fault.code


def _write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_a_new_key_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "deeper" / "key.pem"
    made = keys.new_key(path)
    assert keys.load_key(path).private_bytes_raw() == made.private_bytes_raw()
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_a_new_key_has_mode_0600_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        keys.new_key(tmp_path / "key.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    keys.new_key(path)
    before = path.read_bytes()
    assert _code(lambda: keys.new_key(path), path) == "KEY_EXISTS"
    assert path.read_bytes() == before


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    link = tmp_path / "key.pem"
    link.symlink_to(tmp_path / "elsewhere.pem")
    assert _code(lambda: keys.new_key(link), link) == "KEY_EXISTS"
    assert not (tmp_path / "elsewhere.pem").exists()


def test_a_key_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="KEY_UNWRITABLE") as caught:
        keys.new_key(tmp_path / "key.pem")
    assert [fault.file for fault in caught.value.faults] == [str(tmp_path / "key.pem")]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    _write(tmp_path / "file", b"")
    with pytest.raises(OutputError, match="KEY_UNWRITABLE"):
        keys.new_key(tmp_path / "file" / "key.pem")


@settings(max_examples=5)
@given(st.text(min_size=1, max_size=20))
def test_a_passphrase_locks_the_key(tmp_path_factory: pytest.TempPathFactory, passphrase: str) -> None:
    path = tmp_path_factory.mktemp("keys") / "key.pem"
    made = keys.new_key(path, passphrase)
    assert b"ENCRYPTED" in path.read_bytes()
    assert keys.load_key(path, lambda: passphrase).private_bytes_raw() == made.private_bytes_raw()
    assert _code(lambda: keys.load_key(path, lambda: passphrase + "x"), path) == "KEY_PASSPHRASE"
    assert _code(lambda: keys.load_key(path), path) == "KEY_PASSPHRASE"
    assert _code(lambda: keys.load_key(path, lambda: ""), path) == "KEY_PASSPHRASE"


def test_an_empty_passphrase_is_none(tmp_path: Path) -> None:
    assert _code(lambda: keys.new_key(tmp_path / "key.pem", ""), None) == "KEY_PASSPHRASE"
    assert list(tmp_path.iterdir()) == []


def test_no_passphrase_is_asked_for_an_open_key(tmp_path: Path) -> None:
    def ask() -> str:
        raise AssertionError("asked")

    keys.new_key(tmp_path / "key.pem")
    assert keys.keyid(keys.load_key(tmp_path / "key.pem", ask))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    keys.new_key(path)
    path.chmod(mode)
    assert _code(lambda: keys.load_key(path), path) == "KEY_PERMISSIONS"
    with pytest.raises(InvalidInput, match=f"has mode {mode:04o}: others than its owner .* 0600 was expected"):
        keys.load_key(path)
    path.chmod(0o400)
    keys.load_key(path)


def test_a_mounted_secret_of_another_owner_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key.pem"
    made = keys.new_key(path)
    path.chmod(0o444)
    assert _code(lambda: keys.load_key(path), path) == "KEY_PERMISSIONS"
    owner = path.stat().st_uid
    monkeypatch.setattr("os.getuid", lambda: owner + 1)
    assert keys.load_key(path).private_bytes_raw() == made.private_bytes_raw()


def test_a_key_comes_through_a_descriptor(tmp_path: Path) -> None:
    made = keys.new_key(tmp_path / "key.pem")
    reading, writing = os.pipe()
    try:
        os.write(writing, (tmp_path / "key.pem").read_bytes())
        os.close(writing)
        loaded = keys.load_key(Path(f"/dev/fd/{reading}"))
    finally:
        os.close(reading)
    assert loaded.private_bytes_raw() == made.private_bytes_raw()


def _pkcs8(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_what_is_no_ed25519_key_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    key = Ed25519PrivateKey.generate()
    good = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    cases = {
        b"": ("KEY_FORMAT", "is not PEM;"),
        b"junk": ("KEY_FORMAT", "is not PEM;"),
        b"\xff\x00" * 50: ("KEY_FORMAT", "is not PEM;"),
        good.replace(b"-----BEGIN", b"BEGIN"): ("KEY_FORMAT", "is not PEM;"),
        good[:60]: ("KEY_FORMAT", "is damaged;"),
        good.replace(b"M", b"!", 1): ("KEY_FORMAT", "is damaged;"),
        keys.public_pem(key).encode(): ("KEY_FORMAT", "is a public key;"),
        key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()): ("KEY_FORMAT", "is an OpenSSH key;"),
        good + b"#" * 70_000: ("KEY_FORMAT", "is too large "),
        _pkcs8(ec.generate_private_key(ec.SECP256R1())): ("KEY_TYPE", "is a key of type EC;"),
        _pkcs8(rsa.generate_private_key(65537, 2048)): ("KEY_TYPE", "is a key of type RSA;"),
    }
    for data, (code, words) in cases.items():
        _write(path, data)
        with pytest.raises(InvalidInput) as caught:
            keys.load_key(path)
        [fault] = caught.value.faults
        assert (fault.code, fault.file) == (code, str(path))
        assert fault.message.startswith(words)


def test_a_missing_key_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    assert _code(lambda: keys.load_key(tmp_path / "none.pem"), tmp_path / "none.pem") == "KEY_MISSING"
    assert _code(lambda: keys.load_key(tmp_path), tmp_path) == "KEY_UNREADABLE"


def test_the_secret_is_never_in_a_message(tmp_path: Path) -> None:
    made = keys.new_key(tmp_path / "key.pem", "correct horse")
    with pytest.raises(InvalidInput) as caught:
        keys.load_key(tmp_path / "key.pem", lambda: "battery staple")
    assert "battery" not in str(caught.value)
    assert made.private_bytes_raw().hex() not in str(caught.value)
    assert caught.value.__suppress_context__


def test_the_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    usual = tmp_path / ".config" / "moral-ambiguity-benchmark" / "signing-key.pem"
    assert keys.default_key_path() == usual
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative/is/ignored")
    assert keys.default_key_path() == usual
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert keys.default_key_path() == tmp_path / "xdg" / "moral-ambiguity-benchmark" / "signing-key.pem"


def test_rfc_8410_key_has_its_known_public_half(tmp_path: Path) -> None:
    """The example of RFC 8410, sections 10.1 and 10.3: PKCS#8 private key and SubjectPublicKeyInfo."""
    private = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC"
    public = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
    pem = f"-----BEGIN PRIVATE KEY-----\n{private}\n-----END PRIVATE KEY-----\n"
    key = keys.load_key(_write(tmp_path / "key.pem", pem.encode()))
    assert public in keys.public_pem(key)
    assert keys.public_pem(key.public_key()) == keys.public_pem(key)


def test_the_keyid_is_what_openssl_and_sha256sum_say(tmp_path: Path) -> None:
    key = keys.new_key(tmp_path / "key.pem")
    command = "openssl pkey -in key.pem -pubout -outform DER | openssl dgst -sha256 -r"
    told = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert told.split()[0] == keys.keyid(key) == keys.keyid(key.public_key())
