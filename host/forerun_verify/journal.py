"""A journal as evidence: every byte accounted for, the hash tree over its entries, the signatures of its roots.

The file is a sequence of CBOR items [crc32, bytes entry]; entry is [sequence_no, utc_us, source, kind, body], and
behind that, of a board's record, the half width in µs within which utc_us is known.
"""

import hashlib
import hmac
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LONGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    number: int
    utc_us: int
    source: str
    kind: str
    body: object
    leaf: bytes  # SHA-256 of 0x00 and the entry


def read(path: Path) -> tuple[list[Entry], list[str]]:
    """(entries, what is wrong with the file). Reading ends at the first fault: behind it nothing can be trusted."""
    data, at, entries = path.read_bytes(), 0, []
    while at < len(data):
        raw, end, fault = _item(data, at)
        if not fault:
            entry, fault = _entry(raw)
            if entry is not None and entry.number != len(entries):
                fault = f"entry {entry.number} stands where entry {len(entries)} belongs"
        if fault:
            return entries, [f"{path.name}: byte {at}: {fault}"]
        entries.append(entry)
        at = end
    return entries, []


def roots(leaves: list[bytes], sizes: set[int]) -> dict[int, bytes]:
    """Root of the tree (RFC 9162) over the first n leaves, for every n asked for."""
    found, stack = {0: hashlib.sha256(b"").digest()}, []
    for count, leaf in enumerate(leaves, start=1):
        stack.append((1, leaf))
        while len(stack) > 1 and stack[-1][0] == stack[-2][0]:
            (weight, right), (_, left) = stack.pop(), stack.pop()
            stack.append((2 * weight, _joined(left, right)))
        if count in sizes:
            node = stack[-1][1]
            for _, left in stack[-2::-1]:
                node = _joined(left, node)
            found[count] = node
    return found


def signed_by(body: dict, key: bytes) -> bool:
    """Whether the body carries this key and its signature over all else."""
    content = {name: value.hex() if isinstance(value, bytes) else value for name, value in body.items()
               if name != "signature"}  # fmt: skip
    try:
        if bytes(body["key"]) != key:
            return False
        Ed25519PublicKey.from_public_bytes(key).verify(bytes(body["signature"]), canonical(content))
    except (InvalidSignature, ValueError, KeyError, TypeError):
        return False
    return True


def code_of(body: list) -> bytes | None:
    """The board's authentication code behind a record's fields; None without one."""
    last = body[-1] if len(body) > 6 else None
    return last if isinstance(last, bytes) and len(last) == 8 else None


def coded_by(body: list, keys: list[bytes]) -> bool:
    """Whether the record's code was made with one of these record keys over store id and record."""
    said = bytes(body[0]) + cbor2.dumps(body[1:-1], canonical=True)
    code = code_of(body)
    return code is not None and any(
        hmac.compare_digest(hmac.new(key, said, hashlib.sha256).digest()[:8], code) for key in keys
    )


def canonical(value) -> bytes:
    """RFC 8785 for text, whole numbers, true, false and null, which is all that a report may hold."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _item(data: bytes, at: int) -> tuple[bytes, int, str]:
    head = data[at : at + 11]
    if head[:2] != b"\x82\x1a" or len(head) < 7:
        return b"", at, "no entry begins here"
    first = head[6]
    width = {0x58: 1, 0x59: 2, 0x5A: 4}.get(first, 0)
    if not 0x40 <= first < 0x58 and not width:
        return b"", at, "the head of the entry is none"
    length = int.from_bytes(head[7 : 7 + width], "big") if width else first - 0x40
    start = at + 7 + width
    shortest = 0 if length < 24 else 1 if length < 256 else 2 if length < 65536 else 4
    if width != shortest or length > LONGEST or start + length > len(data):
        return b"", at, "the length of the entry cannot be"
    raw = data[start : start + length]
    if zlib.crc32(raw).to_bytes(4, "big") != head[2:6]:
        return b"", at, "the checksum does not fit"
    return raw, start + length, ""


def _entry(raw: bytes) -> tuple[Entry | None, str]:
    try:
        number, utc_us, source, kind, body, *_ = cbor2.loads(raw)
    except (cbor2.CBORDecodeError, TypeError, ValueError):
        return None, "the entry is no CBOR array of five or more"
    return Entry(number, utc_us, source, kind, body, hashlib.sha256(b"\0" + raw).digest()), ""


def _joined(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()
