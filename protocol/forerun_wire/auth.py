"""Keys and message authentication codes: HMAC-SHA256 (RFC 2104), truncated to 64 bits (as RFC 9053 has it).

A board holds one key of 32 bytes. What is done with it uses keys derived from it, one a purpose, so that a host can
hold the key of its role alone.
"""

import hashlib
import struct

from forerun_wire.messages import COMMISSION, OPERATE, READ

KEY_BYTES = 32
TAG_BYTES = 8
COUNTER_MAX = 0x3FFFFFFF
_PURPOSES = (b"record", b"operate", b"commission")  # by role; records have the place of reading, which needs no key


def blocks(key):
    """A key of at most 64 bytes made ready for hmac(), which is half of the work."""
    return (
        bytes([byte ^ 0x36 for byte in key]) + b"\x36" * (64 - len(key)),
        bytes([byte ^ 0x5C for byte in key]) + b"\x5c" * (64 - len(key)),
    )


def hmac(ready, *parts):
    """HMAC-SHA256 of the parts, 32 bytes, with a key from blocks()."""
    inner = hashlib.sha256(ready[0])
    for part in parts:
        inner.update(part)
    outer = hashlib.sha256(ready[1])
    outer.update(inner.digest())
    return outer.digest()


def equal(one, other):
    """True if these bytes are the same; takes as long wherever they differ."""
    different = len(one) ^ len(other)
    for i in range(min(len(one), len(other))):
        different |= one[i] ^ other[i]
    return different == 0


def derive(key, role):
    """The key of a role, OPERATE or COMMISSION, from a board's key; READ stands for that of records."""
    return hmac(blocks(key), _PURPOSES[role])


def key_id(key):
    """Which key it is: 24 bits that say nothing about it, never 0."""
    tag = hmac(blocks(key), b"id")
    return (tag[0] << 16 | tag[1] << 8 | tag[2]) or 1


def record_tag(record_blocks, store_id, record):
    """The tag of a record: `record` is its CBOR array without the tag, the key is derive(board key, READ)."""
    return hmac(record_blocks, store_id, record)[:TAG_BYTES]


def proof(key, nonces, who):
    """That whoever speaks (b"board" or b"host") has this key; `nonces`: the board's, then the host's."""
    return hmac(blocks(key), who, nonces)[:TAG_BYTES]


def wrapped(key, commission_blocks, nonces):
    """A new key on its way, or taken out of it: the same once more gives the key back. For one key a session."""
    pad = hmac(commission_blocks, b"wrap", nonces)
    return bytes([key[i] ^ pad[i] for i in range(KEY_BYTES)])


class Keys:
    """What one side can seal with: a board all roles, a host those that it was given."""

    def __init__(self, role_keys, identifier):
        self.id = identifier
        self._blocks = {role: blocks(role_keys[role]) for role in role_keys}

    def has(self, role):
        """True if something can be sealed for this role."""
        return role in self._blocks

    def of(self, role):
        """The key of this role as blocks(). KeyError without it."""
        return self._blocks[role]

    def good(self, role, sender, nonces, counter, inner, tag):
        """True if this is the tag."""
        if role == READ or not self.has(role) or counter > COUNTER_MAX:
            return False
        return equal(self.tag(role, sender, nonces, counter, inner), tag)

    def tag(self, role, sender, nonces, counter, inner):
        """Tag over who says it (0 the host, 0x80 the board: nothing of one passes for the other's), the session's
        nonces, the counter and the message in bytes."""
        head = struct.pack(">BI", sender | role, counter)
        return hmac(self._blocks[role], nonces, head, inner)[:TAG_BYTES]


def board_keys(key):
    """All that a board's key of 32 bytes stands for: its records', under READ, and those of the roles."""
    return Keys({role: derive(key, role) for role in (READ, OPERATE, COMMISSION)}, key_id(key))
