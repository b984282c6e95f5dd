"""What tests that run on three interpreters share: where the repository is, golden frames, and repeatable chance."""

import binascii
import json
import sys

from forerun_wire import messages as m
from forerun_wire.board import BoardSession
from forerun_wire.cbor import pack

ROOT = __file__.rpartition("/tests/both/")[0] or "." if "/tests/both/" in __file__ else "."
IS_MICROPYTHON = sys.implementation.name == "micropython"
SMALL_INT_BITS = 31 if sys.maxsize < 1 << 32 else 63


def session(role, identity, software, nonce, **options):
    """One end of the line, a board's or a host's."""
    if role == m.ROLE_BOARD:
        return BoardSession(identity, software, nonce, **options)
    from forerun_wire.host import HostSession  # not where only board code is looked at

    return HostSession(identity, software, nonce, **options)


class Shelf:
    """A board's records in memory, {number: record in bytes}, to be sent by a session."""

    def __init__(self):
        self.records = {}

    @property
    def newest(self):
        return max(self.records) if self.records else 0

    def put(self, number, boot_count=1, uptime_s=None, uptime_ms=0, kind=m.EVENT, body=(5, 0, 0)):
        record = bytearray(160)
        uptime_s = number if uptime_s is None else uptime_s
        fields = [number, boot_count, uptime_s, uptime_ms, kind]
        fields.extend(body)
        self.records[number] = bytes(record[: pack(record, 0, fields)])

    def keep(self, numbers):
        for number in list(self.records):
            if number not in numbers:
                del self.records[number]

    def fetch(self, after, last, buffer, at, limit, most):
        count, end, number = 0, at, after
        for found in sorted(self.records):
            record = self.records[found]
            if found <= after or (last and found > last) or count >= most or end + len(record) > at + limit:
                continue
            buffer[end : end + len(record)] = record
            end += len(record)
            number = found
            count += 1
        return count, number, end


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
