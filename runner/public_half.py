"""The public half of one's own key, kept beside it, so that verifying needs no private key and no passphrase."""

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from runner.errors import Fault, InvalidInput
from runner.signing import PublicKey, load_key, public_pem

_MAX_BYTES = 4 << 10


def place(key: Path) -> Path:
    """Where the public half of the private key `key` lies: `signing-key.pub.pem` beside `signing-key.pem`."""
    return key.with_suffix(".pub.pem")


def keep(key: Path, public: PublicKey) -> None:
    """Write the public half beside `key`, unless it is there already; a folder that takes no file is no fault."""
    path, pem = place(key), public_pem(public).encode()
    with contextlib.suppress(OSError):
        if not path.is_file() or path.read_bytes() != pem:
            part = path.with_suffix(".part")
            part.write_bytes(pem)
            part.replace(path)


def own_public_key(key: Path, passphrase: Callable[[], str]) -> PublicKey:
    """The public half of `key`: from beside it, or else from the private key, beside which it is kept from then on.

    Raises `InvalidInput` as `load_key` does, and for the file beside it KEY_FORMAT, KEY_UNREADABLE and KEY_PERMISSIONS:
    whoever can write it decides whose cards count as one's own.
    """
    path = place(key)
    if not path.is_file():
        public = load_key(key, passphrase).public_key()
        keep(key, public)
        return public
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            pem = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(Fault("KEY_UNREADABLE", f"cannot be read: {error.strerror}.", file=str(path))) from None
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid not in (0, os.getuid()):
        message = "can be written by others, who could have put their own key there."
        hint = "Delete it: it is made again from the private key."
        raise InvalidInput(Fault("KEY_PERMISSIONS", message, file=str(path), hint=hint))
    try:
        public_key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        public_key = None
    if not isinstance(public_key, Ed25519PublicKey):
        hint = "Delete it: it is made again from the private key."
        raise InvalidInput(Fault("KEY_FORMAT", "is no Ed25519 public key in PEM.", file=str(path), hint=hint))
    return public_key
