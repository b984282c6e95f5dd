"""Host and board die at any instant, a write torn at any byte, frames lost: nothing that was acknowledged is lost, and
nothing is in the journal twice. The long form is in `make soak`."""

import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from forerun.store.journal import Journal, read
from forerun_board.records import Records
from forerun_wire import messages as m
from forerun_wire.board import BoardSession
from forerun_wire.host import HostSession

sys.path.insert(0, str(Path(__file__).parents[1] / "both"))
from lane import Chance
from wire_world import Line

STORE = b"store-01"
STEP_MS = 5


class World:
    """A board's store on a real file system, a journal on another, a line that loses frames, and a reaper."""

    def __init__(self, folder: Path, seed: int):
        self.seed, self.chance = seed, random.Random(seed)
        self.flash, self.path = folder / "flash", folder / "journal.forerun"
        self.flash.mkdir()
        chance = Chance(seed)
        self.down, self.up = Line(chance, lose=12, spoil=25), Line(chance, lose=12, spoil=25)
        self.now_ms, self.boots, self.hosts = 0, 0, 0
        self.promised = 0  # highest number that the board was told is on disk
        self.given: dict[int, int] = {}  # number -> value of the record, as flushed
        self.start_board()
        self.start_host()

    def start_board(self):
        self.boots += 1
        self.records = Records(str(self.flash), STORE)
        self.board = BoardSession("board", "test", self.chance.randbytes(8), store_id=STORE, boot_count=self.boots,
                                  window=8, source=self.records)  # fmt: skip

    def kill_board(self):
        """The power is cut; with luck in the middle of a flush, at any byte of it."""
        if self.chance.random() < 0.5 and self.records._segments:
            self.add()
            before = {name: os.path.getsize(self.flash / name) for name in os.listdir(self.flash)}
            self.records.flush()
            grown = [name for name in sorted(os.listdir(self.flash))
                     if os.path.getsize(self.flash / name) > before.get(name, 0)]  # fmt: skip
            if grown:  # a file is written to its end before the next one is begun
                name = grown[-1]
                size = os.path.getsize(self.flash / name)
                os.truncate(self.flash / name, self.chance.randint(before.get(name, 0), size))
        self.start_board()
        for number in [number for number in self.given if number > self.records.newest]:
            del self.given[number]  # never flushed whole, so never sent

    def start_host(self):
        self.hosts += 1
        self.journal = Journal(self.path)
        self.host = HostSession("host", "test", self.chance.randbytes(8))

    def kill_host(self):
        self.journal._buffer.clear()
        self.journal.close()
        if self.chance.random() < 0.5:
            with open(self.path, "ab") as file:
                file.write(b"\x82\x1a" + self.chance.randbytes(self.chance.randrange(1, 40)))
        self.start_host()

    def add(self):
        number = self.records.next_number
        self.given[number] = self.chance.randrange(1 << 30)
        self.records.add(self.boots, number, 0, m.EVENT, [9, self.given[number], 0])

    def step(self, records=True):
        for side in (self.host, self.board):
            side.tick(self.now_ms)
        self.take()
        if records and self.chance.random() < 0.3:
            self.add()
        if self.chance.random() < 0.2:
            self.records.flush()
        for sender, receiver, line in ((self.host, self.board, self.down), (self.board, self.host, self.up)):
            data = bytes(sender.outgoing(460))
            sender.sent(len(data))
            data = line.carry(data)
            if data:
                receiver.receive(data, len(data), self.now_ms)
        self.take()
        self.now_ms += STEP_MS

    def take(self):
        fresh = False
        while (event := self.host.event()) is not None:
            if event[0] == "hello":
                self.host.acknowledge(self.journal.on_disk("board", STORE) or 0)
            elif event[0] == "record":
                fresh |= self.journal.append_record(0, "board", STORE, event[1], list(event[2:6]) + event[6])
        if fresh and self.chance.random() < 0.6:
            self.journal.commit()
            self.host.acknowledge(self.journal.on_disk("board", STORE) or 0)
        while (event := self.board.event()) is not None:
            if event[0] == "record_ack":
                self.promised = max(self.promised, event[1])
                self.records.acknowledge(event[1])
            elif event[0] == "heartbeat":
                self.board.send_clock(event[1], 0, 0, 0, 0)

    def check(self):
        """Raises AssertionError when a record is missing, twice, or another one."""
        found = [entry.body for entry in read(self.path) if getattr(entry, "kind", "") == "record"]
        numbers = [body[1] for body in found]
        assert len(numbers) == len(set(numbers)), f"seed {self.seed}: a record is in the journal twice"
        assert numbers == list(range(1, len(numbers) + 1)), f"seed {self.seed}: a record is missing"
        assert self.promised <= len(numbers), f"seed {self.seed}: {self.promised} was acknowledged, and is not on disk"
        for body in found:
            assert self.given.get(body[1], body[7]) == body[7], f"seed {self.seed}: record {body[1]} is another one"


def kills(folder: Path, seed: int, count: int) -> int:
    """Number of records in the journal after `count` kills, everything checked."""
    world = World(folder, seed)
    for kill in range(count):
        for _ in range(world.chance.randrange(2, 120)):
            world.step()
        if world.chance.random() < 0.5:
            world.kill_host()
        else:
            world.kill_board()
        if kill % 50 == 49:
            world.journal.commit()
            world.check()
    world.records.flush()
    for _ in range(20_000):
        world.step(records=False)
        if world.journal.on_disk("board", STORE) == world.records.newest and world.promised == world.records.newest:
            break
        world.journal.commit()
        world.host.acknowledge(world.journal.on_disk("board", STORE) or 0)
    assert world.promised == world.records.newest, f"seed {seed}: not everything came over"
    world.check()
    world.journal.close()
    return world.promised


def test_records_across_random_kills_of_host_and_board():
    for seed in (1, 2):
        folder = Path(tempfile.mkdtemp())
        try:
            assert kills(folder, seed, 40) > 100
        finally:
            shutil.rmtree(folder)
