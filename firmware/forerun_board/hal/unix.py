"""MicroPython's unix port as a board: two ttys, a directory as flash; by the wall clock or in lockstep."""

import os
import select
import struct
import sys
import termios

from forerun_board.clock import Clock
from forerun_board.hal.restart import restart
from forerun_board.hal.waiter import Waiter

INTERPRETER = "MicroPython %d.%d.%d unix" % sys.implementation.version[:3]
# termios names only some speeds; these are Linux's numbers.
_SPEEDS = {9600: 13, 19200: 14, 38400: 15, 57600: 0o10001, 115200: 0o10002}
_VTIME = 5
_VMIN = 6
_REQUEST = "<IIIII"
_RELEASE = "<IIHHIH"
_REQUEST_SIZE = 20
_FED = 1 << 31  # among the outputs
_RELEASE_SIZE = 39  # behind the above, what hal/unix_senses.py reads


def run(make_board):
    """Run make_board(hal) for ever; FORERUN_LOCKSTEP=1 hands the clock to a master on stdin and stdout.

    A fault goes to stderr, because stdout is the master's, and ends the process with status 1.
    """
    try:
        make_board(Lockstep() if os.getenv("FORERUN_LOCKSTEP") == "1" else Realtime()).run()
    except (ArithmeticError, AttributeError, LookupError, MemoryError, OSError, TypeError, ValueError) as error:
        sys.print_exception(error, sys.stderr)
        sys.exit(1)


def _environment(name):
    value = os.getenv(name)
    if not value:
        raise SystemExit("%s is not set; let it name the tty or directory to use" % name)
    return value


class _Unix:
    """What both ways of running share."""

    board = "unix"
    interpreter = INTERPRETER

    def __init__(self):
        self.clock = Clock()
        self.stretched_ms = 0
        self.identity = os.getenv("FORERUN_IDENTITY") or "unix-board"
        self.store = _environment("FORERUN_STORE")
        self.link = None
        self.bus = None

    def random(self, count):
        """`count` (at most 8) bytes that no other boot has; FORERUN_NONCE (16 hex digits) makes a run repeatable."""
        given = os.getenv("FORERUN_NONCE")
        if given:
            return bytes([int(given[2 * i : 2 * i + 2], 16) for i in range(count)])
        return os.urandom(count)

    def reset_cause(self):
        """Why the board started, as a chip's machine.reset_cause() numbers it, if a master said so; else 0."""
        return int(os.getenv("FORERUN_RESET") or 0)

    def feed(self):
        """There is no hardware watchdog."""

    def restart(self):
        """End with the status that asks for a new start."""
        restart()

    def start_inner(self, state, config):
        """False: there are no analogue channels."""
        return False

    def climate(self, config):
        """There are no sensors."""
        return None

    def count_pulses(self, meter):
        """There is no pulse input."""

    def set_bus_baud(self, baud):
        """Another speed from here on."""
        self.bus.set_baud(baud)


class Tty:
    """A serial line by its path. With `blocking` a read waits until all that was asked for has come."""

    def __init__(self, path, baud, blocking):
        self.total = 0  # bytes ever written
        self._file = open(path, "r+b")
        fd = self._file.fileno()
        termios.setraw(fd)
        attributes = termios.tcgetattr(fd)
        attributes[4] = attributes[5] = _SPEEDS.get(baud, attributes[5])
        attributes[6][_VTIME] = 0
        attributes[6][_VMIN] = 1 if blocking else 0
        termios.tcsetattr(fd, termios.TCSANOW, attributes)

    def fileno(self):
        """Its descriptor, for poll()."""
        return self._file.fileno()

    def set_baud(self, baud):
        """Change the speed."""
        attributes = termios.tcgetattr(self._file.fileno())
        attributes[4] = attributes[5] = _SPEEDS.get(baud, attributes[5])
        termios.tcsetattr(self._file.fileno(), termios.TCSANOW, attributes)

    def read_into(self, buffer, start, limit):
        """Number of bytes read to buffer[start:], at most `limit`."""
        return self._file.readinto(memoryview(buffer)[start:], limit) or 0

    def write(self, data, count):
        """Number of bytes written, of the first `count` of `data`."""
        written = self._file.write(memoryview(data)[:count]) or 0
        self.total += written
        return written


