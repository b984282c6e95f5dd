"""Deterministic CBOR (RFC 8949, section 4.2), the part of it that the wire uses.

Integers of 64 bit and sign, byte strings, text, arrays, maps with integer keys in ascending order, true, false, null.
No floats, no tags, definite lengths and shortest heads only. Values that fit a board's 31-bit small integers are packed
and read without making another integer.
"""

import struct

DEPTH_MAX = 4  # arrays and maps inside each other; the wire itself needs two

UNSIGNED = 0x00
NEGATIVE = 0x20
BYTES = 0x40
TEXT = 0x60
ARRAY = 0x80
MAP = 0xA0
FALSE = 0xF4
TRUE = 0xF5
NULL = 0xF6


class CborError(ValueError):
    """These bytes are not what the wire allows, or a value does not fit."""


def pack_head(buffer, at, major, argument):
    """Index after the head of one item, written at `at` in its shortest form. CborError if the buffer ends before."""
    room = len(buffer) - at
    if argument < 24 and room >= 1:
        buffer[at] = major | argument
        return at + 1
    if argument < 0x100 and room >= 2:
        buffer[at] = major | 24
        buffer[at + 1] = argument
        return at + 2
    if argument < 0x10000 and room >= 3:
        buffer[at] = major | 25
        buffer[at + 1] = argument >> 8
        buffer[at + 2] = argument & 0xFF
        return at + 3
    # The first bound is the largest small integer of a board: most values stop here without touching a long one.
    if (argument <= 0x3FFFFFFF or argument <= 0xFFFFFFFF) and room >= 5:
        struct.pack_into(">BI", buffer, at, major | 26, argument)
        return at + 5
    if argument > 0xFFFFFFFFFFFFFFFF:
        raise CborError("integer beyond 64 bit")
    if argument <= 0xFFFFFFFF or room < 9:
        raise CborError("no room")
    struct.pack_into(">BQ", buffer, at, major | 27, argument)
    return at + 9


def pack_int(buffer, at, value):
    """Index after the integer `value`, written at `at`."""
    if value >= 0:
        return pack_head(buffer, at, UNSIGNED, value)
    return pack_head(buffer, at, NEGATIVE, -1 - value)


def pack(buffer, at, value):
    """Index after `value`, written at `at`: None, bool, int, bytes, str, list, tuple, or dict with integer keys."""
    if value is None or value is True or value is False:
        return pack_head(buffer, at, 0xE0, 22 if value is None else 20 + value)
    if isinstance(value, int):
        return pack_int(buffer, at, value)
    if isinstance(value, (bytes, bytearray)):
        return _pack_string(buffer, at, BYTES, value)
    if isinstance(value, str):
        return _pack_string(buffer, at, TEXT, value.encode())
    if isinstance(value, (list, tuple)):
        at = pack_head(buffer, at, ARRAY, len(value))
        for item in value:
            at = pack(buffer, at, item)
        return at
    if isinstance(value, dict):
        at = pack_head(buffer, at, MAP, len(value))
        # Bytewise order of the encoded keys: unsigned ascending, then negative by falling value.
        for _, key in sorted([(_key_order(key), key) for key in value]):
            at = pack_int(buffer, at, key)
            at = pack(buffer, at, value[key])
        return at
    raise CborError("the wire has no " + type(value).__name__)


def _pack_string(buffer, at, major, data):
    at = pack_head(buffer, at, major, len(data))
    end = at + len(data)
    if end > len(buffer):
        raise CborError("no room")
    buffer[at:end] = data
    return end


def _key_order(key):
    if not isinstance(key, int):
        raise CborError("map keys are integers")
    return key if key >= 0 else (1 << 64) - 1 - key


class Reader:
    """Reads values one after another from `buffer[at:end]`. CborError on anything that pack() would not write."""

    def __init__(self, buffer, at=0, end=None):
        self.set(buffer, at, len(buffer) if end is None else end)

    def set(self, buffer, at, end):
        """Start anew on other bytes, so that one Reader serves for ever."""
        self.buffer = buffer
        self.at = at
        self.end = end

    def array(self):
        """Number of items of the array that starts here; read them next."""
        if self.at >= self.end or self.buffer[self.at] & 0xE0 != ARRAY:
            raise CborError("another type was expected")
        count = self._argument()
        self._plausible(count)
        return count

    def value(self, depth=0):
        """The next value. Byte strings as bytes, arrays as lists, maps as dicts."""
        at = self.at
        if at >= self.end:
            raise CborError("ends too early")
        first = self.buffer[at]
        if first < 24:
            self.at = at + 1
            return first
        major = first & 0xE0
        if major == 0xE0:
            return self._simple(first)
        argument = self._argument()
        if major == UNSIGNED:
            return argument
        if major == NEGATIVE:
            return -1 - argument
        if major in (BYTES, TEXT):
            return self._string(major, argument)
        if depth >= DEPTH_MAX:
            raise CborError("nested too deep")
        if major == ARRAY:
            return self._items(argument, depth + 1)
        if major == MAP:
            return self._pairs(argument, depth + 1)
        raise CborError("tags are not used")

    def _argument(self):
        """Argument of the head at `at`, which has to be in its shortest form."""
        buffer = self.buffer
        at = self.at
        low = buffer[at] & 0x1F
        if low < 24:
            self.at = at + 1
            return low
        if low > 27:
            raise CborError("indefinite or reserved length")
        size = 1 << (low - 24)
        self.at = at + 1 + size
        if self.at > self.end:
            raise CborError("ends too early")
        argument = 0
        for i in range(at + 1, at + 1 + size):
            argument = (argument << 8) | buffer[i]
        shortest = 24 if size == 1 else 1 << (size * 4)
        if argument < shortest:
            raise CborError("not the shortest form")
        return argument

    def _simple(self, first):
        self.at += 1
        if first == NULL:
            return None
        if first in (TRUE, FALSE):
            return first == TRUE
        raise CborError("floats and simple values are not used")

    def _string(self, major, size):
        start = self.at
        if size > self.end - start:
            raise CborError("ends too early")
        self.at = start + size
        data = bytes(self.buffer[start : start + size])
        if major == BYTES:
            return data
        try:
            return data.decode()
        except UnicodeError:
            raise CborError("text is not UTF-8") from None

    def _items(self, count, depth):
        # No comprehension: on a board its closure would cost two objects for each value that is read.
        self._plausible(count)
        items = [None] * count
        for i in range(count):
            items[i] = self.value(depth)
        return items

    def _pairs(self, count, depth):
        self._plausible(count)
        pairs = {}
        order = -1
        for _ in range(count):
            if self.at >= self.end or self.buffer[self.at] & 0xE0 > NEGATIVE:
                raise CborError("map keys are integers")
            key = self.value(depth)
            if _key_order(key) <= order:
                raise CborError("map keys not in order")
            order = _key_order(key)
            pairs[key] = self.value(depth)
        return pairs

    def _plausible(self, count):
        # Each item takes at least one byte: a huge count cannot make us reserve memory for it.
        if count > self.end - self.at:
            raise CborError("ends too early")
