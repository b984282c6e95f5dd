"""The emulated site by the wall clock, on an open serial line: a pseudo-terminal or a real port."""

import errno
import os
import select
import time
from collections.abc import Callable

from forerun.errors import Trouble
from forerun.plant.board import BoardProcess, line_rate, set_line_rate
from forerun.plant.contacts import Contacts
from forerun.plant.rtu import FRAME_MAX, READ, WRITE_MANY, WRITE_ONE, Responder
from forerun.plant.site import Site

GAP_MIN_S = 0.020  # USB adapters and schedulers deliver one frame in pieces up to 16 ms apart
RESTART_S = 1.0  # a board that crashes again and again is started no more often
LOOK_S = 0.2  # how often the site moves on and `stopped` is asked while the line is quiet


def serve(site: Site, units, fd: int, baud: int, stopped: Callable[[], bool], *, paced: bool = True,
          wires: "Wires | None" = None, adapter_fd: int = -1) -> Responder:  # fmt: skip
    """Answer for `units` ({unit id: registers}) on `fd` until stopped() or Ctrl-C; returns the counts of the line.

    The site's clock runs with the wall clock from where it stands. A frame whose parts are 20 ms or three t3.5 apart,
    whichever is longer, is dropped; below that, what arrives in pieces is one frame, because an operating system's
    jitter is not the client's fault. `paced`: replies take the time that they would need at this baud rate, for a
    pseudo-terminal; a real port takes that time by itself. `wires`: of a board's contacts. `adapter_fd`: our end of
    another pseudo-terminal onto the same line; while somebody has its far end open, the board on `fd` is off the line,
    as a person takes it off to scan. Raises Trouble when the port goes away.
    """
    line = _Line(fd, Responder(units, site.seed), baud, paced)
    adapter = _Line(adapter_fd, line.responder, baud, paced) if adapter_fd >= 0 else None
    start_s = time.monotonic() - site.now_us / 1e6
    try:
        while not stopped():
            talker = adapter if adapter is not None and adapter.is_open() else line
            ready = select.select({fd, talker.fd}, [], [], talker.patience_s())[0]
            now_s = time.monotonic()
            site.advance(int((now_s - start_s) * 1e6))
            if wires is not None:
                wires.carry()
            if talker is adapter and fd in ready:
                line.read()
            talker.hear(talker.read() if talker.fd in ready else b"", now_s)
    except KeyboardInterrupt:
        pass
    return line.responder


class Wires:
    """The contacts of a board that runs by the wall clock: its outputs reach the site, the site's inputs reach it."""

    def __init__(self, site: Site, board: BoardProcess):
        self.contacts = Contacts(site)
        self._board = board
        self._inputs = 0
        self._held = b""
        self._restart_s = 0.0

    def carry(self) -> None:
        """Bring both sides up to date; a board that is off has its outputs at rest. One that ended by itself starts
        anew, whether it asked for that or crashed: on a chip the reset or the watchdog does it."""
        process, now_s = self._board.process, time.monotonic()
        if process is None or process.poll() is not None:
            self.contacts.drive(0)
            if process is not None and now_s >= self._restart_s:
                self._restart_s = now_s + (0.0 if self._board.at_prompt else RESTART_S)
                self._board.restart()
                self._held, self._inputs = b"", 0
            return
        if self._board.at_prompt:
            return
        while select.select([self._board.bench_out], [], [], 0)[0]:
            data = os.read(self._board.bench_out, 4096)
            if not data:
                return
            self._held += data
        whole = len(self._held) // 4 * 4
        for at in range(0, whole, 4):
            self.contacts.drive(int.from_bytes(self._held[at : at + 4], "little"))
        self._held = self._held[whole:]
        inputs = self.contacts.inputs()
        if inputs != self._inputs:
            self._inputs = inputs
            os.write(self._board.bench_in, bytes((inputs,)))


class _Line:
    """Cuts what arrives into requests and sends the replies."""

    def __init__(self, fd: int, responder: Responder, baud: int, paced: bool, turnaround_s: float = 0.002):
        self.responder = responder
        self.fd = fd
        self._baud = baud
        self._char_s = 11.0 / baud
        t35_s = 0.00175 if baud > 19200 else 3.5 * self._char_s
        self._gap_s = max(3.0 * t35_s, GAP_MIN_S)
        self._before_reply_s = t35_s + turnaround_s
        self._paced = paced
        if paced:
            set_line_rate(fd, baud)
        self._frame = bytearray()
        self._heard_s = 0.0

    def is_open(self) -> bool:
        """Whether anybody has the far end of this pseudo-terminal open."""
        looked = select.poll()
        looked.register(self.fd, select.POLLHUP)
        return not looked.poll(0)

    def patience_s(self) -> float:
        """How long the line may stay quiet before hear() must be called."""
        return self._gap_s if self._frame else LOOK_S

    def read(self) -> bytes:
        try:
            data = os.read(self.fd, 4096)
        except OSError as error:
            if error.errno == errno.EIO and not self.is_open():  # whoever scanned is done
                return b""
            raise Trouble(f"the emulated site's serial port failed ({error.strerror}): plug it in again") from None
        if not data:
            raise Trouble("the emulated site's serial port was closed: plug it in again")
        if self._paced and line_rate(self.fd) != self._baud:
            self.responder.counts["bad_crc"] += 1  # bits of another length: whatever is read, no frame
            return b""
        return data

    def hear(self, data: bytes, now_s: float) -> None:
        """Bytes that arrived at now_s, or none."""
        if self._frame and now_s - self._heard_s >= self._gap_s:
            if request_length(self._frame) is None:
                self._answer(now_s)  # a function whose length only the silence tells; it is refused
            else:
                self.responder.counts["timing"] += 1
                self._frame.clear()
        if data:
            self._frame += data[: FRAME_MAX + 1 - len(self._frame)]
            self._heard_s = now_s
            if len(self._frame) == request_length(self._frame):
                self._answer(now_s)

    def _answer(self, heard_s: float) -> None:
        request = bytes(self._frame)
        self._frame.clear()
        reply = self.responder.answer(request)
        if not reply:
            return
        due_s = heard_s + self._before_reply_s
        if self._paced:
            due_s += (len(request) + len(reply)) * self._char_s
        time.sleep(max(0.0, due_s - time.monotonic()))
        while reply:
            writable = select.select([], [self.fd], [], LOOK_S)[1]
            if not writable:  # nobody reads and the line is full: the rest of the reply is lost, as on copper
                return
            reply = reply[os.write(self.fd, reply) :]


def request_length(frame: bytes | bytearray) -> int | None:
    """Length in bytes of the request that starts like this; 0 = cannot be said yet, None = unknown function."""
    if not 2 <= len(frame) <= FRAME_MAX:
        return 0
    if frame[1] in (READ, WRITE_ONE):
        return 8
    if frame[1] == WRITE_MANY:
        return 9 + frame[6] if len(frame) > 6 else 0
    return None
