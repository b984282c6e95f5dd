"""The keys beside a journal, each readable by its owner alone: the site's signing key, made once, at commissioning;
and, where the host is to check the board's records as they come, the board's record keys."""

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from forerun.errors import Trouble

ONLY_DIGEST = "sha256:"


def key_path(journal: Path) -> Path:
    return journal.with_name(journal.name + ".key")


def record_keys_path(journal: Path) -> Path:
    return journal.with_name(journal.name + ".recordkeys")


def record_keys(journal: Path) -> list[bytes]:
    """The record keys that this host was given, oldest first; none without the file. Raises Trouble for another shape,
    or when others can read it."""
    return [key for key, _ in _record_keys(journal) if key]


def commitments(journal: Path) -> list[bytes]:
    """SHA-256 of each record key, also of those that were taken off this host: a line `sha256:…` in place of a key."""
    return [digest for _, digest in _record_keys(journal)]


def _record_keys(journal: Path) -> list[tuple[bytes, bytes]]:
    """(key, or b'' where it is not here; its SHA-256)."""
    path = record_keys_path(journal)
    try:
        if not path.exists():
            return []
        if path.stat().st_mode & 0o077:
            raise Trouble(f"{path}: others can read the record keys; `chmod 600 {path}`")
        lines = path.read_text().split()
        keys = [bytes.fromhex(line.removeprefix(ONLY_DIGEST)) for line in lines]
    except (OSError, ValueError) as error:
        raise Trouble(f"{path}: the record keys cannot be read: {error}") from error
    if any(len(key) != 32 for key in keys):
        raise Trouble(f"{path}: a record key has 32 bytes, written as 64 hexadecimal digits")
    return [(b"", key) if line.startswith(ONLY_DIGEST) else (key, hashlib.sha256(key).digest())
            for line, key in zip(lines, keys, strict=True)]  # fmt: skip


def keep_record_key(journal: Path, key: bytes) -> None:
    """Adds a record key to those that this host has, on disk, unless it is there."""
    if key in record_keys(journal):
        return
    file = os.open(record_keys_path(journal), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(file, "w") as writer:
        writer.write(key.hex() + "\n")
        writer.flush()
        os.fsync(writer.fileno())


def signing_key(path: Path) -> Ed25519PrivateKey:
    """The site's key; made, readable by its owner alone, when there is none yet."""
    try:
        if not path.exists():
            key = Ed25519PrivateKey.generate()
            data = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                     serialization.NoEncryption())  # fmt: skip
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "wb") as writer:
                writer.write(data)
                writer.flush()
                os.fsync(writer.fileno())
            return key
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Trouble(f"{path}: the site's signing key cannot be read or made: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Trouble(f"{path}: is not an Ed25519 key")
    return key
