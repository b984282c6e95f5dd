"""The site's signing key: a file beside its journal, made once, at commissioning."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from forerun.errors import Trouble


def key_path(journal: Path) -> Path:
    return journal.with_name(journal.name + ".key")


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
