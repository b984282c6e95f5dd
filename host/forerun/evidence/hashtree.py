"""What makes a journal evidence: a hash tree over its entries, roots signed by the hour, and reports entered in a log.

Tree: RFC 9162 §2.1 (SHA-256), a leaf is one entry as written. Signatures: Ed25519 (RFC 8032). Canonical JSON: RFC 8785.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence

import cbor2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ROOT, REPORT = "root", "report"
TAG_BYTES = 8
SAFE_INTEGER = (1 << 53) - 1


class Tree:
    """The right edge of the tree: enough to grow it and to know its root, in memory logarithmic in its size."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        node, count = leaf_hash(leaf), self.size
        while count & 1:
            node = _node_hash(self._peaks.pop(), node)
            count >>= 1
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """32 bytes; of no leaf, the hash of nothing."""
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        node = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            node = _node_hash(peak, node)
        return node


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def inclusion(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The path that proves the leaf at `index` among these leaf hashes, from the leaf up (RFC 9162 §2.1.3.1)."""
    if len(hashes) == 1:
        return []
    split = 1 << (len(hashes) - 1).bit_length() - 1
    if index < split:
        return [*inclusion(hashes[:split], index), _root_of(hashes[split:])]
    return [*inclusion(hashes[split:], index - split), _root_of(hashes[:split])]


def tag_of(body: Sequence) -> bytes | None:
    """The board's authentication code behind the fields of a record in the journal; None when it carries none."""
    last = body[-1] if len(body) > 6 else None
    return last if isinstance(last, bytes) and len(last) == TAG_BYTES else None


def is_authentic(body: Sequence, record_keys: Iterable[bytes]) -> bool:
    """Whether the code of a record fits one of the keys: the first 8 bytes of HMAC-SHA256 over the board's store_id and
    the deterministic CBOR of what stands between it and the code (protocol/README.md)."""
    tag = tag_of(body)
    if tag is None:
        return False
    said = bytes(body[0]) + cbor2.dumps(list(body[1:-1]), canonical=True)
    return any(hmac.compare_digest(tag, hmac.digest(key, said, "sha256")[:TAG_BYTES]) for key in record_keys)


def coded(body: Sequence, record_key: bytes) -> list:
    """The record with the code that a board with this key puts behind it."""
    said = bytes(body[0]) + cbor2.dumps(list(body[1:]), canonical=True)
    return [*body, hmac.digest(record_key, said, "sha256")[:TAG_BYTES]]


def commitment(record_key: bytes) -> bytes:
    """What binds a site to a record key and tells nothing of it: its SHA-256. It is entered before the first record
    that carries a code, so whoever shows the key later shows that key."""
    return hashlib.sha256(record_key).digest()


def canonical(value) -> bytes:
    """The bytes of RFC 8785, for what reports hold: text, whole numbers below 2⁵³, true, false, null.

    Raises ValueError for a float: figures are decimal text, so that nobody's arithmetic can change them."""
    _refuse_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def seal(journal, key: Ed25519PrivateKey, utc_us: int) -> None:
    """Append the signed root of everything in the journal so far; the caller commits."""
    body = {"size": journal.tree.size, "root": journal.tree.root(), "utc_s": utc_us // 1_000_000}
    journal.append(utc_us, "host", ROOT, signed(body, key))


def signed(body: dict, key: Ed25519PrivateKey) -> dict:
    """The body with the public key and the signature of its canonical form (bytes as hex)."""
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    body = {**body, "key": public}
    return {**body, "signature": key.sign(canonical(plain(body)))}


def plain(value):
    """The value with bytes as lower-case hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def covering_root(entries: Iterable, latest: int) -> dict | None:
    """Body of the first signed root over entry `latest`, as plain JSON; None when it is not sealed yet."""
    for entry in entries:
        if getattr(entry, "kind", None) == ROOT and entry.body["size"] > latest:
            return {**plain(entry.body), "entry": entry.sequence_no}
    return None


def _root_of(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return _node_hash(_root_of(hashes[:split]), _root_of(hashes[split:]))


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _refuse_floats(value) -> None:
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str or not key.isascii():
                raise ValueError(f"{key!r} cannot be a name in a report")
            _refuse_floats(item)
    elif kind is list or kind is tuple:
        for item in value if set(map(type, value)) != {str} else ():
            _refuse_floats(item)
    elif kind is int:
        if not -SAFE_INTEGER <= value <= SAFE_INTEGER:
            raise ValueError(f"{value} does not fit a JSON number")
    elif kind is not str and kind is not bool and value is not None:
        raise ValueError(f"{value!r} cannot be in a report")
