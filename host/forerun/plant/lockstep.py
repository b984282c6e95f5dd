"""Lockstep: one clock rules the site, its serial lines, the board (a real interpreter) and the host.

The board says on its bench channel how many bytes it has written and until when it has nothing to do; the master
reads exactly that many, works out what happens next, advances the clock to it, writes the board's bytes, and releases
it. Nothing depends on how the operating system schedules, so one seed replays a run byte for byte.
"""

import contextlib
import heapq
import itertools
import os
import select
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from forerun.plant.board import POWER_ON, RESTARTS, WATCHDOG, BoardProcess, line_rate
from forerun.plant.contacts import Contacts
from forerun.plant.senses import Senses
from forerun.plant.series import NEVER

REQUEST = struct.Struct("<IIIII")  # link bytes ever written, bus bytes ever written, idle until s, µs, outputs
FED = 1 << 31  # among the outputs: the watchdog was fed since the request before
# Now s, µs, link bytes to read, bus bytes to read, inputs, cycle ms, pulses, counts of PCC voltage and current, answers
# of the sensors of air and cells.
RELEASE = struct.Struct("<IIHHIHHHH6s9s")
BITS_PER_CHARACTER = 11
HOST_PACE_US = 1000  # the host is asked at most once a millisecond, so an impatient host cannot stop the clock
LOOP_US = 100  # a pass of the board's main loop takes time too; without it a board that polls would stop the clock
SILENT_BOARD_S = 20.0  # a board that says nothing for so long has hung: a fault of the program, not of the site


class BoardRestarts(Exception):
    """The board asked to be started anew."""


class BoardHung(RuntimeError):
    """The interpreter stopped talking; the message holds where and when."""


class Host(Protocol):
    """What the ruling clock needs of a host: bytes and time in, bytes and a deadline out. All times in µs."""

    def receive(self, data: bytes, now_us: int) -> None: ...
    def step(self, now_us: int) -> None: ...
    def outgoing(self) -> bytes: ...
    def next_deadline_us(self, now_us: int) -> int: ...


