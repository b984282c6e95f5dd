"""A Modbus RTU client for commissioning: one question at a time, and every way in which the answer can be wrong."""

import select
import termios
import time
from dataclasses import dataclass
from typing import Protocol

from forerun.errors import Trouble
from forerun.link.port import open_port

OK = "ok"
SILENT = "silent"
GARBLED = "garbled"  # something came, but no whole and true answer
EXCEPTION = "exception"  # a true answer that says no: somebody lives there

BITS_PER_CHARACTER = 11
PATIENCE_S = 0.1  # what a device may take on top of the time on the line; the board grants the same
LONG_PATIENCE_S = 0.5  # granted to a unit that is known to be there: only what is lost counts then, not what is late
SILENCE_S = 0.004  # an answer is over when nothing came for so long after its last expected byte
EXCEPTION_BYTES = 5


class Line(Protocol):
    """Half-duplex line: `exchange` sends and returns what came, `expected` bytes or what was there after `limit_s`."""

    baud: int

    def set_baud(self, baud: int) -> None: ...
    def exchange(self, request: bytes, expected: int, limit_s: float) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one question; `registers` only when the outcome is OK."""

    outcome: str
    registers: tuple[int, ...] = ()

    @property
    def alive(self) -> bool:
        """True when somebody gave a true answer."""
        return self.outcome in (OK, EXCEPTION)


def read(line: Line, unit: int, address: int, count: int, patience_s: float = LONG_PATIENCE_S) -> Answer:
    """Read `count` holding registers (function 3, at most 125) of `unit`."""
    request = bytes((unit, 3, address >> 8, address & 0xFF, 0, count))
    expected = 5 + 2 * count
    on_line_s = (len(request) + 2 + expected) * BITS_PER_CHARACTER / line.baud
    reply = line.exchange(request + crc16(request), expected, on_line_s + patience_s)
    if not reply:
        return Answer(SILENT)
    if len(reply) < EXCEPTION_BYTES or crc16(reply[:-2]) != reply[-2:] or reply[0] != unit:
        return Answer(GARBLED)
    if len(reply) == EXCEPTION_BYTES and reply[1] == 0x83:
        return Answer(EXCEPTION)
    if len(reply) != expected or reply[1] != 3 or reply[2] != 2 * count:
        return Answer(GARBLED)
    return Answer(OK, tuple(reply[i] << 8 | reply[i + 1] for i in range(3, 3 + 2 * count, 2)))


def _shifted_out(crc: int) -> int:
    for _ in range(8):
        crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


_BYTES = [_shifted_out(byte) for byte in range(256)]


def crc16(data: bytes) -> bytes:
    """CRC-16/MODBUS as on the line, low byte first (Modbus over Serial Line V1.02, 6.2.2)."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _BYTES[(crc ^ byte) & 0xFF]
    return bytes((crc & 0xFF, crc >> 8))


class SerialLine:
    """A real port or a pseudo-terminal. Use as a context manager. Raises PortError, a Trouble."""

    def __init__(self, port: str, baud: int):
        self.baud = baud
        self._port = open_port(port, baud)

    def __enter__(self) -> "SerialLine":
        return self

    def __exit__(self, *exc) -> None:
        self._port.close()

    def set_baud(self, baud: int) -> None:
        """Another speed from here on."""
        self.baud = self._port.baudrate = baud

    def exchange(self, request: bytes, expected: int, limit_s: float) -> bytes:
        try:
            return self._exchange(request, expected, limit_s)
        except (OSError, termios.error) as problem:  # pyserial's own are of the first kind
            raise Trouble(
                f"{self._port.port} was unplugged, or another program reads from it too: leave it to this one, "
                "and start again"
            ) from problem

    def _exchange(self, request: bytes, expected: int, limit_s: float) -> bytes:
        port = self._port
        time.sleep(max(0.00175, 3.5 * BITS_PER_CHARACTER / self.baud))  # the silence between frames
        port.reset_input_buffer()
        port.write(request)
        reply = b""
        ends = time.monotonic() + limit_s
        while (left_s := ends - time.monotonic()) > 0:
            complete = len(reply) >= expected
            if not select.select([port.fileno()], [], [], SILENCE_S if complete else left_s)[0] and complete:
                break
            reply += port.read(256)
            if len(reply) == EXCEPTION_BYTES < expected and reply[1] & 0x80 and crc16(reply[:-2]) == reply[-2:]:
                break
        return reply
