"""A strict Modbus RTU slave, sans-IO: the gaps between and inside frames are judged in microseconds given to it."""

from random import Random
from typing import Protocol

from forerun.integrations.sunspec import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ILLEGAL_VALUE, ModbusRefusal

READ, WRITE_ONE, WRITE_MANY = 3, 6, 16
BROADCAST = 0
FRAME_MAX = 256


class Unit(Protocol):
    """What answers behind one unit id; sunspec.Bank is one."""

    def read(self, address: int, count: int) -> bytes: ...
    def write(self, address: int, data: bytes) -> None: ...
    def is_silent(self) -> bool: ...


class Slave:
    """Units on one line. Call take() at every next_due_us(): it returns a reply when its last byte has arrived.

    A request is over after t3.5 of silence; only then is it looked at, with the site advanced to that moment, and
    only then can the time of its reply be known. So next_due_us() first names the end of the request (take()
    returns b"" there) and then the arrival of the reply's last byte.
    """

    def __init__(self, units, baud: int, turnaround_us: int = 2000, site_advance=None, seed: int = 0):
        """units: {unit id: Unit}; site_advance(to_us) is called before registers are touched."""
        self.responder = Responder(units, seed)
        self.baud = baud
        self.char_us = 11_000_000 / baud
        # Above 19200 baud the specification fixes both times (MODBUS over serial line V1.02, 2.5.1.1).
        self.t35_us = 1750 if baud > 19200 else round(3.5 * self.char_us)
        self.t15_us = 750 if baud > 19200 else round(1.5 * self.char_us)
        self._turnaround_us = turnaround_us
        self._site_advance = site_advance or (lambda to_us: None)
        self._frame = bytearray()
        self._broken = False  # a gap longer than t1.5 inside the frame
        self._end_us = 0.0  # of the last byte received
        self._busy_until_us = 0.0  # our own reply and the silence after it
        self._reply = b""
        self._reply_us = 0

    def receive(self, data: bytes, at_us: float) -> None:
        """Bytes on the line, back to back, the first one starting at at_us (or when the line is free)."""
        if not data:
            return
        if self._reply and at_us < self._reply_us:
            self.responder.counts["collision"] += 1
            return
        start_us = at_us
        if self._frame:
            start_us = max(at_us, self._end_us)
            gap_us = start_us - self._end_us
            if gap_us >= self.t35_us:
                self._finish()
                if self._reply:
                    self.responder.counts["collision"] += 1
                    return
            elif gap_us > self.t15_us:
                self._broken = True
        if not self._frame and start_us < self._busy_until_us:
            self._broken = True
        self._frame += data[: FRAME_MAX + 1 - len(self._frame)]
        self._end_us = start_us + len(data) * self.char_us

    def next_due_us(self) -> int | None:
        """When take() must be called next; None while the line is idle."""
        if self._reply:
            return self._reply_us
        if self._frame:
            return int(self._end_us + self.t35_us) + 1
        return None

    def take(self, now_us: int) -> bytes:
        """The reply whose last byte has arrived by now_us, else b""."""
        if self._frame and not self._reply and now_us >= self._end_us + self.t35_us:
            self._finish()
        if self._reply and now_us >= self._reply_us:
            reply, self._reply = self._reply, b""
            return reply
        return b""

    def _finish(self) -> None:
        """The silence after the frame is long enough: answer it."""
        frame, broken = bytes(self._frame), self._broken
        self._frame.clear()
        self._broken = False
        ready_us = self._end_us + self.t35_us
        if broken:
            self.responder.counts["timing"] += 1
            return
        self._site_advance(int(ready_us))
        reply = self.responder.answer(frame)
        if reply:
            self._reply = reply
            self._reply_us = int(ready_us + self._turnaround_us + len(reply) * self.char_us) + 1
            self._busy_until_us = self._reply_us + self.t35_us


