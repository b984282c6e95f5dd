"""Numbered records on flash until the host has them on its disk: segments of records, each with length and CRC."""

import binascii
import os
import struct

from forerun_wire.cbor import Reader, pack

_HEAD = "<HII"  # length of the payload, number, CRC-32 of the two and the payload
_HEAD_SIZE = 10
_CHECKED_SIZE = 6
SEGMENT_RECORDS = 64
SEGMENTS_MAX = 32
WAITING_MAX = 32  # in RAM until there is a quiet moment for flash
RECORD_MAX = 128
_SUFFIX = ".rec"


class Records:
    """The store of one directory. `dropped` counts records that had to go unread; `torn_bytes` what a power cut left.

    A number is given once and never again, also after a restart: what is sent has been flushed before.
    """

    def __init__(self, directory):
        self._directory = directory
        self._segments = []  # [first number, last number], oldest first
        self._waiting = []
        self._scratch = bytearray(RECORD_MAX)
        self._cursor_segment = 0  # index into _segments of the next record to read
        self._cursor_offset = 0
        self._at = 0  # number of the next record to read
        self.dropped = 0
        self.torn_bytes = 0
        self.next_number = 1
        self._flushed = 0  # last number on flash
        self._open()

    def add(self, boot_count, uptime_s, uptime_ms, kind, body):
        """Number and keep a record; it is on flash after the next flush()."""
        if len(self._waiting) >= WAITING_MAX:
            self.dropped += 1
            return
        end = pack(self._scratch, 0, [boot_count, uptime_s, uptime_ms, kind, body])
        self._waiting.append(_framed(self.next_number, bytes(self._scratch[:end])))
        self.next_number += 1

    def flush(self):
        """Bring what waits onto flash. Not for the middle of a round: flash stops everything else on some boards."""
        while self._waiting:
            if not self._segments or self._segments[-1][1] - self._segments[-1][0] + 1 >= SEGMENT_RECORDS:
                self._begin_segment()
            segment = self._segments[-1]
            with open(self._path(segment[0]), "ab") as file:
                while self._waiting and segment[1] - segment[0] + 1 < SEGMENT_RECORDS:
                    file.write(self._waiting.pop(0))
                    segment[1] += 1
                file.flush()
            self._flushed = segment[1]

    def pending(self):
        """How many records flush() would write."""
        return len(self._waiting)

    def rewind(self, number):
        """The host has everything up to `number`: read() goes on with the first record above it."""
        self._cursor_segment = 0
        self._cursor_offset = 0
        while (
            self._cursor_segment < len(self._segments) - 1 and self._segments[self._cursor_segment][1] <= number
        ):
            self._cursor_segment += 1
        self._at = number + 1

    def read(self):
        """The next record on flash as [number, boot_count, uptime_s, uptime_ms, kind, body], or None."""
        while self._cursor_segment < len(self._segments):
            segment = self._segments[self._cursor_segment]
            number, payload = 0, None
            if self._at <= segment[1]:
                number, payload = _record_at(self._path(segment[0]), self._cursor_offset)
            if payload is not None:
                self._cursor_offset += _HEAD_SIZE + len(payload)
                if number >= self._at:
                    self._at = number + 1
                    reader = Reader(payload)
                    return [number] + [reader.value() for _ in range(reader.array())]
            elif self._cursor_segment < len(self._segments) - 1:
                self._cursor_segment += 1
                self._cursor_offset = 0
            else:
                return None
        return None

    def acknowledge(self, number):
        """The host has everything up to `number` on its disk: whole segments go, the newest stays for its number."""
        while len(self._segments) > 1 and self._segments[0][1] <= number:
            self._drop_oldest()

    # ---- segments

    def _open(self):
        firsts = []
        for name in os.listdir(self._directory):
            if name.endswith(_SUFFIX):
                firsts.append(int(name[: -len(_SUFFIX)]))
        firsts.sort()
        for i in range(len(firsts)):
            last = firsts[i + 1] - 1 if i + 1 < len(firsts) else self._last_in(firsts[i])
            self._segments.append([firsts[i], last])
        if self._segments:
            self._flushed = self._segments[-1][1]
            self.next_number = self._flushed + 1
        if self.torn_bytes:
            # Nothing is written behind the torn end. A segment without one whole record is taken anew.
            if self._segments[-1][1] < self._segments[-1][0]:
                os.remove(self._path(self._segments.pop()[0]))
            self._begin_segment()

    def _last_in(self, first):
        path = self._path(first)
        offset = 0
        number = first - 1
        found, payload = _record_at(path, 0)
        while payload is not None:
            offset += _HEAD_SIZE + len(payload)
            number = found
            found, payload = _record_at(path, offset)
        self.torn_bytes = os.stat(path)[6] - offset
        return number

    def _begin_segment(self):
        if len(self._segments) >= SEGMENTS_MAX:
            self.dropped += self._segments[0][1] - self._segments[0][0] + 1
            self._drop_oldest()
        first = self._segments[-1][1] + 1 if self._segments else self.next_number - len(self._waiting)
        with open(self._path(first), "wb") as file:
            file.flush()
        self._segments.append([first, first - 1])

    def _drop_oldest(self):
        os.remove(self._path(self._segments.pop(0)[0]))
        if self._cursor_segment > 0:
            self._cursor_segment -= 1
        else:
            self._cursor_offset = 0

    def _path(self, first):
        return "%s/%010d%s" % (self._directory, first, _SUFFIX)


def _framed(number, payload):
    checked = struct.pack("<HI", len(payload), number)
    return checked + struct.pack("<I", binascii.crc32(payload, binascii.crc32(checked))) + payload


def _record_at(path, offset):
    """(number, payload) of the record at `offset`; (0, None) at the end and where a power cut tore it."""
    with open(path, "rb") as file:
        file.seek(offset)
        head = file.read(_HEAD_SIZE)
        if len(head) < _HEAD_SIZE:
            return 0, None
        length, number, crc = struct.unpack(_HEAD, head)
        payload = file.read(length)
    if len(payload) != length or binascii.crc32(payload, binascii.crc32(head[:_CHECKED_SIZE])) != crc:
        return 0, None
    return number, payload
