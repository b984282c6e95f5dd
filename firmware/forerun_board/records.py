"""Numbered records on flash until the host has them on its disk: segments of records, each with length and CRC.

A record lies there as it goes over the wire: the CBOR array [number, boot_count, uptime_s, uptime_ms, kind, *body], and
its tag behind that if the board holds a key.
"""

import binascii
import os
import struct

from forerun_wire import messages as m
from forerun_wire.cbor import pack

_HEAD = "<HII"  # length of the record, number, CRC-32 of the two and the record
_HEAD_SIZE = 10
_CHECKED_SIZE = 6
SEGMENT_RECORDS = 64
SEGMENTS_MAX = 32  # of at most 8 KiB each: 256 KiB of flash; a day has 288 intervals and seldom 100 events
WAITING_MAX = 32  # in RAM until there is a quiet moment for flash
GAPS_MAX = 4
RECORD_MAX = 128
_SUFFIX = ".rec"
_OLD_RECORD = 0x85  # begins what firmware of wire schemas 1 and 2 wrote


class Records:
    """The store of one directory. `torn_bytes`: what a power cut left; `newest`: the last number on flash.

    A number is given once and never again, also after a restart: what is sent has been flushed before. When it is full,
    the oldest go, or with `keep_oldest` none is taken; either way gap() tells. `keys`, if any, sign what is flushed.
    """

    def __init__(self, directory, store_id=bytes(8), keys=None):
        self._directory = directory
        self.store_id = store_id
        self.keys = keys
        self.keep_oldest = 0
        self._segments = []  # [first number, last number], oldest first
        self._waiting = []  # [number, record]
        self._gaps = []  # [cause, first, last] not yet told
        self._scratch = bytearray(RECORD_MAX)
        self._segment = 0  # where fetch() goes on: index into _segments,
        self._offset = 0  # place in that file,
        self._at = 0  # and number of the next record
        self._acknowledged = 0
        self._unreadable = 0  # up to here gap() has told what cannot be read
        self.torn_bytes = 0
        self.next_number = 1
        self.newest = 0
        self._open()

    def add(self, boot_count, uptime_s, uptime_ms, kind, body):
        """Number and keep a record; it is on flash after the next flush()."""
        number = self.next_number
        self.next_number = number + 1
        if len(self._waiting) >= WAITING_MAX:
            self._lost(m.MEMORY_FULL, number, number)
        else:
            self._waiting.append([number, self._packed([number, boot_count, uptime_s, uptime_ms, kind] + body)])

    def flush(self):
        """Bring what waits onto flash. Not for the middle of a round: flash stops everything else on some boards."""
        while self._waiting:
            if not self._segments or self._segments[-1][1] - self._segments[-1][0] + 1 >= SEGMENT_RECORDS:
                if self.keep_oldest and len(self._segments) >= SEGMENTS_MAX:
                    self._lost(m.NEWEST_REFUSED, self._waiting[0][0], self._waiting[-1][0])
                    self._waiting = []
                    return
                self._begin_segment()
            segment = self._segments[-1]
            with open(self._path(segment[0]), "ab") as file:
                while self._waiting and segment[1] - segment[0] + 1 < SEGMENT_RECORDS:
                    number, record = self._waiting.pop(0)
                    file.write(_framed(number, self._signed(record)))
                    segment[1] = number
                file.flush()
            self.newest = segment[1]

    def pending(self):
        """How many records flush() would write."""
        return len(self._waiting)

    def gap(self):
        """[cause, first, last] of records that will not come, once each, for a record of its own; None if there is
        none, or no room for that record yet."""
        if not self._gaps or not self._has_room():
            return None
        return self._gaps.pop(0)

    def fetch(self, after, last, buffer, at, limit, most):
        """(count, number of the last, index behind it) of records that follow number `after`, copied to buffer[at:].

        As many as fit `limit` bytes, at most `most`, and none above `last` unless that is 0.
        """
        if self._at != after + 1:
            self._seek(after)
        count = 0
        number = after
        end = at
        while self._segment < len(self._segments) and count < most:
            first, newest = self._segments[self._segment]
            if newest < first or self._at > newest:
                if self._segment == len(self._segments) - 1:
                    break
                self._segment += 1
                self._offset = 0
                continue
            with open(self._path(first), "rb") as file:
                while count < most and self._at <= newest:
                    found, record = _record_at(file, self._offset)
                    if record is None:
                        if not self._pass_over(file, newest):
                            return count, number, end
                        continue
                    size = len(record)
                    if found >= self._at:
                        if record[0] == _OLD_RECORD:
                            from forerun_wire.older import converted

                            record = converted(found, record)
                        if (last and found > last) or end + len(record) > at + limit:
                            return count, number, end
                        buffer[end : end + len(record)] = record
                        end += len(record)
                        number = found
                        count += 1
                        self._at = found + 1
                    self._offset += _HEAD_SIZE + size
        return count, number, end

    def acknowledge(self, number):
        """The host has everything up to `number` on its disk: whole segments go, the newest stays for its number."""
        self._acknowledged = max(self._acknowledged, number)
        while len(self._segments) > 1 and self._segments[0][1] <= number:
            self._drop_oldest()

    # ---- one record

    def _packed(self, fields):
        return bytes(self._scratch[: pack(self._scratch, 0, fields)])

    def _signed(self, record):
        """The record, with its tag behind it if there is a key."""
        keys = self.keys
        if keys is None or not keys.has(m.READ):
            return record
        from forerun_wire.auth import record_tag

        tag = record_tag(keys.of(m.READ), self.store_id, record)
        return bytes([record[0] + 1]) + record[1:] + b"\x48" + tag

    def _lost(self, cause, first, last):
        gaps = self._gaps
        if gaps and ((gaps[-1][0] == cause and gaps[-1][2] + 1 == first) or len(gaps) >= GAPS_MAX):
            gaps[-1][2] = last
        else:
            gaps.append([cause, first, last])

    def _pass_over(self, file, newest):
        """Go on behind what cannot be read, which gap() tells: at the next record, or where there is none to be found,
        with the next segment. False: there is no room for one more gap, first those before have to be told.

        After a restart a gap that lies there still is told once more: the same numbers, which mean the same.
        """
        number, offset = _behind(file, self._offset)
        if not 0 < number <= newest:
            number = newest + 1
        if number > self._at:
            first = max(self._at, self._unreadable + 1)
            if first < number:
                if len(self._gaps) >= GAPS_MAX and self._has_room():
                    return False
                self._lost(m.UNREADABLE, first, number - 1)
                self._unreadable = number - 1
            self._at = number
        self._offset = offset
        return True

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
            self.newest = self._segments[-1][1]
            self.next_number = self.newest + 1
        if self.torn_bytes:
            # Nothing is written behind the torn end. A segment without one whole record is taken anew.
            if self._segments[-1][1] < self._segments[-1][0]:
                os.remove(self._path(self._segments.pop()[0]))
            self._begin_segment()

    def _last_in(self, first):
        path = self._path(first)
        offset = 0
        number = first - 1
        with open(path, "rb") as file:
            while True:
                found, record = _record_at(file, offset)
                if record is None:  # torn; or one that went bad, with others behind it whose numbers are taken
                    found, behind = _behind(file, offset)
                    if found <= number:
                        break
                    offset = behind
                    continue
                offset += _HEAD_SIZE + len(record)
                number = found
        self.torn_bytes = os.stat(path)[6] - offset
        return number

    def _begin_segment(self):
        if len(self._segments) >= SEGMENTS_MAX:
            first, last = self._segments[0]
            if last > self._acknowledged:
                self._lost(m.OLDEST_DROPPED, max(first, self._acknowledged + 1), last)
            self._drop_oldest()
        first = self._waiting[0][0] if self._waiting else self.next_number
        with open(self._path(first), "wb") as file:
            file.flush()
        self._segments.append([first, first - 1])

    def _has_room(self):
        """Whether one more record would be taken, dropping older ones if it must."""
        if not self.keep_oldest or len(self._segments) < SEGMENTS_MAX:
            return True
        return self._segments[-1][1] - self._segments[-1][0] + 1 < SEGMENT_RECORDS

    def _drop_oldest(self):
        os.remove(self._path(self._segments.pop(0)[0]))
        if self._segment > 0:
            self._segment -= 1
        else:
            self._offset = 0

    def _seek(self, after):
        self._segment = 0
        self._offset = 0
        while self._segment < len(self._segments) - 1 and self._segments[self._segment][1] <= after:
            self._segment += 1
        self._at = after + 1

    def _path(self, first):
        return "%s/%010d%s" % (self._directory, first, _SUFFIX)


def _framed(number, record):
    checked = struct.pack("<HI", len(record), number)
    return checked + struct.pack("<I", binascii.crc32(record, binascii.crc32(checked))) + record


def _record_at(file, offset):
    """(number, record) at `offset`; (0, None) at the end and where a power cut tore it."""
    file.seek(offset)
    head = file.read(_HEAD_SIZE)
    if len(head) < _HEAD_SIZE:
        return 0, None
    length, number, crc = struct.unpack(_HEAD, head)
    record = file.read(length)
    if len(record) != length or binascii.crc32(record, binascii.crc32(head[:_CHECKED_SIZE])) != crc:
        return 0, None
    return number, record


def _behind(file, offset):
    """(number, offset) of the next record behind what cannot be read at `offset`, as far as lengths lead there; else
    (0, `offset`)."""
    behind = offset
    for _ in range(SEGMENT_RECORDS):
        file.seek(behind)
        head = file.read(2)
        if len(head) < 2:
            break
        behind += _HEAD_SIZE + head[0] + (head[1] << 8)
        number, record = _record_at(file, behind)
        if record is not None:
            return number, behind
    return 0, offset
