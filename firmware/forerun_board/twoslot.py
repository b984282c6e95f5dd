"""A small file that survives a power failure at any moment: two slots, each with a generation and a CRC."""

import binascii
import os
import struct

_HEAD = "<III"  # generation, length, CRC-32 of the two and the payload
_HEAD_SIZE = 12


class TwoSlot:
    """`read()` brings the newest whole payload; `write()` overwrites the older slot only."""

    def __init__(self, path):
        self._paths = (path + ".0", path + ".1")
        self._generation = 0
        self._next = 0

    def read(self):
        """The payload last written in full, or None if there never was one."""
        newest = None
        self._generation = 0
        self._next = 0
        for slot in range(2):
            generation, payload = _load(self._paths[slot])
            if payload is not None and generation > self._generation:
                self._generation = generation
                self._next = 1 - slot
                newest = payload
        return newest

    def write(self, payload):
        """Keep `payload` (bytes). read() must have been called before."""
        self._generation += 1
        head = struct.pack("<II", self._generation, len(payload))
        with open(self._paths[self._next], "wb") as file:
            file.write(head + struct.pack("<I", binascii.crc32(payload, binascii.crc32(head))) + payload)
            file.flush()
        self._next = 1 - self._next


def _load(path):
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return 0, None  # not yet there
    if len(data) < _HEAD_SIZE:
        return 0, None
    generation, length, crc = struct.unpack(_HEAD, data[:_HEAD_SIZE])
    payload = data[_HEAD_SIZE:]
    if len(payload) != length or binascii.crc32(payload, binascii.crc32(data[:8])) != crc:
        return 0, None
    return generation, payload


def exists(path):
    """True if anything was ever written there, be it readable or not."""
    for suffix in (".0", ".1"):
        try:
            os.stat(path + suffix)
            return True
        except OSError:
            pass
    return False


def make_directory(path):
    """Make sure that `path` is a directory. OSError if it cannot be made."""
    try:
        os.mkdir(path)
    except OSError:
        os.stat(path)