@contextlib.contextmanager
def on_processors(wanted: Callable[[set[int]], Iterable[int]]) -> Iterator[None]:
    """What is started meanwhile, and this process, run on those that `wanted` picks of the processors there are. Bench
    and board take turns: they hand over sooner on one processor than on two. A system without such a choice decides."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, wanted(every))
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)


def last_processor(every: set[int]) -> set[int]:
    """One; interrupts are mostly served by the first."""
    return {max(every)}


class Lockstep:
    """The master. `cycle_ms(now_us)` asks the board for a longer round in quiet hours; 0 leaves its own setting.

    `link_filter` and `bus_filter`, when set, see (direction, bytes, now_us) and return what arrives: the place for
    corruption and pulled cables. Directions are "up" (from the board) and "down" (to the board).
    """

    def __init__(
        self,
        site,
        slave,
        board: BoardProcess,
        host: Host | None,
        *,
        link_baud: int = 115200,
        cycle_ms: Callable[[int], int] = lambda now_us: 0,
    ):
        self.site, self.slave, self.board, self.host = site, slave, board, host
        self.now_us = site.now_us
        self.cycle_ms = cycle_ms
        self.link_filter: Callable[[str, bytes, int], bytes] | None = None
        self.bus_filter: Callable[[str, bytes, int], bytes] | None = None
        self.inputs = 0  # contacts that a person closes: emergency stop, door, reset
        self.contacts = Contacts(site)
        self.senses: Senses | None = None  # sensors and analogue channels, when the board has any
        self.rounds = 0
        self.watchdog_us = 0  # how long a board that feeds nobody is left alone; 0: for ever
        self.bites: list[int] = []  # when the watchdog restarted it
        self._fed_us = 0
        self._host_second = -1  # in which the host had its turn last
        self._character_us = BITS_PER_CHARACTER * 1_000_000 / link_baud
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._up: list[tuple[int, bytes]] = []  # on the link line, to the host: (arrival, bytes)
        self._down: list[tuple[int, bytes]] = []
        self._up_free_us = self._down_free_us = 0
        self._boot_us = 0
        self._seen_link = self._seen_bus = 0
        self._idle_until_us = 0
        self._held: dict[int, bytearray] = {}

    @property
    def outputs(self) -> int:
        """The contacts as the board drives them."""
        return self.contacts.outputs

    def at(self, when_us: int, action: Callable[[], None]) -> None:
        """Run `action` when the clock reaches `when_us`: a fault, a job, a change of scene."""
        heapq.heappush(self._events, (when_us, next(self._order), action))

    def power_on(self, cause: int = POWER_ON) -> None:
        """Boot the board at the present instant; its uptime starts at zero, and with it its watchdog."""
        self.board.power_on(cause)
        self._boot_us = self._fed_us = self.now_us
        self._seen_link = self._seen_bus = 0
        self._up.clear()
        self._down.clear()
        self._held = {fd: bytearray() for fd in (self.board.bench_out, self.board.link_fd, self.board.bus_fd)}
        self._await_board()

    def power_off(self) -> None:
        """Cut the board's power; the site and the host go on."""
        self.board.power_off()
        self._wire(0)
        self._down.clear()

    def run(self, until_us: int) -> None:
        """Advance the ruling clock to `until_us`."""
        while self.now_us < until_us:
            self._advance(until_us)

    def _advance(self, until_us: int) -> None:
        """One barrier: to the next instant at which anybody has something to do."""
        board_on = self.board.process is not None
        bite_us = self._bite_us()
        when = until_us
        if board_on:
            when = min(when, max(self._idle_until_us, self.now_us), bite_us)
        if self._events:
            when = min(when, self._events[0][0])
        due = self.slave.next_due_us()
        if due is not None:
            when = min(when, due)
        if self._up:
            when = min(when, self._up[0][0])
        if self._down and board_on:
            when = min(when, self._down[0][0])
        host_us = NEVER
        if self.host is not None:
            host_us = max(self.host.next_deadline_us(self.now_us), self.now_us + HOST_PACE_US)
            when = min(when, host_us)
        self.now_us = max(self.now_us, when)

        happens = bool(self._events) and self._events[0][0] <= self.now_us
        if happens:
            self.site.advance(self.now_us)
        while self._events and self._events[0][0] <= self.now_us:
            heapq.heappop(self._events)[2]()
        self._serve_host(happens or self.now_us > host_us - HOST_PACE_US)
        if self.board.process is None:
            self.slave.take(self.now_us)  # a reply that nobody hears
            self.site.advance(self.now_us)
            return
        if self.now_us >= bite_us:
            self.bites.append(self.now_us)
            self._restart()
            return
        bus = self._filtered(self.bus_filter, "down", self.slave.take(self.now_us))
        link = b""
        while self._down and self._down[0][0] <= self.now_us:
            link += self._down.pop(0)[1]
        if bus or link or self._idle_until_us <= self.now_us:
            self._release(link, bus)
            self._await_board()

    def _bite_us(self) -> int:
        """When the watchdog restarts a board that does not feed it; stretched rounds are the master's own wish."""
        if not self.watchdog_us:
            return NEVER
        return self._fed_us + max(self.watchdog_us, 3000 * self.cycle_ms(self.now_us))

    def _restart(self) -> None:
        """At this instant, with the outputs at rest meanwhile."""
        self.power_off()
        self.power_on(WATCHDOG)

    def _serve_host(self, wanted: bool) -> None:
        """Give the host what has come for it, and its turn when that is `wanted`, when something came, and in each
        second, with which plans and steps of the load begin."""
        host, now_us = self.host, self.now_us
        if host is None:
            self._up.clear()
            return
        while self._up and self._up[0][0] <= now_us:
            host.receive(self._up.pop(0)[1], now_us)
            wanted = True
        second = now_us // 1_000_000
        if not wanted and second == self._host_second:
            return
        self._host_second = second
        host.step(now_us)
        data = self._filtered(self.link_filter, "down", host.outgoing())
        if data and self.board.process is not None:
            self._down_free_us = max(self._down_free_us, now_us) + round(len(data) * self._character_us)
            self._down.append((self._down_free_us, data))

    def _filtered(self, line_filter, direction: str, data: bytes) -> bytes:
        return line_filter(direction, data, self.now_us) if line_filter and data else data

    def _release(self, link: bytes, bus: bytes) -> None:
        uptime_us = self.now_us - self._boot_us
        message = RELEASE.pack(
            uptime_us // 1_000_000,
            uptime_us % 1_000_000,
            len(link),
            len(bus),
            self.inputs | self.contacts.inputs(),
            self.cycle_ms(self.now_us),
            *self._felt(),
        )
        os.write(self.board.bench_in, message)  # first, so that the board is reading while its lines fill
        for fd, data in ((self.board.link_fd, link), (self.board.bus_fd, bus)):
            while data:
                data = data[os.write(fd, data) :]

    def _felt(self) -> tuple[int, int, int, bytes, bytes]:
        if self.senses is None:
            return 0, 0, 0, b"", b""
        self.site.advance(self.now_us)
        return self.senses.pulses(), *self.senses.counts(self.now_us), self.senses.air(), self.senses.cell()

    def _await_board(self) -> None:
        """The board's next request; one that restarts does so now."""
        try:
            self._take_request()
        except BoardRestarts:
            self._restart()

    def _take_request(self) -> None:
        """Read the board's next request, and from its lines exactly the bytes it says it has written."""
        request = self._read_exactly(self.board.bench_out, REQUEST.size)
        link_total, bus_total, until_s, until_us, outputs = REQUEST.unpack(request)
        if outputs & FED:
            self._fed_us = self.now_us
            outputs &= ~FED
        if outputs != self.outputs:
            self._wire(outputs)
        self.rounds += 1
        self._idle_until_us = max(self._boot_us + until_s * 1_000_000 + until_us, self.now_us + LOOP_US)
        link_bytes = (link_total - self._seen_link) & 0xFFFF_FFFF
        bus_bytes = (bus_total - self._seen_bus) & 0xFFFF_FFFF
        if link_bytes:
            data = self._read_exactly(self.board.link_fd, link_bytes)
            self._seen_link = link_total
            self._up_free_us = max(self._up_free_us, self.now_us) + round(link_bytes * self._character_us)
            data = self._filtered(self.link_filter, "up", data)
            if data:
                self._up.append((self._up_free_us, data))
        if bus_bytes:
            data = self._read_exactly(self.board.bus_fd, bus_bytes)
            self._seen_bus = bus_total
            data = self._filtered(self.bus_filter, "up", data)
            if data and line_rate(self.board.bus_fd) != self.slave.baud:
                data = bytes(len(data))  # bits of another length: whatever is read, no frame
            if data:
                self.slave.receive(data, self.now_us)

    def _wire(self, outputs: int) -> None:
        """The board's contacts have changed: the site feels it now."""
        self.site.advance(self.now_us)
        self.contacts.drive(outputs)

    def _read_exactly(self, wanted: int, count: int) -> bytes:
        """`count` bytes of one descriptor; the others are emptied meanwhile: a full line would block the board."""
        held = self._held
        board = self.board
        while len(held[wanted]) < count:
            ready = select.select([board.bench_out, board.link_fd, board.bus_fd], [], [], SILENT_BOARD_S)[0]
            if not ready:
                raise BoardHung(f"the board said nothing for {SILENT_BOARD_S:.0f} s at t = {self.now_us / 1e6} s")
            for fd in ready:
                chunk = os.read(fd, 65536)
                if not chunk:
                    code = board.process.wait()
                    if code == RESTARTS:
                        raise BoardRestarts
                    words = bytes(held[board.bench_out]).decode(errors="replace").strip().splitlines()
                    said = f": {words[-1]}" if words else ""
                    raise BoardHung(f"MicroPython ended with status {code} at t = {self.now_us / 1e6} s{said}")
                held[fd] += chunk
        data = bytes(held[wanted][:count])
        del held[wanted][:count]
        return data
