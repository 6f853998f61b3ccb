"""Keys that sign scorecards: create, load and name them, and store their public halves beside them."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from runner.core.errors import Fault, InvalidInput, OutputError
from runner.core.files import open_regular, read_exactly, read_regular, sync_folder

PublicKey = Ed25519PublicKey | EllipticCurvePublicKey

_MAX_KEY_BYTES = 64 << 10
_MAX_PUBLIC_BYTES = 4 << 10


def default_key_path() -> Path:
    """The user's own key: `moral-ambiguity-benchmark/signing-key.pem` in `$XDG_CONFIG_HOME`, or else in `~/.config`."""
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG base directory specification: a relative path is invalid and to be ignored.
    folder = Path(configured) if Path(configured).is_absolute() else Path.home() / ".config"
    return folder / "moral-ambiguity-benchmark" / "signing-key.pem"


def new_key(path: Path, passphrase: str | None = None) -> Ed25519PrivateKey:
    """Make an Ed25519 key and write it to `path` as PEM PKCS#8, readable by its owner only; the file is synced.

    A missing folder is made (mode 0700). Raises `InvalidInput`: KEY_EXISTS (a key is never overwritten, nor a link
    followed), KEY_PASSPHRASE (an empty one); `OutputError`: KEY_UNWRITABLE.
    """
    if passphrase == "":
        raise InvalidInput(Fault("KEY_PASSPHRASE", "the passphrase is empty; give none, or one of some length."))
    key = Ed25519PrivateKey.generate()
    encryption: KeySerializationEncryption = (
        BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        hint = "Choose another file, and keep the old key: its public half verifies the cards that it signed."
        raise InvalidInput(Fault("KEY_EXISTS", "a file is there already.", file=str(path), hint=hint)) from None
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.write(pem)
            stream.flush()
            os.fsync(stream.fileno())
        sync_folder(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)  # ours, and perhaps half written: O_EXCL made it a moment ago
        raise _unwritable(path, error) from None
    return key


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(Fault("KEY_UNWRITABLE", f"cannot be written: {error.strerror}.", file=str(path)))


def load_key(path: Path, passphrase: Callable[[], str] | None = None) -> Ed25519PrivateKey:
    """The private key in the PEM file `path`; `passphrase` is called only when the file is encrypted.

    As with ssh, a file of one's own that others can read is refused: the key counts as known to them. A file that
    belongs to somebody else (a mounted secret) is not ours to judge. A pipe that the command was handed will do
    (`/dev/fd/3`); a FIFO with a name of its own will not, since reading it could wait for ever.

    Raises `InvalidInput`: KEY_MISSING, KEY_UNREADABLE, KEY_PERMISSIONS, KEY_FORMAT, KEY_TYPE, KEY_PASSPHRASE.
    """
    pem = _read_private(path)

    def refuse(code: str, message: str, hint: str | None = None) -> InvalidInput:
        return InvalidInput(Fault(code, message, file=str(path), hint=hint))

    if b"-----BEGIN OPENSSH PRIVATE KEY-----" in pem:
        hint = "Make one with `benchmark keys new`; ssh keys are for logging in."
        raise refuse("KEY_FORMAT", "is an OpenSSH key; a PEM PKCS#8 private key was expected.", hint)
    if b"-----BEGIN" not in pem or b"PRIVATE KEY-----" not in pem:
        public = "a public key" if b"PUBLIC KEY-----" in pem else "not PEM"
        raise refuse("KEY_FORMAT", f"is {public}; a PEM PKCS#8 private key was expected.")
    encrypted = b"ENCRYPTED" in pem
    if encrypted and passphrase is None:
        raise refuse("KEY_PASSPHRASE", "is encrypted, and no passphrase was given.")
    secret = passphrase() if encrypted and passphrase is not None else None
    if encrypted and not secret:
        raise refuse("KEY_PASSPHRASE", "is encrypted, and the passphrase given is empty.")
    try:
        key = load_pem_private_key(pem, secret.encode() if secret else None)
    except ValueError:
        # The library has one exception for a wrong passphrase and for broken bytes: under encryption they look alike.
        if encrypted:
            raise refuse(
                "KEY_PASSPHRASE", "cannot be decrypted: the passphrase is wrong, or the file damaged."
            ) from None
        raise refuse("KEY_FORMAT", "is damaged; a PEM PKCS#8 private key was expected.") from None
    if not isinstance(key, Ed25519PrivateKey):
        kind = type(key).__name__.removesuffix("PrivateKey")
        hint = "Make one with `benchmark keys new`."
        raise refuse("KEY_TYPE", f"is a key of type {kind}; scorecards are signed with Ed25519.", hint)
    return key


def _read_private(path: Path) -> bytes:
    """The bytes of a key file, after its permissions; both through one descriptor, so they are of one file."""
    try:
        with open_regular(path, descriptors=True) as stream:
            status = os.fstat(stream.fileno())
            pem = read_exactly(stream, _MAX_KEY_BYTES + 1)
    except FileNotFoundError:
        hint = "Make one with `benchmark keys new`."
        raise InvalidInput(Fault("KEY_MISSING", "there is no key file.", file=str(path), hint=hint)) from None
    except OSError as error:
        raise InvalidInput(Fault("KEY_UNREADABLE", f"cannot be read: {error.strerror}.", file=str(path))) from None
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077 and status.st_uid == os.getuid():
        message = f"has mode {mode:04o}: others than its owner can reach the private key; 0600 was expected."
        hint = "`chmod 600` it; if others could have read it, make a new key."
        raise InvalidInput(Fault("KEY_PERMISSIONS", message, file=str(path), hint=hint))
    if len(pem) > _MAX_KEY_BYTES:
        raise InvalidInput(Fault("KEY_FORMAT", "is too large for a PEM private key.", file=str(path)))
    return pem


def public_pem(key: PublicKey | Ed25519PrivateKey) -> str:
    """The public key as PEM SubjectPublicKeyInfo, the form of `trusted_keys.json` and of `openssl`."""
    return _public(key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def keyid(key: PublicKey | Ed25519PrivateKey) -> str:
    """Lower-case hex sha256 of the public key's SubjectPublicKeyInfo in DER."""
    return hashlib.sha256(_public(key).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _public(key: PublicKey | Ed25519PrivateKey) -> PublicKey:
    return key.public_key() if isinstance(key, Ed25519PrivateKey) else key


def public_half_path(key: Path) -> Path:
    """Where the public half of the private key `key` lies: `signing-key.pub.pem` beside `signing-key.pem`."""
    return key.with_suffix(".pub.pem")


def keep_public_half(key: Path, public: PublicKey) -> None:
    """Write the public half beside `key`, unless it is there already; a folder that takes no file is no fault."""
    path, pem = public_half_path(key), public_pem(public).encode()
    with contextlib.suppress(OSError):
        if not path.is_file() or read_regular(path, _MAX_PUBLIC_BYTES) != pem:
            part = path.with_suffix(".part")
            part.write_bytes(pem)
            part.replace(path)


def own_public_key(key: Path, passphrase: Callable[[], str]) -> PublicKey:
    """The public half of `key`: from beside it, or else from the private key, beside which it is then stored.

    Raises `InvalidInput` as `load_key` does, and for the file beside it KEY_FORMAT, KEY_UNREADABLE and KEY_PERMISSIONS:
    whoever can write it decides whose cards count as one's own.
    """
    path = public_half_path(key)
    if not path.is_file():
        public = load_key(key, passphrase).public_key()
        keep_public_half(key, public)
        return public
    try:
        with open_regular(path) as stream:
            status = os.fstat(stream.fileno())
            pem = read_exactly(stream, _MAX_PUBLIC_BYTES + 1)
    except OSError as error:
        raise InvalidInput(Fault("KEY_UNREADABLE", f"cannot be read: {error.strerror}.", file=str(path))) from None
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid not in (0, os.getuid()):
        message = "can be written by others, who could have put their own key there."
        hint = "Delete it: it is made again from the private key."
        raise InvalidInput(Fault("KEY_PERMISSIONS", message, file=str(path), hint=hint))
    try:
        public_key = load_pem_public_key(pem) if len(pem) <= _MAX_PUBLIC_BYTES else None
    except (ValueError, UnsupportedAlgorithm):
        public_key = None
    if not isinstance(public_key, Ed25519PublicKey):
        hint = "Delete it: it is made again from the private key."
        raise InvalidInput(Fault("KEY_FORMAT", "is no Ed25519 public key in PEM.", file=str(path), hint=hint))
    return public_key
