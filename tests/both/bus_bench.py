"""A bus without a wire: a bank of registers that answers as a datasheet says, and a clock that a test moves.

It shares nothing with the drivers, not even the CRC: registers are numbers here.
"""

import os
import time
from array import array

MASK = 0x3FFFFFFF


def scratch():
    """A new directory, emptied by discard()."""
    base = os.getenv("TMPDIR") if hasattr(os, "getenv") else None
    stamp = time.ticks_us() if hasattr(time, "ticks_us") else time.monotonic_ns()
    path = "%s/forerun-test-%d" % (base or "/tmp", stamp)
    os.mkdir(path)
    return path


def crc(data):
    """CRC-16/MODBUS, bit by bit."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return value


def framed(body):
    value = crc(body)
    return bytes(body) + bytes([value & 0xFF, value >> 8])


class Bank:
    """Holding registers of one unit, {address: value}; what is not there is answered with exception 2."""

    def __init__(self, registers):
        self.registers = registers
        self.writes = []  # (address, [values]) of each accepted write
        self.refuses = ()  # addresses that answer exception 4 when written

    def answer(self, frame):
        function = frame[1]
        address = frame[2] << 8 | frame[3]
        count = frame[4] << 8 | frame[5]
        if function == 3:
            data = b""
            for i in range(address, address + count):
                if i not in self.registers:
                    return framed(bytes([frame[0], 0x83, 2]))
                data += bytes([self.registers[i] >> 8, self.registers[i] & 0xFF])
            return framed(bytes([frame[0], 3, 2 * count]) + data)
        if function == 16:
            values = [frame[7 + 2 * i] << 8 | frame[8 + 2 * i] for i in range(count)]
        elif function == 6:
            values = [count]
        else:
            return framed(bytes([frame[0], function | 0x80, 1]))
        for i in range(len(values)):
            if address + i not in self.registers or address + i in self.refuses:
                return framed(bytes([frame[0], function | 0x80, 4 if address + i in self.refuses else 2]))
        for i in range(len(values)):
            self.registers[address + i] = values[i]
        self.writes.append((address, values))
        return framed(bytes(frame[:6]))


class Line:
    """The stream that a Master is given; units answer at once unless `tamper` makes something else of the answer."""

    def __init__(self, units):
        self.units = units
        self.requests = []
        self.waiting = b""
        self.tamper = lambda answer: answer

    def write(self, data, count):
        frame = bytes(data[:count])
        assert crc(frame) == 0, "the request's CRC is wrong"
        self.requests.append(frame)
        unit = self.units.get(frame[0])
        if unit is not None:
            self.waiting += self.tamper(unit.answer(frame[:-2]))
        return count

    def read_into(self, buffer, start, limit):
        taken = self.waiting[:limit]
        self.waiting = self.waiting[limit:]
        for i in range(len(taken)):
            buffer[start + i] = taken[i]
        return len(taken)


def finish(bus, now_us=0, limit_us=2_000_000):
    """Drive a transaction to its end; the time when it ended, in µs."""
    began_us = now_us
    bus.poll(now_us)
    while bus.busy:
        now_us += max(1, bus.wait_us(now_us & MASK))
        assert now_us - began_us < limit_us, "the transaction does not end"
        bus.poll(now_us & MASK)
    return now_us


def run(bus, generator, now_us=0):
    """Drive a driver's generator to its end; what it returned."""
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            return stop.value
        now_us = finish(bus, now_us)


class Map:
    """Registers from `base` on, two bytes each: a dict of them would not fit beside a board in 192 KiB."""

    def __init__(self, base, count):
        self._base = base
        self._values = array("H", bytes(2 * count))

    def __contains__(self, address):
        return 0 <= address - self._base < len(self._values)

    def __getitem__(self, address):
        return self._values[address - self._base]

    def __setitem__(self, address, value):
        self._values[address - self._base] = value


def sunspec_map(base, models):
    """Registers of a map at `base`; models: [(id, length, {offset from the id register: value})]."""
    registers = Map(base, 4 + sum([length + 2 for _, length, _ in models]))
    registers[base] = 0x5375
    registers[base + 1] = 0x6E53
    at = base + 2
    for model, length, points in models:
        registers[at] = model
        registers[at + 1] = length
        for offset in points:
            registers[at + offset] = points[offset] & 0xFFFF
        at += length + 2
    registers[at] = 0xFFFF
    return registers
