"""A service on a real journal and a board's session, joined by a perfect line in memory: what is acknowledged, when."""

import os
import sys
from pathlib import Path

from forerun import config
from forerun.site.service import Service
from forerun.site.snapshot import Viewer
from forerun.store.journal import Journal, read
from forerun_wire import messages as m
from forerun_wire.board import BoardSession

sys.path.insert(0, str(Path(__file__).parent / "both"))
from lane import Shelf

STORE = b"store-01"


def event(number):
    """Arguments of Shelf.put() for an event record."""
    return (number, 1, 10 + number, 0, m.EVENT, [m.INVERTER_AWAKE, 0, 0])


def recorded(path):
    """Numbers of the board's records in a journal."""
    return [entry.body[1] for entry in read(path) if getattr(entry, "kind", "") == "record"]


class Bench:
    """Time in ms; `disk` stands in for the module os where a test has its own."""

    def __init__(self, path, disk=os):
        self.path, self.disk = path, disk
        self.journal, self.said, self.acknowledged, self.now_ms = Journal(path, disk), [], [], 0
        self.orders = []  # (op, arguments) that the board was given
        self.host = Service(config.load(config.EXAMPLE), self.journal, nonce=b"h" * 8, say=self.said.append)
        self.board = BoardSession("bench", "test", b"b" * 8, store_id=STORE, boot_count=1)
        self.board.source = self.shelf = Shelf()

    def run(self, milliseconds):
        for _ in range(milliseconds // 10):
            self.now_ms += 10
            self.board.tick(self.now_ms)
            data = bytes(self.board.outgoing(4096))
            self.board.sent(len(data))
            self.host.receive(data, self.now_ms * 1000)
            self.host.step(self.now_ms * 1000)
            data = self.host.outgoing()
            self.board.receive(data, len(data), self.now_ms)
            while (event := self.board.event()) is not None:
                if event[0] == "record_ack":
                    self.acknowledged.append(event[1])
                elif event[0] == "heartbeat":
                    self.board.send_clock(event[1], self.now_ms // 1000, 0, self.now_ms // 1000, 0)
                elif event[0] == "command":
                    self.orders.append((event[2], tuple(event[3])))
                    self.board.reply(event[1], m.DONE, *([0] * len(event[3])))

    def send(self, number):
        self.shelf.put(*event(number))

    def alarms(self):
        return [alarm.name for alarm in Viewer(self.host).take(self.now_ms * 1000).alarms]
