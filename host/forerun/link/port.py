"""The serial edge: the only place where the host opens a port; it reconnects by itself."""

import errno
import os
import select
import time
from collections.abc import Callable
from pathlib import Path

import serial

from forerun.errors import Trouble

REOPEN_S = 0.2  # between tries while a cable is out: re-plug to streaming has to stay within two seconds
READ_BYTES = 4096
CLOCK_STEP_US = 2_000_000  # more than a clock that is slewed gains between two turns


class PortError(Trouble):
    """The port cannot be used; the message says what happened and what to do."""


def open_port(port: str, baud: int) -> serial.Serial:
    """The port, raw, 8N1, locked for us. Raises PortError with a sentence for a person."""
    try:
        return serial.Serial(port, baud, timeout=0, write_timeout=0, exclusive=True)
    except (serial.SerialException, OSError, ValueError) as problem:
        raise PortError(_explain(port, problem)) from problem


def plugged_in() -> list:
    """The serial ports that are there, each with device, vid, serial_number (serial.tools.list_ports)."""
    from serial.tools.list_ports import comports

    return list(comports())


def _explain(port: str, problem: Exception) -> str:
    number = getattr(problem, "errno", None)
    if number == errno.ENOENT or not os.path.exists(port):
        return f"there is no port {port}: is the board plugged in? `ls /dev/serial/by-id` lists what is"
    if number == errno.EACCES:
        return f"{port} may not be opened by this user: add the user to the group dialout and log in again"
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in str(problem):
        return f"{port} is in use by {_holder(port)}: close it and try again"
    if os.strerror(errno.ENOTTY) in str(problem) or os.path.isdir(port) or os.path.isfile(port):
        return f"{port} is no serial port: `ls /dev/serial/by-id` lists what is plugged in"
    return f"{port} cannot be opened as a serial port: {problem}"


def _holder(port: str) -> str:
    """Who has this port open: name and number of its process, as far as this user may see."""
    wanted = os.path.realpath(port)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.path.realpath(fd) == wanted for fd in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:  # it ended meanwhile, or is somebody else's
            continue
    return "another program"


class SerialLink:
    """Runs a service against a board on a real port, by the wall clock, until told to stop; `utc_us` tells the date."""

    def __init__(self, service, port: str, baud: int, *, say: Callable[[str], None] = lambda sentence: None):
        self.service, self.port_name, self.baud, self.say = service, port, baud, say
        self.utc_us: Callable[[], int] = lambda: time.time_ns() // 1000
        self.port: serial.Serial | None = None
        self._retry_at = 0.0
        self._offset_us: int | None = None
        self._complaint = ""

    def poll(self, limit_s: float) -> None:
        """Wait for bytes or a deadline, at most `limit_s`, and let the service have its turn."""
        now_us = time.monotonic_ns() // 1000
        self._tell_time(now_us)
        if self.port is None and not self._reopen():
            time.sleep(min(limit_s, max(0.0, self._retry_at - time.monotonic())))
            self.service.step(time.monotonic_ns() // 1000)
            return
        wait_s = min(limit_s, max(0, self.service.next_deadline_us(now_us) - now_us) / 1e6)
        try:
            ready, _, _ = select.select([self.port.fileno()], [], [], wait_s)
            data = self.port.read(READ_BYTES) if ready else b""
            if ready and not data:
                raise serial.SerialException("the port reports an end of file")
            now_us = time.monotonic_ns() // 1000
            if data:
                self.service.receive(data, now_us)
            self.service.step(now_us)
            self._write(self.service.outgoing())
        except (serial.SerialException, OSError) as problem:
            self._lost(problem)

    def _tell_time(self, now_us: int) -> None:
        """The monotonic clock in UTC; a jump between the two is somebody who set the clock, and the service is told."""
        before, self._offset_us = self._offset_us, self.utc_us() - now_us
        self.service.utc_offset_us = self._offset_us
        if before is not None and abs(self._offset_us - before) > CLOCK_STEP_US:
            self.service.clock_stepped(self._offset_us - before, now_us)

    def _write(self, data: bytes) -> None:
        """All of it; a board that does not read for half a second counts as a lost link, and the session resends."""
        give_up = time.monotonic() + 0.5
        while data:
            if not select.select([], [self.port.fileno()], [], max(0.0, give_up - time.monotonic()))[1]:
                raise serial.SerialException("the board does not read")
            data = data[os.write(self.port.fileno(), data) :]

    def close(self) -> None:
        """Give the port back."""
        if self.port is not None:
            self.port.close()
            self.port = None

    def _reopen(self) -> bool:
        if time.monotonic() < self._retry_at:
            return False
        self._retry_at = time.monotonic() + REOPEN_S
        try:
            self.port = open_port(self.port_name, self.baud)
        except PortError as problem:
            if str(problem) != self._complaint:  # once, not five times a second
                self._complaint = str(problem)
                self.say(f"{problem}; still trying")
            return False
        self._complaint = ""
        self.service.link_up(time.monotonic_ns() // 1000)
        self.say(f"{self.port_name} is open")
        return True

    def _lost(self, problem: Exception) -> None:
        self.say(f"{self.port_name} was lost ({problem}); the board carries its plan on; trying to reconnect")
        self.close()
        self.service.link_down(time.monotonic_ns() // 1000)
