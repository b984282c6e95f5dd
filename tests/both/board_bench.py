"""A whole board in the test's own process: its hal is a clock that the test moves, its lines end in Python objects."""

import gc
import os

from bus_bench import Bank, Line, scratch, sunspec_map
from forerun_board.board import Board
from forerun_board.clock import Clock
from forerun_wire import messages as m

INVERTER, PCC, PV, GENSET = 1, 2, 3, 4
AT_701, AT_704 = 40070, 40225  # id registers in the map below
AT_802 = 40292


def discard(path):
    for name in os.listdir(path):
        os.remove(path + "/" + name)
    os.rmdir(path)


def site_units():
    """{unit: bank} of a healthy site: 5 kW of load, 1 kW of PV, inverter running at nothing."""
    battery = {11: 500, 22: 3, 34: 4000, 45: 500, 46: 500, 56: -1, 59: -1, 62: -1}
    inverter = [
        (1, 66, {}),
        (701, 153, {4: 3, 22: 1100, 26: 2200}),
        (704, 65, {}),
        (802, 62, battery),
        (715, 7, {}),
    ]

    def meter(power_w, import_wh):
        points = {7: 2300, 8: 2300, 9: 2300, 10: 2300, 15: -1, 16: 5000, 17: -2, 18: power_w, 47: import_wh}
        return Bank(sunspec_map(40000, [(1, 66, {}), (203, 105, points)]))

    return {
        INVERTER: Bank(sunspec_map(40000, inverter)),
        PCC: meter(4000, 500),
        PV: meter(1000, 600),
        GENSET: meter(0, 700),
    }


class SlowLine(Line):
    """A bus whose answers come later: the bench calls deliver() when it is time."""

    def __init__(self, units):
        Line.__init__(self, units)
        self.coming = b""

    def write(self, data, count):
        count = Line.write(self, data, count)
        self.coming, self.waiting = self.waiting, b""
        return count

    def deliver(self):
        self.waiting, self.coming = self.waiting + self.coming, b""


class Hose:
    """A serial line as two buffers; the board's end has the face of a hal's line."""

    def __init__(self):
        self.to_board = b""
        self.to_host = b""

    def read_into(self, buffer, start, limit):
        taken = self.to_board[:limit]
        self.to_board = self.to_board[limit:]
        for i in range(len(taken)):
            buffer[start + i] = taken[i]
        return len(taken)

    def write(self, data, count):
        self.to_host += bytes(data[:count])
        return count


class PlayedHal:
    """The hal of a test: time stands still until wait()."""

    board = "test"
    interpreter = "test"
    identity = "test-board"

    def __init__(self, store, bus):
        self.clock = Clock()
        self.store = store
        self.link = Hose()
        self.bus = bus
        self.stretched_ms = 0
        self.contacts = 0
        self.outputs = 0
        self.fed = 0
        self.bus_baud = 0

    def open_lines(self, bus_baud):
        self.bus_baud = bus_baud

    def set_bus_baud(self, baud):
        self.bus_baud = baud

    def inputs(self):
        return self.contacts

    def set_outputs(self, bits):
        self.outputs = bits

    def feed(self):
        self.fed += 1

    def random(self, count):
        return bytes(range(count))

    def reset_cause(self):
        return 0


class Bench:
    """A board with its site and, if told to, a host. Times in ms since boot."""

    def __init__(self, host=True, store=None, units=None, start_ms=0):
        gc.collect()  # a board that starts finds an empty memory: what the one before left must not split it
        self.store = store or scratch()
        self.units = units or site_units()
        self.line = SlowLine(self.units)
        self.answer_us = 2_000
        self._answer_due_us = 0
        self.hal = PlayedHal(self.store, self.line)
        self.hal.clock.ms = start_ms & 0x3FFFFFFF  # where its counters stand when it starts
        self.hal.clock.ticks_us = start_ms * 1000 & 0x3FFFFFFF
        self.board = Board(self.hal)
        self.host = None
        if host:
            from forerun_wire.host import HostSession  # not where a board's memory is measured

            self.host = HostSession("host", "test", b"hosthost")
        self.records = []
        self.telemetry = []
        self.replies = {}
        self.now_ms = 0
        self._now_us = 0

    def run(self, until_ms):
        """Let the board work until `until_ms`."""
        board = self.board
        until_us = until_ms * 1000
        while True:
            board.link.receive()
            board.cycle.poll()
            board.link.send()
            board.cycle.alive.link()
            self._serve_host()
            wait_us = max(1, min(board.cycle.wait_us(), board.link.wait_us()))
            if self.hal.link.to_board:
                wait_us = 1
            if self.line.requests:
                self._answer_due_us = self._now_us + self.answer_us
                self.line.requests = []
            if self.line.coming:
                wait_us = min(wait_us, max(1, self._answer_due_us - self._now_us))
            if self._now_us + wait_us > until_us:
                self.hal.clock.advance(until_us - self._now_us)
                self._now_us = until_us
                self.now_ms = until_ms
                return
            self.hal.clock.advance(wait_us)
            self._now_us += wait_us
            if self._now_us >= self._answer_due_us:
                self.line.deliver()

    def _serve_host(self):
        host = self.host
        hose = self.hal.link
        if host is None:
            hose.to_host = b""
            return
        now_ms = self._now_us // 1000
        host.receive(hose.to_host, len(hose.to_host), now_ms)
        hose.to_host = b""
        host.tick(now_ms)
        event = host.event()
        while event is not None:
            if event[0] == "hello":
                host.acknowledge(self.records[-1][0] if self.records else 0)
            elif event[0] == "record":
                self.records.append(event[1:])
                host.acknowledge(event[1])
            elif event[0] == "telemetry":
                self.telemetry = event[1]
            elif event[0] == "reply":
                self.replies[event[1]] = event[3:]
            event = host.event()
        data = bytes(host.outgoing(512))
        host.sent(len(data))
        hose.to_board += data

    def command(self, op, *args):
        """(code, results) of a command."""
        seq = self.host.command(op, *args)
        for _ in range(100):
            self.run(self.now_ms + 10)
            if seq in self.replies:
                return self.replies[seq]
        raise AssertionError("no reply")

    def codes(self):
        """Codes of the events that reached the host, in order."""
        return [record[5][0] for record in self.records if record[4] == m.EVENT]

    def value(self, name):
        """A field of the newest telemetry."""
        return self.telemetry[m.TELEMETRY_FIELDS.index(name)]

    def forget(self):
        """Let go of what the bench itself keeps of the past."""
        self.line.requests = []
        for bank in self.units.values():
            bank.writes = []

    def end(self):
        discard(self.store)
