"""Modbus RTU client (Modbus over Serial Line V1.02): one transaction at a time, never waiting inside a call."""

from array import array

REGISTERS_MAX = 125  # of one read (Modbus Application Protocol V1.1b3, 6.3)
WRITE_MAX = 16
BITS_PER_CHARACTER = 11
TURNAROUND_US = 5_000  # what a round allows a device for its answer
PATIENCE_US = 100_000  # what a device may take, on top of the line time, before it counts as silent
RETRIES = 1

# Outcome of the last transaction.
OK = 0
SILENT = 1
GARBLED = 2  # bad CRC, wrong unit, wrong function, wrong length
EXCEPTION = 3

_IDLE = 0
_GAP = 1  # the line must be silent for t3.5 first
_AWAITING = 2

_TIME_MASK = 0x3FFF_FFFF


def elapsed_us(now_us, then_us):
    """Microseconds from `then_us` to `now_us`, both counting modulo 2**30."""
    return (now_us - then_us) & _TIME_MASK


def t35_us(baud):
    """Silence that ends a frame, in µs: 3.5 characters of 11 bits up to 19200 baud, else 1750 (2.5.1.1)."""
    return 1750 if baud > 19200 else 38_500_000 // baud + 1


def line_us(characters, baud):
    """Time that `characters` take on the line, in µs."""
    return characters * (BITS_PER_CHARACTER * 1_000_000 // baud)


def read_us(count, baud):
    """Time a round plans for reading `count` registers, in µs: request, answer, turnaround and silence."""
    return line_us(8 + 5 + 2 * count, baud) + TURNAROUND_US + t35_us(baud)


def write_us(count, baud):
    """Time a round plans for writing `count` registers with function 16, in µs."""
    return line_us(9 + 2 * count + 8, baud) + TURNAROUND_US + t35_us(baud)


def _crc_table():
    table = array("H", [0] * 256)
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
        table[byte] = crc
    return table


_CRC = _crc_table()


def crc16(buffer, count):
    """CRC-16/MODBUS of the first `count` bytes; 0 over a frame that ends with its own CRC."""
    table = _CRC
    crc = 0xFFFF
    for i in range(count):
        crc = (crc >> 8) ^ table[(crc ^ buffer[i]) & 0xFF]
    return crc


class Master:
    """The bus. `read()` or `write()` starts a transaction, `poll()` drives it, `busy` ends with an `outcome`.

    `stream` has read_into(buffer, start, limit) -> bytes now in, without waiting, and write(buffer, count).
    The answer's registers are read with u16(i), i16(i), u32(i); registers to write are put into `values`.
    """

    def __init__(self, stream, baud, now_us=0):
        self.busy = False
        self.outcome = OK
        self.exception = 0  # Modbus exception code when outcome is EXCEPTION
        self.transactions = 0
        self.retried = 0
        self.values = array("H", [0] * WRITE_MAX)
        self.unit = 0
        self.address = 0
        self._stream = stream
        self._baud = baud
        self._t35_us = t35_us(baud)
        self._request = bytearray(9 + 2 * WRITE_MAX)
        self._request_size = 0
        self._reply = bytearray(5 + 2 * REGISTERS_MAX)
        self._received = 0
        self._expected = 0
        self._phase = _IDLE
        self._tries_left = 0
        self._since_us = now_us  # end of the last character on the line, or when the request was handed over
        self._timeout_us = 0

    def read(self, unit, address, count, retries=RETRIES):
        """Start reading `count` holding registers (function 3)."""
        self._head(unit, 3, address, count)
        self._start(6, 5 + 2 * count, retries)

    def write(self, unit, address, count, retries=RETRIES):
        """Start writing the first `count` of `values` to exactly these registers (function 16)."""
        request = self._request
        self._head(unit, 16, address, count)
        request[6] = 2 * count
        for i in range(count):
            request[7 + 2 * i] = self.values[i] >> 8
            request[8 + 2 * i] = self.values[i] & 0xFF
        self._start(7 + 2 * count, 8, retries)

    def write_single(self, unit, address, retries=RETRIES):
        """Start writing values[0] with function 6."""
        self._head(unit, 6, address, self.values[0])
        self._start(6, 8, retries)

    def _head(self, unit, function, address, last):
        request = self._request
        request[0] = unit
        request[1] = function
        request[2] = address >> 8
        request[3] = address & 0xFF
        request[4] = last >> 8
        request[5] = last & 0xFF
        self.unit = unit
        self.address = address

    def _start(self, size, expected, retries):
        crc = crc16(self._request, size)
        self._request[size] = crc & 0xFF
        self._request[size + 1] = crc >> 8
        self._request_size = size + 2
        self._expected = expected
        self._timeout_us = line_us(size + 2 + expected, self._baud) + PATIENCE_US
        self._tries_left = retries
        self._phase = _GAP
        self.busy = True
        self.transactions += 1

    def poll(self, now_us):
        """Do what is due. Afterwards `busy` says whether the transaction goes on."""
        if self._phase == _GAP:
            self._hush(now_us)
            if elapsed_us(now_us, self._since_us) >= self._t35_us:
                self._received = 0
                self._stream.write(self._request, self._request_size)
                self._since_us = now_us
                self._phase = _AWAITING
        elif self._phase == _AWAITING:
            self._take(now_us)
        elif not self.busy:
            self._hush(now_us)

    def wait_us(self, now_us):
        """Time until poll() is due even if no byte comes, in µs; -1 = not before a byte comes."""
        if self._phase == _GAP:
            return max(0, self._t35_us - elapsed_us(now_us, self._since_us))
        if self._phase == _AWAITING:
            return max(0, self._timeout_us - elapsed_us(now_us, self._since_us))
        return -1

    def _hush(self, now_us):
        """Throw away what nobody asked for (a late answer, noise); the silence begins anew after it."""
        while self._stream.read_into(self._reply, 0, len(self._reply)) > 0:
            self._since_us = now_us

    def _take(self, now_us):
        count = self._stream.read_into(self._reply, self._received, self._expected - self._received)
        if count > 0:
            self._received += count
            if self._received >= 5 and self._reply[1] & 0x80:
                self._finish(self._verdict(5), now_us)
                return
        if self._received >= self._expected:
            self._finish(self._verdict(self._expected), now_us)
        elif elapsed_us(now_us, self._since_us) >= self._timeout_us:
            self._finish(GARBLED if self._received else SILENT, now_us)

    def _verdict(self, size):
        reply = self._reply
        request = self._request
        if crc16(reply, size) != 0 or reply[0] != request[0]:
            return GARBLED
        if reply[1] == request[1] | 0x80:
            self.exception = reply[2]
            return EXCEPTION
        if reply[1] != request[1]:
            return GARBLED
        if reply[1] == 3:
            return OK if reply[2] == size - 5 else GARBLED
        for i in range(2, 6):
            if reply[i] != request[i]:
                return GARBLED
        return OK

    def _finish(self, outcome, now_us):
        self._since_us = now_us
        if outcome in (SILENT, GARBLED) and self._tries_left > 0:
            self._tries_left -= 1
            self.retried += 1
            self._phase = _GAP
            return
        self.outcome = outcome
        self._phase = _IDLE
        self.busy = False

    # ---- registers of the answer, counted from the first one asked for

    def u16(self, index):
        """Register as unsigned 16 bit."""
        return self._reply[3 + 2 * index] << 8 | self._reply[4 + 2 * index]

    def i16(self, index):
        """Register as signed 16 bit."""
        value = self.u16(index)
        return value - 0x10000 if value & 0x8000 else value

    def u32(self, index):
        """Two registers as unsigned 32 bit, high word first; beyond a board's small integers, so not for the cycle."""
        return self.u16(index) << 16 | self.u16(index + 1)

    def u64(self, index):
        """Four registers as unsigned 64 bit, high word first; not for the cycle."""
        return self.u32(index) << 32 | self.u32(index + 2)