class Realtime(_Unix):
    """The wall clock rules; the lines are ttys of any kind. FORERUN_CONTACTS=1 has the contacts played on stdin, a byte
    for each change of the inputs, and stdout, four bytes for each change of the outputs; else there are none."""

    def __init__(self):
        super().__init__()
        self._paths = (_environment("FORERUN_LINK"), _environment("FORERUN_BUS"))
        self._waiter = None
        self._inputs = 0
        self._outputs = 0
        self._played = None
        if os.getenv("FORERUN_CONTACTS") == "1":
            self._played = select.poll()
            self._played.register(sys.stdin.buffer, select.POLLIN)

    def open_lines(self, bus_baud):
        """Open link and bus."""
        self.link = _PolledTty(self._paths[0], 115200)
        self.bus = _PolledTty(self._paths[1], bus_baud)
        self._waiter = Waiter(self.clock, self.link.file, self.bus.file)

    def wait(self, us):
        """Until a byte comes, but at most `us`."""
        self._waiter.wait(us)

    def inputs(self):
        """Contacts as they are played, 0 while they are not."""
        if self._played is not None:
            while self._played.poll(0):
                byte = sys.stdin.buffer.read(1)
                if not byte:
                    sys.exit(0)  # who played them has gone
                self._inputs = byte[0]
        return self._inputs

    def set_outputs(self, bits):
        """Shown where contacts are played."""
        if bits != self._outputs and self._played is not None:
            sys.stdout.buffer.write(struct.pack("<I", bits))
        self._outputs = bits


class _PolledTty(Tty):
    """A tty whose reads and writes never wait."""

    def __init__(self, path, baud):
        super().__init__(path, baud, False)
        self.file = self._file
        self._writable = select.poll()
        self._writable.register(self._file, select.POLLOUT)

    def read_into(self, buffer, start, limit):
        """Number of bytes read to buffer[start:], at most `limit`; 0 too while the far end is gone."""
        try:
            return super().read_into(buffer, start, limit)
        except OSError:
            return 0

    def write(self, data, count):
        """Number of bytes written, 0 while the far end does not read or is gone."""
        if not self._writable.poll(0):
            return 0
        try:
            return super().write(data, min(count, 64))
        except OSError:
            return 0


class Lockstep(_Unix):
    """A master holds the clock. wait() tells it until when there is nothing to do, and returns when it says so."""

    def __init__(self):
        super().__init__()
        self._paths = (_environment("FORERUN_LINK"), _environment("FORERUN_BUS"))
        self._in = sys.stdin.buffer
        self._out = sys.stdout.buffer
        self._request = bytearray(_REQUEST_SIZE)
        self._release = bytearray(_RELEASE_SIZE)
        self._inputs = 0
        self._outputs = 0
        self._fed = 0
        self._senses = None

    def open_lines(self, bus_baud):
        """Open link and bus, and meet the master for the first time."""
        self.link = _CountedTty(self._paths[0], 115200)
        self.bus = _CountedTty(self._paths[1], bus_baud)
        self.wait(0)

    def wait(self, us):
        """Until the master goes on: because `us` are over, or because bytes came."""
        clock = self.clock
        if self._senses is not None:
            us = min(us, self._senses.wait_us())
        until_s = clock.s
        until_us = clock.us + us
        until_s += until_us // 1_000_000
        until_us %= 1_000_000
        struct.pack_into(
            _REQUEST, self._request, 0, self.link.total & 0xFFFFFFFF, self.bus.total & 0xFFFFFFFF, until_s, until_us,
            self._outputs | self._fed,
        )  # fmt: skip
        self._fed = 0
        self._out.write(self._request)
        if self._in.readinto(self._release, _RELEASE_SIZE) != _RELEASE_SIZE:
            sys.exit(0)  # the master has gone
        now_s, now_us, link, bus, self._inputs, self.stretched_ms = struct.unpack_from(
            _RELEASE, self._release, 0
        )
        self.clock.advance((now_s - clock.s) * 1_000_000 + now_us - clock.us)
        self.link.allow(link)
        self.bus.allow(bus)
        if self._senses is not None:
            self._senses.step()

    def inputs(self):
        """Contacts as the master plays them: bit 0 emergency stop, bit 1 door."""
        return self._inputs

    def set_outputs(self, bits):
        """Shown to the master: bit 0 trip, bit 1 genset start."""
        self._outputs = bits

    def feed(self):
        """The master plays the watchdog; it is told with the next request."""
        self._fed = _FED

    def start_inner(self, state, config):
        """True: from here on wait() makes its step each millisecond, with what the master says the channels read."""
        self._played().begin(state)
        return True

    def climate(self, config):
        """The sensors that the settings name, as the master plays them."""
        return self._played().climate(config)

    def count_pulses(self, meter):
        """Have the master's pulses counted by `meter`."""
        self._played().counted = meter

    def _played(self):
        if self._senses is None:
            from forerun_board.hal.unix_senses import Played

            self._senses = Played(self._release, self.clock)
        return self._senses


class _CountedTty(Tty):
    """A tty of which just as many bytes are read as the master says have come."""

    def __init__(self, path, baud):
        super().__init__(path, baud, True)
        self._allowed = 0

    def allow(self, count):
        """`count` more bytes have come."""
        self._allowed += count

    def read_into(self, buffer, start, limit):
        """Number of bytes read to buffer[start:], at most `limit` and what has been allowed."""
        count = min(limit, self._allowed)
        if count == 0:
            return 0
        self._allowed -= count
        return super().read_into(buffer, start, count)
