"""What tests that run on three interpreters share: where the repository is, golden frames, and repeatable chance."""

import binascii
import json
import os
import sys
import time

ROOT = __file__.rpartition("/tests/both/")[0] or "." if "/tests/both/" in __file__ else "."
IS_MICROPYTHON = sys.implementation.name == "micropython"
SMALL_INT_BITS = 31 if sys.maxsize < 1 << 32 else 63


def vectors():
    """The golden frames of protocol/vectors.jsonl, one after another: hex and {"hex": …} turned into bytes."""
    with open(ROOT + "/protocol/vectors.jsonl") as file:
        for line in file:
            case = json.loads(line)
            case["line"] = binascii.unhexlify(case["hex"])
            case["schema"] = binascii.unhexlify(case["schema"])
            if "value" in case:
                case["value"] = _plain(case["value"])
            yield case


def _plain(value):
    if isinstance(value, dict):
        return binascii.unhexlify(value["hex"])
    return [_plain(item) for item in value] if isinstance(value, list) else value


class Chance:
    """The same numbers from the same seed on every interpreter (32-bit xorshift)."""

    def __init__(self, seed):
        self.state = seed & 0xFFFFFFFF or 1

    def below(self, limit):
        """An integer from 0 to `limit` - 1, limit <= 2**31."""
        x = self.state
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        self.state = x
        return (x >> 1) % limit

    def bytes(self, count):
        data = bytearray(count)
        for i in range(count):
            data[i] = self.below(256)
        return bytes(data)

    def one_in(self, number):
        return self.below(number) == 0


def scratch():
    """A new directory, emptied by discard()."""
    base = os.getenv("TMPDIR") if hasattr(os, "getenv") else None
    stamp = time.ticks_us() if hasattr(time, "ticks_us") else time.monotonic_ns()
    path = "%s/forerun-test-%d" % (base or "/tmp", stamp)
    os.mkdir(path)
    return path