class Responder:
    """From one whole request frame to the reply frame; silence is b"". Counts what it met."""

    def __init__(self, units, seed: int = 0):
        self.units = units
        self.counts = dict.fromkeys(("answered", "refused", "broadcast", "bad_crc", "foreign", "timing", "collision",
                                     "silent", "corrupted"), 0)
        self._random = Random(seed)
        self._corrupt_replies = 0
        self._corrupt_requests = 0
        self._sharing: dict[int, Unit] = {}

    def share(self, number: int, other: Unit) -> None:
        """Fault: `other` answers at this unit id too, at the same time."""
        self._sharing[number] = other

    def corrupt(self, replies: int = 0, requests: int = 0) -> None:
        """Fault: one bit is flipped in each of the next `replies` replies and `requests` requests."""
        self._corrupt_replies += replies
        self._corrupt_requests += requests

    def answer(self, frame: bytes) -> bytes:
        """Reply with CRC, or b"" for a bad CRC, a foreign or silent unit, or a broadcast."""
        if self._corrupt_requests:
            self._corrupt_requests -= 1
            frame = self._flip(frame)
        if len(frame) < 4 or len(frame) > FRAME_MAX or crc16(frame) != 0:
            self.counts["bad_crc"] += 1
            return b""
        number = frame[0]
        if number == BROADCAST:
            self.counts["broadcast"] += 1
            if frame[1] in (WRITE_ONE, WRITE_MANY):
                for unit in self.units.values():
                    if not unit.is_silent():
                        self._execute(unit, frame)
            return b""
        unit = self.units.get(number)
        if unit is None:
            self.counts["foreign"] += 1
            return b""
        if unit.is_silent():
            self.counts["silent"] += 1
            return b""
        body = self._execute(unit, frame)
        self.counts["refused" if body[0] & 0x80 else "answered"] += 1
        reply = _sealed(frame[:1] + body)
        if number in self._sharing:
            reply = _overlaid(reply, _sealed(frame[:1] + self._execute(self._sharing[number], frame)))
        if self._corrupt_replies:
            self._corrupt_replies -= 1
            reply = self._flip(reply)
        return reply

    def _execute(self, unit: Unit, frame: bytes) -> bytes:
        """Function code and data of the reply."""
        function = frame[1]
        try:
            return self._serve(unit, function, frame[2:-2])
        except ModbusRefusal as refusal:
            return bytes((function | 0x80, refusal.code))

    def _serve(self, unit: Unit, function: int, data: bytes) -> bytes:
        if function not in (READ, WRITE_ONE, WRITE_MANY):
            raise ModbusRefusal(ILLEGAL_FUNCTION, f"function {function} is not supported")
        if len(data) < 4 or (function != WRITE_MANY and len(data) != 4):
            raise ModbusRefusal(ILLEGAL_VALUE, f"{len(data)} bytes do not fit function {function}")
        address = data[0] << 8 | data[1]
        if function == WRITE_ONE:
            unit.write(address, data[2:4])
            return bytes((function,)) + data
        count = data[2] << 8 | data[3]
        if not 1 <= count <= (125 if function == READ else 123):
            raise ModbusRefusal(ILLEGAL_VALUE, f"{count} registers in one request")
        if address + count > 65536:
            raise ModbusRefusal(ILLEGAL_ADDRESS, "beyond register 65535")
        if function == READ:
            registers = unit.read(address, count)
            return bytes((function, len(registers))) + registers
        if len(data) != 5 + 2 * count or data[4] != 2 * count:
            raise ModbusRefusal(ILLEGAL_VALUE, "byte count does not fit the register count")
        unit.write(address, data[5:])
        return bytes((function,)) + data[:4]

    def _flip(self, frame: bytes) -> bytes:
        self.counts["corrupted"] += 1
        place = self._random.randrange(len(frame) * 8)
        flipped = bytearray(frame)
        flipped[place >> 3] ^= 1 << (place & 7)
        return bytes(flipped)


def _sealed(reply: bytes) -> bytes:
    crc = crc16(reply)
    return reply + bytes((crc & 0xFF, crc >> 8))


def _overlaid(one: bytes, other: bytes) -> bytes:
    """What two drivers at once leave on the line: a 0 bit wins over the 1 of an equally strong transmitter."""
    longest = max(len(one), len(other))
    pairs = zip(one.ljust(longest, b"\xff"), other.ljust(longest, b"\xff"), strict=True)
    return bytes(a & b for a, b in pairs)


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_TABLE = _crc_table()


def crc16(data: bytes) -> int:
    """CRC-16/MODBUS; on the line low byte first, so over a whole good frame it is 0."""
    crc = 0xFFFF
    table = _TABLE
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc
